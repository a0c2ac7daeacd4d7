"""When operands are read and written, which units are busy, and the distances that follow.

A compiler's model of an exposed pipeline: cycle 1 is the issue cycle, nothing interlocks. Source:
facts/isa.json (Xilinx/llvm-aie, AIE2Schedule.td @ 0361a31e, Apache-2.0 WITH LLVM-exception).
Not in it: locks, streams, memory banks, loop ends (shared facts 8.4 to 8.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whisper_npu_cli.aie.facts.table import TABLE, TableError, take

UNITS: dict[str, str] = TABLE["units"]
"""Hardware units and register ports that instructions compete for: name -> what it is."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A unit in use for `count` cycles from `cycle` on (1 = issue).

    A `reserved` use conflicts with a plain one only, not with another reserved one.
    """

    unit: str
    cycle: int
    count: int
    reserved: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Itinerary:
    """One timing class.

    `cycles[i]` is the stage in which operand i is read, or from which it is visible when written;
    `bypasses[i]` the forwarding path it is on, or None; `memory` the first and last stage that
    touches data memory, or None.
    """

    name: str
    cycles: tuple[int, ...]
    bypasses: tuple[str | None, ...]
    stages: tuple[Stage, ...]
    memory: tuple[int, int] | None
    finer: Mapping[str, str]
    finer_by: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """One register read or written by one instruction, and when."""

    register: Any
    write: bool
    cycle: int
    bypass: str | None
    operand: str


def _load(name: str, entry: dict[str, Any]) -> Itinerary:
    cycles, bypass, stages, memory, finer = take(
        entry, "cycles", bypass=None, stages=(), memory=None, finer={"operands": [], "files": {}}
    )
    bypass = bypass or [None] * len(cycles)
    if len(bypass) != len(cycles) or any(stage[0] not in UNITS for stage in stages):
        raise TableError(f"itinerary {name} of the AIE2 table has a wrong bypass list or unit.")
    uses = tuple(Stage(unit, at, count, bool(weak)) for unit, at, count, *weak in stages)
    span = (memory[0], memory[1]) if memory else None
    by = tuple(finer["operands"])
    return Itinerary(name, tuple(cycles), tuple(bypass), uses, span, finer["files"], by)


ITINERARIES = {name: _load(name, entry) for name, entry in TABLE["itineraries"].items()}
"""Itinerary name -> itinerary."""


def latency(first: Access, second: Access) -> int:
    """Cycles from the issue of `first`'s instruction to the earliest issue of `second`'s.

    For two accesses to one register, `first` earlier in program order; 0 allows one bundle, less
    than 0 allows `second` to go first. Two reads have no order: ValueError.
    """
    forwarded = first.bypass is not None and first.bypass == second.bypass
    if first.write and second.write:
        return first.cycle - second.cycle + 1
    if first.write:
        return first.cycle - second.cycle + 1 - forwarded
    if second.write:
        return first.cycle - second.cycle + forwarded
    raise ValueError("two reads of a register need no distance")


def memory_latency(first: Itinerary, second: Itinerary) -> int:
    """Cycles that keep two accesses to the same address in order, one of them a store."""
    if first.memory is None or second.memory is None:
        raise ValueError(f"{first.name} or {second.name} does not touch memory")
    return first.memory[1] - second.memory[0] + 1


def conflict(first: Stage, second: Stage) -> bool:
    """Whether two uses of units exclude each other in a cycle that both cover."""
    return first.unit == second.unit and not (first.reserved and second.reserved)


for _itinerary in ITINERARIES.values():
    if not all(name in ITINERARIES for name in _itinerary.finer.values()):
        raise TableError(
            f"itinerary {_itinerary.name} of the AIE2 table is refined by unknown ones."
        )
