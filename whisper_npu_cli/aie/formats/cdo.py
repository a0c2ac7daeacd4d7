"""CDO, "configuration data object": the command list that sets up an array, read and written.

A header of 5 words, then commands: opcode in bits 15:0, payload length in words in bits 23:16, or
in the next word when that field is 255. Words are 32-bit little-endian. Tables: docs/formats.md.

Source: bootgen `cdo-binary.c` and `cdo-command.c` (Xilinx/bootgen 4f023ac2), mlir-aie
`AIETargetCDODirect.cpp` (9f977440) by way of shared facts 3; checked against published PDIs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.formats.registers import (
    WORD_MASK,
    BlockWrite,
    MaskWrite,
    RegisterError,
    RegisterOp,
    Write,
    check_address,
    check_words,
)
from whisper_npu_cli.aie.formats.view import FormatError, View

# Numbers -----------------------------------------------------------------------------------------

IDENTIFICATION = 0x004F_4443  # "CDO"
VERSION = 0x0000_0200
HEADER_WORDS = 5
HEADER_LENGTH = HEADER_WORDS - 1  # first word of the header: how many header words follow it
LONG_LENGTH = 255  # value of the 8-bit length field that announces a length word

END, MASK_POLL, MASK_WRITE, WRITE, DELAY, DMA_WRITE = range(0x100, 0x106)
MASK_POLL64, MASK_WRITE64, WRITE64 = 0x106, 0x107, 0x108
SET, NOP = 0x10C, 0x111

# opcode -> payload length in words, or the least one where data follows (DMA_WRITE, NOP)
PAYLOAD = {
    END: 0, MASK_POLL: 4, MASK_WRITE: 3, WRITE: 2, DELAY: 1, DMA_WRITE: 2,
    MASK_POLL64: 5, MASK_WRITE64: 4, WRITE64: 3, SET: 4, NOP: 0,
}  # fmt: skip
OPEN_ENDED = {DMA_WRITE, NOP}


# Commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nop:
    """Nothing, in 1 + `filler` words; aligns the payload of a block write."""

    filler: int = 0


@dataclass(frozen=True, slots=True)
class MaskPoll:
    """Wait until (register & mask) == value, at most `timeout` (units of the firmware)."""

    address: int
    mask: int
    value: int
    timeout: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the poll's mask, value or timeout", (self.mask, self.value, self.timeout))


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait for `count` (units of the firmware)."""

    count: int


@dataclass(frozen=True, slots=True)
class Fill:
    """Store `value` in `count` consecutive words from `address` on (SET). Not expanded here."""

    address: int
    count: int
    value: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the fill's count or value", (self.count, self.value))


@dataclass(frozen=True, slots=True)
class End:
    """Stop here; what follows is not executed."""


CdoOp = Write | MaskWrite | BlockWrite | Fill | MaskPoll | Delay | Nop | End

# commands with a 32-bit address, and those with its upper half in front
SHORT: dict[int, Callable[..., CdoOp]] = {
    WRITE: Write, MASK_WRITE: MaskWrite, MASK_POLL: MaskPoll,
}  # fmt: skip
LONG: dict[int, Callable[..., CdoOp]] = {
    WRITE64: Write, MASK_WRITE64: MaskWrite, MASK_POLL64: MaskPoll, SET: Fill,
}  # fmt: skip


def checksum(words: Iterable[int]) -> int:
    """Bitwise NOT of the 32-bit wrapping sum: the rule of CDO headers and all PDI tables."""
    return ~sum(words) & WORD_MASK


# Writing -----------------------------------------------------------------------------------------


def command(opcode: int, payload: Sequence[int]) -> tuple[int, ...]:
    """One command in its shortest form; a length of 255 and more takes a word of its own."""
    if len(payload) < LONG_LENGTH:
        return (opcode | len(payload) << 16, *payload)
    return (opcode | LONG_LENGTH << 16, len(payload), *payload)


def words_of(op: CdoOp) -> tuple[int, ...]:
    """The words of one command."""
    if isinstance(op, Write):
        return command(WRITE, (op.address, op.value))
    if isinstance(op, MaskWrite):
        return command(MASK_WRITE, (op.address, op.mask, op.value))
    if isinstance(op, BlockWrite):
        return command(DMA_WRITE, (0, op.address, *op.words))
    if isinstance(op, Fill):
        return command(SET, (0, op.address, op.count, op.value))
    if isinstance(op, MaskPoll):
        return command(MASK_POLL, (op.address, op.mask, op.value, op.timeout))
    if isinstance(op, Delay):
        return command(DELAY, (op.count,))
    if isinstance(op, Nop):
        return command(NOP, (0,) * op.filler)
    return command(END, ())


