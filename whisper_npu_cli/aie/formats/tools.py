"""Making PDI and XCLBIN with the distribution's own `bootgen` and `xclbinutil`. Build time only.

The tools are those on PATH, or those in the Debian folder that `scripts/trixie` makes, entered by
chroot. Output depends on the input and the tools' versions alone: UUIDs come from the content, and
the clock that xclbinutil writes into four places is replaced by a constant (docs/formats.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from whisper_npu_cli.aie.formats import cdo, pdi, xclbin
from whisper_npu_cli.aie.formats.registers import RegisterOp
from whisper_npu_cli.errors import WhisperNpuError

# Numbers -----------------------------------------------------------------------------------------

# Values that every published npu1 build carries (shared facts 1.3 to 1.7); neither XRT nor the
# driver looks at the fingerprints, the group ids or operations_per_cycle.
KERNEL_ID, PRE_GROUP_ID, PDI_ID = 0x901, 0xC1, 1
OPERATIONS_PER_CYCLE, INFERENCE_FINGERPRINT, PRE_POST_FINGERPRINT = 2048, 23423, 12345
BANKS = (("HOST", 0x10000, 0x4000000), ("SRAM", 0xC000, 0x4000000))  # tag, KiB, base
MAX_COLUMNS = 4
MAX_BUFFERS = 7  # what the driver's single command holds; 5 are proven (facts 6.5)
REGISTER_MAP = 0x14  # byte of the first buffer argument, behind opcode, instr, ninstr
INSTANCE = "whisper_npu"
KERNEL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")

PHASES = ("programs", "init", "enable")
BIF = """all:
{
  id_code = 0x14ca8093
  extended_id_code = 0x01
  image
  {
    name=aie_image, id=0x1c000000
    { type=cdo file=programs.bin file=init.bin file=enable.bin }
  }
}
"""
TIME = 1_767_225_600  # 2026-01-01 UTC, the time stamp of every file that we make
MIRROR = b"XCLBIN_MIRROR_DATA_START"
ENTER = ("chroot", "sh", "-c", 'cd "$0" && exec "$@"')  # the folder goes behind chroot
TIMEOUT = 300  # seconds; a real run takes well under one
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "whisper-npu")

Phases = tuple[Sequence[RegisterOp], Sequence[RegisterOp], Sequence[RegisterOp]]


class ToolError(WhisperNpuError):
    """bootgen or xclbinutil is missing, failed, or made something else than was asked for."""


# Finding and running -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tools:
    """Where bootgen and xclbinutil run: inside `folder`, or here on PATH where that is None."""

    folder: Path | None

    def run(self, work: Path, tool: str, *arguments: str) -> str:
        """Run `tool` with `work` as its folder; what it printed. Raises ToolError."""
        command, env = [tool, *arguments], {**os.environ, "LC_ALL": "C.UTF-8"}
        if self.folder:
            inside = f"/{work.relative_to(self.folder)}"
            command = [*ENTER[:1], str(self.folder), *ENTER[1:], inside, *command]
            env = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        try:
            done = subprocess.run(
                command, cwd=work, env=env, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(f"{tool} did not run: {error}.") from error
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            last = " ".join(text.split()[-40:]) or "no message"
            raise ToolError(f"{tool} failed with exit code {done.returncode}: {last}")
        return text

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A temporary folder that the tools can see."""
        return tempfile.TemporaryDirectory(
            prefix="whisper-npu-", dir=self.folder / "tmp" if self.folder else None
        )

    def versions(self) -> dict[str, str]:
        """Version of each tool, as it prints it; they are part of what decides the output."""
        with self.scratch() as work:
            bootgen = self.run(Path(work), "bootgen", "-help")
            xclbinutil = self.run(Path(work), "xclbinutil", "--version")
        found = {
            "bootgen": re.search(r"Bootgen v(\S+)", bootgen),
            "xclbinutil": re.search(r"Version:\s+(\S+)", xclbinutil),
        }
        return {name: match[1] if match else "unknown" for name, match in found.items()}


