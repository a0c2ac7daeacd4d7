"""Programs with as many values as there are registers, and with one more; and long loops."""

from __future__ import annotations

import time

import pytest

from whisper_npu_cli.aie.asm.allocate import PressureError
from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Shape
from whisper_npu_cli.aie.asm.program import Program


def accumulators(count: int) -> Program:
    p = Program("t")
    source, mode = p.pointer("in", 0x70000), p.product_mode(Shape.INT8_4X8X8)
    sums = [p.accumulator(1024, f"sum{i}") for i in range(count)]
    for total in sums:
        p.vclr(to=total)
    with p.loop(16):
        x = p.load_x(source)
        for total in sums:
            p.vmac(total, x, x, mode, to=total)
    for total in sums:
        p.vst(total.lo.lo, source.post(32))
    return p


def vectors(count: int) -> Program:
    p = Program("t")
    source = p.pointer("in", 0x70000)
    held = [p.load_x(source) for _ in range(count)]
    with p.loop(4):
        for x in held:
            p.vadd_16(x, held[0], to=x)
    for x in held:
        p.vst(x.lo, source.post(32))
    return p


def pointers(count: int) -> Program:
    p = Program("t")
    held = [p.pointer(f"buffer{i}", 0x70000 + 64 * i) for i in range(count)]
    with p.loop(4):
        for q in held:
            p.st(p.add(p.lda(q[0], to=p.scalar()), 1), q.post(4))
    return p


def modifiers(count: int) -> Program:
    p = Program("t")
    source = p.pointer("in", 0x70000)
    held = [p.dimensions(step=64 * i, inner=32, count=4) for i in range(count)]
    with p.loop(4):
        for d in held:
            p.vst(p.vld(source.post(d)), source[0])
    return p


@pytest.mark.parametrize(
    ("build", "most", "store", "names"),
    [
        (accumulators, 9, "36 accumulator units", "sum3:cm"),
        (vectors, 12, "24 vector units", "load_3:x"),
        (pointers, 8, "8 p units", "buffer3:p"),
        (modifiers, 8, "8 m units", "dims_3:d"),
    ],
)
def test_one_value_too_many_is_told_with_names(build, most: int, store: str, names: str) -> None:
    compile_program(build(most))
    with pytest.raises(PressureError) as refusal:
        compile_program(build(most + 1))
    text = str(refusal.value)
    assert text.startswith("Registers run short in t.") and f"of {store} hold values" in text
    assert names in text and text.endswith("shorten lifetimes or split the block.")


def polynomial(unroll: int) -> Program:
    """A loop of some 50 operations an iteration in one long chain of latencies."""
    p = Program("t")
    p.rounding(Rounding.HALF_TO_EVEN)
    source, target = p.pointer("in", 0x70000), p.pointer("out", 0x78000)
    mode = p.product_mode(Shape.BF16_4X8X4)
    factors = [p.vbcst_16(p.const(n)) for n in range(6)]
    with p.loop(32, independent=("in", "out"), unroll=unroll):
        x = p.load_x(source)
        total = p.vmul_f(factors[0], x, mode)
        for factor in factors[1:]:
            half, whole = p.vconv_bf16_fp32(total), p.vector(512)
            p.vmov(half, to=whole.lo)
            p.vmov(half, to=whole.hi)
            total = p.vmac_f(p.vmul_f(whole, x, mode), factor, factor, mode)
        p.vst_conv_bf16_fp32(total, target.post(32))
    return p


def test_long_loops_compile_in_seconds() -> None:
    """254 operations in all, 84 cycles; 80 s before searches were bounded, some 4 s since."""
    start = time.process_time()
    code = compile_program(polynomial(unroll=4))
    assert time.process_time() - start < 20
    assert code.cycles["t.loop1"] <= 88
