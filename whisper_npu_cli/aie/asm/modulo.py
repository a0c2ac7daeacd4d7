"""Modulo scheduling: one iteration of a loop started every II cycles, as early as units allow.

Slack scheduling after Huff (1993): the operation with the least freedom is placed next, in a slot
that the transitive distances to all placed operations permit; where units are taken, it pushes
their holders out. Every variable has one register for all iterations (a loop-carried edge keeps
the next write behind the last read), so lifetimes fit by construction; a body that needs values
to live longer than II asks for unrolling, which gives every copy registers of its own.
"""

from __future__ import annotations

import random
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
from whisper_npu_cli.aie.asm.reserve import Reservations
from whisper_npu_cli.aie.asm.stores import overflow
from whisper_npu_cli.aie.asm.values import KernelError
from whisper_npu_cli.aie.facts.timing import Stage

_NEVER = -(10**6)


@dataclass(frozen=True)
class _Style:
    """How one attempt searches.

    `weight` sets little freedom against a long way to go in choosing what comes next; `shake` is
    the share of placed operations that a push loosens; `bottleneck` places the users of a unit
    that is busy nearly all the time first; `backward` starts from the end, which keeps loads
    close to the users of their results and saves registers.
    """

    weight: float
    shake: float
    bottleneck: bool = False
    backward: bool = False


_STYLES = (
    _Style(0.0, 0.0, bottleneck=True, backward=True),
    _Style(0.5, 0.2, bottleneck=True, backward=True),
    _Style(0.5, 0.2, backward=True),
    _Style(0.0, 0.0),
    _Style(0.5, 0.2),
    _Style(0.5, 0.5),
    _Style(0.0, 0.2),
    _Style(1.0, 0.2),
)

_FULL = 0.9
"""Share of the cycles from which on a unit counts as a bottleneck."""

_BUDGET = 8
_SMALL = 64
"""Loops of fewer operations than this are tried again with other dice: it costs little."""
_GRACE = 3
"""Cycles by which the interval may grow in search of a schedule that needs fewer registers."""

Distances = npt.NDArray[np.int64]


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
    problem = _Problem.of(operations, independent)
    interval = max(problem.least_interval(), least_interval)
    last = interval + sum(effects(op).reach for op in operations) + 64
    crowded: tuple[int, Pipeline] | None = None
    while interval < last and (crowded is None or interval <= crowded[1].interval + _GRACE):
        for found in _attempts(problem, interval, most_stages):
            excess = overflow(found.placed, interval)
            if excess == 0:
                return found
            if crowded is None or excess < crowded[0]:
                crowded = excess, found
        interval += 1
    if crowded is None:
        raise KernelError(
            f"{name} has no schedule of up to {last} cycles and {most_stages} stages."
        )
    return crowded[1]