def trixie_folder() -> Path:
    """The Debian folder: WHISPER_NPU_TRIXIE, else where `scripts/trixie` puts it by default."""
    cache = Path(os.environ.get("WHISPER_NPU_CACHE") or user_cache_path("whisper-npu"))
    return Path(os.environ.get("WHISPER_NPU_TRIXIE") or cache / "trixie").resolve()


def find_tools(folder: Path | None = None) -> Tools:
    """Tools on PATH, else in `folder` (default: `trixie_folder()`). Raises ToolError."""
    if folder is None and shutil.which("bootgen") and shutil.which("xclbinutil"):
        return Tools(None)
    folder = (folder or trixie_folder()).resolve()
    if not all((folder / "usr/bin" / tool).exists() for tool in ("bootgen", "xclbinutil")):
        raise ToolError(
            f"bootgen and xclbinutil are neither on PATH nor in {folder}; run scripts/trixie as"
            " root, or install xilinx-bootgen and libxrt-utils (Debian trixie-backports)."
        )
    if os.geteuid():
        raise ToolError(f"entering {folder} needs root; run this with sudo.")
    return Tools(folder)


# PDI ---------------------------------------------------------------------------------------------


def build_pdi(phases: Phases, tools: Tools) -> bytes:
    """The PDI that bootgen makes of three phases of register writes (programs, init, enable).

    Raises ToolError if bootgen fails or its PDI does not hold exactly these writes.
    """
    ready = [cdo.phase(ops) for ops in phases]
    with tools.scratch() as folder:
        work = Path(folder)
        for name, ops in zip(PHASES, ready, strict=True):
            (work / f"{name}.bin").write_bytes(cdo.encode(ops))
        (work / "design.bif").write_text(BIF)
        arguments = ("-arch", "versal", "-image", "design.bif", "-o", "main.pdi", "-w", "on")
        tools.run(work, "bootgen", *arguments)
        image = (work / "main.pdi").read_bytes()
    if pdi.decode(image, "bootgen's PDI").ops != sum(ready, ()):
        raise ToolError("bootgen made a PDI whose commands are not those it was given.")
    return image


# XCLBIN ------------------------------------------------------------------------------------------


def memory_json() -> dict[str, object]:
    """MEM_TOPOLOGY: the two banks of the device."""
    banks = [
        {"m_type": "MEM_DRAM", "m_used": "1", "m_sizeKB": hex(size), "m_tag": tag,
         "m_base_address": hex(base)}
        for tag, size, base in BANKS
    ]  # fmt: skip
    return {"mem_topology": {"m_count": str(len(banks)), "m_mem_data": banks}}


def kernel_json(name: str, buffers: int) -> dict[str, object]:
    """The kernel: opcode, instruction buffer and its length, then `buffers` data buffers."""
    scalar, buffer = {"address-qualifier": "SCALAR"}, {"address-qualifier": "GLOBAL"}
    arguments = [
        {"name": "opcode", **scalar, "type": "uint64_t", "offset": "0x00"},
        {"name": "instr", "memory-connection": "SRAM", **buffer, "type": "char *", "offset": "0x8"},
        {"name": "ninstr", **scalar, "type": "uint32_t", "offset": "0x10"},
    ]
    for index in range(buffers):
        offset = hex(REGISTER_MAP + 8 * index)
        place = {"name": f"bo{index}", "memory-connection": "HOST", **buffer}
        arguments.append({**place, "type": "void*", "offset": offset})
    identity = {"subtype": "DPU", "functional": "0", "dpu_kernel_id": hex(KERNEL_ID)}
    kernel = {
        "name": name, "type": "dpu", "extended-data": identity, "arguments": arguments,
        "instances": [{"name": INSTANCE}],
    }  # fmt: skip
    return {"ps-kernels": {"kernels": [kernel]}}


