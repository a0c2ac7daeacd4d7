"""GELU of the sums of a tile, in place: x = c + bias, c := x * Phi(x), in fp32.

With h(t) = t Phi(-t), x Phi(x) = max(x, 0) - h(|x|): the first term is exact in fp32, and h is
small and bounded, so 16-bit integers do for it. |x| is cut off at 4, where h is 1e-4. There
h(t) = t P(t)^4 with a cubic P is right within 4.1e-4 (fitted, least maximum).

z = x - 12 lies in one binade for |x| < 4, so its bits less those of -12 are -x 2^20 as an integer,
and farther off an integer that saturates. The bits of -12 less an integer h 2^20 are h - 12 as a
float, and min(z, -12) (as unsigned numbers) less that is the result.

The loop is pipelined by hand: each stage works on an older vector than the one before and hands
over in registers, so LAG turns more than there are vectors do without prologue and epilogue.
"""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.asm.modes import Shape
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.tile import BANKS, OWN, C
from whisper_npu_cli.kernels.vectors import ONE, everywhere

CUBIC = (0.84274103, -0.1720627, -0.05210272, 0.01228642)
"""P, from the constant on."""
BINADE = np.float32(-12)
ARGUMENT_BITS, FACTOR_BITS, HALF_BITS, SUM_BITS = 13, 15, 10, 20
"""Bits after the point: of t; of P; of P^2 and t P^2, whose product has those of z."""

STEP, VECTORS = 128, 128
"""Bytes of 32 sums, and how many of these a tile has: pairs of 4 x 4."""
BIAS_BLOCKS = 16
SCRATCH = OWN + 0x0400
"""What the first LAG turns work on, up to BIAS."""
BIAS = OWN + 0x0800
"""Bias blocks in the order of C: those of 16 columns twice, for the two rows of a block."""
LAG = 3