def _attempts(problem: _Problem, interval: int, most_stages: int) -> Iterator[Pipeline]:
    """Schedules of this interval, as they are found."""
    far = problem.distances(interval)
    if far is None:
        return
    fewest = int(max(far.max(), 0)) // interval + 1
    for stages in range(fewest, min(most_stages, fewest + 2) + 1):
        rounds = max(1, _SMALL // len(problem.operations))
        for seed, style in enumerate(_STYLES * rounds):
            search = _Search(problem, interval, stages, far, style, random.Random(seed))
            found = search.run()
            if found is not None:
                yield found


class _Search:
    """One run of the search with one way of breaking ties."""

    def __init__(
        self,
        problem: _Problem,
        interval: int,
        stages: int,
        far: Distances,
        style: _Style,
        dice: random.Random,
    ) -> None:
        self.problem, self.interval, self.far, self.dice = problem, interval, far, dice
        self.style, self.n = style, len(problem.operations)
        self.horizon = stages * interval - 1
        self.standing = self._standing()
        self.times: dict[int, int] = {}
        self.chosen: dict[int, int] = {}
        self.forced: dict[int, int] = {}
        self.table = Reservations(interval)
        self.first = np.maximum(0, far.max(axis=0))
        self.last = np.minimum(self.horizon, self.horizon - far.max(axis=1))
        self._refresh()

    def _refresh(self) -> None:
        """The windows that the operations in place leave to the others."""
        self.low, self.high = self.first, self.last
        if self.times:
            index = np.fromiter(self.times, dtype=np.int64)
            times = np.fromiter(self.times.values(), dtype=np.int64)
            self.low = np.maximum(self.low, (times[:, None] + self.far[index]).max(axis=0))
            self.high = np.minimum(self.high, (times - self.far[:, index]).min(axis=1))

    def _narrow(self, index: int, time: int) -> None:
        self.low = np.maximum(self.low, time + self.far[index])
        self.high = np.minimum(self.high, time - self.far[:, index])

    def run(self) -> Pipeline | None:
        """The schedule, or None when the budget is used up."""
        if (self.first > self.last).any() or not all(
            any(self.table.possible(form) for form in forms) for forms in self.problem.forms
        ):
            return None
        for _ in range(_BUDGET * self.n + 16):
            if len(self.times) == self.n:
                return self._result()
            index = self._next()
            if not self._place(index):
                self._force(index)
        return None

    def _next(self) -> int:
        """The most urgent operation that has no place yet."""
        urgency = self.style.weight * (self.high - self.low) + self.standing
        urgency[list(self.times)] = np.inf
        return int(urgency.argmin())

    def _standing(self) -> npt.NDArray[np.float64]:
        """The part of the urgency that does not change during the search; ties by position."""
        backward = self.style.backward
        to_go = self.far.max(axis=0) if backward else self.far.max(axis=1)
        order = np.arange(self.n) * (-1 if backward else 1)
        late = np.zeros(self.n)
        if self.style.bottleneck:
            late[[i for i in range(self.n) if i not in self.problem.critical(self.interval)]] = 1e6
        return late - (1 - self.style.weight) * to_go + order * 1e-4

    def _window(self, index: int) -> list[int]:
        low, high = int(self.low[index]), int(self.high[index])
        if self.style.backward or any(u in self.times for u in self.problem.users[index]):
            times = list(range(high, max(low, high - self.interval + 1) - 1, -1))
        else:
            times = list(range(low, min(high, low + self.interval - 1) + 1))
        return [t for t in times if self._allowed(index, t)]

    def _allowed(self, index: int, time: int) -> bool:
        """A partial-word store in the last bundle of a loop can be lost (shared facts 8.5)."""
        partial = any(
            s.unit == "PART_WORD_STORE" and not s.reserved for s in self.problem.forms[index][0]
        )
        return not (partial and time % self.interval == self.interval - 1)

    def _place(self, index: int) -> bool:
        for time in self._window(index):
            for number in self.problem.preference[index]:
                form = self.problem.forms[index][number]
                if self.table.possible(form) and not self.table.blockers(form, time):
                    self._put(index, time, number)
                    return True
        return False

    def _force(self, index: int) -> None:
        times = sorted(self._window(index)) or [int(self.low[index])]
        later = [t for t in times if t > self.forced.get(index, _NEVER)]
        time = later[0] if later else self.dice.choice(times)
        self.forced[index] = time
        number = self.dice.randrange(len(self.problem.forms[index]))
        loosened = {i for i in self.times if self.dice.random() < self.style.shake}
        for other in loosened | self.table.blockers(self.problem.forms[index][number], time):
            assert isinstance(other, int)
            self._drop(other)
        self._refresh()
        self._put(index, time, number)

    def _put(self, index: int, time: int, number: int) -> None:
        self.times[index], self.chosen[index] = time, number
        self.table.add(index, self.problem.forms[index][number], time)
        self._narrow(index, time)

    def _drop(self, index: int) -> None:
        form = self.problem.forms[index][self.chosen.pop(index)]
        self.table.remove(index, form, self.times.pop(index))

    def _result(self) -> Pipeline:
        start = min(self.times.values()) // self.interval * self.interval
        placed = []
        for index, operation in enumerate(self.problem.operations):
            form = operation.forms[self.chosen[index]] if operation.forms else None
            placed.append(Placed(operation, self.times[index] - start, form))
        return Pipeline(self.interval, tuple(placed))
