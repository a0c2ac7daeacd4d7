"""Which values exist at the same time, to the cycle, in a scheduled program.

A register is taken from the cycle in which a result arrives, not from the issue of its
instruction, until its last read. Results under way when a block ends arrive in its successors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby
from typing import NamedTuple

from whisper_npu_cli.aie.asm.blocks import Block
from whisper_npu_cli.aie.asm.effects import effects
from whisper_npu_cli.aie.asm.schedule import Timed
from whisper_npu_cli.aie.asm.values import Variable

Unit = tuple[Variable, int]


class Event(NamedTuple):
    """A unit of a variable read or written at a time of a block.

    Within a cycle: reads (phase 0), writes (1), reads over a bypass (2), which may see the
    writes of the cycle.
    """

    time: int
    phase: int
    unit: Unit

    @property
    def write(self) -> bool:
        """Whether this is a write."""
        return self.phase == 1


class Moment(NamedTuple):
    """Units that hold values at the same time, and where that is."""

    block: Block
    time: int
    units: frozenset[Unit]


class Liveness:
    """Conflicts between units of variables; `moments` are the points after each write.

    `inputs` take their whole registers when the program starts.
    """

    def __init__(self, timed: Sequence[Timed], inputs: Iterable[Variable] = ()) -> None:
        self.timed = {item.block: item for item in timed}
        self.entry = timed[0].block
        self.own = {item.block: _events(item) for item in timed}
        self.arriving = self._arriving()
        self.certain = self._certain()
        self.live = self._live()
        whole = {(variable, unit) for variable in inputs for unit in range(variable.size)}
        self.given = self.live[None, self.entry] | whole

    # events that reach a block from the one before

    def _delivered(self, block: Block, arriving: dict[Block, frozenset[Event]]) -> frozenset[Event]:
        length = self.timed[block].length
        events = (*self.own[block], *arriving[block])
        return frozenset(e._replace(time=e.time - length) for e in events if e.time >= length)

    def _arriving(self) -> dict[Block, frozenset[Event]]:
        found: dict[Block, frozenset[Event]] = {block: frozenset() for block in self.timed}
        changed = True
        while changed:
            changed = False
            for block in self.timed:
                parts = [self._delivered(p, found) for p in block.predecessors]
                merged = frozenset().union(*parts)
                if merged != found[block]:
                    found[block], changed = merged, True
        return found

    def _certain(self) -> dict[Block, frozenset[Event]]:
        """Those that arrive whatever way the program took."""
        found = dict(self.arriving)
        found[self.entry] = frozenset()
        changed = True
        while changed:
            changed = False
            for block in self.timed:
                parts = [self._delivered(p, found) for p in block.predecessors]
                kept = found[block].intersection(*parts) if parts else frozenset()
                if kept != found[block]:
                    found[block], changed = kept, True
        return found

    # liveness over the edges

    def _ways_in(self, block: Block) -> list[tuple[Block | None, list[Event], set[Event]]]:
        """Per way into a block: where from, the events to go through, and the uncertain ones."""
        ways: list[tuple[Block | None, list[Event], set[Event]]] = []
        length = self.timed[block].length
        sources: list[Block | None] = [*block.predecessors]
        if block is self.entry:
            sources.append(None)
        for source in sources:
            coming: frozenset[Event] = frozenset()
            unsure: set[Event] = set()
            if source is not None:
                coming = self._delivered(source, self.arriving)
                unsure = set(coming - self._delivered(source, self.certain))
            events = [e for e in (*self.own[block], *coming) if e.time < length]
            unsure -= set(self.own[block])
            ways.append((source, sorted(events, key=lambda e: (e.time, e.phase)), unsure))
        return ways

    def _live(self) -> dict[tuple[Block | None, Block], frozenset[Unit]]:
        ways = {block: self._ways_in(block) for block in self.timed}
        self.ways = ways
        live: dict[tuple[Block | None, Block], frozenset[Unit]] = {
            (source, block): frozenset() for block in self.timed for source, _, _ in ways[block]
        }
        changed = True
        while changed:
            changed = False
            for block in reversed(list(self.timed)):
                for source, events, unsure in ways[block]:
                    alive = set(self._out(block, live))
                    for event in reversed(events):
                        if not event.write:
                            alive.add(event.unit)
                        elif event not in unsure:
                            alive.discard(event.unit)
                    if live[source, block] != alive:
                        live[source, block], changed = frozenset(alive), True
        return live

    def _out(
        self, block: Block, live: dict[tuple[Block | None, Block], frozenset[Unit]]
    ) -> frozenset[Unit]:
        return frozenset().union(*(live[block, other] for other in block.successors))

    def moments(self) -> Iterator[tuple[Moment, set[Unit]]]:
        """After each cycle that writes: what is alive then, and the units written."""
        for block in self.timed:
            for _, events, unsure in self.ways[block]:
                alive = set(self._out(block, self.live))
                for (time, phase), group in groupby(reversed(events), key=lambda e: e[:2]):
                    together = list(group)
                    units = {event.unit for event in together}
                    if phase != 1:
                        alive |= units
                        continue
                    yield Moment(block, time, frozenset(alive)), units
                    alive -= {event.unit for event in together if event not in unsure}
        yield Moment(self.entry, -1, self.given), set()

    def conflicts(self) -> dict[Variable, dict[Variable, frozenset[tuple[int, int]]]]:
        """variable -> variable -> pairs of units that must not share storage."""
        found: dict[Variable, dict[Variable, set[tuple[int, int]]]]
        found = defaultdict(lambda: defaultdict(set))

        def clash(one: Unit, two: Unit) -> None:
            if one[0] is not two[0]:
                found[one[0]][two[0]].add((one[1], two[1]))
                found[two[0]][one[0]].add((two[1], one[1]))

        for moment, written in self.moments():
            for unit in written:
                for other in moment.units:
                    clash(unit, other)
            for one, two in combinations(written, 2):
                clash(one, two)
        for one, two in combinations(self.given, 2):
            clash(one, two)
        return {
            one: {two: frozenset(pairs) for two, pairs in others.items()}
            for one, others in found.items()
        }


def _events(timed: Timed) -> tuple[Event, ...]:
    found = []
    for item in timed.placed:
        for effect in effects(item.operation).registers:
            phase = 1 if effect.write else 2 if effect.bypass or effect.unsure else 0
            found += [
                Event(item.time + effect.cycle - 1, phase, (effect.variable, unit))
                for unit in effect.units
            ]
    return tuple(found)
