import dataclasses
import os
import struct
import uuid
from pathlib import Path

import pytest
from made_containers import pdi as written_pdi
from made_containers import xclbin as written_xclbin

from whisper_npu_cli.aie.formats import cdo, metadata, view, xclbin
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.aie.formats.view import FormatError, View

OPS = (cdo.Nop(), Write(0x21F000, 2))
IMAGE = written_pdi(cdo.encode(OPS))
FILE = written_xclbin(IMAGE)
TABLE = 0x1C8
PARTITION = struct.unpack_from("<Q", FILE, TABLE + 40 + 0x18)[0]
PDIS = struct.unpack_from("<I", FILE, PARTITION + 0x7C)[0] + PARTITION
GROUPS = struct.unpack_from("<I", FILE, PDIS + 0x1C)[0] + PARTITION


def patched(offset: int, layout: str, *values: int) -> bytes:
    data = bytearray(FILE)
    struct.pack_into(f"<{layout}", data, offset, *values)
    return bytes(data)


def test_everything_in_a_container_is_read() -> None:
    box = xclbin.decode(FILE, "demo.xclbin")
    assert box.uuid == uuid.UUID(bytes=bytes(range(16, 32)))
    assert (box.timestamp, box.version) == (1_767_225_600, (2, 25, 5))
    assert [section.kind for section in box.sections] == [6, 32, 2, 8, 7, 27, 26]
    assert box.sections[1].name == "main_aie_partit"
    assert box.memories == (
        xclbin.Memory(2, True, 0x10000, 0x4000000, "HOST"),
        xclbin.Memory(2, True, 0xC000, 0x4000000, "SRAM"),
    )
    assert box.ips == (xclbin.Ip(7, 0x9010001, (1 << 64) - 1, "demo:one"),)
    assert box.ips[0].kernel_id == 0x901
    links = [(link.arg_index, link.mem_data_index) for link in box.connections]
    assert links == [(1, 1), (3, 0), (4, 0)] * 2
    part = box.partition
    assert (part.name, part.column_width, part.start_columns) == ("QoS", 4, (0,))
    assert (part.operations_per_cycle, part.inference_fingerprint) == (2048, 23423)
    assert part.pre_post_fingerprint == 12345
    assert part.pdis[0].uuid == uuid.UUID(bytes=bytes(range(16)))
    assert part.pdis[0].groups == (xclbin.CdoGroup("DPU", 1, 1, (0x901,), (0xC1,)),)


def test_the_kernel_leads_to_its_pdi() -> None:
    box = xclbin.decode(FILE, "demo.xclbin")
    kernel = box.kernel()
    assert kernel == box.kernel("demo")
    assert (kernel.name, kernel.type, kernel.dpu_kernel_id) == ("demo", "dpu", 0x901)
    assert kernel.instances == ("one",)
    names = [(arg.index, arg.name, arg.is_buffer, arg.offset) for arg in kernel.arguments]
    assert names == [
        (0, "opcode", False, 0),
        (1, "instr", True, 8),
        (2, "ninstr", False, 16),
        (3, "bo0", True, 20),
        (4, "bo1", True, 28),
    ]
    assert bytes(box.pdi(kernel).image.data) == IMAGE
    assert box.pdi(kernel).decode().ops == OPS
    with pytest.raises(FormatError, match="0 NPU kernels match; name one of: demo"):
        box.kernel("other")


def test_only_npu_kernels_are_offered() -> None:
    # vendor overlays also name a kernel for an FPGA
    box = xclbin.decode(FILE, "demo.xclbin")
    foreign = metadata.Kernel("vadd", "", -1, 0, (), ())
    both = dataclasses.replace(box, kernels=(foreign, *box.kernels))
    assert both.kernel().name == "demo"
    with pytest.raises(FormatError, match="0 NPU kernels match"):
        both.kernel("vadd")


def test_which_of_two_topologies_counts() -> None:
    # as in XRT: groups before banks, and of two sections of a kind the first
    first = struct.unpack_from("<Q", FILE, TABLE + 0x18)[0]
    data = bytearray(FILE)
    data[first + 8 + 24 : first + 8 + 28] = b"ALFA"
    assert xclbin.decode(bytes(data), "x").memories[0].tag == "HOST"
    struct.pack_into("<I", data, TABLE, xclbin.ASK_GROUP_TOPOLOGY)
    assert xclbin.decode(bytes(data), "x").memories[0].tag == "ALFA"


def test_a_kernel_id_that_no_pdi_serves() -> None:
    at = struct.unpack_from("<I", FILE, GROUPS + 0x14)[0] + PARTITION
    box = xclbin.decode(patched(at, "Q", 0x902), "x")
    with pytest.raises(FormatError, match=r"no PDI serves the kernel demo \(id 0x901\)"):
        box.pdi(box.kernel())


