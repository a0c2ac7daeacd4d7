"""Straight code, branches and loops by branch: what the list scheduler makes of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from made_up import build, straight, structured

from whisper_npu_cli.aie.asm.link import PROGRAM_MEMORY, compile_program
from whisper_npu_cli.aie.asm.meaning import Unsuitable
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import KernelError

RELAXED = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def test_independent_operations_share_bundles() -> None:
    p = Program("t")
    a, b = p.input("r", "a"), p.input("r", "b")
    x, q = p.input("x", "x"), p.input("p", "q", buffer="one")
    p.vadd_16(x, x)
    p.add(a, b)
    p.vlda(q[0])
    p.vmul_f(x, x, a)
    code = build(p)
    assert len(code.assembly.bundles[0][1].instructions) == 4


def test_branches_have_work_in_their_delay_slots() -> None:
    p = Program("t")
    q, total = p.input("p", "q"), p.input("r", "total")
    with p.loop(5):
        with p.if_nonzero(total):
            p.add(total, 1, to=total)
        for _ in range(4):
            p.st(total, q.post(4))
    code = build(p)
    # the counter, the branch a cycle later, and its five slots hold the whole body
    assert code.cycles["t.endif3"] == 7


def test_results_may_arrive_in_the_next_block() -> None:
    p = Program("t")
    q, out = p.input("p", "q", buffer="one"), p.pointer("out", 0x70000)
    condition, other = p.input("r", "condition"), p.scalar("other")
    p.lda(q[0], to=other)
    with p.if_nonzero(condition):
        p.st(condition, out.post(4))
    p.st(other, out.post(4))
    for start in (0, 1):
        code = build(p, starts={"condition": start})
    # the branch does not wait for the load
    assert code.cycles["t.start"] <= 7


def test_a_dispatch_loop_with_locks() -> None:
    """The frame of every core program: wait, read parameters, choose, work, release."""
    p = Program("t")
    acquire, one = p.const(-1), p.const(1)
    with p.forever():
        p.acq(48, acquire)
        parameters = p.pointer("parameters", 0x70400)
        kind, count = (p.lda(parameters[4 * n], to=p.scalar()) for n in range(2))
        source, target = p.pointer("in", 0x71000), p.pointer("out", 0x74000)
        with p.if_zero(kind), p.loop(count, at_least=2):
            p.vst(p.vld(source.post(32)), target.post(32))
        with p.otherwise(), p.while_nonzero(count):
            p.st(count, target.post(4))
            p.add(count, -1, to=count)
        p.rel(49, one)
    code = build(p, passes=3)
    assert len(code.assembly.code) < 600


def test_control_can_nest() -> None:
    p = Program("t")
    q, n = p.pointer("out", 0x70000), p.input("r", "n")
    with p.loop(3):
        with p.loop(2):
            with p.loop(4):
                p.st(n, q.post(4))
            with p.if_zero(n):
                p.st(n, q.post(8))
            with p.otherwise(), p.loop(2):
                p.st(n, q.post(12))
        p.add(n, -1, to=n)
    build(p, starts={"n": 1})


def test_branch_targets_and_loop_ends_are_aligned() -> None:
    p = Program("t")
    q, n = p.pointer("out", 0x70000), p.input("r", "n")
    with p.loop(3):
        with p.if_zero(n):
            p.st(n, q.post(8))
        with p.loop(9):
            p.st(n, q.post(4))
    code = build(p)
    labels = code.assembly.labels
    for label in ("t.outer1", "t.endif3", "t.loop4", "t.loop4.end", "t.halt7"):
        assert labels[label] % 16 == 0, label


def test_programs_have_to_fit_the_program_memory() -> None:
    p = Program("t")
    q, n = p.pointer("out", 0x70000), p.input("r", "n")
    for _ in range(PROGRAM_MEMORY // 4):
        p.st(n, q.post(4))
    with pytest.raises(KernelError, match=rf"takes \d+ bytes of the {PROGRAM_MEMORY} of a core"):
        compile_program(p)


def test_the_same_program_gives_the_same_bytes() -> None:
    def program() -> Program:
        p = Program("t")
        source, target, x = p.pointer("in", 0x70000), p.pointer("out", 0x74000), p.input("x", "x")
        with p.loop(9):
            p.vst(p.vadd_16(p.load_x(source), x).hi, target.post(32))
        return p

    assert compile_program(program()).assembly.code == compile_program(program()).assembly.code


@settings(max_examples=15, **RELAXED)
@given(straight())
def test_random_straight_code(program: Program) -> None:
    build(program)


@settings(max_examples=10, **RELAXED)
@given(structured())
def test_random_control(program: Program) -> None:
    try:
        build(program)
    except Unsuitable:
        return


@pytest.mark.slow
@settings(max_examples=400, **RELAXED)
@given(structured() | straight())
def test_much_random_code(program: Program) -> None:
    build(program)
