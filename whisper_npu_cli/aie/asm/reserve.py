"""Who occupies which unit in which cycle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator

from whisper_npu_cli.aie.facts.timing import Stage


class Reservations:
    """Unit uses by absolute cycle, or by cycle modulo `interval` for a pipelined loop.

    A `reserved` use excludes plain uses only (timing.compete).
    """

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval
        self._plain: dict[tuple[str, int], set[Hashable]] = defaultdict(set)
        self._reserved: dict[tuple[str, int], set[Hashable]] = defaultdict(set)

    def _cells(self, stages: tuple[Stage, ...], time: int) -> Iterator[tuple[str, int, bool]]:
        for stage in stages:
            for cycle in range(time + stage.cycle - 1, time + stage.cycle - 1 + stage.count):
                place = cycle if self.interval is None else cycle % self.interval
                yield stage.unit, place, stage.reserved

    def blockers(self, stages: tuple[Stage, ...], time: int) -> set[Hashable]:
        """Who stands in the way of these uses by an operation issued at `time`."""
        found: set[Hashable] = set()
        for unit, place, reserved in self._cells(stages, time):
            found |= self._plain.get((unit, place), set())
            if not reserved:
                found |= self._reserved.get((unit, place), set())
        return found

    def possible(self, stages: tuple[Stage, ...]) -> bool:
        """Whether an operation can repeat every `interval` cycles without meeting itself."""
        return self.interval is None or all(
            stage.reserved or stage.count <= self.interval for stage in stages
        )

    def add(self, owner: Hashable, stages: tuple[Stage, ...], time: int) -> None:
        """Note the uses of an operation issued at `time`."""
        for unit, place, reserved in self._cells(stages, time):
            (self._reserved if reserved else self._plain)[unit, place].add(owner)

    def remove(self, owner: Hashable, stages: tuple[Stage, ...], time: int) -> None:
        """Take the uses back."""
        for unit, place, reserved in self._cells(stages, time):
            (self._reserved if reserved else self._plain)[unit, place].discard(owner)