def partition_json(columns: int, image: bytes) -> dict[str, object]:
    """AIE_PARTITION around `main.pdi`; start columns as aiecc lists them for narrow devices."""
    starts = [0] if columns == MAX_COLUMNS else list(range(1, MAX_COLUMNS + 2 - columns))
    group = {
        "name": "DPU", "type": "PRIMARY", "pdi_id": hex(PDI_ID),
        "dpu_kernel_ids": [hex(KERNEL_ID)], "pre_cdo_groups": [hex(PRE_GROUP_ID)],
    }  # fmt: skip
    identity = str(content_uuid(image))
    return {"aie_partition": {
        "name": "QoS",
        "operations_per_cycle": str(OPERATIONS_PER_CYCLE),
        "inference_fingerprint": str(INFERENCE_FINGERPRINT),
        "pre_post_fingerprint": str(PRE_POST_FINGERPRINT),
        "partition": {"column_width": columns, "start_columns": starts},
        "PDIs": [{"uuid": identity, "file_name": "main.pdi", "cdo_groups": [group]}],
    }}  # fmt: skip


def content_uuid(content: bytes) -> uuid.UUID:
    """A UUID that depends on `content` alone."""
    return uuid.uuid5(NAMESPACE, hashlib.sha256(content).hexdigest())


def without_clock(data: bytes) -> bytes:
    """An XCLBIN with `TIME` in the four places where xclbinutil wrote the time of the build.

    They are the unique id and the time stamp of the header, and their text in the mirror behind the
    sections. Raises ToolError if they are not where XRT's `XclBinClass.cxx` puts them.
    """
    head, mirror, text = data.partition(MIRROR)
    new = TIME.to_bytes(8, "little")
    unique, stamp = head[0x128:0x130], head[0x138:0x140]
    texts = (
        (f'"UniqueID":"{unique.hex()}"', f'"UniqueID":"{new.hex()}"'),
        (f'"TimeStamp":"{int.from_bytes(stamp, "little")}"', f'"TimeStamp":"{TIME}"'),
    )
    for before, after in texts:
        if text.count(before.encode()) != 1 or len(before) != len(after):
            raise ToolError("xclbinutil wrote its time stamps in a way that is not known here.")
        text = text.replace(before.encode(), after.encode())
    return head[:0x128] + new + head[0x130:0x138] + new + head[0x140:] + mirror + text


def build_xclbin(
    name: str, columns: int, phases: Phases, buffers: int, path: Path, tools: Tools | None = None
) -> xclbin.Xclbin:
    """Make the XCLBIN `path` of a design; the result as read back.

    `name` becomes the kernel's name, `columns` (1 to 4) the width of the partition, `phases` its
    configuration (programs, init, enable) and `buffers` (0 to 7) the number of data buffers of a
    launch. Raises ToolError if an argument is out of range or a tool is missing or fails.
    """
    if not KERNEL_NAME.fullmatch(name):
        raise ToolError(f"{name!r} is no kernel name: 1 to 40 letters, digits and underscores.")
    if not 1 <= columns <= MAX_COLUMNS or not 0 <= buffers <= MAX_BUFFERS:
        raise ToolError(
            f"{name}: {columns} columns and {buffers} buffers; there may be 1 to {MAX_COLUMNS}"
            f" columns and up to {MAX_BUFFERS} buffers."
        )
    tools = tools or find_tools()
    image = build_pdi(phases, tools)
    sections = {
        "main_mem_topology": memory_json(),
        "main_kernels": kernel_json(name, buffers),
        "main_aie_partition": partition_json(columns, image),
    }
    identity = content_uuid(json.dumps(sections).encode() + image)
    with tools.scratch() as folder:
        work = Path(folder)
        (work / "main.pdi").write_bytes(image)
        for stem, content in sections.items():
            (work / f"{stem}.json").write_text(json.dumps(content, indent=1))
        tools.run(
            work, "xclbinutil", "--force", "--quiet", "--skip-uuid-insertion",
            "--key-value", f"SYS:XclbinUUID:{identity.hex}",
            "--add-replace-section", "MEM_TOPOLOGY:JSON:main_mem_topology.json",
            "--add-kernel", "main_kernels.json",
            "--add-replace-section", "AIE_PARTITION:JSON:main_aie_partition.json",
            "--output", "main.xclbin",
        )  # fmt: skip
        data = without_clock((work / "main.xclbin").read_bytes())
    made = xclbin.decode(data, str(path))
    if made.uuid != identity or bytes(made.pdi(made.kernel(name)).image.data) != image:
        raise ToolError(f"{path}: xclbinutil made a file that is not what it was given.")
    path.write_bytes(data)
    return made
