"""Runs machine code bundle by bundle as the pipeline does, with made-up but definite results.

Operands are read and results appear in the stages that the timing table gives; what is read too
early is the old value. Impossible things are refused: two users of one unit in one cycle, two
results for one register in one cycle, a badly set up hardware loop.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.symbolic import Instance, Plan, mix
from whisper_npu_cli.aie.facts.core_registers import units
from whisper_npu_cli.aie.facts.timing import Access, Stage
from whisper_npu_cli.errors import WhisperNpuError

SETUP_BYTES, FETCH, DELAY_SLOTS, LAST_STAGE = 112, 16, 5, 16


class ScheduleFault(WhisperNpuError):
    """Machine code that breaks a rule of the pipeline or does not do what its program says."""


@dataclass(frozen=True)
class Touch:
    """A memory access, lock, stream operation or checkpoint of a run.

    `key`, `turn` and `value` as in meaning.Event; `issue`, `first` and `last` are cycles.
    """

    key: tuple[Any, ...]
    turn: int
    value: int
    kind: str
    issue: int
    first: int
    last: int
    where: str


Used = Callable[[int, str, str, int], tuple[int, ...]]
"""(address, slot, operand, number of units) -> the units of the operand that count."""


@lru_cache(maxsize=1 << 14)
def _pieces(register: str) -> tuple[str, ...]:
    pieces = units(register)
    return pieces[:4] + pieces[5:] if register.endswith("_3d") else pieces


class _Flight:
    """An instruction on its way through the pipeline."""

    def __init__(self, plan: Plan, address: int, time: int) -> None:
        self.plan, self.instance = plan, Instance(plan)
        self.address, self.time = address, time
        self.waiting = sum(1 for access in plan.reads if _is_key(plan, access))

    def __str__(self) -> str:
        return f"{self.address:#x} `{self.plan.instruction}`"


def _is_key(plan: Plan, access: Access) -> bool:
    """Whether a read is part of what identifies a memory access."""
    return not plan.addressed or plan.is_address(access.operand)


class Machine:
    """A core that runs bundles from their addresses; `state` maps storage units to numbers.

    `used` says which units of an operand count, `checkpoints` lists (name, register) to look at
    when an address is reached; `versions` tells which loads of one address give the same,
    `world` what they give.
    """

    def __init__(
        self,
        bundles: Mapping[int, Bundle],
        used: Used | None = None,
        checkpoints: Mapping[int, list[tuple[str, str]]] | None = None,
        versions: Mapping[tuple[Any, int], int] | None = None,
        world: int = 0,
    ) -> None:
        self.bundles, self.used, self.checkpoints = bundles, used, checkpoints or {}
        self.versions, self.world = versions or {}, world
        self.state: dict[str, int] = {}
        self.touches: list[Touch] = []
        self.time = self.pc = 0
        self._plans: dict[int, list[Plan]] = {}
        self._turns: Counter[tuple[Any, ...]] = Counter()
        self._reads: dict[int, list[tuple[_Flight, Access, tuple[str, ...]]]] = defaultdict(list)
        self._writes: dict[int, dict[str, tuple[_Flight, int, int, int]]] = defaultdict(dict)
        self._busy: dict[tuple[str, int], list[tuple[bool, _Flight]]] = defaultdict(list)
        self._stored: list[tuple[int, _Flight]] = []
        self._branch: tuple[int, int] | None = None
        self._setup: int | None = None

    def run(self, start: int, most: int, enough: Callable[[Machine], bool] | None = None) -> bool:
        """Run from address `start` until `done` (True) or until `enough` says so (False).

        ScheduleFault for a broken rule and after `most` cycles.
        """
        self.pc, done = start, False
        while not done and not (enough and enough(self)):
            if self.time >= most:
                raise ScheduleFault(f"the program does not end within {most} cycles.")
            done = self._step()
        for _ in range(LAST_STAGE):
            self._pass()
        for place, flight in self._stored:
            value = mix(flight.instance.data())
            self.touches[place] = replace(self.touches[place], value=value)
        return done

    def _step(self) -> bool:
        if self.pc not in self.bundles:
            raise ScheduleFault(f"{self.pc:#x}: the program runs to where no bundle is.")
        address, bundle = self.pc, self.bundles[self.pc]
        for name, register in self.checkpoints.get(address, ()):
            seen = tuple(self._visible(unit) for unit in units(register))
            self._touch(("checkpoint", name), "checkpoint", 1, 1, f"{address:#x}", mix(seen))
        if address not in self._plans:
            self._plans[address] = [Plan(i) for i in bundle.instructions]
        flights = [_Flight(plan, address, self.time) for plan in self._plans[address]]
        for flight in flights:
            self._issue(flight)
        now = self.time
        self._pass()
        self.pc += bundle.layout().size
        self._take(flights, now)
        in_slots = self._branch is not None and now <= self._branch[0]
        if self._branch is not None and now == self._branch[0]:
            self.pc, self._branch = self._branch[1], None
        if address == self.state.get("le") and self.state.get("lc", 0) > 0:
            self._turn_back(address, bundle, in_slots)
        return any(f.plan.name == "done" for f in flights)

    # ------------------------------------------------------------------ issue

    def _issue(self, flight: _Flight) -> None:
        plan = flight.plan
        for stage in plan.stages:
            self._occupy(flight, stage)
        for access in plan.reads:
            pieces = _pieces(access.register)
            if self.used is not None:
                keep = self.used(flight.address, plan.opcode.slot, access.operand, len(pieces))
                pieces = tuple(pieces[i] for i in keep)
            self._reads[self.time + access.cycle - 1].append((flight, access, pieces))
        for number, access in enumerate(plan.writes):
            self._announce(flight, number, access)
        if plan.kind and not flight.waiting:
            self._note(flight)

    def _announce(self, flight: _Flight, number: int, access: Access) -> None:
        due, pieces = self._writes[self.time + access.cycle - 1], _pieces(access.register)
        for place, unit in enumerate(pieces):
            if unit in due:
                raise ScheduleFault(f"{flight} and {due[unit][0]} write {unit} in the same cycle.")
            due[unit] = flight, number, place, len(pieces)
        if access.register in ("lc", "ls", "le"):
            self._setup = flight.address

    def _occupy(self, flight: _Flight, stage: Stage) -> None:
        for cycle in range(stage.count):
            users = self._busy[stage.unit, self.time + stage.cycle - 1 + cycle]
            for reserved, other in users:
                if not (reserved and stage.reserved):
                    late = f"{self.time - other.time} cycles later"
                    raise ScheduleFault(f"{flight}, {late}, needs {stage.unit} held by {other}.")
            users.append((stage.reserved, flight))

    # ------------------------------------------------------------------ a cycle passes

    def _pass(self) -> None:
        """Operands due now are read, results due now appear, accesses issued now are noted."""
        for flight, access, pieces in self._reads.pop(self.time, ()):
            value = tuple(self._look(unit, access.bypass) for unit in pieces)
            flight.instance.inputs[access.operand] = value
            if flight.plan.kind and _is_key(flight.plan, access):
                flight.waiting -= 1
                if not flight.waiting:
                    self._note(flight)
        due = self._writes.pop(self.time, {})
        self.state |= {unit: self._value(*entry) for unit, entry in due.items()}
        self.time += 1

    def _look(self, unit: str, bypass: str | None) -> int:
        coming = self._writes[self.time].get(unit)
        if bypass is not None and coming is not None:
            flight, number, _, _ = coming
            if flight.plan.writes[number].bypass == bypass:
                return self._value(*coming)
        return self._visible(unit)

    def _visible(self, unit: str) -> int:
        return self.state.get(unit, mix("garbage", unit))

    @staticmethod
    def _value(flight: _Flight, number: int, place: int, size: int) -> int:
        return flight.instance.result(number, size)[place]

    def _note(self, flight: _Flight) -> None:
        """Record an access, now that all that its key depends on has been read."""
        first, last = flight.plan.memory or (1, 1)
        key = flight.instance.key()
        turn = self._touch(key, flight.plan.kind, first, last, str(flight), 0, flight.time)
        flight.instance.loaded = mix(key, self.versions.get((key, turn), -1), self.world)
        if flight.plan.kind == "store":
            self._stored.append((len(self.touches) - 1, flight))

    def _touch(
        self, key: tuple[Any, ...], kind: str, first: int, last: int, where: str, value: int,
        issue: int | None = None,
    ) -> int:  # fmt: skip
        at = self.time if issue is None else issue
        self._turns[key] += 1
        turn = self._turns[key]
        self.touches.append(Touch(key, turn, value, kind, at, at + first - 1, at + last - 1, where))
        return turn

    # ------------------------------------------------------------------ control

    def _take(self, flights: list[_Flight], now: int) -> None:
        for flight in flights:
            instruction, name = flight.plan.instruction, flight.plan.name
            if not instruction.opcode.delay_slots:
                continue
            if self._branch is not None:
                raise ScheduleFault(f"{flight}: a branch in the delay slots of another.")
            if name not in ("j", "jz", "jnz") or not isinstance(instruction.values[-1], int):
                raise ScheduleFault(f"{flight}: kernels do not use this branch.")
            condition = flight.instance.inputs.get("mRx", (1,))[0]
            if name == "j" or (condition != 0) is (name == "jnz"):
                self._branch = now + DELAY_SLOTS, instruction.values[-1]

    def _turn_back(self, address: int, bundle: Bundle, in_slots: bool) -> None:
        start = self.state["ls"]
        room = address - (self._setup if self._setup is not None else address)
        partial = any(
            stage.unit == "PART_WORD_STORE" and not stage.reserved
            for instruction in bundle.instructions
            for stage in instruction.stages()
        )
        wrong = {
            "is in the delay slots of a branch": in_slots,
            f"is not a full bundle at a multiple of {FETCH}": bool(
                address % FETCH or bundle.layout().size != FETCH
            ),
            f"starts at {start:#x}, no multiple of {FETCH}": bool(start % FETCH),
            f"was set up {room} bytes ahead, not {SETUP_BYTES}": room < SETUP_BYTES,
            "ends with a partial-word store": partial,
        }
        for what, broken in wrong.items():
            if broken:
                raise ScheduleFault(f"{address:#x}: the loop that ends here {what}.")
        self.state["lc"] -= 1
        if self.state["lc"] > 0:
            self.pc = start
            self._setup = -SETUP_BYTES
