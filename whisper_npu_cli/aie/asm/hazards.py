"""What can be said about machine code without knowing what it is meant to do.

For decoded programs, also those of other compilers. Two users of a unit in one cycle, two results
for a register in one cycle and a badly set up loop are faults. For everything that has to wait, the
cycles beyond our rule are counted: a compiler that shares our timing uses every rule to the cycle
(slack 0 occurs), and never lets a result be replaced unread, as it would seem to where our rule
makes the result arrive too late for its reader.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.replay import DELAY_SLOTS, FETCH, SETUP_BYTES
from whisper_npu_cli.aie.asm.symbolic import Plan
from whisper_npu_cli.aie.asm.verify import LOCK_RESUME, LOCK_STALL
from whisper_npu_cli.aie.facts.core_registers import units
from whisper_npu_cli.aie.facts.timing import Access, conflict

REACH = 14
"""Bundles within which two instructions can get in each other's way."""

CARRY = "srCarry"
"""Every addition leaves one, hardly any is read."""

LOOP_REGISTERS = ("lc", "ls", "le")
Way = tuple[int, int, bool]
"""Stage of a result, stage of its read, and whether a bypass connects the two."""


@dataclass
class Survey:
    """Findings over straight runs of code (a jump's delay slots end a run).

    `slack` counts result-and-reader pairs by way and by cycles beyond the rule, `order` the same
    for accesses that keep an order, by kind; `unread` lists results that are replaced before
    anything can have read them.
    """

    bundles: int = 0
    loops: int = 0
    faults: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    slack: dict[Way, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    order: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, other: Survey) -> None:
        """Add the findings in another program."""
        self.bundles, self.loops = self.bundles + other.bundles, self.loops + other.loops
        self.faults += other.faults
        self.unread += other.unread
        for way, counts in other.slack.items():
            self.slack[way] += counts
        for kind, counts in other.order.items():
            self.order[kind] += counts


@dataclass(frozen=True)
class _Issue:
    """An instruction of a run and the bundle in which it stands, counted from the run's start."""

    place: int
    address: int
    plan: Plan

    def __str__(self) -> str:
        return f"{self.address:#x} `{self.plan.instruction}`"


def survey(program: Sequence[tuple[int, Bundle]]) -> Survey:
    """Look at a decoded program: (address, bundle) in order."""
    found = Survey(bundles=len(program))
    ends = _loop_ends(found, program)
    for run in _runs(program):
        issues = [
            _Issue(place, address, _plan(instruction))
            for place, (address, bundle) in enumerate(run)
            for instruction in bundle.instructions
        ]
        leaves = [place for place, (address, _) in enumerate(run) if address in ends]
        leaves += [i.place + DELAY_SLOTS for i in issues if i.plan.opcode.delay_slots]
        for number, issue in enumerate(issues):
            for other in issues[number + 1 :]:
                if other.place - issue.place >= REACH:
                    break
                _meet(found, issue, other)
                _keep_order(found, issue, other, issues)
        _follow_results(found, issues, leaves)
    return found


_plan = lru_cache(maxsize=1 << 14)(Plan)


def _runs(program: Sequence[tuple[int, Bundle]]) -> Iterator[Sequence[tuple[int, Bundle]]]:
    start = 0
    for place, (_, bundle) in enumerate(program):
        for instruction in bundle.instructions:
            if instruction.opcode.mnemonic in ("j", "jl", "ret"):
                end = place + instruction.opcode.delay_slots + 1
                yield program[start:end]
                start = end
    yield program[start:]


def _meet(found: Survey, one: _Issue, two: _Issue) -> None:
    """Note units and results on which two instructions collide."""
    later = two.place - one.place
    for first in one.plan.stages:
        for second in two.plan.stages:
            start = second.cycle + later
            overlap = first.cycle < start + second.count and start < first.cycle + first.count
            if overlap and conflict(first, second):
                found.faults.append(f"{one} and {two} need {first.unit} in one cycle")
    for left in one.plan.writes:
        for right in two.plan.writes:
            if left.cycle == right.cycle + later:
                shared = {*units(left.register)} & {*units(right.register)}
                found.faults += [
                    f"{one} and {two} write {unit} in one cycle" for unit in sorted(shared)
                ]


# Results and readers ------------------------------------------------------------------------------


