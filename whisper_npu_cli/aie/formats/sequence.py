"""Instruction stream of a launch (TXN, "insts.bin"): register writes, address patches, waits.

Raw little-endian 32-bit words: a header of 4, then operations. Offset tables: docs/formats.md.

Source: mlir-aie `AIETargetNPU.cpp` (jgmelber/mlir-aie 9f977440) and xdna-emu `src/npu/parser.rs`
(FIM43-Redeye/xdna-emu 7380bd56) by way of shared facts 5; checked against published streams.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from whisper_npu_cli.aie.formats.registers import (
    BlockWrite,
    MaskWrite,
    RegisterError,
    Write,
    check_address,
    check_words,
)
from whisper_npu_cli.aie.formats.view import FormatError, View

# Numbers -----------------------------------------------------------------------------------------

HEADER_WORDS = 4
NPU1 = 0x0603_0100  # 6 rows, device generation 3, version 0.1
MEMORY_ROWS = 1
MAX_COLUMNS = 5  # the Phoenix die; a partition has at most 4 with a shim DMA

WRITE32, BLOCK_WRITE, MASK_WRITE, MASK_POLL, NOOP = 0, 1, 3, 4, 5
SYNC, DDR_PATCH = 0x80, 0x81
CUSTOM = 0x80  # from here on word 1 is the size in bytes

# operations that streams for other devices or firmware use; refused by name
FOREIGN = {
    2: "BLOCKSET", 6: "PREEMPT", 7: "MASKPOLL_BUSY", 8: "LOADPDI", 9: "LOAD_PM_START",
    10: "CREATE_SCRATCHPAD", 11: "UPDATE_STATE_TABLE", 12: "UPDATE_REG", 13: "UPDATE_SCRATCH",
    14: "CONFIG_SHIMDMA_BD", 15: "CONFIG_SHIMDMA_DMABUF_BD",
    130: "READ_REGS", 131: "RECORD_TIMER", 132: "MERGE_SYNC",
}  # fmt: skip

# size in words of the operations that have one size
SIZES = {WRITE32: 6, MASK_WRITE: 7, MASK_POLL: 7, NOOP: 1, SYNC: 4, DDR_PATCH: 12}
S2MM, MM2S = 0, 1  # direction of a DMA channel: stream to memory, memory to stream


# Operations --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressPatch:
    """Add a buffer's device address and `offset` bytes into word 1 (and 2) of a shim descriptor.

    `address` is that of word 1; `argument` counts buffers from 0 (`bo0`).
    """

    address: int
    argument: int
    offset: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the patch's argument or offset", (self.argument, self.offset))


@dataclass(frozen=True, slots=True)
class Sync:
    """Wait for, and consume, one task-complete token of a DMA channel of a tile.

    `direction` is 0 (S2MM) or 1 (MM2S); `columns` and `rows` count tiles from (column, row) on.
    """

    column: int
    row: int
    direction: int
    channel: int
    columns: int = 1
    rows: int = 1

    def __post_init__(self) -> None:
        fields = (self.column, self.row, self.channel, self.columns, self.rows)
        if self.direction not in (S2MM, MM2S) or min(fields) < 0 or max(fields) > 0xFF:
            raise RegisterError(f"{self} does not fit its fields: direction 0 or 1, bytes else.")


@dataclass(frozen=True, slots=True)
class MaskPoll:
    """Wait until (register & mask) == value. Read in one source only; unproven on Phoenix."""

    address: int
    mask: int
    value: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the poll's mask or value", (self.mask, self.value))


@dataclass(frozen=True, slots=True)
class Noop:
    """Nothing, in one word. Read in one source only; unproven on Phoenix."""


SequenceOp = Write | MaskWrite | BlockWrite | AddressPatch | Sync | MaskPoll | Noop


@dataclass(frozen=True, slots=True)
class Stream:
    """A decoded stream: the columns of the partition it was made for, and its operations."""

    columns: int
    ops: tuple[SequenceOp, ...]


# Writing -----------------------------------------------------------------------------------------


def words_of(op: SequenceOp) -> tuple[int, ...]:
    """The words of one operation."""
    if isinstance(op, Write):
        return WRITE32, 0, op.address, 0, op.value, 24
    if isinstance(op, BlockWrite):
        return BLOCK_WRITE, 0, op.address, 4 * (4 + len(op.words)), *op.words
    if isinstance(op, MaskWrite):
        return MASK_WRITE, 0, op.address, 0, op.value, op.mask, 28
    if isinstance(op, MaskPoll):
        return MASK_POLL, 0, op.address, 0, op.value, op.mask, 28
    if isinstance(op, AddressPatch):
        return DDR_PATCH, 48, 0, 0, 0, 0, op.address, 0, op.argument, 0, op.offset, 0
    if isinstance(op, Sync):
        place = op.direction | op.row << 8 | op.column << 16
        return SYNC, 16, place, op.rows << 8 | op.columns << 16 | op.channel << 24
    return (NOOP,)


def encode(ops: Iterable[SequenceOp], columns: int) -> tuple[int, ...]:
    """Header and operations as words; `columns` is the width of the partition (1 to 5)."""
    if not 1 <= columns <= MAX_COLUMNS:
        raise FormatError(f"a partition of {columns} columns; there are 1 to {MAX_COLUMNS}.")
    parts = [words_of(op) for op in ops]
    body = [word for part in parts for word in part]
    size = 4 * (HEADER_WORDS + len(body))
    return NPU1, columns | MEMORY_ROWS << 8, len(parts), size, *body


def to_bytes(words: Iterable[int]) -> bytes:
    """Words as the little-endian bytes of an instruction buffer."""
    words = tuple(words)
    return struct.pack(f"<{len(words)}I", *words)


# Reading -----------------------------------------------------------------------------------------


def size_of(words: tuple[int, ...], at: int) -> int:
    """Size in words of the operation at `at`, as its own words state it. Raises ValueError."""
    opcode = words[at] & 0xFF
    if opcode in FOREIGN:
        raise ValueError(f"is {FOREIGN[opcode]}, which this firmware is not known to take")
    if opcode != BLOCK_WRITE and opcode not in SIZES:
        raise ValueError("is not known")
    least = SIZES.get(opcode, 4)
    if at + least > len(words):
        raise ValueError(f"has {len(words) - at} of its {least} words")
    if opcode == NOOP:
        return least
    place = 3 if opcode == BLOCK_WRITE else 1 if opcode >= CUSTOM else least - 1
    stated = words[at + place]
    if opcode == BLOCK_WRITE and stated >= 16 and stated % 4 == 0:
        return stated // 4
    if stated != 4 * least:
        raise ValueError(f"states {stated} bytes where {4 * least} belong")
    return least


def operation(part: tuple[int, ...]) -> SequenceOp:
    """The operation in `part`, whose size is right. Raises ValueError for fields not in use."""
    opcode = part[0] & 0xFF
    unused = {WRITE32: (3,), MASK_WRITE: (3,), MASK_POLL: (3,), DDR_PATCH: (5, 7, 9, 11)}
    if any(part[index] for index in unused.get(opcode, ())):
        raise ValueError("has an address, argument, offset or action beyond 32 bits")
    if opcode == WRITE32:
        return Write(part[2], part[4])
    if opcode == BLOCK_WRITE:
        return BlockWrite(part[2], part[4:])
    if opcode == MASK_WRITE:
        return MaskWrite(part[2], part[5], part[4])
    if opcode == MASK_POLL:
        return MaskPoll(part[2], part[5], part[4])
    if opcode == DDR_PATCH:
        return AddressPatch(part[6], part[8], part[10])
    if opcode == SYNC:
        _, row, column, _ = part[2].to_bytes(4, "little")
        _, rows, columns, channel = part[3].to_bytes(4, "little")
        return Sync(column, row, part[2] & 0xFF, channel, columns, rows)
    return Noop()


def operations(words: tuple[int, ...], name: str) -> Iterator[SequenceOp]:
    """The operations of a whole stream (header first). Raises FormatError with their position."""
    at = HEADER_WORDS
    while at < len(words):
        where = f"{name}: operation {words[at]:#x} at word {at}"
        try:
            size = size_of(words, at)
            if at + size > len(words):
                raise ValueError(f"claims {size} words; {len(words) - at} are left")
            yield operation(words[at : at + size])
        except RegisterError as error:
            raise FormatError(f"{where}: {error}") from error
        except ValueError as error:
            raise FormatError(f"{where} {error}.") from error
        at += size


def decode(data: bytes | memoryview, name: str) -> Stream:
    """Read a stream of bytes; `name` stands in messages.

    Raises FormatError for another device's header, counts that do not agree, operations that are
    unknown, cut short or not in use on this device.
    """
    view = View(data, name)
    device, shape, count, size = view.words(0, HEADER_WORDS, "the stream's header")
    columns, memory_rows = shape & 0xFF, shape >> 8
    if device != NPU1 or memory_rows != MEMORY_ROWS:
        raise FormatError(f"{name}: not a stream for npu1 (header {device:#010x} {shape:#x}).")
    if not 1 <= columns <= MAX_COLUMNS:
        raise FormatError(f"{name}: made for {columns} columns; there are 1 to {MAX_COLUMNS}.")
    if size != len(view) or size % 4:
        raise FormatError(f"{name}: the header states {size} bytes, there are {len(view)}.")
    ops = tuple(operations(view.words(0, size // 4, "the stream"), name))
    if len(ops) != count:
        raise FormatError(f"{name}: the header states {count} operations, there are {len(ops)}.")
    return Stream(columns, ops)
