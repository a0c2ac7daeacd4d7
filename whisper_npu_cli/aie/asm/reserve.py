"""Who occupies which unit in which cycle.

A `reserved` use excludes plain uses only (timing.conflict). Cycles of a unit are bits of a number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

from whisper_npu_cli.aie.facts.timing import Stage

Uses = tuple[tuple[str, bool, int], ...]
"""(unit, whether reserved, its cycles as bits) of an operation."""

_BEFORE = 64
"""Cycles before a block that can be entered."""


@lru_cache(maxsize=1 << 12)
def uses(stages: tuple[Stage, ...]) -> Uses:
    """The uses of an operation that issues in cycle 0, in cycle order of the first of each unit."""
    found: dict[tuple[str, bool], int] = defaultdict(int)
    for stage in stages:
        found[stage.unit, stage.reserved] |= ((1 << stage.count) - 1) << (stage.cycle - 1)
    return tuple((unit, weak, bits) for (unit, weak), bits in found.items())


class Reservations:
    """Unit uses of a straight block, whose first cycle is 0; REACH cycles before it count too."""

    def __init__(self) -> None:
        self._plain: dict[str, int] = defaultdict(int)
        self._any: dict[str, int] = defaultdict(int)

    def free(self, operation: Uses, time: int) -> bool:
        """Whether an operation can issue at `time`."""
        return not any(
            (self._plain if weak else self._any)[unit] & bits << (time + _BEFORE)
            for unit, weak, bits in operation
        )

    def add(self, operation: Uses, time: int) -> None:
        """Note the uses of an operation that issues at `time`."""
        for unit, weak, bits in operation:
            self._any[unit] |= bits << (time + _BEFORE)
            if not weak:
                self._plain[unit] |= bits << (time + _BEFORE)


class ModuloReservations:
    """Unit uses of a loop body that starts anew every `interval` cycles.

    Operations are taken out in the reverse order of their coming. `forms[i]` are those of operation
    i, of which one is chosen by its number.
    """

    def __init__(self, interval: int, forms: Sequence[Sequence[Uses]]) -> None:
        self.interval, self._forms = interval, forms
        units = sorted({unit for own in forms for form in own for unit, _, _ in form})
        self._rows = {unit: 2 * place for place, unit in enumerate(units)}  # plain, then any
        self._bits = [0] * (2 * len(units))
        self._saved: list[list[int]] = []
        self._cells: dict[tuple[int, int, int], tuple[tuple[int, int, int], ...]] = {}

    def cleared(self) -> ModuloReservations:
        """The same with nothing in it."""
        self._bits, self._saved = [0] * len(self._bits), []
        return self

    def _at(self, index: int, number: int, time: int) -> tuple[tuple[int, int, int], ...]:
        """(row to ask, row that is taken apart from `any`, bits) of each use."""
        key = index, number, time % self.interval
        if key not in self._cells:
            found = []
            for unit, weak, bits in self._forms[index][number]:
                row, mask = self._rows[unit], self._folded(bits << key[2])
                found.append((row if weak else row + 1, row + weak, mask))
            self._cells[key] = tuple(found)
        return self._cells[key]

    def _folded(self, bits: int) -> int:
        folded = 0
        while bits:
            folded |= bits & (1 << self.interval) - 1
            bits >>= self.interval
        return folded

    def free(self, index: int, number: int, time: int) -> bool:
        """Whether an operation can issue at `time` in this form."""
        return not any(self._bits[ask] & mask for ask, _, mask in self._at(index, number, time))

    def possible(self, index: int, number: int) -> bool:
        """Whether an operation in this form can repeat without meeting itself."""
        return all(
            weak or bits.bit_count() <= self.interval
            for _, weak, bits in self._forms[index][number]
        )

    def add(self, index: int, number: int, time: int) -> None:
        """Note an operation that issues at `time`."""
        self._saved.append(self._bits[:])
        for _, take, mask in self._at(index, number, time):
            self._bits[take] |= mask
            self._bits[take | 1] |= mask

    def take_back(self) -> None:
        """Remove the operation that came last."""
        self._bits = self._saved.pop()
