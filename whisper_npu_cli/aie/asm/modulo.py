"""Modulo scheduling: one iteration of a loop started every II cycles, as early as units allow.

Depth-first search with few steps: the most urgent operation is placed next, in a slot that the
transitive distances to all placed operations permit (slack windows after Huff, 1993) and that
leaves every other operation a window. Several ideas of urgency are tried in turn. Every variable
has one register for all iterations (a loop-carried edge keeps the next write behind the last
read), so lifetimes fit by construction; a body that needs values to live longer than II asks for
unrolling, which gives every copy registers of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.aie.asm.blocks import Placed
from whisper_npu_cli.aie.asm.depend import Edge, edges
from whisper_npu_cli.aie.asm.effects import busy, effects
from whisper_npu_cli.aie.asm.program import Operation
from whisper_npu_cli.aie.asm.reserve import ModuloReservations, Uses, uses
from whisper_npu_cli.aie.asm.stores import overflow
from whisper_npu_cli.aie.asm.values import KernelError
from whisper_npu_cli.aie.facts.timing import Stage

_NEVER = -(10**6)


@dataclass(frozen=True)
class _Style:
    """What is urgent in one search.

    `slack` sets little freedom against a long way to go; `bottleneck` puts the users of a unit
    that is busy nearly all the time first; `backward` starts from the end, which keeps loads
    close to the users of their results and saves registers.
    """

    slack: float
    bottleneck: bool = False
    backward: bool = False


_STYLES = (
    _Style(0.0, bottleneck=True, backward=True),
    _Style(0.5, bottleneck=True, backward=True),
    _Style(1.0, bottleneck=True, backward=True),
    _Style(0.0, backward=True),
    _Style(0.0),
    _Style(0.5),
    _Style(1.0, bottleneck=True),
)

_FULL = 0.9
"""Share of the cycles from which on a unit counts as a bottleneck."""

_STEPS, _QUICK, _LONG = 150, 2, 120
"""A search gives up after _STEPS and so many more for each operation: quick ones come first."""

_PATIENCE = 60_000
"""Steps of all long searches for one loop together; then there are quick ones only."""

_COARSE = 32
"""From here on the interval grows by more than a cycle: a loop of 64 cycles by two."""

_GRACE = 3
"""Cycles by which the interval may grow in search of a schedule that needs fewer registers."""

Distances = npt.NDArray[np.int64]
Window = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pipeline:
    """A modulo schedule: iteration i issues each operation at its time + i * interval.

    Times start in stage 0 (0 .. interval - 1); `stages` iterations overlap.
    """

    interval: int
    placed: tuple[Placed, ...]

    @property
    def stages(self) -> int:
        """How many iterations are under way at a time."""
        return max(item.time for item in self.placed) // self.interval + 1


@dataclass(frozen=True)
class _Problem:
    operations: Sequence[Operation]
    forms: tuple[tuple[tuple[Stage, ...], ...], ...]
    edges: Sequence[Edge]

    @cached_property
    def uses(self) -> list[list[Uses]]:
        """Per operation and form, the units in use."""
        return [[uses(form) for form in forms] for forms in self.forms]

    @cached_property
    def users(self) -> tuple[tuple[int, ...], ...]:
        """Per operation, those that wait more than a cycle for its result in the same iteration."""
        found: list[set[int]] = [set() for _ in self.operations]
        for edge in self.edges:
            if edge.distance == 0 and edge.latency > 1:
                found[edge.first].add(edge.second)
        return tuple(tuple(sorted(users)) for users in found)

    @cached_property
    def needed(self) -> tuple[set[str], ...]:
        """Per operation, the units that it takes in whichever form."""
        return tuple(
            set.intersection(*({s.unit for s in form if not s.reserved} for form in forms))
            for forms in self.forms
        )

    @cached_property
    def demand(self) -> Counter[str]:
        """Cycles of each unit that the operations without another choice take."""
        load: Counter[str] = Counter()
        for forms, units in zip(self.forms, self.needed, strict=True):
            load.update({u: sum(s.count for s in forms[0] if s.unit == u) for u in units})
        return load

    @cached_property
    def preference(self) -> tuple[list[int], ...]:
        """Per operation, its forms, those in the less demanded slots first."""
        return tuple(
            sorted(
                range(len(forms)), key=lambda n: self.demand[forms[n][0].unit] if forms[n] else 0
            )
            for forms in self.forms
        )

    @cached_property
    def partial(self) -> frozenset[int]:
        """The operations that store a part of a word."""
        return frozenset(
            i
            for i, forms in enumerate(self.forms)
            if any(s.unit == "PART_WORD_STORE" and not s.reserved for s in forms[0])
        )

    def critical(self, interval: int) -> frozenset[int]:
        """The operations that need a unit which is busy nearly all the time."""
        full = {unit for unit, cycles in self.demand.items() if cycles >= _FULL * interval}
        return frozenset(i for i, units in enumerate(self.needed) if units & full)

    @classmethod
    def of(cls, operations: Sequence[Operation], independent: frozenset[str]) -> _Problem:
        forms = tuple(tuple(busy(op, form) for form in op.forms) or ((),) for op in operations)
        return cls(operations, forms, edges(operations, loop=True, independent=independent))

    def distances(self, interval: int) -> Distances | None:
        """Transitive distances between all pairs; None where a cycle of edges needs more."""
        n = len(self.operations)
        far = np.full((n, n), _NEVER, dtype=np.int64)
        for edge in self.edges:
            wait = edge.latency - interval * edge.distance
            far[edge.first, edge.second] = max(far[edge.first, edge.second], wait)
        for middle in range(n):
            np.maximum(far, far[:, middle, None] + far[None, middle, :], out=far)
            if far.diagonal().max() > 0:
                return None
        return far

    @cached_property
    def least_interval(self) -> int:
        """The bound that the units alone set."""
        load: dict[frozenset[str], int] = {}
        for forms in self.forms:
            for units in {frozenset(s.unit for s in form if not s.reserved) for form in forms}:
                for unit in units:
                    own = all(any(s.unit == unit for s in form) for form in forms)
                    if own:
                        cycles = sum(s.count for s in forms[0] if s.unit == unit)
                        load[frozenset({unit})] = load.get(frozenset({unit}), 0) + cycles
                break
            if len(forms) > 1:
                slots = frozenset(form[0].unit for form in forms)
                load[slots] = load.get(slots, 0) + 1
        bounds = []
        for units, count in load.items():
            inside = sum(c for other, c in load.items() if other < units)
            bounds.append(-(-(count + inside) // len(units)))
        return max([1, *bounds])


def pipeline(
    operations: Sequence[Operation],
    *,
    independent: frozenset[str] = frozenset(),
    most_stages: int,
    least_interval: int = 1,
    name: str = "loop",
) -> Pipeline:
    """The modulo schedule with the smallest interval found, and among those the fewest stages.

    One that needs too many registers gives way to the next, even at a slightly larger interval. At
    most `most_stages` iterations overlap (the loop must run that often). KernelError where even
    one iteration at a time does not work out.
    """
    problem, patience = _Problem.of(operations, independent), [_PATIENCE]
    interval = max(problem.least_interval, least_interval)
    last = interval + sum(effects(op).reach for op in operations) + 64
    crowded: tuple[int, Pipeline] | None = None
    while interval < last and (crowded is None or interval <= crowded[1].interval + _GRACE):
        for found in _attempts(problem, interval, most_stages, patience):
            excess = overflow(found.placed, interval)
            if excess == 0:
                return found
            if crowded is None or excess < crowded[0]:
                crowded = excess, found
        interval += max(1, interval // _COARSE)
    if crowded is None:
        raise KernelError(
            f"{name} has no schedule of up to {last} cycles and {most_stages} stages."
        )
    return crowded[1]


def _attempts(
    problem: _Problem, interval: int, most_stages: int, patience: list[int]
) -> Iterator[Pipeline]:
    """Schedules of this interval, as they are found; long searches use up `patience`."""
    far = problem.distances(interval)
    if far is None:
        return
    fewest = int(max(far.max(), 0)) // interval + 1
    n = len(problem.operations)
    table = ModuloReservations(interval, problem.uses)
    for factor in (_QUICK, _LONG):
        for stages in range(fewest, min(most_stages, fewest + 2) + 1):
            for style in _STYLES:
                if factor == _LONG and patience[0] <= 0:
                    return
                search = _Search(problem, table.cleared(), stages, far, style)
                found = search.run(_STEPS + factor * n)
                patience[0] -= search.steps if factor == _LONG else 0
                if found is not None:
                    yield found


class _Search:
    """One search in one style."""

    def __init__(
        self,
        problem: _Problem,
        table: ModuloReservations,
        stages: int,
        far: Distances,
        style: _Style,
    ) -> None:
        self.problem, self.table, self.far, self.style = problem, table, far, style
        self.interval = interval = table.interval
        self.n, self.steps = len(problem.operations), 0
        self.times: dict[int, int] = {}
        self.chosen: dict[int, int] = {}
        horizon = stages * interval - 1
        self.low = np.maximum(0, far.max(axis=0))
        self.high = np.minimum(horizon, horizon - far.max(axis=1))
        self.standing = self._standing()

    def _standing(self) -> npt.NDArray[np.float64]:
        """The part of the urgency that does not change during the search; ties by position."""
        to_go = self.far.max(axis=0 if self.style.backward else 1)
        order = np.arange(self.n) * (-1 if self.style.backward else 1)
        later = np.zeros(self.n)
        if self.style.bottleneck:
            critical = self.problem.critical(self.interval)
            later[[i for i in range(self.n) if i not in critical]] = 1e6
        return later - (1 - self.style.slack) * to_go + order * 1e-4

    def run(self, steps: int) -> Pipeline | None:
        """The schedule, or None when so many steps are used up."""
        if (self.low > self.high).any():
            return None
        waiting: list[tuple[int, Iterator[tuple[int, int]], Window, Window]] = []
        while len(self.times) < self.n and self.steps < steps:
            index = self._next()
            waiting.append((index, self._places(index), self.low, self.high))
            while waiting and self.steps < steps:
                self.steps += 1
                if self._advance(*waiting[-1]):
                    break
                waiting.pop()
            if not waiting:
                return None
        return self._result() if len(self.times) == self.n else None

    def _next(self) -> int:
        """The most urgent operation that has no place yet."""
        urgency = self.style.slack * (self.high - self.low) + self.standing
        urgency[list(self.times)] = np.inf
        return int(urgency.argmin())

    def _advance(
        self, index: int, places: Iterator[tuple[int, int]], low: Window, high: Window
    ) -> bool:
        """Put an operation into its next place that leaves all others a window."""
        if index in self.times:
            del self.times[index], self.chosen[index]
            self.table.take_back()
        for time, number in places:
            self.low = np.maximum(low, time + self.far[index])
            self.high = np.minimum(high, time - self.far[:, index])
            if (self.low <= self.high).all():
                self.times[index], self.chosen[index] = time, number
                self.table.add(index, number, time)
                return True
        self.low, self.high = low, high
        return False

    def _places(self, index: int) -> Iterator[tuple[int, int]]:
        """(time, form) that are free when asked for, in the order in which they are wanted."""
        low, high = int(self.low[index]), int(self.high[index])
        numbers = [n for n in self.problem.preference[index] if self.table.possible(index, n)]
        if self.style.backward or any(u in self.times for u in self.problem.users[index]):
            times = range(high, max(low, high - self.interval + 1) - 1, -1)
        else:
            times = range(low, min(high, low + self.interval - 1) + 1)
        for time in times:
            for number in numbers if self._allowed(index, time) else ():
                if self.table.free(index, number, time):
                    yield time, number

    def _allowed(self, index: int, time: int) -> bool:
        """A partial-word store in the last bundle of a loop can be lost (shared facts 8.5)."""
        last = time % self.interval == self.interval - 1
        return not (last and index in self.problem.partial)

    def _result(self) -> Pipeline:
        start = min(self.times.values()) // self.interval * self.interval
        placed = []
        for index, operation in enumerate(self.problem.operations):
            form = operation.forms[self.chosen[index]] if operation.forms else None
            placed.append(Placed(operation, self.times[index] - start, form))
        return Pipeline(self.interval, tuple(placed))
