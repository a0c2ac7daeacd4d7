"""PDI and XCLBIN written in plain Python for tests, from the offset tables of docs/formats.md.

Written without the package's readers and layouts, so that the two can disagree.
"""

from __future__ import annotations

import struct

KERNEL_XML = """<?xml version="1.0" encoding="utf-8"?>
<project><platform><device><core>
<kernel name="{name}" language="c" type="dpu">
<extended-data subtype="1" functional="0" dpu_kernel_id="{kernel_id:#x}"/>
<arg name="opcode" addressQualifier="0" id="0" size="0x8" offset="0x00" type="uint64_t"/>
<arg name="instr" addressQualifier="1" id="1" size="0x8" offset="0x08" type="char *"/>
<arg name="ninstr" addressQualifier="0" id="2" size="0x4" offset="0x10" type="uint32_t"/>
<arg name="bo0" addressQualifier="1" id="3" size="0x8" offset="0x14" type="void*"/>
<arg name="bo1" addressQualifier="1" id="4" size="0x8" offset="0x1c" type="void*"/>
<instance name="one"/>
</kernel></core></device></platform></project>
"""


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def summed(values: list[int]) -> bytes:
    """A table whose last word is the checksum of the others."""
    return words(*values, 0xFFFFFFFF - sum(values) % (1 << 32))


def placed(size: int, values: dict[int, int]) -> list[int]:
    """`size` - 1 words, zero but for `values` by position."""
    return [values.get(index, 0) for index in range(size - 1)]


def pdi(cdo: bytes, name: bytes = b"aie_image", id_code: int = 0x14CA8093) -> bytes:
    """What bootgen writes around a CDO."""
    used = len(cdo) // 4
    total = (used + 3) // 4 * 4
    table = {0: 0x40000, 1: 1, 2: 36, 3: 1, 4: 52, 6: id_code, 10: 0x50504449}
    table |= {11: 0x201020, 12: 0x30, 17: 1}
    label = struct.unpack("<4I", name.ljust(16, b"\0"))
    image = {0: 52, 1: 1, 8: 0x1C000000} | dict(enumerate(label, start=4))
    part = {0: total, 1: used, 2: total, 6: 0xFFFFFFFF, 7: 0xFFFFFFFF, 8: 84, 9: 0x2000006, 10: 1}
    return (
        words(0xDD, 0x11223344, 0x55667788, 0x99AABBCC)
        + summed(placed(32, table))
        + summed(placed(16, image))
        + summed(placed(32, part))
        + cdo
        + bytes(4 * (total - used))
    )


def aligned(heap: bytearray, item: bytes) -> int:
    """Append `item` at a multiple of 8; where it begins."""
    heap += bytes(-len(heap) % 8)
    heap += item
    return len(heap) - len(item)


def partition(image: bytes, columns: int, kernel_id: int) -> bytes:
    """AIE_PARTITION with one PDI in one group."""
    heap = bytearray(184)
    name, commit = aligned(heap, b"QoS\0"), aligned(heap, b"\0")
    starts = aligned(heap, struct.pack("<H", 0))
    body = aligned(heap, image)
    group_name = aligned(heap, b"DPU\0")
    ids, before = aligned(heap, struct.pack("<Q", kernel_id)), aligned(heap, b"\xc1" + bytes(7))
    group = words(group_name, 1) + struct.pack("<Q", 1) + words(1, ids, 1, before) + bytes(64)
    groups = aligned(heap, group)
    pdis = aligned(heap, bytes(range(16)) + words(len(image), body, 1, groups) + bytes(64))
    heap += bytes(-len(heap) % 8)
    struct.pack_into("<BxxxIIxxxxQQ", heap, 0, 0, name, 2048, 23423, 12345)
    struct.pack_into("<HxxxxxxII", heap, 0x20, columns, 1, starts)
    struct.pack_into("<III", heap, 0x78, 1, pdis, commit)
    return bytes(heap)


def xclbin(image: bytes, name: str = "demo", columns: int = 4, kernel_id: int = 0x901) -> bytes:
    """A container of seven sections around a PDI, in aiecc's order, without the mirror text."""
    banks = b"".join(
        struct.pack("<BBxxxxxxQQ16s", 2, 1, size, 0x4000000, tag)
        for size, tag in ((0x10000, b"HOST"), (0xC000, b"SRAM"))
    )
    topology = words(2, 0) + banks
    ip = struct.pack("<IIQ64s", 7, 1 | kernel_id << 16, (1 << 64) - 1, f"{name}:one".encode())
    arguments = ((1, 0, 1), (3, 0, 0), (4, 0, 0))
    links = b"".join(struct.pack("<iii", *row) for row in arguments)
    xml = KERNEL_XML.format(name=name, kernel_id=kernel_id).encode()
    array = partition(image, columns, kernel_id)
    bodies = [
        (6, b"main_mem_topolo", topology), (32, b"main_aie_partit", array), (2, b"", xml),
 (8, b"", words(1, 0) + ip), (7, b"", words(3) + links),
        (27, b"", words(6) + links + links), (26, b"", topology),
    ]  # fmt: skip
    out = bytearray(0x1C8 + 40 * len(bodies))
    rows = []
    for kind, label, body in bodies:
        rows.append(struct.pack("<I16sxxxxQQ", kind, label, aligned(out, body), len(body)))
    out[0x1C8 : 0x1C8 + 40 * len(bodies)] = b"".join(rows)
    out[:8], out[8:0x128] = b"xclbin2\0", b"\xff" * 0x120
    struct.pack_into("<QQQ", out, 0x128, 77, len(out), 1_767_225_600)
    struct.pack_into("<HBB", out, 0x148, 5, 2, 25)
    out[0x1A0:0x1B0] = bytes(range(0x10, 0x20))
    struct.pack_into("<I", out, 0x1C0, len(bodies))
    return bytes(out)