def _follow_results(found: Survey, issues: Sequence[_Issue], leaves: Sequence[int]) -> None:
    """Give every read the result that it sees, and look for results that nobody sees."""
    writes: dict[str, list[tuple[int, _Issue, Access]]] = defaultdict(list)
    reads: dict[str, list[tuple[int, Access]]] = defaultdict(list)
    for issue in issues:
        for access in issue.plan.writes:
            for unit in units(access.register) if access.register != CARRY else ():
                writes[unit].append((issue.place + access.cycle - 1, issue, access))
        for access in issue.plan.reads:
            for unit in units(access.register):
                reads[unit].append((issue.place + access.cycle - 1, access))
    for unit, arrivals in writes.items():
        arrivals.sort(key=lambda item: item[0])
        seen = {_see(found, arrivals, time, read) for time, read in reads[unit]}
        for number, (one, two) in enumerate(pairwise(arrivals)):
            stay = one[1].place - DELAY_SLOTS, two[1].place + DELAY_SLOTS
            if number not in seen and not any(stay[0] <= out <= stay[1] for out in leaves):
                found.unread.append(f"{unit} of {one[1]} is replaced by {two[1]}")


def _see(
    found: Survey, arrivals: Sequence[tuple[int, _Issue, Access]], time: int, read: Access
) -> int:
    """The number of the result that a read in cycle `time` sees, -1 for one from elsewhere."""
    for number in reversed(range(len(arrivals))):
        arrival, _, write = arrivals[number]
        forwarded = write.bypass is not None and write.bypass == read.bypass
        slack = time - arrival - 1 + forwarded
        if slack >= 0:
            found.slack[write.cycle, read.cycle, forwarded][slack] += 1
            return number
    return -1


# Memory and locks ---------------------------------------------------------------------------------


def _keep_order(found: Survey, one: _Issue, two: _Issue, issues: Sequence[_Issue]) -> None:
    """Count the slack of memory accesses around locks, and of two to the same address.

    Locks guard buffers; where the stack is, at [sp, ...], a core is alone.
    """
    first, second, later = one.plan.memory, two.plan.memory, two.place - one.place
    lock = "lock" in (one.plan.kind, two.plan.kind)
    if lock and "[sp" in f"{_address(one.plan)}{_address(two.plan)}":
        return
    if one.plan.kind == "lock" and second:
        found.order["lock to access"][later - (LOCK_RESUME - second[0] + 1)] += 1
    elif first and two.plan.kind == "lock":
        found.order["access to lock"][later - (first[1] - LOCK_STALL + 1)] += 1
    elif first and second and _same_address(one, two, issues):
        kinds = f"{one.plan.kind} to {two.plan.kind}"
        found.order[kinds][later - (first[1] - second[0] + 1)] += 1


def _same_address(one: _Issue, two: _Issue, issues: Sequence[_Issue]) -> bool:
    """Whether one stores and both use one address: no register of it is written in between."""
    places = {_address(issue.plan) for issue in (one, two)}
    if len(places) > 1 or "" in places or "store" not in (one.plan.kind, two.plan.kind):
        return False
    registers = set(re.findall(r"[a-z]+\d*", places.pop()))
    return not any(
        access.register in registers
        for issue in issues
        if one.place <= issue.place < two.place
        for access in issue.plan.writes
    )


def _address(plan: Plan) -> str:
    """The text of an address that a pointer and an offset make; empty for one that moves on."""
    match = re.search(r"\[[^\]]*\]$", str(plan.instruction))
    return match[0] if match and plan.memory else ""


# Loops --------------------------------------------------------------------------------------------


def _loop_ends(found: Survey, program: Sequence[tuple[int, Bundle]]) -> set[int]:
    """The last bundles of hardware loops, as far as their addresses are constants."""
    sizes = {address: bundle.layout().size for address, bundle in program}
    setup, ends, busy = 0, set(), -1
    values: dict[str, int] = {}
    for place, (address, bundle) in enumerate(program):
        if address == values.get("le"):
            ends.add(address)
            found.loops += 1
            start, full = values.get("ls", 0), sizes[address] == FETCH and address % FETCH == 0
            if not full or start % FETCH or address - setup < SETUP_BYTES or place <= busy:
                found.faults.append(f"{address:#x}: a loop from {start:#x} set up at {setup:#x}")
        for instruction in bundle.instructions:
            if instruction.opcode.delay_slots:
                busy = place + instruction.opcode.delay_slots
            for access in instruction.accesses():
                if access.write and access.register in LOOP_REGISTERS:
                    setup = address
                    number = instruction.values[-1]
                    if isinstance(number, int):
                        values[access.register] = number
    return ends
