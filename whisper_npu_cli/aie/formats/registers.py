"""Register operations: the words in which a configuration (CDO) and a launch (sequence) speak.

An address is `column << 25 | row << 20 | offset` in bytes, columns counted from the first of the
partition: 1 MiB a tile, 32 rows a column. Source: AM025 through shared facts 4.1; checked against
the published PDIs of 33 mlir-aie builds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.errors import WhisperNpuError

COLUMN_SHIFT, ROW_SHIFT = 25, 20
OFFSET_MASK, ROW_MASK = (1 << ROW_SHIFT) - 1, (1 << COLUMN_SHIFT - ROW_SHIFT) - 1
WORD_MASK = 0xFFFF_FFFF


class RegisterError(WhisperNpuError):
    """A register operation whose address, mask or value does not fit 32 bits."""


def check_words(what: str, values: Sequence[int]) -> None:
    """Raise RegisterError unless every value is an unsigned 32-bit word; `what` names them."""
    if values and (min(values) < 0 or max(values) > WORD_MASK):
        wrong = next(value for value in values if not 0 <= value <= WORD_MASK)
        raise RegisterError(f"{what} {wrong:#x} does not fit an unsigned 32-bit word.")


def check_address(address: int) -> None:
    """Raise RegisterError unless `address` is a 32-bit multiple of 4."""
    check_words("the register address", (address,))
    if address % 4:
        raise RegisterError(f"the register address {address:#010x} is not a multiple of 4.")


@dataclass(frozen=True, slots=True)
class Write:
    """Store one 32-bit word at a byte address."""

    address: int
    value: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the register value", (self.value,))


@dataclass(frozen=True, slots=True)
class MaskWrite:
    """Read, change, write: new = (old & ~mask) | (value & mask)."""

    address: int
    mask: int
    value: int

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the register mask or value", (self.mask, self.value))


@dataclass(frozen=True, slots=True)
class BlockWrite:
    """Store consecutive 32-bit words from a byte address on: programs, data, descriptors."""

    address: int
    words: tuple[int, ...]

    def __post_init__(self) -> None:
        check_address(self.address)
        check_words("the word to be written", self.words)


RegisterOp = Write | MaskWrite | BlockWrite


def tile_of(address: int) -> tuple[int, int, int]:
    """Split an address into column, row and byte offset inside the tile."""
    return address >> COLUMN_SHIFT, address >> ROW_SHIFT & ROW_MASK, address & OFFSET_MASK
