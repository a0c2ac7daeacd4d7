"""The executable part of a core's ELF file: code, its address, and the names of functions.

Offsets: System V ABI, ELF32, little-endian. Machine number: Xilinx/llvm-aie, EM_AIE in
llvm/include/llvm/BinaryFormat/ELF.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from whisper_npu_cli.errors import WhisperNpuError

MAGIC = b"\x7fELF\x01\x01"  # 32 bits, little-endian
EM_AIE = 264

HEADER = struct.Struct("<16xHHIIIIIHHHHHH")
SECTION = struct.Struct("<IIIIIIIIII")
SYMBOL = struct.Struct("<IIIBBH")

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB = 1, 2, 3
SHF_EXECINSTR = 4
STT_FUNC = 2


class ElfError(WhisperNpuError):
    """A file that is no ELF of an AIE core, or a damaged one."""


@dataclass(frozen=True)
class Code:
    """One executable section; `symbols` maps addresses to function names."""

    address: int
    data: bytes
    symbols: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    flags: int
    address: int
    link: int
    data: bytes


def read(data: bytes) -> list[Code]:
    """The executable sections of an AIE ELF file, empty ones left out; raises ElfError."""
    if data[: len(MAGIC)] != MAGIC:
        raise ElfError("this is no 32-bit little-endian ELF file.")
    try:
        sections = _sections(data)
        symbols = _functions(sections)
    except struct.error:
        raise ElfError(f"the ELF file of {len(data)} bytes is cut off or damaged.") from None
    return [
        Code(s.address, s.data, symbols)
        for s in sections
        if s.kind == SHT_PROGBITS and s.flags & SHF_EXECINSTR and s.data
    ]


def _sections(data: bytes) -> list[_Section]:
    _, machine, _, _, _, table, _, _, _, _, size, count, _ = HEADER.unpack_from(data)
    if machine != EM_AIE:
        raise ElfError(f"the ELF file is for machine {machine}, not for an AIE core ({EM_AIE}).")
    found = []
    for index in range(count):
        _, kind, flags, address, offset, length, link, *_ = SECTION.unpack_from(
            data, table + index * size
        )
        body = (
            data[offset : offset + length]
            if kind in (SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB)
            else b""
        )
        if kind in (SHT_PROGBITS, SHT_SYMTAB) and len(body) < length:
            raise ElfError(f"section {index} of the ELF file ends behind the file's end.")
        found.append(_Section(kind, flags, address, link, body))
    return found


def _functions(sections: list[_Section]) -> dict[int, str]:
    names = {}
    for section in sections:
        if section.kind != SHT_SYMTAB or section.link >= len(sections):
            continue
        strings = sections[section.link].data
        whole = len(section.data) // SYMBOL.size * SYMBOL.size
        for name, value, _, info, _, _ in SYMBOL.iter_unpack(section.data[:whole]):
            if info & 15 == STT_FUNC:
                text = strings[name : strings.find(b"\0", name)]
                names[value] = text.decode("utf-8", "backslashreplace")
    return names