@pytest.mark.parametrize(
    ("offset", "layout", "value", "says"),
    [
        (0, "B", 0, "not an XCLBIN"),
        (0x130, "Q", len(FILE) + 1, "the header states"),
        (0x1C0, "I", 10_001, "more than the 10000 allowed"),
        (0x1C0, "I", 9_999, "section headers would be bytes"),
        (0x1C0, "I", 1, "no section AIE_PARTITION"),
        (TABLE + 0x18, "Q", 1 << 63, "MEM_TOPOLOGY would be bytes"),
        (TABLE + 0x20, "Q", (1 << 64) - 1, "MEM_TOPOLOGY would be bytes"),
        (TABLE + 6 * 40 + 0x20, "Q", 3, "the count would be"),
        (PARTITION + 0x04, "I", 1 << 31, "the partition's name would be"),
        (PARTITION + 0x20, "H", 0, "a partition of 0 columns"),
        (PARTITION + 0x20, "H", 129, "a partition of 129 columns"),
        (PARTITION + 0x28, "I", 65, "more than the 64 allowed"),
        (PARTITION + 0x2C, "I", 0xFFFFFFFF, "start columns would be"),
        (PARTITION + 0x78, "I", 0xFFFFFFFF, "more than the 64 allowed"),
        (PARTITION + 0x7C, "I", 0xFFFFFFFF, "PDIs would be"),
        (PDIS + 0x10, "I", 0xFFFFFFFF, "a PDI would be"),
        (PDIS + 0x18, "I", 65, "more than the 64 allowed"),
        (GROUPS + 0x10, "I", 65, "more than the 64 allowed"),
        (GROUPS + 0x1C, "I", 1 << 31, "preceding groups would be"),
    ],
)
def test_wrong_fields_are_refused(offset: int, layout: str, value: int, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        xclbin.decode(patched(offset, layout, value), "x.xclbin")


def test_a_file_cut_short_is_refused_at_every_length() -> None:
    for size in range(0, len(FILE), 5):
        for data in (FILE[:size], patched(0x130, "Q", size)[:size]):
            with pytest.raises(FormatError):
                xclbin.decode(data, "x")


def kernels(xml: str | bytes) -> tuple[metadata.Kernel, ...]:
    return metadata.decode(View(xml if isinstance(xml, bytes) else xml.encode(), "x"))


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("", "not XML"),
        ("<core><kernel>", "not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "not XML"),
        ('<core><kernel><arg id="x"/></kernel></core>', "'x' is not a number"),
        ('<core><kernel><arg size="-1"/></kernel></core>', "'-1' is not a number"),
        (f'<core><kernel><arg id="{"9" * 99}"/></kernel></core>', "is not a number"),
        ("<core>" + "<kernel/>" * 257 + "</core>", "more than 256 kernels"),
        ("<core><kernel>" + "<arg/>" * 257 + "</kernel></core>", "more than 256 arguments"),
        ("<core><kernel>" + "<instance/>" * 257 + "</kernel></core>", "more than 256 instances"),
        (b" " * (metadata.MAX_BYTES + 1), "too many"),
    ],
)
def test_wrong_metadata_is_refused(xml: str | bytes, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        kernels(xml)


def test_an_argument_is_a_buffer_only_if_it_says_so() -> None:
    args = "".join(f'<arg id="{i}" addressQualifier="{q}"/>' for i, q in enumerate("0134"))
    (kernel,) = kernels(f'<core><kernel type="dpu">{args}<arg id="4"/></kernel></core>')
    assert [argument.is_buffer for argument in kernel.arguments] == [False, True] + [False] * 3


def test_metadata_in_another_encoding_hides_no_document_type() -> None:
    with pytest.raises(FormatError, match="document type"):
        kernels('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'.encode("utf-16"))


def test_names_cannot_send_codes_to_a_terminal() -> None:
    (kernel,) = kernels('<core><kernel name="a&#x9b;31mb" type="dpu"/></core>')
    assert kernel.name == "a\\x9b31mb"
    assert View(b"\x1b[2Jx\0", "x").text(0, "a name") == "\\x1b[2Jx"


def test_deep_metadata_is_no_danger() -> None:
    deep = 50_000
    assert kernels("<a>" * deep + "</a>" * deep) == ()


def test_a_text_that_never_ends_is_refused() -> None:
    with pytest.raises(FormatError, match="has no end"):
        View(b"x" * 10_000, "x").text(0, "a name")


def test_only_files_of_a_sane_size_are_read(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(FormatError, match="no such file"):
        xclbin.read(tmp_path / "none.xclbin")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="no such file"):
        xclbin.read(tmp_path / "pipe")
    (tmp_path / "good.xclbin").write_bytes(FILE)
    assert xclbin.read(tmp_path / "good.xclbin").partition.column_width == 4
    monkeypatch.setattr(view, "MAX_FILE_BYTES", len(FILE) - 1)
    with pytest.raises(FormatError, match="larger"):
        xclbin.read(tmp_path / "good.xclbin")
