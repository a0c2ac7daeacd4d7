import struct

import pytest
from made_containers import pdi as written_pdi

from whisper_npu_cli.aie.formats import cdo, pdi
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.aie.formats.view import FormatError

OPS = (cdo.Nop(), Write(0x21F000, 2), Write(0x21F010, 0))
IMAGE = written_pdi(cdo.encode(OPS))
TABLES = {"image header table": (0x10, 128), "image header": (0x90, 64), "partition": (0xD0, 128)}


def patched(offset: int, value: int, table: str) -> bytes:
    """The image with one word replaced and that table's checksum made right again."""
    data = bytearray(IMAGE)
    struct.pack_into("<I", data, offset, value)
    start, size = TABLES[table]
    words = struct.unpack_from(f"<{size // 4 - 1}I", data, start)
    struct.pack_into("<I", data, start + size - 4, ~sum(words) & 0xFFFFFFFF)
    return bytes(data)


def test_checksums_of_published_tables() -> None:
    # shared facts 2.2 and 2.3: the fixed tables of every published PDI
    assert struct.unpack_from("<I", IMAGE, 0x8C) == (0x9AC12A78,)
    assert struct.unpack_from("<I", IMAGE, 0xCC) == (0x1D39289B,)


def test_a_pdi_is_read() -> None:
    image = pdi.decode(IMAGE, "x")
    assert image == pdi.Pdi(0x14CA8093, "aie_image", 0x1C000000, OPS)
    assert image.id_code == pdi.ID_CODE


def test_every_byte_in_front_of_the_cdo_is_checked() -> None:
    for offset in range(0x150):
        data = bytearray(IMAGE)
        data[offset] ^= 0x80
        with pytest.raises(FormatError):
            pdi.decode(bytes(data), "x")


def test_a_pdi_cut_short_is_refused_at_every_length() -> None:
    for size in range(0x150 + len(cdo.encode(OPS))):
        with pytest.raises(FormatError):
            pdi.decode(IMAGE[:size], "x")


@pytest.mark.parametrize(
    ("offset", "value", "table", "says"),
    [
        (0x10, 0x30000, "image header table", "version 0x30000"),
        (0x14, 2, "image header table", "2 images"),
        (0x1C, 0, "image header table", "0 partitions"),
        (0x18, 0xFFFFFFFF, "image header table", "the image header would be bytes"),
        (0x20, 0x40000000, "image header table", "the partition header would be bytes"),
        (0xD4, 0xFFFFFFFF, "partition", "uses 4294967295 of its"),
        (0xD4, 1, "partition", "the CDO header would be"),
        (0xF0, 0xFFFFFFFF, "partition", "the partition's data would be bytes"),
        (0xF0, 0, "partition", "no CDO here"),
    ],
)
def test_wrong_fields_with_right_checksums(offset: int, value: int, table: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        pdi.decode(patched(offset, value, table), "x")


def test_a_transformed_pdi_is_named_as_such() -> None:
    # what xclbinutil's --transform-pdi leaves in vendor overlays, checksum not renewed
    data = bytearray(IMAGE)
    struct.pack_into("<3I", data, 0xD0 + 0x70, 1, 0x3C10, 0x3C108966)
    with pytest.raises(FormatError, match="transform-pdi"):
        pdi.decode(bytes(data), "x")
