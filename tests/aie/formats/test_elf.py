import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.aie.formats import elf

CODE = bytes.fromhex("99348210 0100")


def made(machine=264, code=CODE):
    """A minimal executable: null, .text at 0x40, .symtab with `main`, .strtab."""
    names = b"\0main\0junk\0"
    symbols = struct.pack("<IIIBBH", 1, 0x44, 0, 0x12, 0, 1)
    symbols += struct.pack("<IIIBBH", 6, 0x40, 0, 0x11, 0, 1)  # an object, no function
    offset, bodies, headers = 52, b"", [(0,) * 10]
    for kind, flags, address, link, body in (
        (1, 6, 0x40, 0, code),
        (2, 0, 0, 3, symbols),
        (3, 0, 0, 0, names),
        (1, 3, 0x400, 0, b"data"),
    ):
        headers.append((0, kind, flags, address, offset + len(bodies), len(body), link, 0, 0, 0))
        bodies += body
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    head = struct.pack(
        "<HHIIIIIHHHHHH", 2, machine, 1, 0, 0, 52 + len(bodies), 0, 52, 0, 0, 40, 5, 3
    )
    return ident + head + bodies + b"".join(struct.pack("<10I", *h) for h in headers)


def test_code_address_and_functions_are_found():
    assert elf.read(made()) == [elf.Code(0x40, CODE, {0x44: "main"})]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no 32-bit little-endian ELF"),
        (b"\x7fELF\x02" + bytes(100), "no 32-bit little-endian ELF"),
        (made(machine=62), "machine 62, not for an AIE core"),
        (made()[:60], "cut off or damaged"),
        (made()[:-200] + made()[-199:], "."),
    ],
)
def test_other_files_are_refused(data, reason):
    with pytest.raises(elf.ElfError, match=reason):
        elf.read(data)


@given(st.integers(0, len(made()) - 1), st.integers(0, 255), st.integers(0, len(made())))
def test_damage_is_read_or_refused(place, value, length):
    data = bytearray(made())
    data[place] = value
    with contextlib.suppress(elf.ElfError):
        elf.read(bytes(data[:length]))
