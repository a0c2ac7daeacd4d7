"""Which operation must wait for which, and how long.

An edge (first, second, latency, distance) says: the second operation, `distance` iterations later
than the first, may issue `latency` cycles after it at the earliest. Latencies may be negative: a
load may start while the register it will write is still to be read.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from whisper_npu_cli.aie.asm.effects import (
    LOCK_RESUME,
    LOCK_STALL,
    Effect,
    Effects,
    Memory,
    effects,
)
from whisper_npu_cli.aie.asm.program import Operation
from whisper_npu_cli.aie.asm.values import Variable


class Edge(NamedTuple):
    """issue(second) + II * distance - issue(first) >= latency; operations by index."""

    first: int
    second: int
    latency: int
    distance: int


def register_distance(first: Effect, second: Effect) -> int | None:
    """Cycles that keep two effects on a register in this order; None where they do not meet.

    Stages as in facts/timing.py. A result is there for a read one stage later, or in the same
    stage over a shared bypass. Where it is unsure whether an operand is on the bypass, the
    result must not be expected early and the old value must not be relied on late.
    """
    if not (first.write or second.write) or not set(first.units) & set(second.units):
        return None
    same = first.bypass is not None and first.bypass == second.bypass
    unsure = first.unsure or second.unsure
    maybe = same or (unsure and all(e.unsure or e.bypass is not None for e in (first, second)))
    if first.write and second.write:
        return first.cycle - second.cycle + 1
    if first.write:
        return first.cycle - second.cycle + 1 - same
    return first.cycle - second.cycle + maybe


def meet(first: Memory, second: Memory) -> bool:
    """Whether two memory accesses have to keep their order."""
    if not (first.store or second.store):
        return False
    return first.buffer == second.buffer or not first.buffer or not second.buffer


def order_distance(first: Effects, second: Effects) -> int | None:
    """Cycles that keep memory accesses, locks and streams in this order; None where none is due."""
    if first.lock and second.memory:
        return LOCK_RESUME - second.memory.first + 1
    if first.memory and second.lock:
        return first.memory.last - LOCK_STALL + 1
    if (first.lock or first.stream) and (second.lock or second.stream):
        return 1
    if first.memory and second.memory and meet(first.memory, second.memory):
        return first.memory.last - second.memory.first + 1
    return None


def edges(
    sequence: Sequence[Operation], *, loop: bool = False, independent: Iterable[str] = ()
) -> list[Edge]:
    """The edges among operations in program order, for `loop` also those into the next iteration.

    Buffers in `independent` carry nothing between iterations, nor between unrolled copies.
    Edges that follow from others are left out where that is easy to see: a register is ordered
    with its last write and the reads since, memory with its last store and the loads since.
    """
    graph = _Graph([effects(operation) for operation in sequence], loop, frozenset(independent))
    graph.registers()
    graph.memory()
    graph.locks()
    return [Edge(a, b, wait, far) for (a, b, far), wait in graph.strongest.items()]


def between(earlier: Sequence[Operation], later: Sequence[Operation]) -> list[Edge]:
    """The edges from any operation of one list to any of another, nothing left out.

    For operations that run on different ways through a program, where one does not stand in for
    another.
    """
    found = []
    by_variable: dict[Variable, list[tuple[int, Effect]]] = defaultdict(list)
    second = [effects(operation) for operation in later]
    for index, item in enumerate(second):
        for effect in item.registers:
            by_variable[effect.variable].append((index, effect))
    ordered = [i for i, item in enumerate(second) if item.memory or item.lock or item.stream]
    for number, operation in enumerate(earlier):
        first = effects(operation)
        for effect in first.registers:
            for index, other in by_variable[effect.variable]:
                wait = register_distance(effect, other)
                if wait is not None:
                    found.append(Edge(number, index, wait, 0))
        if first.memory or first.lock or first.stream:
            for index in ordered:
                wait = order_distance(first, second[index])
                if wait is not None:
                    found.append(Edge(number, index, wait, 0))
    return found


class _Graph:
    """Collects edges; positions count through two iterations for a loop."""

    def __init__(self, table: Sequence[Effects], loop: bool, independent: frozenset[str]) -> None:
        self.table, self.independent = table, independent
        self.positions = range(len(table) * (1 + loop))
        self.strongest: dict[tuple[int, int, int], int] = {}

    def _add(self, first: int, second: int, wait: int | None) -> None:
        n = len(self.table)
        if wait is None or first >= n:
            return
        key = first, second % n, second // n
        self.strongest[key] = max(wait, self.strongest.get(key, wait))

    def registers(self) -> None:
        """Order reads and writes of each unit of each variable."""
        writer: dict[tuple[Variable, int], tuple[int, Effect]] = {}
        readers: dict[tuple[Variable, int], list[tuple[int, Effect]]] = defaultdict(list)
        for position in self.positions:
            touched = self.table[position % len(self.table)].registers
            for effect in sorted(touched, key=lambda e: e.write):
                for unit in ((effect.variable, number) for number in effect.units):
                    if unit in writer:
                        before, write = writer[unit]
                        self._add(before, position, register_distance(write, effect))
                    if not effect.write:
                        readers[unit].append((position, effect))
                        continue
                    for before, read in readers.pop(unit, ()):
                        if before != position:
                            self._add(before, position, register_distance(read, effect))
                    writer[unit] = position, effect

    def memory(self) -> None:
        """Order accesses that may meet."""
        accesses = [i for i, item in enumerate(self.table) if item.memory]
        buffers = {self._memory(i).buffer for i in accesses}
        simple = set() if "" in buffers else buffers - self.independent
        for buffer in simple:
            self._chain([i for i in accesses if self._memory(i).buffer == buffer])
        rest = [i for i in accesses if self._memory(i).buffer not in simple]
        for first in rest:
            for second in rest:
                self._pair(first, second)

    def _memory(self, index: int) -> Memory:
        access = self.table[index].memory
        assert access is not None
        return access

    def _chain(self, accesses: Sequence[int]) -> None:
        """Order each access with the last store and, for a store, with the loads since."""
        stores: list[int] = []
        loads: list[int] = []
        for start in range(0, len(self.positions), len(self.table)):
            for index in accesses:
                position = start + index
                store = self._memory(index).store
                for before in stores + (loads if store else []):
                    wait = order_distance(self.table[before % len(self.table)], self.table[index])
                    self._add(before, position, wait)
                if store:
                    stores, loads = [position], []
                else:
                    loads.append(position)

    def _pair(self, first: int, second: int) -> None:
        """Order two accesses, in one iteration and into the next, as far as they may meet."""
        one, two = self._memory(first), self._memory(second)
        free = one.buffer == two.buffer and one.buffer in self.independent
        wait = order_distance(self.table[first], self.table[second])
        if first < second and not (free and one.copy != two.copy):
            self._add(first, second, wait)
        if len(self.positions) > len(self.table) and not free:
            self._add(first, second + len(self.table), wait)

    def locks(self) -> None:
        """Keep memory accesses on their side of locks, locks and streams in order."""
        ordered = [i for i, item in enumerate(self.table) if item.lock or item.stream]
        accesses = [i for i, item in enumerate(self.table) if item.memory]
        for first, second in itertools.chain(
            itertools.product(ordered, ordered + accesses), itertools.product(accesses, ordered)
        ):
            wait = order_distance(self.table[first], self.table[second])
            if first < second:
                self._add(first, second, wait)
            if len(self.positions) > len(self.table):
                self._add(first, second + len(self.table), wait)