def encode(ops: Iterable[CdoOp]) -> bytes:
    """A whole CDO: header with length and checksum, then `ops` as they are."""
    body = [word for op in ops for word in words_of(op)]
    header = [HEADER_LENGTH, IDENTIFICATION, VERSION, len(body)]
    words = [*header, checksum(header), *body]
    return struct.pack(f"<{len(words)}I", *words)


def phase(ops: Iterable[RegisterOp]) -> tuple[CdoOp, ...]:
    """One of the three files that aiecc hands to bootgen, with the same padding as theirs.

    A leading NOP; before each block write one NOP command from each of two stages (facts 3.3):
    mlir-aie's writer, which counts addresses as 64 bits wide, puts the payload on a multiple of
    4 words; bootgen, which shrinks them to 32 bits, makes its position agree with its address
    modulo 4 words. Firmware needs neither; equality with the public builds does.
    """
    out: list[CdoOp] = [Nop()]
    wide = narrow = HEADER_WORDS + 1
    for op in ops:
        if isinstance(op, BlockWrite):
            length = len(op.words) + 2
            pad = -(wide + 3 + (length > LONG_LENGTH)) % 4
            start = narrow + pad + 3 + (length >= LONG_LENGTH)
            again = ((op.address >> 2) - start) % 4
            out += [Nop(words - 1) for words in (pad, again) if words]
            wide += pad + 1 + (length > LONG_LENGTH) + length
            narrow = start + again + len(op.words)
        else:
            size = len(words_of(op))
            wide, narrow = wide + size + 1, narrow + size
        out.append(op)
    return tuple(out)


# Reading -----------------------------------------------------------------------------------------


def operation(opcode: int, payload: tuple[int, ...]) -> CdoOp:
    """The command of a known opcode whose payload has the right length. Raises ValueError."""
    if opcode == END:
        return End()
    if opcode == DELAY:
        return Delay(payload[0])
    if opcode == NOP:
        return Nop(len(payload))
    if opcode in SHORT:
        return SHORT[opcode](*payload)
    high, address, *rest = payload
    if high:
        raise ValueError(f"addresses {high:#x}_{address:08x}, beyond the 32 bits of the array.")
    if opcode == DMA_WRITE:
        return BlockWrite(address, tuple(rest))
    return LONG[opcode](address, *rest)


def commands(words: tuple[int, ...], name: str) -> Iterator[CdoOp]:
    """The commands in `words` (without the header). Raises FormatError with their position."""
    at = 0
    while at < len(words):
        opcode, length, start = words[at] & 0xFFFF, words[at] >> 16 & 0xFF, at + 1
        where = f"{name}: CDO command {opcode:#x} at word {at}"
        if length == LONG_LENGTH:
            if start == len(words):
                raise FormatError(f"{where} ends before its length.")
            length, start = words[start], start + 1
        least = PAYLOAD.get(opcode)
        if least is None:
            raise FormatError(f"{where} is not known; the file is damaged or for other hardware.")
        if length < least or (length > least and opcode not in OPEN_ENDED):
            raise FormatError(f"{where} has {length} words where {least} belong.")
        if start + length > len(words):
            raise FormatError(f"{where} claims {length} words; {len(words) - start} are left.")
        try:
            yield operation(opcode, words[start : start + length])
        except (ValueError, RegisterError) as error:
            raise FormatError(f"{where}: {error}") from error
        at = start + length


def decode(data: bytes | memoryview, name: str) -> tuple[CdoOp, ...]:
    """All commands of the CDO in `data`, NOPs included; `name` stands in messages.

    Bytes after the length that the header states are ignored (bootgen pads to 16). Raises
    FormatError for a wrong header or checksum, an unknown command, or one that is cut short.
    """
    view = View(data, name)
    header = view.words(0, HEADER_WORDS, "the CDO header")
    length, identification, version, count, check = header
    if (length, identification) != (HEADER_LENGTH, IDENTIFICATION):
        raise FormatError(f"{name}: no CDO here (header {length:#x}, {identification:#010x}).")
    if version != VERSION:
        raise FormatError(f"{name}: CDO version {version:#x}; we know {VERSION:#x}.")
    if check != checksum(header[:-1]):
        raise FormatError(f"{name}: the checksum of the CDO header is wrong; the file is damaged.")
    return tuple(commands(view.words(4 * HEADER_WORDS, count, "the CDO's commands"), name))


def register_ops(ops: Iterable[CdoOp], name: str) -> tuple[RegisterOp, ...]:
    """The register writes among `ops`, NOPs dropped: what an array is set up with.

    Raises FormatError for polls, delays and fills, which no npu1 build contains; END ends the list.
    """
    out: list[RegisterOp] = []
    for op in ops:
        if isinstance(op, End):
            break
        if isinstance(op, Write | MaskWrite | BlockWrite):
            out.append(op)
        elif not isinstance(op, Nop):
            raise FormatError(f"{name}: the CDO holds a {type(op).__name__} command, unknown here.")
    return tuple(out)
