"""Distances between operations, against the figures of the shared facts (8.3) and their reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whisper_npu_cli.aie.asm.depend import edges
from whisper_npu_cli.aie.asm.program import Operation, Program


def distance(program: Program, first: int = 0, second: int = 1, **options) -> int | None:
    """Least cycles from the first to the second operation; None where they are free."""
    found = {
        (e.first, e.second, e.distance): e.latency
        for e in edges([n for n in program.body if isinstance(n, Operation)], **options)
    }
    return found.get((first, second, int(options.get("loop", False))))


@pytest.fixture
def p() -> Program:
    return Program("t")


def test_results_are_ready_when_the_facts_say_so(p: Program) -> None:
    x, mode = p.input("x", "x"), p.input("r", "mode")
    acc, wide = p.input("bm", "acc"), p.input("cm", "wide")
    pointer, shift = p.input("p", "q", buffer="one"), p.input("s", "shift")
    cases = []

    def follows(latency: int, first, second) -> None:
        start = len(p.body)
        second(first())
        cases.append((distance(p, start, start + 1), latency))

    follows(1, lambda: p.add(mode, 1), lambda v: p.add(v, 1))
    follows(2, lambda: p.mul(mode, mode), lambda v: p.add(v, 1))
    follows(7, lambda: p.lda(pointer[0], to=p.scalar()), lambda v: p.add(v, 1))
    follows(7, lambda: p.vlda(pointer[0]), lambda v: p.vst(v, p.pointer("other")[0]))
    follows(4, lambda: p.vmac_f(acc, x, x, mode), lambda v: p.vmac_f(v, x, x, mode))
    follows(2, lambda: p.vmac(wide, x, x, mode), lambda v: p.vmac(v, x, x, mode))
    follows(6, lambda: p.vmac_f(acc, x, x, mode), lambda v: p.vconv_bf16_fp32(v))
    follows(1, lambda: p.vadd_16(x, x), lambda v: p.vadd_16(v, x))
    follows(2, lambda: p.vadd_16(x, x), lambda v: p.vmul_f(v, x, mode))
    follows(3, lambda: p.vups_s32_s16(x, shift), lambda v: p.vsrs_s16_s32(v, shift))
    follows(4, lambda: p.vsrs_s16_s32(wide, shift), lambda v: p.vadd_16(v, v))
    follows(1, lambda: p.vlda(pointer[0]), lambda v: p.vunpack_s16_s8(v))
    assert [found for found, _ in cases] == [latency for _, latency in cases]


def test_a_load_may_start_before_its_register_is_free(p: Program) -> None:
    w, x = p.input("w", "w"), p.input("x", "x")
    p.vst(w, p.input("p", "q", buffer="one")[0])
    p.vlda(p.input("p", "r", buffer="two")[0], to=w)
    assert distance(p) == -6
    p.vadd_16(x, x, to=x)
    p.vlda(p.input("p", "s")[0], to=x.lo)
    assert distance(p, 2, 3) == 2 - 7 + 1


def test_where_a_bypass_is_unsure_both_ways_hold(p: Program) -> None:
    # a 256-bit register may be a lower half (on the bypass) or an upper one (not)
    x, w = p.input("x", "x"), p.input("w", "w")
    p.vadd_16(x, x, to=x)
    p.vmov(w, to=p.vector(256))
    p.vmov(x.lo, to=w)
    assert distance(p, 1, 2) == 0
    assert distance(p, 0, 2) == 2


def test_memory_keeps_its_order_per_buffer(p: Program) -> None:
    one, two, any_ = (p.input("p", name, buffer=name) for name in ("one", "two", ""))
    w, acc = p.input("w", "w"), p.input("bm", "acc")
    p.vst(w, one[0])
    p.vst_conv_bf16_fp32(acc, one[0])
    p.vlda(one[32])
    p.vlda(two[0])
    p.vlda(any_[0])
    assert distance(p, 0, 1) == -1, "converting stores touch memory two stages later"
    assert distance(p, 1, 2) == 3
    assert distance(p, 1, 3) is None
    assert distance(p, 1, 4) == 3
    assert distance(p, 2, 3) is None, "loads have no order"


def test_partial_stores_touch_memory_late(p: Program) -> None:
    q = p.input("p", "q")
    p.st_s8(p.input("r", "r"), q[0])
    p.lda(q[4], to=p.scalar())
    assert distance(p) == 7


def test_independent_iterations_and_copies(p: Program) -> None:
    q = p.input("p", "q", buffer="one")
    p.vlda(q[0], to=p.vector(256))
    p.vst(p.input("w", "w"), q[0])
    body = [node for node in p.body if isinstance(node, Operation)]
    assert (1, 0) in {(e.first, e.second) for e in edges(body, loop=True) if e.distance}
    free = edges(body, loop=True, independent=["one"])
    assert (1, 0) not in {(e.first, e.second) for e in free if e.distance}
    assert (0, 1) in {(e.first, e.second) for e in free if not e.distance}
    body[1] = replace(body[1], copy=1)
    assert (0, 1) not in {(e.first, e.second) for e in edges(body, independent=["one"])}


def test_locks_keep_memory_on_its_side(p: Program) -> None:
    q, one = p.input("p", "q"), p.input("r", "one")
    p.vst(p.input("w", "w"), q[0])
    p.rel(48, one)
    p.acq(49, one)
    p.vlda(q[0])
    assert (distance(p, 0, 1), distance(p, 1, 2), distance(p, 2, 3)) == (4, 1, 4)


def test_carry_ties_additions_only_to_who_uses_it(p: Program) -> None:
    a = p.input("r", "a")
    p.add(a, 1)
    p.adc(a, a)
    p.and_(a, a)
    assert distance(p, 0, 1) == 1
    assert distance(p, 0, 2) is None
