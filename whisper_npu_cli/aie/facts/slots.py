"""VLIW slots and the 78 formats of a bundle, from 2 to 16 bytes.

Source: facts/isa.json (Xilinx/llvm-aie, AIE2 TableGen, Apache-2.0 WITH LLVM-exception).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from whisper_npu_cli.aie.facts.table import TABLE, TableError, number, take

SLOTS: dict[str, int] = TABLE["slots"]
"""Slot -> bits of its instruction word."""

NOPS = {
    "lda": "NOPA", "ldb": "NOPB", "alu": "NOPX", "mv": "NOPM", "st": "NOPS", "vec": "NOPV",
    "lng": "NOPXM", "nop": "NOP",
}  # fmt: skip
"""The instruction that fills a slot with nothing to do."""


@dataclass(frozen=True, eq=False)
class Format:
    """A layout of a bundle: fixed bits (`word & mask == value`) and the lowest bit of each slot."""

    name: str
    bits: int
    mask: int
    value: int
    slots: dict[str, int]

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.bits // 8


def _load(entry: dict[str, object]) -> Format:
    name, bits, mask, value, slots = take(entry, "name", "bits", "mask", "value", "slots")
    found = Format(name, bits, number(mask), number(value), dict(slots))
    taken = found.mask
    for slot, lsb in found.slots.items():
        piece = ((1 << SLOTS[slot]) - 1) << lsb
        if taken & piece:
            raise TableError(f"format {name} of the AIE2 table puts slot {slot} over other bits.")
        taken |= piece
    if taken != (1 << bits) - 1 or found.value & ~found.mask:
        raise TableError(f"format {name} of the AIE2 table leaves bits of the bundle unexplained.")
    return found


FORMATS = {found.name: found for found in map(_load, TABLE["formats"])}
"""Format name -> format."""

SIZES = sorted({found.size for found in FORMATS.values()})
"""The lengths that a bundle can have, in bytes."""


def formats_holding(slots: Iterable[str]) -> tuple[Format, ...]:
    """The formats with room for all these slots, shortest first, then those with fewest others.

    Empty where the slots exclude each other (`lng` and `alu` or `mv`).
    """
    return _holding(frozenset(slots))


@cache
def _holding(slots: frozenset[str]) -> tuple[Format, ...]:
    fits = [found for found in FORMATS.values() if slots <= found.slots.keys()]
    return tuple(sorted(fits, key=lambda found: (found.bits, len(found.slots), found.name)))


def length(first: int) -> int:
    """Bytes of the bundle whose first byte this is (the low bits tell)."""
    for mask, value, size in _LENGTHS:
        if first & mask == value:
            return size
    raise AssertionError("the patterns cover every byte")


_LENGTHS = (
    (0b1, 0b0, 16),
    (0b111, 0b101, 6),
    (0b1111, 0b0001, 2),
    (0b1111, 0b1001, 4),
    (0b1111, 0b0011, 8),
    (0b1111, 0b1011, 10),
    (0b1111, 0b0111, 12),
    (0b1111, 0b1111, 14),
)


def slot_set(slots: Iterable[str]) -> str:
    """The slots in a sentence: "lda + mv"."""
    return " + ".join(sorted(slots, key=list(SLOTS).index))