def reference(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The meaning, in the erf form."""
    return x * (1 + np.vectorize(erf)(x / sqrt(2))) / 2


def _fixed(value: float, bits: int) -> int:
    return round(value * 2**bits)


def _prepare(p: Program, bias: Value) -> None:
    """The bias blocks plus BINADE in their third row to BIAS; something to SCRATCH."""
    pattern = int(BINADE.view(np.int32)) >> 16 & 0xFFFF
    rows = p.vbcst_16(p.const(pattern))
    lanes = p.const(0xF << 8, p.new("r", "lanes"))  # row 2 of 8 x 4
    row = p.vsel_16(p.vbcst_16(p.const(0)), rows, lanes)
    source, scratch = p.pointer("side", bias), p.pointer("c", SCRATCH)
    target = p.pointer("biases", BIAS)
    steps = p.dimensions(step=64 + 256, inner=64, count=4)
    with p.loop(BIAS_BLOCKS, independent=("side", "c", "biases")):
        block = p.vbor(p.load_x(source), row)
        p.vst(block.lo, scratch.post(32))
        p.vst(block.hi, scratch.post(32))
        p.vst(block.hi, target[32])
        p.vst(block.lo, target[256])
        p.vst(block.hi, target[256 + 32])
        p.vst(block.lo, target.post(steps))


def _constants(p: Program) -> tuple[Value, list[Value], Value]:
    """The bits of BINADE and P's coefficients below the cubic one as accumulators; that one."""
    sums = [
        everywhere(p, _fixed(c, ARGUMENT_BITS + FACTOR_BITS), 1024, f"c{n}")
        for n, c in enumerate(CUBIC[:3])
    ]
    binade = everywhere(p, int(BINADE.view(np.int32)), 1024, "binade")
    return binade, sums, p.vbcst_16(p.const(_fixed(CUBIC[3], FACTOR_BITS)))


def _shift(p: Program, bits: int) -> Value:
    return p.const(bits, p.new("s", f"shift{bits}"))


def _shifted(p: Program, sums: Value, shift: Value, to: Value | None = None) -> Value:
    result = to if to is not None else p.vector(512, "shifted")
    p.vsrs_s16_s32(sums, shift, to=result)
    return result


def gelu(p: Program, bias: Value) -> None:
    """The pass over C. `bias` is the address of 16 second-operand blocks, one for 4 columns.

    Each holds [8 k][4 columns] bf16, whose first two rows add up to the bias; the third is zero.
    Saturation has to be SATURATE.
    """
    p.banks.update(ahead=BANKS["c"], biases=BANKS["work"])
    _prepare(p, bias)
    p.set_mode("crVaddSign", 0)
    matrix = p.product_mode(Shape.BF16_4X8X4)
    lanes = p.product_mode(Shape.INT16_LANES_32)
    plain = p.const(0, name="plain")
    ones = p.vbcst_16(p.const(ONE))
    binade, (c0, c1, c2), c3 = _constants(p)
    to_argument, to_factor = _shift(p, SUM_BITS - ARGUMENT_BITS), _shift(p, ARGUMENT_BITS)
    to_half = _shift(p, 2 * FACTOR_BITS - HALF_BITS)
    early, late, target = p.pointer("ahead", C), p.pointer("c", SCRATCH), p.pointer("c", SCRATCH)
    wrap = p.dimensions(step=STEP - STEP * VECTORS, inner=STEP, count=VECTORS)
    jumps = [
        p.dimensions(step=C - (SCRATCH + (LAG - 1) * STEP), inner=STEP, count=VECTORS)
        for _ in range(2)
    ]
    for jump in jumps:
        p.const(VECTORS - LAG, jump.dc)
    around = [p.dimensions(step=STEP - 16 * STEP, inner=STEP, count=16) for _ in range(2)]
    p.const(16 - LAG, around[1].dc)
    biases = p.pointer("biases", BIAS), p.pointer("biases", BIAS + (16 - LAG) * STEP)
    start = p.vbcst_16(p.const(0))
    floor = p.vbcst_32(p.const(int(BINADE.view(np.int32))))
    t = [p.vector(512, f"t{n}") for n in range(3)]
    factor, square = p.vector(512, "factor"), p.vector(512, "square")
    for value in (*t, factor, square):
        p.vmov(start, to=value)
    p.vst(start.lo, p.pointer("", SCRATCH)[0])  # "ahead" is C: no load before what was stored there

    def with_bias(pointer: Value, at: Value, steps: Value) -> Value:
        z = p.accumulator(1024, "z")
        for n, part in enumerate((z.lo.lo, z.lo.hi, z.hi.lo, z.hi.hi)):
            p.vlda(pointer[32 * n], to=part)
        first = p.vector(512, "first")
        p.vld(at[32], to=first.hi)
        p.vld(at[0], to=first.lo)
        second = p.vector(512, "second")
        p.vld(at[96], to=second.hi)
        p.vld(at[64], to=second.lo)
        p.padd(at.post(steps))
        p.vmac_f(z.lo, ones, first, matrix, to=z.lo)
        p.vmac_f(z.hi, ones, second, matrix, to=z.hi)
        return z

    with p.loop(p.const(VECTORS + LAG), at_least=2, independent=("c",)):
        w = _shifted(p, p.vmul(square, t[2], lanes), to_factor)
        small = p.vmsc(binade, w, square, lanes)
        z = with_bias(late, biases[1], around[1])
        for n, (part, less) in enumerate(((z.lo, small.lo), (z.hi, small.hi))):
            bits = p.vector(512, "bits")
            p.vmov(part, to=bits)
            bits, _ = p.vmin_ge_d32(bits, floor)
            y = p.accumulator(512, "y")
            p.vmov(bits, to=y)
            p.vsub_f(y, less, plain, to=y)
            p.vst(y.lo, target[64 * n])
            p.vst(y.hi, target[64 * n + 32])
        p.padd(late.post(jumps[0]))
        p.padd(target.post(jumps[1]))
        p.vmov(t[1], to=t[2])
        u = _shifted(p, p.vmac(c0, factor, t[1], lanes), to_factor)
        _shifted(p, p.vmul(u, u, lanes), to_half, square)
        p.vmov(t[0], to=t[1])
        u = _shifted(p, p.vmac(c2, c3, t[0], lanes), to_factor)
        _shifted(p, p.vmac(c1, u, t[0], lanes), to_factor, factor)
        z = with_bias(early, biases[0], around[0])
        p.padd(early.post(wrap))
        i = _shifted(p, p.vsub(z, binade, plain), to_argument)
        # |-32768| stays negative: t is -4 then, where P is as small as at 4
        p.vabs_gtz_s16(i, to=[t[0], p.scalar("positive")])
