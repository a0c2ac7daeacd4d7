"""Register files as stores of equal units, to count how full they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from whisper_npu_cli.aie.asm.blocks import Placed
from whisper_npu_cli.aie.asm.effects import effects
from whisper_npu_cli.aie.asm.values import Variable
from whisper_npu_cli.aie.facts.core_registers import FILES, split, units

STORES = {
    "vector": ("wl", "wh"),
    "accumulator": ("amll", "amlh", "amhl", "amhh"),
    "sparsity mask": ("ql", "qh"),
    **{name: (name,) for name in ("r", "p", "m", "dn", "dj", "dc", "s")},
}
"""Store -> register files; a unit of any of these files serves the same purpose."""


def room(store: str) -> int:
    """Units that a store has."""
    return sum(len(FILES[name][0]) for name in STORES[store])


@lru_cache(maxsize=1 << 12)
def store_of(register: str, number: int = 0) -> str:
    """The store of a unit of a register; empty for the single registers such as crRnd."""
    file = split(units(register)[number])[0]
    return next((name for name, files in STORES.items() if file in files), "")


def overflow(placed: Sequence[Placed], interval: int) -> int:
    """By how many units a pipelined loop needs more than there are, at its worst cycles.

    `placed` in program order with the times of one iteration; iterations start every `interval`
    cycles. A lower bound: values that only pass by count as far as the loop uses them.
    """
    alive: Counter[tuple[str, int]] = Counter()
    for store, start, end in _lifetimes(placed, interval):
        for cycle in range(start, min(end, start + interval)):
            alive[store, cycle % interval] += 1
    return sum(
        max(0, max((alive[store, c] for c in range(interval)), default=0) - room(store))
        for store in STORES
    )


def _lifetimes(placed: Sequence[Placed], interval: int) -> Iterator[tuple[str, int, int]]:
    """(store, first cycle, cycle after the last) in which a unit of a variable is taken."""
    begin: dict[tuple[Variable, int], int] = {}
    finish: dict[tuple[Variable, int], int] = {}
    carried: dict[tuple[Variable, int], int] = {}
    for item in placed:
        for effect in sorted(effects(item.operation).registers, key=lambda e: e.write):
            when = item.time + effect.cycle - 1
            for number in effect.units:
                unit = effect.variable, number
                if effect.write:
                    begin[unit] = min(begin.get(unit, when), when)
                elif unit in begin:
                    finish[unit] = max(finish.get(unit, when), when)
                else:
                    carried[unit] = max(carried.get(unit, when), when)
    for unit in {*begin, *carried}:
        store = store_of(unit[0].registers[0], unit[1])
        start = begin.get(unit, 0)
        end = max(finish.get(unit, start), start)
        if unit in carried:
            end = max(end, carried[unit] + interval) if unit in begin else start + interval
        if store:
            yield store, start, end
