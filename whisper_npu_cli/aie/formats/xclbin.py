"""XCLBIN (AXLF): the container that XRT loads. Read only; xclbinutil writes it (`tools.py`).

Names are those of XRT's `xclbin.h`. Offset tables: docs/formats.md. Source: `xclbin.h`,
`SectionAIEPartition.cxx`, `XclBinClass.cxx` (Xilinx/XRT 963c58ee) by way of shared facts 1, and
published files.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.aie.formats import metadata, pdi
from whisper_npu_cli.aie.formats.metadata import Kernel
from whisper_npu_cli.aie.formats.view import FormatError, View, read_file

# Numbers -----------------------------------------------------------------------------------------

MAGIC = b"xclbin2\0"
EMBEDDED_METADATA, MEM_TOPOLOGY, CONNECTIVITY, IP_LAYOUT = 2, 6, 7, 8
ASK_GROUP_TOPOLOGY, ASK_GROUP_CONNECTIVITY, AIE_PARTITION = 26, 27, 32
SECTION_NAMES = {
    EMBEDDED_METADATA: "EMBEDDED_METADATA", MEM_TOPOLOGY: "MEM_TOPOLOGY",
    CONNECTIVITY: "CONNECTIVITY", IP_LAYOUT: "IP_LAYOUT", AIE_PARTITION: "AIE_PARTITION",
    ASK_GROUP_TOPOLOGY: "GROUP_TOPOLOGY", ASK_GROUP_CONNECTIVITY: "GROUP_CONNECTIVITY",
}  # fmt: skip
MEMORY_TYPES = {0: "MEM_DDR3", 1: "MEM_DDR4", 2: "MEM_DRAM"}
CDO_TYPES = {0: "UNKNOWN", 1: "PRIMARY", 2: "LITE", 3: "PRE_POST"}

# Limits. Sections: XRT's own; the others are far above any real file and keep nested arrays that
# point at the same bytes over and over from growing without bound.
MAX_SECTIONS = 10_000
MAX_RECORDS = 4096  # memories, IPs, connections
MAX_PDIS = MAX_GROUPS = MAX_IDS = 64
MAX_NAMES = 32  # in a message; XRT runs at most as many kernels
MAX_COLUMNS = 128  # the 7 bits that a register address has for the column


# Layouts -----------------------------------------------------------------------------------------

AXLF = struct.Struct("<8si28s256sQ Q Q Q HBB HH 16s 64s 16s 16s I 4x")  # axlf + axlf_header
SECTION_HEADER = struct.Struct("<I16s4xQQ")
MEM_DATA = struct.Struct("<BB6xQQ16s")
IP_DATA = struct.Struct("<IIQ64s")
CONNECTION = struct.Struct("<iii")
AIE_PARTITION_HEADER = struct.Struct("<B3xI I4x QQ H6x II 72x II I 52x")
AIE_PDI = struct.Struct("<16s II II 64x")
CDO_GROUP = struct.Struct("<I B3x Q II II 64x")


# API ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the section table: `kind` is XRT's number, `data` its bytes."""

    kind: int
    name: str
    data: View


@dataclass(frozen=True, slots=True)
class Memory:
    """One bank of MEM_TOPOLOGY."""

    type: int
    used: bool
    size_kib: int
    base: int
    tag: str


@dataclass(frozen=True, slots=True)
class Ip:
    """One entry of IP_LAYOUT: `name` is kernel:instance, bits 31:16 of `properties` its id."""

    type: int
    properties: int
    base: int
    name: str

    @property
    def kernel_id(self) -> int:
        """The DPU kernel id in the properties word."""
        return self.properties >> 16


@dataclass(frozen=True, slots=True)
class Connection:
    """Argument -> memory bank, for one IP."""

    arg_index: int
    m_ip_layout_index: int
    mem_data_index: int


