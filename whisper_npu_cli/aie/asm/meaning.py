"""What a kernel program means: one operation after the other, each complete before the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from whisper_npu_cli.aie.asm.instruction import make
from whisper_npu_cli.aie.asm.program import Branch, Loop, Node, Operation, Program
from whisper_npu_cli.aie.asm.symbolic import Instance, Plan, mix
from whisper_npu_cli.aie.asm.values import KernelError, Value, Variable, physical


class Unsuitable(KernelError):
    """A run that the program does not promise to survive, such as a loop run too few times."""


@dataclass(frozen=True)
class Event:
    """A memory access, lock, stream operation or checkpoint of a run, in the order of meaning.

    `key` says what it did and to what address, `turn` which time that was; `value` is what it
    stored or took. `buffer` and `iterations` ((loop, iteration) from the outside in) decide what
    it has to keep its order with; `version` numbers the store that a load comes after, so that
    loads of one address give the same until something may have changed.
    """

    key: tuple[Any, ...]
    turn: int
    value: int
    kind: str
    buffer: str
    iterations: tuple[tuple[Loop, int], ...]
    version: int = 0

    def meets(self, other: Event) -> bool:
        """Whether two accesses may be to one address, for all that the program says."""
        if self.buffer and other.buffer and self.buffer != other.buffer:
            return False
        for (loop, one), (same, two) in zip(self.iterations, other.iterations, strict=False):
            if loop is not same:
                return True
            if one != two:
                return not (self.buffer == other.buffer in loop.independent)
        return True


def run(
    program: Program,
    starts: Mapping[str, int],
    *,
    most: int = 100_000,
    passes: int = 2,
    world: int = 0,
) -> list[Event]:
    """The events of a program; `starts` gives numbers for its inputs.

    In every `world` memory holds other numbers. A `forever` loop runs `passes` times. Raises
    Unsuitable for a loop count below the program's own promise and for more than `most` operations.
    """
    machine = _Sequential(most, passes, world)
    for variable in program.inputs:
        for unit in range(variable.size):
            machine.state[variable, unit] = start_value(starts, variable.name, unit)
    try:
        machine.walk(program.body, ())
    except _Stop:
        return machine.events
    machine.walk([Operation((make("DONE"),))], ())
    return machine.events


def start_value(starts: Mapping[str, int], name: str, unit: int) -> int:
    """The number in a unit of an input before the program starts."""
    return starts[name] if name in starts else mix("input", name, unit)


class _Stop(Exception):
    """The end of the last pass of an endless loop."""


class _Sequential:
    def __init__(self, most: int, passes: int, world: int) -> None:
        self.state: dict[tuple[Variable, int], int] = {}
        self.events: list[Event] = []
        self.stores: list[Event] = []
        self.turns: Counter[tuple[Any, ...]] = Counter()
        self.left, self.passes, self.world = most, passes, world
        self.plans: dict[Operation, Plan] = {}

    def walk(self, nodes: Sequence[Node], inside: tuple[tuple[Loop, int], ...]) -> None:
        for node in nodes:
            if isinstance(node, Operation):
                self._execute(node, inside)
            elif isinstance(node, Loop):
                self._loop(node, inside)
            elif isinstance(node, Branch):
                taken = (self._read(node.condition)[0] != 0) is not node.zero
                self.walk(node.then if taken else node.otherwise, inside)
            else:
                count = 0
                while node.condition is None or self._read(node.condition)[0]:
                    if node.condition is None and count == self.passes:
                        raise _Stop
                    self.walk(node.body, inside)
                    count += 1

    def _loop(self, loop: Loop, inside: tuple[tuple[Loop, int], ...]) -> None:
        count = loop.count if isinstance(loop.count, int) else self._read(loop.count)[0]
        if count < loop.at_least:
            raise Unsuitable(f"a loop promised to run {loop.at_least} times or more, not {count}")
        for iteration in range(count):
            self.walk(loop.body, (*inside, (loop, iteration)))

    def _read(self, value: Value) -> tuple[int, ...]:
        return tuple(
            self.state.get((value.variable, u), mix("unset", value.variable.name, u))
            for u in value.unit_numbers
        )

    def _execute(self, operation: Operation, inside: tuple[tuple[Loop, int], ...]) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unsuitable("the run takes more operations than allowed")
        if operation.mark is not None:
            name, value = operation.mark
            self._event(("checkpoint", name), mix(self._read(value)), "checkpoint", "", inside)
            return
        if operation not in self.plans:
            self.plans[operation] = Plan(operation.forms[0])
        plan = self.plans[operation]
        instance = Instance(plan)
        for access in plan.reads:
            instance.inputs[access.operand] = self._read(self._bound(operation, access.register))
        if plan.kind:
            stored = mix(instance.data()) if plan.kind == "store" else 0
            event = self._event(instance.key(), stored, plan.kind, operation.buffer, inside)
            instance.loaded = mix(event.key, event.version, self.world)
        for place, access in enumerate(plan.writes):
            target = self._bound(operation, access.register)
            units = target.unit_numbers
            for unit, number in zip(units, instance.result(place, len(units)), strict=True):
                self.state[target.variable, unit] = number

    @staticmethod
    def _bound(operation: Operation, register: Any) -> Value:
        if isinstance(register, str):
            return operation.fixed.get(register) or Value.of(physical(register))
        assert isinstance(register, Value)
        return register

    def _event(
        self,
        key: tuple[Any, ...],
        value: int,
        kind: str,
        buffer: str,
        inside: tuple[tuple[Loop, int], ...],
    ) -> Event:
        self.turns[key] += 1
        event = Event(key, self.turns[key], value, kind, buffer, inside)
        if kind == "load":
            stores = range(len(self.stores), 0, -1)
            latest = next((n for n in stores if self.stores[n - 1].meets(event)), 0)
            event = replace(event, version=latest)
        elif kind == "store":
            self.stores.append(event)
        self.events.append(event)
        return event
