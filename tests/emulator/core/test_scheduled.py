"""Scheduler and emulator against each other, on random programs.

The same program runs scheduled, with overlapping latencies, branches and pipelined loops, and one
operation at a time: each instruction alone in its bundle, its operands put into registers by hand
and every result awaited. Memory must hold the same afterwards, to the last mark of what is unknown.
"""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
from core_bench import MEMORY, new_core
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.asm.program import Branch, Loop, Operation, Program
from whisper_npu_cli.aie.asm.values import Value, Variable, physical
from whisper_npu_cli.aie.facts.core_registers import units, width
from whisper_npu_cli.emulator.reasons import Reason

sys.path.append(str(Path(__file__).parents[2] / "aie" / "asm"))
made_up = importlib.import_module("made_up")

SETTLED = "nop\n" * 16 + "done\n"
CONTROL_WORDS = {"int8": 0x308, "bf16": 0x1C}
INPUTS = {"r": 0x9ABCDEF0, "s": 3, "m": 32}


class OneAtATime:
    """Executes a program's operations in the order of its text, each complete before the next."""

    def __init__(self, memory: np.ndarray, inputs: dict[str, int]) -> None:
        self.core, self.arena = new_core(b"")
        self.arena.write(0, memory.tobytes())
        self.inputs = inputs
        self.state: dict[tuple[Variable | str, int], int | None] = {}
        self.codes: dict[str, bytes] = {}

    def run(self, program: Program) -> None:
        for variable in program.inputs:
            at = 0
            for number, unit in enumerate(units(variable.registers[0])):
                self.state[variable, number] = self.inputs[variable.name] >> at
                at += width(unit)
        self.walk(program.body)

    def walk(self, nodes: list) -> None:
        for node in nodes:
            if isinstance(node, Operation):
                self.execute(node)
            elif isinstance(node, Loop):
                for _ in range(node.count):
                    self.walk(node.body)
            else:
                assert isinstance(node, Branch)
                taken = (self.number(node.condition) != 0) is not node.zero
                self.walk(node.then if taken else node.otherwise)

    def number(self, value: Value) -> int:
        held = self.state[self.key(value), value.first]
        assert held is not None
        return held & 0xFFFFFFFF

    @staticmethod
    def key(value: Value) -> Variable | str:
        """What a value is kept under: registers that have no other name by that name."""
        fixed = len(value.variable.registers) == 1
        return value.variable.registers[0] if fixed else value.variable

    def execute(self, operation: Operation) -> None:
        form = operation.forms[0]
        fixed = operation.fixed
        places = self.places(form, {unit for name in fixed for unit in units(name)})
        values = [v.on(places[v.variable]) if isinstance(v, Value) else v for v in form.values]
        reads, writes = [], []
        for access in form.accesses():
            register = access.register
            if isinstance(register, Value):
                bound, place = register, register.on(places[register.variable])
            else:
                bound, place = fixed.get(register) or Value.of(physical(register)), register
            (writes if access.write else reads).append((bound, place))
        self.step(Instruction(form.opcode, tuple(values)), reads, writes)

    @staticmethod
    def places(form: Instruction, taken: set[str]) -> dict[Variable, str]:
        """A register for each variable of an instruction, one that all its operands accept."""
        uses: dict[Variable, list] = {}
        for operand, value in zip(form.opcode.operands, form.values, strict=True):
            if isinstance(value, Value):
                uses.setdefault(value.variable, []).append((value, operand.kind.codes))
        found = {}
        for variable, pairs in uses.items():
            found[variable] = next(
                register
                for register in variable.registers
                if not taken & set(units(register))
                and all(value.on(register) in codes for value, codes in pairs)
            )
            taken = taken | set(units(found[variable]))
        return found

    def step(self, instruction: Instruction, reads: list, writes: list) -> None:
        text = instruction.text()
        if text not in self.codes:
            self.codes[text] = assemble(parse(text + "\n" + SETTLED)).code
        code = self.codes[text]
        core = self.core
        core.program[: len(code)] = np.frombuffer(code, np.uint8)
        core.forget()
        core.reset()
        for bound, place in reads:
            for number, unit in zip(bound.unit_numbers, units(place), strict=False):
                held = self.state.get((self.key(bound), number))
                if held is not None:
                    core.write(unit, held)
        assert core.run(1000) is Reason.DONE
        for bound, place in writes:
            for number, unit in zip(bound.unit_numbers, units(place), strict=True):
                known = core.is_known(unit)
                self.state[self.key(bound), number] = core.read(unit) if known else None


# ---------------------------------------------------------------------- programs


