"""PDI, "programmable device image": the wrapper around a CDO that firmware loads. Read only.

bootgen writes it: 16 bytes of width detection, image header table, one image header, one partition
header, the CDO. Offset tables: docs/formats.md. Source: bootgen `imageheadertable-versal.cpp`,
`partitionheadertable-versal.cpp` (Xilinx/bootgen 4f023ac2) by way of shared facts 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from whisper_npu_cli.aie.formats import cdo
from whisper_npu_cli.aie.formats.view import FormatError, View

# Numbers -----------------------------------------------------------------------------------------

WIDTH_DETECTION = (0x0000_00DD, 0x1122_3344, 0x5566_7788, 0x99AA_BBCC)
IMAGE_HEADER_TABLE, TABLE_WORDS = 0x10, 32
TABLE_VERSION = 0x0004_0000
IDENTIFICATION = 0x5050_4449  # word 10 of the image header table
ID_CODE = 0x14CA_8093  # Phoenix, word 6
IMAGE_HEADER_WORDS, PARTITION_HEADER_WORDS = 16, 32
TRANSFORM = 28  # words 28..30 of the partition header: kind, length, mark; 0 in bootgen's own
MAX_PARTITIONS = 1  # bootgen merges the CDO files of a partition; more are unknown on this device


# API ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pdi:
    """What a PDI says of itself, and its commands (NOPs included)."""

    id_code: int
    image: str
    image_id: int
    ops: tuple[cdo.CdoOp, ...]


def table(view: View, offset: int, count: int, what: str) -> tuple[int, ...]:
    """`count` words at `offset` whose last is the checksum of the others. Raises FormatError."""
    words = view.words(offset, count, what)
    if words[-1] != cdo.checksum(words[:-1]):
        raise FormatError(f"{view.name}: the checksum of {what} is wrong; the file is damaged.")
    return words


def decode(data: bytes | memoryview, name: str) -> Pdi:
    """Read a PDI of one image with one CDO partition; `name` stands in messages.

    Raises FormatError where a table, checksum, offset or length is not what bootgen writes.
    """
    view = View(data, name)
    if view.words(0, 4, "the PDI's first words") != WIDTH_DETECTION:
        raise FormatError(f"{name}: not a PDI (its first 16 bytes differ).")
    head = table(view, IMAGE_HEADER_TABLE, TABLE_WORDS, "the image header table")
    if head[10] != IDENTIFICATION or head[0] != TABLE_VERSION:
        raise FormatError(f"{name}: an image header table of version {head[0]:#x} is not known.")
    if head[1] != 1 or head[3] != MAX_PARTITIONS:
        raise FormatError(f"{name}: {head[1]} images and {head[3]} partitions; one each is known.")
    image = table(view, 4 * head[2], IMAGE_HEADER_WORDS, "the image header")
    if any(view.words(4 * (head[4] + TRANSFORM), 3, "the partition header")):
        raise FormatError(f"{name}: rewritten by `xclbinutil --transform-pdi`, which is not read.")
    part = table(view, 4 * head[4], PARTITION_HEADER_WORDS, "the partition header")
    used, total, start = part[1], part[2], part[8]
    if used > total:
        raise FormatError(f"{name}: the partition uses {used} of its {total} words.")
    body = view.part(4 * start, 4 * used, "the partition's data")
    label = view.text(4 * head[2] + 16, "the image name", 16)
    return Pdi(head[6], label, image[8], cdo.decode(body.data, name))
