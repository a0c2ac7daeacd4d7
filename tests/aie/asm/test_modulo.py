"""Pipelined loops: rates that the units allow, limits that the program sets, and correctness."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from made_up import build, check, looping

from whisper_npu_cli.aie.asm.examples import EXAMPLES, kernel, rendered
from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.meaning import Unsuitable
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import KernelError


def chain(kind: str, accumulators: int, **options) -> Program:
    """A loop in which each accumulator takes one product an iteration."""
    p = Program("chain")
    x, mode = p.input("x", "x"), p.input("r", "mode")
    sums = [p.input(kind, f"sum{i}") for i in range(accumulators)]
    with p.loop(options.pop("count", 20), **options):
        for total in sums:
            (p.vmac_f if kind == "bm" else p.vmac)(total, x, x, mode, to=total)
    target = p.pointer("out", 0x70000)
    for total in sums:
        p.vst(total.lo if kind == "bm" else total.lo.lo, target.post(32))
    return p


def interval(code: Code) -> int:
    return kernel(code).length


@pytest.mark.parametrize("name", EXAMPLES)
def test_matrix_products_reach_one_multiply_add_a_cycle(name: str) -> None:
    code = build(EXAMPLES[name]())
    body = kernel(code)
    slots = [item.form.opcode.slot for item in body.placed]
    assert slots.count("vec") == body.length == 4
    assert sorted({item.time for item in body.placed if item.form.opcode.slot == "vec"}) == [
        0, 1, 2, 3
    ]  # fmt: skip
    assert slots.count("lda") + slots.count("ldb") == {"bf16_product": 8, "int8_product": 6}[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_long_matrix_products_approach_the_peak(name: str) -> None:
    short, long = (check(p, compile_program(p)) for p in (EXAMPLES[name](8), EXAMPLES[name](40)))
    assert long - short == 4 * 32


@pytest.mark.parametrize(
    ("kind", "accumulators", "cycles"), [("bm", 1, 4), ("bm", 3, 4), ("bm", 5, 5), ("cm", 1, 2)]
)
def test_a_chain_of_sums_runs_at_its_latency(kind: str, accumulators: int, cycles: int) -> None:
    assert interval(build(chain(kind, accumulators))) == cycles


def test_units_bound_the_interval() -> None:
    p = Program("t")
    source, target = p.pointer("in", 0x70000), p.pointer("out", 0x74000)
    with p.loop(10):
        for _ in range(3):
            p.vst(p.vld(source.post(32)), target.post(32))
    assert interval(build(p)) == 3
    p = Program("t", banks={"in": 0, "other": 0})
    source, other = p.pointer("in", 0x70000), p.pointer("other", 0x71000)
    target = p.pointer("out", 0x74000)
    with p.loop(10):
        p.vst(p.vadd_16(p.load_x(source), p.load_x(other)).lo, target.post(32))
    assert interval(build(p)) == 4, "four loads from one bank"


@pytest.mark.parametrize("at_least", [1, 2, 3])
def test_no_more_iterations_overlap_than_the_loop_promises(at_least: int) -> None:
    p = Program("t")
    source, target = p.pointer("in", 0x70000), p.pointer("out", 0x74000)
    count = p.input("r", "count")
    with p.loop(count, at_least=at_least):
        p.vst_srs_s8_s32(
            p.vlda_ups_s32_s8(p.input("s", "s"), source.post(32)),
            p.input("s", "t"),
            target.post(32),
        )
    p.saturation(0)
    program = Program("t")
    program.saturation(0)
    program.rounding(0)
    program.body += p.body
    program.inputs = p.inputs
    code = compile_program(program)
    for times in range(at_least, 7):
        check(program, code, starts={"count": times})
    with pytest.raises(Unsuitable, match=f"promised to run {at_least} times"):
        check(program, code, starts={"count": at_least - 1})


def test_every_small_count_works() -> None:
    for count in range(1, 8):
        for unroll in (n for n in (1, 2, 3) if count % n == 0):
            build(chain("bm", 2, count=count, unroll=unroll))


def test_unrolling_gives_copies_their_own_registers() -> None:
    def cube(unroll: int) -> Program:
        p = Program("t")
        source, target, mode = p.pointer("in", 0x70000), p.pointer("out", 0x74000), p.const(60)
        with p.loop(24, unroll=unroll):
            x = p.load_x(source)
            square = p.vmul_f(x, x, mode)
            p.vst(p.vmac_f(square, x, x, mode).lo, target.post(32))
        return p

    # the units need 2 cycles a cube, but x waits for its square and is taken for 5
    assert interval(build(cube(1))) == 5
    assert interval(build(cube(2))) == 5
    assert interval(build(cube(3))) == 6


def test_unpipelined_loops_run_one_iteration_after_the_other() -> None:
    fast, slow = (compile_program(chain("bm", 1, pipelined=p)) for p in (True, False))
    assert interval(fast) == 4
    assert interval(slow) >= interval(fast)


def test_unrolling_a_count_from_a_register_is_refused() -> None:
    p = Program("t")
    with p.loop(p.input("r", "count"), at_least=2, unroll=2):
        p.add(p.input("r", "a"), 1)
    with pytest.raises(KernelError, match="whose count is not a number"):
        compile_program(p)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(looping())
def test_random_loops(program: Program) -> None:
    code = compile_program(program)
    try:
        check(program, code)
    except Unsuitable:
        return


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(looping())
def test_many_random_loops(program: Program) -> None:
    build(program)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_printed_schedules_are_current(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "scheduling.md").read_text()
    assert f"<!-- schedule {name} -->\n{rendered(name)}<!-- end -->" in page