@dataclass(frozen=True, slots=True)
class CdoGroup:
    """Which kernels a PDI serves."""

    name: str
    cdo_type: int
    pdi_id: int
    dpu_kernel_ids: tuple[int, ...]
    pre_cdo_groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartitionPdi:
    """One PDI of the partition; `image` is decoded on demand."""

    uuid: uuid.UUID
    image: View
    groups: tuple[CdoGroup, ...]

    def decode(self) -> pdi.Pdi:
        """Read the image. Raises FormatError."""
        return pdi.decode(self.image.data, self.image.name)


@dataclass(frozen=True, slots=True)
class Partition:
    """AIE_PARTITION: the columns that the design takes, and its PDIs."""

    name: str
    column_width: int
    start_columns: tuple[int, ...]
    operations_per_cycle: int
    inference_fingerprint: int
    pre_post_fingerprint: int
    pdis: tuple[PartitionPdi, ...]


@dataclass(frozen=True, slots=True)
class Xclbin:
    """A whole container. `memories` are those XRT uses: GROUP_TOPOLOGY where there is one."""

    name: str
    uuid: uuid.UUID
    timestamp: int
    version: tuple[int, int, int]
    sections: tuple[Section, ...]
    memories: tuple[Memory, ...]
    ips: tuple[Ip, ...]
    connections: tuple[Connection, ...]
    kernels: tuple[Kernel, ...]
    partition: Partition

    def kernel(self, name: str | None = None) -> Kernel:
        """The kernel called `name`, or the only one. Raises FormatError."""
        offered = [kernel for kernel in self.kernels if kernel.type == metadata.DPU]
        found = [kernel for kernel in offered if name in (None, kernel.name)]
        if len(found) != 1:
            names = ", ".join(kernel.name for kernel in offered[:MAX_NAMES]) or "none"
            raise FormatError(f"{self.name}: {len(found)} NPU kernels match; name one of: {names}.")
        return found[0]

    def pdi(self, kernel: Kernel) -> PartitionPdi:
        """The PDI whose group lists the kernel's id, as XRT chooses it. Raises FormatError."""
        for image in self.partition.pdis:
            if any(kernel.dpu_kernel_id in group.dpu_kernel_ids for group in image.groups):
                return image
        raise FormatError(
            f"{self.name}: no PDI serves the kernel {kernel.name} (id {kernel.dpu_kernel_id:#x})."
        )


# Reading -----------------------------------------------------------------------------------------


def padded(data: bytes, view: View) -> str:
    """The text of a fixed field."""
    return View(data, view.name).text(0, "a name", len(data))


def sections_of(view: View, count: int) -> tuple[Section, ...]:
    """The section table and the bytes of each section."""
    what = "section headers"
    out = []
    for row in view.array(AXLF.size, count, SECTION_HEADER.size, MAX_SECTIONS, what):
        kind, name, offset, size = SECTION_HEADER.unpack(row.data)
        label = SECTION_NAMES.get(kind, f"section {kind}")
        body = view.part(offset, size, label)
        out.append(Section(kind, padded(name, view), View(body.data, f"{view.name} ({label})")))
    return tuple(out)


def records(view: View | None, layout: struct.Struct, start: int) -> list[View]:
    """The records of a counted section: a 32-bit count, then, from `start`, `layout` each."""
    if view is None:
        return []
    return view.array(start, view.u32(0, "the count"), layout.size, MAX_RECORDS, "records")


def memories_of(view: View | None) -> tuple[Memory, ...]:
    """MEM_TOPOLOGY or GROUP_TOPOLOGY."""
    rows = ((*MEM_DATA.unpack(row.data), row) for row in records(view, MEM_DATA, 8))
    return tuple(
        Memory(t, bool(u), size, base, padded(tag, v)) for t, u, size, base, tag, v in rows
    )


def ips_of(view: View | None) -> tuple[Ip, ...]:
    """IP_LAYOUT."""
    rows = ((*IP_DATA.unpack(row.data), row) for row in records(view, IP_DATA, 8))
    return tuple(Ip(kind, props, base, padded(name, v)) for kind, props, base, name, v in rows)


def connections_of(view: View | None) -> tuple[Connection, ...]:
    """CONNECTIVITY or GROUP_CONNECTIVITY."""
    rows = records(view, CONNECTION, 4)
    return tuple(Connection(*CONNECTION.unpack(row.data)) for row in rows)