def store(pool: Any) -> None:
    p = pool.program
    match pool.draw(st.integers(0, 4)):
        case 0:
            p.st(pool.pick("r"), made_up.address(pool))
        case 1:
            p.vst_conv_bf16_fp32(pool.pick("bm"), made_up.address(pool))
        case 2:
            p.vst_srs_s8_s32(pool.pick("cm"), pool.pick("s"), made_up.address(pool))
        case 3:
            p.st_s8(pool.pick("r"), pool.pick("p").post(pool.pick("m")))
        case _:
            p.vst(pool.pick("w"), made_up.address(pool))


def vector(pool: Any) -> None:
    p, a, b = pool.program, pool.pick("x"), pool.pick("x")
    match pool.draw(st.integers(0, 5)):
        case 0:
            pool.add(p.vadd_16(a, b, to=made_up._into(pool, "x")))
        case 1:
            mode = p.const(pool.draw(st.integers(0, 47)))
            pool.add(p.vshuffle(a, b, mode, to=p.vector(512)))
        case 2:
            pool.add(p.vsel_16(a, b, p.vlt_s16(a, b)))
        case 3:
            pool.add(p.vbcst_16(pool.pick("r")))
        case 4:
            pool.add(p.vmov(pool.pick("w"), to=p.vector(256)))
        case _:
            index = p.mov(pool.pick("r"), to=p.scalar("index"))
            pool.add(p.vextract_s16(a, index, to=p.scalar("element")))


def accumulate(pool: Any) -> None:
    p, a, b = pool.program, pool.pick("x"), pool.pick("x")
    integer, floating = p.const(CONTROL_WORDS["int8"]), p.const(CONTROL_WORDS["bf16"])
    match pool.draw(st.integers(0, 6)):
        case 0:
            pool.add(p.vmul_f(a, b, floating, to=p.accumulator(512)))
        case 1:
            acc = pool.pick("bm")
            pool.add(p.vmac_f(acc, a, b, floating, to=acc))
        case 2:
            pool.add(p.vmac(pool.pick("cm"), a.lower, b, integer, to=made_up._into(pool, "cm")))
        case 3:
            pool.add(p.vups_s32_s16(a, pool.pick("s"), to=made_up._into(pool, "cm")))
        case 4:
            pool.add(p.vsrs_s16_s32(pool.pick("cm"), pool.pick("s"), to=made_up._into(pool, "x")))
        case 5:
            pool.add(p.vconv_bf16_fp32(pool.pick("bm")))
        case _:
            pool.add(p.vadd_f(pool.pick("bm"), pool.pick("bm"), floating))


MENU = (made_up.scalar, made_up.load, made_up.load, store, vector, vector, accumulate, accumulate)


@st.composite
def programs(draw) -> Program:
    """Straight code, a loop that may be pipelined or unrolled, and a branch."""
    pool = made_up.start(draw)
    pool.scalar_step = 32  # so that vectors stay aligned
    p = pool.program
    made_up.operations(pool, 8, MENU)
    unroll = draw(st.sampled_from((1, 1, 2)))
    count = unroll * draw(st.integers(1, 5))
    with p.loop(count, unroll=unroll, pipelined=draw(st.booleans())):
        made_up.operations(pool, 6, MENU)
    if draw(st.booleans()):
        with p.if_nonzero(pool.pick("r")):
            before = {kind: list(values) for kind, values in pool.values.items()}
            made_up.operations(pool, 4, MENU)
            made_up.save(pool)
            pool.values = before
    made_up.save(pool)
    return p


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(program=programs(), seed=st.integers(0, 2**32 - 1))
def test_scheduled_code_computes_what_the_operations_do_one_at_a_time(
    program: Program, seed: int
) -> None:
    source = random.Random(seed)
    memory = np.frombuffer(source.randbytes(0x10000), np.uint8)
    code = compile_program(program)
    inputs = {}
    for variable in program.inputs:
        kind = variable.kind.name
        inputs[variable.name] = INPUTS.get(kind, source.getrandbits(1024))
        if kind == "p":
            number = len([n for n in inputs.values() if MEMORY <= n < MEMORY + 0x10000])
            inputs[variable.name] = MEMORY + 0x1000 * number
    slow = OneAtATime(memory, inputs)
    slow.run(program)
    core, arena = new_core(code.assembly.code)
    arena.write(0, memory.tobytes())
    for name, register in code.inputs.items():
        core.write(register, inputs[name])
    assert core.run(1_000_000) is Reason.DONE
    np.testing.assert_array_equal(arena.known, slow.arena.known)
    differing = np.flatnonzero((arena.bytes != slow.arena.bytes) & (arena.known != 0))
    assert not len(differing), f"bytes differ from {differing[0]:#x} on"
