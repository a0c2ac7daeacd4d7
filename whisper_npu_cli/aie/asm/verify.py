"""Proof by running: does machine code do what its kernel program says?

The program runs operation by operation (meaning.py), the machine code cycle by cycle (replay.py),
both with made-up but definite results (symbolic.py). Then every memory access, lock, stream
operation and checkpoint must be the same, with the same address and value, and those that depend
on each other must take place in the same order. This module and those that it uses know nothing
of how a schedule was found: they import neither scheduler nor allocator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from whisper_npu_cli.aie.asm.assemble import Assembly
from whisper_npu_cli.aie.asm.meaning import Event, run, start_value
from whisper_npu_cli.aie.asm.program import Operation, Program
from whisper_npu_cli.aie.asm.replay import Machine, ScheduleFault, Touch
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.aie.facts.core_registers import units

LOCK_STALL, LOCK_RESUME = 2, 8
"""A lock operation holds the core from stage 2 until stage 8 (llvm-aie, AIEBaseInstrInfo.cpp)."""


def verify(
    program: Program,
    assembly: Assembly,
    *,
    inputs: Mapping[str, str],
    origins: Mapping[tuple[int, str], Operation],
    checkpoints: Sequence[tuple[str, int, str]] = (),
    starts: Mapping[str, int] | None = None,
    most: int = 100_000,
    passes: int = 2,
    world: int = 0,
) -> int:
    """Check one run of the code against its program; the cycles it took.

    A run goes one way at every branch. What it finds in memory depends on `world` (any number), so
    other worlds take other ways.

    `inputs` says which register holds an input of the program; `starts` gives such inputs
    numbers; `origins` tells for (address, slot) which operation it is, and is asked only which
    halves of operands the program declared not to count; `checkpoints` are (name, address,
    register). Raises ScheduleFault for wrong code, Unsuitable for a run that the program does not
    promise to survive.
    """
    events = run(program, starts or {}, most=most, passes=passes, world=world)
    looks: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for name, address, register in checkpoints:
        looks[address].append((name, register))
    versions = {(event.key, event.turn): event.version for event in events}
    machine = Machine(dict(assembly.bundles), _Counted(origins), looks, versions, world)
    for name, register in inputs.items():
        for number, unit in enumerate(units(register)):
            machine.state[unit] = start_value(starts or {}, name, number)

    def enough(running: Machine) -> bool:
        if running.time % 64:
            return False
        return versions.keys() <= {(touch.key, touch.turn) for touch in running.touches}

    done = machine.run(min(dict(assembly.bundles)), 4 * most, enough)
    _compare(program.name, events, machine.touches, complete=done)
    return machine.time


class _Counted:
    """Answers which units of an operand count, from the values of the program's operations."""

    def __init__(self, origins: Mapping[tuple[int, str], Operation]) -> None:
        self.origins = origins

    def __call__(self, address: int, slot: str, operand: str, size: int) -> tuple[int, ...]:
        operation = self.origins.get((address, slot))
        if operation is not None:
            form = operation.forms[0]
            for item, value in zip(form.opcode.operands, form.values, strict=True):
                if item.name == operand and isinstance(value, Value) and value.used:
                    return tuple(range(value.used))
        return tuple(range(size))


def _compare(
    name: str, events: Sequence[Event], touches: Sequence[Touch], *, complete: bool
) -> None:
    found = {(touch.key, touch.turn): touch for touch in touches}
    matched = []
    for event in events:
        touch = found.pop((event.key, event.turn), None)
        if touch is None:
            raise ScheduleFault(
                f"{name}: the code never does `{event.key[0]}` of the program with these operands "
                f"(time {event.turn}); an input of it is wrong."
            )
        if event.value != touch.value:
            raise ScheduleFault(f"{name}: {touch.where} handles a wrong value.")
        matched.append((event, touch))
    if complete and found:
        extra = next(iter(found.values()))
        raise ScheduleFault(f"{name}: {extra.where} happens, but not in the program.")
    _keep_order(name, matched)


def _keep_order(name: str, matched: Sequence[tuple[Event, Touch]]) -> None:
    """Compare each event with the earlier ones that it could have overtaken."""
    ahead = [touch.first for _, touch in matched]
    for place in reversed(range(len(ahead) - 1)):
        ahead[place] = min(ahead[place], ahead[place + 1])
    recent: list[tuple[Event, Touch]] = []
    for (event, touch), soonest in zip(matched, ahead, strict=True):
        recent = [item for item in recent if item[1].last + LOCK_RESUME >= soonest]
        for before, earlier in recent:
            wrong = _disorder(before, earlier, event, touch)
            if wrong:
                raise ScheduleFault(f"{name}: {touch.where} {wrong} {earlier.where}.")
        recent.append((event, touch))


def _disorder(before: Event, earlier: Touch, event: Event, touch: Touch) -> str:
    """What is wrong with the distance of two events in this order, or nothing."""
    memory = {"load", "store"}
    if before.kind == "lock" and event.kind in memory:
        return "touches memory too early after" * (touch.first < earlier.issue + LOCK_RESUME)
    if before.kind in memory and event.kind == "lock":
        return "does not wait for" * (earlier.last > touch.issue + LOCK_STALL - 2)
    if {before.kind, event.kind} <= {"lock", "stream"}:
        return "overtakes" * (touch.issue <= earlier.issue)
    both = {before.kind, event.kind}
    if both <= memory and "store" in both and before.meets(event):
        return "overtakes" * (touch.first <= earlier.last)
    return ""
