"""List scheduling: every block of a program gets a length and each operation a cycle and a slot.

Pipelined loops come first (modulo.py); what they need before and leave behind has a fixed place in
the blocks around them. Then the other blocks follow in address order. Results that arrive late,
late reads and units in use cross block boundaries: a block sees the operations of the scheduled
blocks that run within REACH cycles before and after it as further, immovable operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.asm.blocks import DELAY_SLOTS, Block, Placed
from whisper_npu_cli.aie.asm.depend import Edge, between, edges
from whisper_npu_cli.aie.asm.effects import busy
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.modulo import Pipeline, pipeline
from whisper_npu_cli.aie.asm.program import Loop, Operation
from whisper_npu_cli.aie.asm.reserve import Reservations, uses
from whisper_npu_cli.aie.asm.select import select
from whisper_npu_cli.aie.asm.values import KernelError, Value, physical

REACH = 16
"""Cycles after issue in which anything of an operation may still happen (the longest is 11)."""

SETUP_DISTANCE = 7
"""Bundles from the last write of lc, ls or le to the last bundle of the loop (shared facts 8.5)."""

_PATIENCE = 400


@dataclass(frozen=True)
class Timed:
    """A scheduled block: its length in bundles and where each operation issues."""

    block: Block
    length: int
    placed: tuple[Placed, ...]


@dataclass(frozen=True)
class Policy:
    """How freely the scheduler moves things; the driver tightens it when registers run short.

    `window` is how many operations of the program one may overtake (None: any number);
    `spare` cycles are added to the smallest interval of each pipelined loop.
    """

    window: int | None = None
    spare: int = 0


Pipelines = dict[tuple[Block, int], Pipeline]
"""Pipelined loops by block and spare cycles, found for one policy and good for others."""


def schedule(blocks: Sequence[Block], policy: Policy, known: Pipelines) -> list[Timed]:
    """Schedule all blocks; pipelined loops add set-up, prologue and epilogue around them.

    `known` keeps the pipelined loops from one call to the next with the same blocks.
    """
    done: dict[Block, Timed] = {}
    setups: dict[Block, list[Operation]] = {}
    for block in blocks:
        if block.loop is not None:
            before, after = _around(block)
            shape = _pipelined(block, block.loop, policy.spare, known)
            done[block] = Timed(block, shape.interval, _kernel(shape))
            before.tail = _prologue(shape)
            after.head = _epilogue(shape)
            setups[before] = _setup(block, block.loop, shape, before)
    for block in blocks:
        if block.loop is None:
            done[block] = _Straight(block, setups.get(block, []), done, policy).run()
    return [done[block] for block in blocks]


# ------------------------------------------------------------------ pipelined loops


def _around(block: Block) -> tuple[Block, Block]:
    (before,) = (b for b in block.predecessors if b is not block)
    (after,) = (b for b in block.successors if b is not block)
    return before, after


def _pipelined(block: Block, loop: Loop, spare: int, known: Pipelines) -> Pipeline:
    if (block, spare) not in known:
        least = _pipelined(block, loop, 0, known).interval + spare if spare else 1
        known[block, spare] = pipeline(
            block.operations,
            independent=loop.independent,
            most_stages=loop.at_least // loop.unroll if loop.pipelined else 1,
            least_interval=least,
            name=block.label,
        )
    return known[block, spare]


def _kernel(shape: Pipeline) -> tuple[Placed, ...]:
    return tuple(
        Placed(item.operation, item.time % shape.interval, item.form) for item in shape.placed
    )


def _prologue(shape: Pipeline) -> list[tuple[int, Placed]]:
    """The parts of the first iterations that come before the first pass of the kernel."""
    depth = shape.stages - 1
    found = []
    for iteration in range(depth):
        for item in shape.placed:
            time = item.time + (iteration - depth) * shape.interval
            if time < 0:
                found.append((time, item))
    return found


def _epilogue(shape: Pipeline) -> list[tuple[int, Placed]]:
    """The parts of the last iterations that come after the last pass of the kernel."""
    found = []
    for late in range(1, shape.stages):
        for item in shape.placed:
            time = item.time - late * shape.interval
            if time >= 0:
                found.append((time, item))
    return found


def _setup(block: Block, loop: Loop, shape: Pipeline, before: Block) -> list[Operation]:
    """Trip count, first and last bundle of the kernel, for the core's loop registers."""
    lc, ls, le = (Value.of(physical(name)) for name in ("lc", "ls", "le"))
    extra = shape.stages - 1
    if isinstance(loop.count, int):
        count = Operation(select("const", [loop.count // loop.unroll - extra], [lc]).forms)
    elif loop.unroll == 1:
        assert before.trip is not None
        counted = before.trip.forms[0].value("s0")
        count = Operation(select("add_nc", [counted, -extra], [lc]).forms)
    else:
        raise KernelError(f"{block.label} unrolls a loop whose count is not a number.")
    first = Operation(select("movxm", [block.label], [ls]).forms)
    last = Operation(select("movxm", [f"{block.label}.end"], [le]).forms)
    return [count, first, last]


# ------------------------------------------------------------------ straight blocks


class _Straight:
    """Schedules one block: tries lengths upwards until every operation finds its place."""

    def __init__(
        self,
        block: Block,
        setup: Sequence[Operation],
        done: Mapping[Block, Timed],
        policy: Policy,
    ) -> None:
        self.block, self.policy = block, policy
        self.free = [*block.operations, *setup]
        self.setup = len(self.free) - len(setup)
        self.early = list(_before(block, done))
        head = [Placed(i.operation, time, i.form) for time, i in block.head]
        tail = [Placed(i.operation, time, i.form) for time, i in block.tail]
        branch = (
            [Placed(block.branch, -DELAY_SLOTS - 1, block.branch.forms[0])] if block.branch else []
        )
        self.start, self.end = self.early + head, branch + tail
        self.late = list(_after(block, done))
        self.head, self.tail = head, branch + tail
        self.kernel = next((done[b].length for b in block.successors if b.loop), 0)
        self._relate()

    def _relate(self) -> None:
        """Edges between free operations, and the bounds that immovable ones set."""
        ending = self.tail + self.late
        before = [item.operation for item in self.start]
        after = [item.operation for item in ending]
        self.edges = edges(self.free)
        self.least = [0] * len(self.free)
        self.slack = [-1] * len(self.free)  # latest issue, counted from the end of the block
        self.shortest = max(
            [i.time + 1 for i in self.head] + [-i.time for i in self.tail], default=0
        )
        for first, second, wait, _ in between(before, after):
            need = self.start[first].time + wait - ending[second].time
            self.shortest = max(self.shortest, need)
        for first, at, wait, _ in between(before, self.free):
            self.least[at] = max(self.least[at], self.start[first].time + wait)
        for at, second, wait, _ in between(self.free, after):
            self.slack[at] = min(self.slack[at], ending[second].time - wait)
        for index in range(self.setup, len(self.free)):
            latest = self.kernel - 1 - SETUP_DISTANCE
            self.slack[index] = min(self.slack[index], latest)
        if self.policy.window is not None:
            step = self.policy.window
            self.edges += [Edge(i, i + step, 0, 0) for i in range(len(self.free) - step)]

    def run(self) -> Timed:
        """The block in the fewest cycles that list scheduling finds."""
        incoming: list[list[Edge]] = [[] for _ in self.free]
        outgoing: list[list[Edge]] = [[] for _ in self.free]
        for edge in self.edges:
            incoming[edge.second].append(edge)
            outgoing[edge.first].append(edge)
        asap = self.least[:]
        for index in range(len(self.free)):
            for edge in incoming[index]:
                asap[index] = max(asap[index], asap[edge.first] + edge.latency)
        length = max([self.shortest, *(t - s for t, s in zip(asap, self.slack, strict=True))])
        for tried in range(length, length + _PATIENCE):
            placed = self._attempt(tried, incoming, outgoing)
            if placed is not None:
                return Timed(self.block, tried, tuple(placed))
        raise KernelError(f"{self.block.label} has no schedule of up to {tried} cycles.")

    def _attempt(
        self, length: int, incoming: list[list[Edge]], outgoing: list[list[Edge]]
    ) -> list[Placed] | None:
        table = Reservations()
        done = self._reserve(table, length)
        if done is None:
            return None
        latest = [length + slack for slack in self.slack]
        for index in reversed(range(len(self.free))):
            for edge in outgoing[index]:
                latest[index] = min(latest[index], latest[edge.second] - edge.latency)
        times: dict[int, int] = {}
        missing = [len(edges_in) for edges_in in incoming]
        ready = [i for i, count in enumerate(missing) if count == 0]
        while ready:
            index = min(ready, key=lambda i: (latest[i], i))
            ready.remove(index)
            earliest = max(
                [self.least[index], *(times[e.first] + e.latency for e in incoming[index])]
            )
            found = _place(table, self.free[index], max(0, earliest), latest[index])
            if found is None:
                return None
            times[index] = found.time
            done.append(found)
            for edge in outgoing[index]:
                missing[edge.second] -= 1
                if missing[edge.second] == 0:
                    ready.append(edge.second)
        return done

    def _reserve(self, table: Reservations, length: int) -> list[Placed] | None:
        """Enter what cannot move; None where the start and the end get in each other's way."""
        inside = list(self.head)
        inside += [Placed(i.operation, i.time + length, i.form) for i in self.tail]
        late = [Placed(i.operation, i.time + length, i.form) for i in self.late]
        before = Reservations()
        for item in self.early:
            before.add(uses(busy(item.operation, item.form)), item.time)
        # of what comes before, and of what comes after, not all may be on one way; one of each is
        if not all(before.free(uses(busy(i.operation, i.form)), i.time) for i in late):
            return None
        around = [*self.early, *late]
        for number, item in enumerate([*around, *inside]):
            taken = uses(busy(item.operation, item.form))
            if number >= len(around) and not table.free(taken, item.time):
                return None
            table.add(taken, item.time)
        return inside


def _place(table: Reservations, operation: Operation, first: int, last: int) -> Placed | None:
    forms: Sequence[Instruction | None] = operation.forms or [None]
    taken = [uses(busy(operation, form)) for form in forms]
    for time in range(first, last + 1):
        for form, own in zip(forms, taken, strict=True):
            if table.free(own, time):
                table.add(own, time)
                return Placed(operation, time, form)
    return None


def _before(block: Block, done: Mapping[Block, Timed]) -> Iterator[Placed]:
    """Operations of scheduled blocks that issue within REACH cycles before a block."""
    yield from _walk([(p, 0) for p in block.predecessors], done, backwards=True)


def _after(block: Block, done: Mapping[Block, Timed]) -> Iterator[Placed]:
    """Operations of scheduled blocks that issue within REACH cycles after a block's end."""
    yield from _walk([(s, 0) for s in block.successors], done, backwards=False)


def _walk(
    waiting: list[tuple[Block, int]], done: Mapping[Block, Timed], *, backwards: bool
) -> Iterator[Placed]:
    seen = set()
    while waiting:
        block, away = waiting.pop()
        if (block, away) in seen or away >= REACH or block not in done:
            continue
        seen.add((block, away))
        timed = done[block]
        for item in timed.placed:
            time = item.time - timed.length - away if backwards else item.time + away
            if -REACH <= time < REACH:
                yield Placed(item.operation, time, item.form)
        further = block.predecessors if backwards else block.successors
        waiting += [(other, away + timed.length) for other in further]