def numbers(view: View, count: int, offset: int, code: str, what: str) -> tuple[int, ...]:
    """An array_offset of plain integers of struct code `code`."""
    if count > MAX_IDS:
        raise FormatError(f"{view.name}: {count} {what} are more than the {MAX_IDS} allowed.")
    return view.fields(struct.Struct(f"<{count}{code}"), offset, what) if count else ()


def group_of(row: View, section: View) -> CdoGroup:
    """One `cdo_group`."""
    name, kind, pdi_id, ids, ids_at, before, before_at = CDO_GROUP.unpack(row.data)
    return CdoGroup(
        section.text(name, "a group's name"),
        kind,
        pdi_id,
        numbers(section, ids, ids_at, "Q", "DPU kernel ids"),
        numbers(section, before, before_at, "Q", "preceding groups"),
    )


def pdi_of(row: View, section: View) -> PartitionPdi:
    """One `aie_pdi`."""
    identity, size, at, count, groups_at = AIE_PDI.unpack(row.data)
    image = section.part(at, size, "a PDI")
    groups = section.array(groups_at, count, CDO_GROUP.size, MAX_GROUPS, "CDO groups")
    return PartitionPdi(
        uuid.UUID(bytes=identity), image, tuple(group_of(group, section) for group in groups)
    )


def partition_of(section: View) -> Partition:
    """AIE_PARTITION; all offsets count from the start of the section."""
    head = section.part(0, AIE_PARTITION_HEADER.size, "the partition's header")
    (
        _schema, name, operations, fingerprint, pre_post, width, starts, starts_at,
        pdis, pdis_at, _commit,
    ) = AIE_PARTITION_HEADER.unpack(head.data)  # fmt: skip
    if not 1 <= width <= MAX_COLUMNS:
        raise FormatError(f"{section.name}: a partition of {width} columns.")
    rows = section.array(pdis_at, pdis, AIE_PDI.size, MAX_PDIS, "PDIs")
    return Partition(
        section.text(name, "the partition's name"),
        width,
        numbers(section, starts, starts_at, "H", "start columns"),
        operations,
        fingerprint,
        pre_post,
        tuple(pdi_of(row, section) for row in rows),
    )


def decode(data: bytes | memoryview, name: str) -> Xclbin:
    """Read an XCLBIN; `name` stands in messages. PDIs are read when asked for.

    Checks what XRT checks (magic, length, section table, arrays of the partition) and the limits
    above. Raises FormatError.
    """
    view = View(data, name)
    if bytes(view.data[: len(MAGIC)]) != MAGIC:
        raise FormatError(f"{name}: not an XCLBIN (it does not begin with {MAGIC[:-1].decode()}).")
    head = AXLF.unpack(view.part(0, AXLF.size, "the header").data)
    length, timestamp, (patch, major, minor) = head[5], head[6], head[8:11]
    identity, count = head[15], head[17]
    if length != len(view):
        raise FormatError(f"{name}: the header states {length} bytes, there are {len(view)}.")
    sections = sections_of(view, count)
    by_kind = {section.kind: section.data for section in reversed(sections)}  # the first counts
    for kind in (AIE_PARTITION, EMBEDDED_METADATA):
        if kind not in by_kind:
            raise FormatError(f"{name}: no section {SECTION_NAMES[kind]}; not for an NPU.")
    return Xclbin(
        name,
        uuid.UUID(bytes=identity),
        timestamp,
        (major, minor, patch),
        sections,
        memories_of(by_kind.get(ASK_GROUP_TOPOLOGY, by_kind.get(MEM_TOPOLOGY))),
        ips_of(by_kind.get(IP_LAYOUT)),
        connections_of(by_kind.get(ASK_GROUP_CONNECTIVITY, by_kind.get(CONNECTIVITY))),
        metadata.decode(by_kind[EMBEDDED_METADATA]),
        partition_of(by_kind[AIE_PARTITION]),
    )


def read(path: Path) -> Xclbin:
    """Read the XCLBIN file at `path`. Raises FormatError."""
    return decode(read_file(path).data, str(path))
