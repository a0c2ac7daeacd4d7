"""Registers for variables: no two values in one place at one time.

The variable with the fewest registers left is served first, and takes the one that its neighbours
want least. After a dead end, what could not be served goes earlier in the next round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial

from whisper_npu_cli.aie.asm.liveness import Liveness, Moment
from whisper_npu_cli.aie.asm.schedule import Timed
from whisper_npu_cli.aie.asm.stores import STORES, room, store_of
from whisper_npu_cli.aie.asm.values import KernelError, Variable
from whisper_npu_cli.aie.facts.core_registers import units

ROUNDS = 40


class PressureError(KernelError):
    """More values at a time than registers; the message says where and which."""


def allocate(timed: Sequence[Timed], inputs: Iterable[Variable] = ()) -> dict[Variable, str]:
    """Variable -> register for a scheduled program; PressureError where they do not suffice.

    `inputs` have values when the program starts.
    """
    liveness = Liveness(timed, inputs)
    fullest = [_fullest(liveness, store) for store in STORES]
    for store, (need, _, _) in zip(STORES, fullest, strict=True):
        if need > room(store):
            raise PressureError(_report(liveness, store, ""))
    conflicts = liveness.conflicts()
    variables = {unit[0]: None for events in liveness.own.values() for _, _, unit in events}
    hard: Counter[Variable] = Counter()
    for _ in range(ROUNDS):
        chosen, failed = _colour(list(variables), conflicts, hard)
        if failed is None:
            return chosen
        hard[failed] += 1
    assert failed is not None
    raise PressureError(_report(liveness, store_of(failed.registers[0]), failed.name))


def _colour(
    variables: Sequence[Variable],
    conflicts: Mapping[Variable, Mapping[Variable, frozenset[tuple[int, int]]]],
    hard: Counter[Variable],
) -> tuple[dict[Variable, str], Variable | None]:
    left = {variable: list(variable.registers) for variable in variables}
    chosen: dict[Variable, str] = {}
    order = {variable: place for place, variable in enumerate(variables)}

    def urgency(variable: Variable) -> tuple[int, int, int]:
        room = len(left[variable]) - 3 * hard[variable]
        return room, -variable.size, order[variable]

    while left:
        variable = min(left, key=urgency)
        options = left.pop(variable)
        if not options:
            return chosen, variable
        neighbours = {
            other: pairs for other, pairs in conflicts.get(variable, {}).items() if other in left
        }

        register = min(options, key=partial(_lost, neighbours, left))
        chosen[variable] = register
        for other, pairs in neighbours.items():
            left[other] = [o for o in left[other] if not _overlap(register, o, pairs)]
    return chosen, None


def _lost(
    neighbours: Mapping[Variable, frozenset[tuple[int, int]]],
    left: Mapping[Variable, Sequence[str]],
    register: str,
) -> int:
    """How many choices of its neighbours a variable takes away by sitting in a register."""
    return sum(
        _overlap(register, option, pairs)
        for other, pairs in neighbours.items()
        for option in left[other]
    )


@lru_cache(maxsize=1 << 16)
def _overlap(one: str, two: str, pairs: frozenset[tuple[int, int]]) -> bool:
    first, second = units(one), units(two)
    return any(first[a] == second[b] for a, b in pairs)


def _fullest(liveness: Liveness, store: str) -> tuple[int, Moment | None, list[Variable]]:
    """The largest number of units of a store in use, when that is, and whose they are."""
    best: tuple[int, Moment | None, list[Variable]] = 0, None, []
    for moment, written in liveness.moments():
        inside = [
            variable
            for variable, number in {*moment.units, *written}
            if store_of(variable.registers[0], number) == store
        ]
        if len(inside) > best[0]:
            best = len(inside), moment, inside
    return best


def _report(liveness: Liveness, store: str, failed: str) -> str:
    need, moment, inside = _fullest(liveness, store)
    assert moment is not None
    names = ", ".join(sorted({f"{v.name}:{v.kind.name}" for v in inside}))
    squeeze = f" and {failed} finds no free one of the right shape" if failed else ""
    return (
        f"Registers run short in {moment.block.label} at cycle {moment.time}: {need} of "
        f"{room(store)} {store} units hold values{squeeze} ({names}); shorten lifetimes or split "
        "the block."
    )
