"""What can be said about machine code without knowing what it is meant to do.

For decoded programs, also those of other compilers: two users of a unit in one cycle and two
results for a register in one cycle are faults. How far readers stand from the writers whose
results they see is only counted: a compiler that shares our timing leaves no reader closer than
the table's latency, and many exactly there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.symbolic import Plan
from whisper_npu_cli.aie.facts.core_registers import units
from whisper_npu_cli.aie.facts.timing import Access, conflict, latency

REACH = 14
"""Bundles within which two instructions can get in each other's way."""

SEARCH = 40
"""Bundles in which a reader of a result is looked for."""


@dataclass
class Survey:
    """Findings over straight runs of code (a jump's delay slots end a run).

    `slack` counts result-and-reader pairs by cycles beyond the table's latency; `early` the reads
    of a register whose next value is on its way, which a compiler may mean.
    """

    bundles: int = 0
    conflicts: list[str] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    slack: Counter[int] = field(default_factory=Counter)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    early: int = 0
    results: int = 0


def survey(program: Sequence[tuple[int, Bundle]]) -> Survey:
    """Look at a decoded program: (address, bundle) in order."""
    found = Survey(bundles=len(program))
    plans = [[Plan(i) for i in bundle.instructions] for _, bundle in program]
    ends = _run_ends(program)
    for place, row in enumerate(plans):
        run = plans[place : ends[place]]
        for number, plan in enumerate(row):
            for later, other in _following(run, number, REACH):
                _meet(found, program[place][0], plan, other, later)
            for access in plan.writes:
                _follow_result(found, run, number, access)
    return found


def _run_ends(program: Sequence[tuple[int, Bundle]]) -> list[int]:
    """For each bundle, where the straight run that it is in ends."""
    cuts = [
        place + instruction.opcode.delay_slots + 1
        for place, (_, bundle) in enumerate(program)
        for instruction in bundle.instructions
        if instruction.opcode.mnemonic in ("j", "jl", "ret")
    ]
    ends, following = [], len(program)
    for place in reversed(range(len(program))):
        if place + 1 in cuts:
            following = place + 1
        ends.append(following)
    return ends[::-1]


def _following(
    run: Sequence[Sequence[Plan]], number: int, reach: int
) -> Iterator[tuple[int, Plan]]:
    """The plans after plan `number` of the first bundle, each with its distance in bundles."""
    yield from ((0, other) for other in run[0][number + 1 :])
    for later, row in enumerate(run[1:reach], 1):
        yield from ((later, other) for other in row)


def _meet(found: Survey, address: int, plan: Plan, other: Plan, later: int) -> None:
    for first in plan.stages:
        for second in other.stages:
            start = second.cycle + later
            overlap = first.cycle < start + second.count and start < first.cycle + first.count
            if overlap and conflict(first, second):
                found.conflicts.append(
                    f"{address:#x}: `{plan.instruction}` and, {later} bundles later, "
                    f"`{other.instruction}` need {first.unit}"
                )
    for one in plan.writes:
        for two in other.writes:
            shared = set(units(one.register)) & set(units(two.register))
            if shared and one.cycle == two.cycle + later:
                found.collisions.append(
                    f"{address:#x}: `{plan.instruction}` and, {later} bundles later, "
                    f"`{other.instruction}` write {min(shared)}"
                )


def _follow_result(
    found: Survey, run: Sequence[Sequence[Plan]], number: int, access: Access
) -> None:
    """Find the first reader that sees a result before it is overwritten."""
    found.results += 1
    wanted, ready = set(units(access.register)), access.cycle - 1
    early = False
    for later, other in _following(run, number, SEARCH):
        for read in other.reads:
            if wanted & set(units(read.register)):
                slack = later - latency(access, read)
                if slack >= 0:
                    pair = (run[0][number].name, other.name)
                    found.slack[slack] += 1
                    found.pairs[pair] = min(slack, found.pairs.get(pair, slack))
                    found.early += early
                    return
                early = early or later > 0
        for write in other.writes:
            if wanted & set(units(write.register)) and later + write.cycle - 1 > ready:
                found.early += early
                return
    found.early += early
