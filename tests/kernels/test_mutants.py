"""Schedules made wrong on purpose: whatever changes the meaning, the checker has to refuse.

A mutant moves one operation by a cycle, drops a cycle, or puts a value into another register. Two
judges that share nothing but the instruction table and the decoder look at it: the checker
(aie/asm/verify.py, symbolic) and the emulator, which runs it on random memory and compares what
it leaves there. What the emulator can tell from the original, the checker must refuse.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from one_core import BYTES, MEMORY, OneCore

from whisper_npu_cli.aie.asm.examples import bf16_product, int8_product
from whisper_npu_cli.aie.asm.fields import EncodingError
from whisper_npu_cli.aie.asm.link import Code, compile_program, lay_out
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.replay import ScheduleFault
from whisper_npu_cli.aie.asm.schedule import Timed
from whisper_npu_cli.aie.asm.values import KernelError
from whisper_npu_cli.aie.asm.verify import verify
from whisper_npu_cli.aie.facts.core_registers import units as units_of
from whisper_npu_cli.emulator.fault import EmulationError

RUN_CYCLES = 1000
WORLDS = 4


def scalars() -> Program:
    """Loads, arithmetic, a branch and a loop over both."""
    p = Program("scalars")
    source, target = p.pointer("in", 0x70000), p.pointer("out", 0x74000)
    total = p.const(0, name="total")
    with p.loop(6):
        a, b = p.lda(source.post(4), to=p.scalar()), p.lda(source.post(4), to=p.scalar())
        p.add(total, p.mul(a, b), to=total)
        odd = p.and_(a, p.const(1))
        with p.if_nonzero(odd):
            p.sub(total, b, to=total)
        p.st(total, target.post(4))
    p.st_s8(total, target[0])
    return p


def vectors() -> Program:
    """Loads, additions, shuffles and narrowing stores in straight code."""
    p = Program("vectors")
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    for sign in ("crUPSSign", "crSRSSign"):
        p.set_mode(sign, 1)
    source, target = p.pointer("in", 0x70000), p.pointer("out", 0x74000)
    mode, shift = p.const(3), p.const(9, p.new("s", "shift"))
    for _ in range(3):
        a, b = p.load_x(source), p.load_x(source)
        c = p.vadd_32(a, b)
        d = p.vshuffle(p.vsub_16(c, a), b, mode)
        p.vst(c.lo, target.post(32))
        p.vst(d.hi, target.post(32))
        wide = p.vups_s32_d16(d.lo, shift)
        p.vst_srs_d16_s32(wide, shift, target.post(32))
    return p


PROGRAMS: dict[str, Callable[[], Program]] = {
    "scalars": scalars, "vectors": vectors,
    "bf16": lambda: bf16_product(8), "int8": lambda: int8_product(8),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """What was done, and the code that came of it."""

    what: str
    code: Code


def mutate(program: Program, code: Code, rng: random.Random) -> Mutant | None:
    """One random change; None where the result cannot be encoded."""
    timed, registers = list(code.timed), dict(code.registers)
    kind = rng.choice(["earlier", "later", "shorter", "register"])
    if kind == "register":
        variable = rng.choice([v for v in registers if len(v.registers) > 1])
        used = {units for name in registers.values() for units in units_of(name)}
        others = {*variable.registers} - {registers[variable]}
        taken = sorted(r for r in others if used & {*units_of(r)})
        registers[variable] = rng.choice(taken or [registers[variable]])
    else:
        at = rng.randrange(len(timed))
        timed[at] = _moved(timed[at], kind, rng)
    try:
        made = lay_out(program, timed, registers, {}, {})
    except (EncodingError, KernelError):
        return None
    return None if made.assembly.code == code.assembly.code else Mutant(kind, made)


def _moved(block: Timed, kind: str, rng: random.Random) -> Timed:
    if kind == "shorter":  # all from some cycle on come one earlier
        cut = rng.randrange(1, block.length) if block.length > 1 else 0
        placed = tuple(replace(p, time=p.time - (p.time >= cut > 0)) for p in block.placed)
        return replace(block, length=block.length - (cut > 0), placed=placed)
    number = rng.randrange(len(block.placed))
    item, step = block.placed[number], -1 if kind == "earlier" else 1
    if not 0 <= item.time + step < block.length:
        return block
    placed = list(block.placed)
    placed[number] = replace(item, time=item.time + step)
    return replace(block, placed=tuple(placed))


def outcome(code: Code, fill: bytes) -> bytes | str:
    """Memory after the run, or what the emulator has against it."""
    core = OneCore(code)
    core.put(MEMORY, fill)
    try:
        core.run(most=RUN_CYCLES)
    except (EmulationError, AssertionError) as fault:
        return str(fault)
    return core.arena.bytes.tobytes()


def refused(program: Program, code: Code) -> str:
    """Why the checker refuses the code; empty when it does not."""
    try:
        for world in range(WORLDS):  # for the branches, which go one way in each
            verify(
                program,
                code.assembly,
                inputs={},
                origins=code.origins,
                most=RUN_CYCLES,
                world=world,
            )
    except ScheduleFault as fault:
        return str(fault)
    return ""


def judge(name: str, count: int, seed: int) -> Counter[str]:
    """Mutants by verdict of both judges; fails on one that changes memory and is not refused."""
    program = PROGRAMS[name]()
    code, rng = compile_program(program), random.Random(seed)
    fill = np.random.default_rng(seed).integers(0, 256, BYTES, np.uint8)
    fill[1::2] &= 0xBF  # as bfloat16 no infinities and no numbers that are none
    right = outcome(code, fill.tobytes())
    assert isinstance(right, bytes) and refused(program, code) == ""
    verdicts: Counter[str] = Counter()
    while sum(verdicts.values()) < count:
        mutant = mutate(program, code, rng)
        if mutant is None:
            continue
        same = outcome(mutant.code, fill.tobytes()) == right
        against = refused(program, mutant.code)
        assert same or against, f"{mutant.what} of {name} changes memory and passes"
        verdicts[f"{mutant.what}: {'same' if same else 'changed'}, {bool(against)}"] += 1
    return verdicts


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_changes_the_meaning_is_refused(name: str) -> None:
    verdicts = judge(name, 40, 1)
    assert sum(n for what, n in verdicts.items() if "changed" in what) > 10, verdicts


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_many_mutants(name: str) -> None:
    verdicts = judge(name, 1000, 2)
    print(name, dict(sorted(verdicts.items())))
    assert sum(n for what, n in verdicts.items() if "changed" in what) > 250, verdicts
