"""Matrix product with int8 operands and int32 sums: scales, bias, GELU, residual; four formats.

Tiles and streams are those of kernels/gemm.py, with steps of 128 along k. After a tile's last step
net A brings one chunk more, with the scales of its rows.

Life of a tile: sums in C (int32) -> times the scales of row and column, plus bias (fp32, blocks of
4 x 4) -> GELU where asked for -> pieces. bf16 results take the residual on their way, as those of
kernels/gemm.py; raw sums leave out all of this.

A row's scale is m 2^e with a whole number m of 8 bits. A sum x is cut into h 2^14 + l. The bits of
1.5 2^23 plus the integers h m and l m are those numbers as floats, exactly; so x m is rounded once,
to float32. As two bfloat16 it is multiplied by the column's scale, a bfloat16 whose exponent e is
added to before. What is lost is below 2^-16 of the result.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from whisper_npu_cli.aie.asm.modes import Shape, Shuffle
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels import gemm, product_int8
from whisper_npu_cli.kernels.gelu import gelu
from whisper_npu_cli.kernels.tile import BANKS, HEADER, PIECE, SIDE, C, Tile
from whisper_npu_cli.kernels.vectors import VECTOR, everywhere, split

DIGIT = 14
"""Bits of l; sums are below 2^27, so h has no more."""
MAGIC = np.float32(1.5 * 2**23)
"""The float whose bits plus a whole number up to 2^22 are the sum's."""

GROUP = 64
"""Bytes for 8 columns: 2 x [2 parts][4] bf16 of bias, [8] bf16 scales, zeros."""
PANEL = 8 * GROUP
MOST_PANELS = 12
"""Panels of a product; a bias of zeros follows, where kernels/gemm.py has it, too."""
ZEROS = SIDE + MOST_PANELS * PANEL

ROW_SCALES = 256
"""Bytes for 4 rows: [4 rows][8] int16 m, [2][4 rows][4] int16 e 2^7, nothing."""


class Word(IntEnum):
    """Words of the header besides those of kernels/gemm.py."""

    FORMAT = 7
    STEPS = 8
    """INT8: a result's steps for each 1, as two bf16 that add up to it."""


class Format(IntEnum):
    """What the elements of a result are."""

    BF16 = 0
    FP32 = 1
    INT8 = 2
    INT32 = 3
    """The sums."""


def gemm_int8(p: Program, t: Tile) -> None:
    """All tiles of one operation."""
    panels, rows = t.parameter(gemm.Word.PANELS), t.parameter(gemm.Word.ROWS)
    panel = p.const(SIDE, name="panel")
    order_at = p.const(HEADER + 4 * gemm.Word.ORDERS, name="order_at")
    with p.loop(panels):
        with p.loop(rows):
            mode = p.product_mode(Shape.INT8_4X8X8)
            first = p.product_mode(Shape.INT8_4X8X8, zero_accumulator=True)
            with p.loop(t.parameter(gemm.Word.CHUNKS)):
                a, b, c = t.a.take(), t.b.take(), p.pointer("c", C)
                product_int8.tile_product(p, a, b, c, first, mode)
                t.a.give()
                t.b.give()
                p.mov(mode, to=first)
            _finish(p, t, panel, order_at)
        p.add(panel, p.const(PANEL), to=panel)
        p.add(order_at, 4, to=order_at)


def _finish(p: Program, t: Tile, panel: Value, order_at: Value) -> None:
    """From the sums in C to pieces."""
    wanted = t.parameter(Word.FORMAT)
    scales = t.a.take()
    with p.if_nonzero(p.add(wanted, -Format.INT32)):
        _scale(p, panel, scales)
    t.a.give()
    with p.if_nonzero(t.parameter(gemm.Word.GELU)):
        gelu(p, p.const(ZEROS))
    with p.if_zero(wanted):
        gemm.finish(p, t, p.const(ZEROS), order_at)
    with p.otherwise():
        with p.if_zero(p.add(wanted, -Format.INT8)):
            write_int8(p, t)
        with p.otherwise():
            write_words(p, t)


def _scale(p: Program, panel: Value, scales: Value) -> None:
    """C from int32 to fp32, blocks of 4 x 8 to two of 4 x 4; times scales, plus bias."""
    p.banks.update(sums=BANKS["c"])  # in place: nothing is read after its result is written
    lanes = p.product_mode(Shape.INT16_LANES_32)
    matrix = p.product_mode(Shape.BF16_4X8X4)
    pairs = p.product_mode(Shape.BF16_LANES_16X2)
    plain = p.const(0, name="plain")
    digit, none = p.const(DIGIT, p.new("s", "digit")), p.const(0, p.new("s", "none"))
    unit = p.vbcst_16(p.const(1 << DIGIT))
    large = MAGIC * np.float32(2**DIGIT)
    low_start = everywhere(p, int(MAGIC.view(np.int32)), 1024, "low_start")
    high_start = everywhere(p, int(large.view(np.int32)), 1024, "high_start")
    both = everywhere(p, int((large + MAGIC).view(np.int32)), 512, "both")
    two_ones = _first_words(p)
    evens, odds = p.const(Shuffle.T64_8X2_LO), p.const(Shuffle.T64_8X2_HI)
    source, target = p.pointer("sums", C), p.pointer("c", C)
    column = p.pointer("side", panel)
    columns = p.dimensions(step=GROUP - PANEL, inner=-GROUP, count=2, middle=GROUP, middle_count=4)
    rows = [
        p.dimensions(step=ROW_SCALES, inner=ROW_SCALES, count=2, middle=-ROW_SCALES, middle_count=4)
        for _ in range(2)
    ]
    exponents = p.pointer("a")
    p.mov(scales, to=exponents)
    p.padd(exponents.post(VECTOR))
    factor, added = (p.new("x", name, [f"x{n}"]) for n, name in enumerate(("factor", "added")))
    values = [p.new("bm", "value", [name]) for name in ("bml8", "bmh8")]
    with p.loop(2 * product_int8.BLOCKS, independent=("c",)):
        for last in (False, True):
            x = p.accumulator(1024, "x")
            for quarter in (x.lo.lo, x.lo.hi, x.hi.lo, x.hi.hi):
                p.vlda(source.post(32), to=quarter)
            m = p.load_x(scales, rows[0] if last else 0)
            upper, lower = p.vector(512, "upper"), p.vector(512, "lower")
            p.vsrs_s16_s32(x, digit, to=upper)
            p.vsrs_s16_s32(p.vmsc(x, upper, unit, lanes), none, to=lower)
            high, low = p.vmac(high_start, upper, m, lanes), p.vmac(low_start, lower, m, lanes)
            above, below = p.vector(512, "above"), p.vector(512, "below")
            for big, small, a, b, value in (
                (high.lo, low.lo, above.lo, below.lo, values[0]),
                (high.hi, low.hi, above.hi, below.hi, values[1]),
            ):
                p.vsub_f(big, both, plain, to=value)
                p.vadd_f(value, small, plain, to=value)
                p.vconv_bf16_fp32(value, to=a)
                p.vsub_f(value, p.vconv_fp32_bf16(a), plain, to=value)
                p.vconv_bf16_fp32(value, to=b)
            e = p.load_x(exponents, rows[1] if last else 0)
            group = p.vector(512, "group")
            p.vld(column[32], to=group.hi)
            p.vld(column.post(columns if last else GROUP), to=group.lo)
            for n, half in enumerate((evens, odds)):
                p.vextbcst_64(group, 4 + n, to=factor)
                p.vadd_16(factor, e, to=factor)
                p.vshift(group, group, p.const(16 * n), to=added)
                scaled = p.vmul_f(p.vshuffle(above, below, half), factor, pairs)
                p.vmac_f(scaled, two_ones, added, matrix, to=scaled)
                p.vst(scaled.lo, target.post(32))
                p.vst(scaled.hi, target.post(32))


def _first_words(p: Program) -> Value:
    """4 x 8 bf16: ones in the first two columns, which add up two rows of a right operand."""
    select = p.const(0x1111, p.new("r", "select", [f"r{n}" for n in range(16, 24)]))
    return p.vsel_32(p.vbcst_32(p.const(0)), p.vbcst_32(p.const(0x3F803F80)), select)


def write_words(p: Program, t: Tile) -> None:
    """C as it is, in eight pieces of 8 rows."""
    source = p.pointer("c", C)
    with p.loop(8):
        target = t.out.take()
        with p.loop(PIECE // VECTOR, independent=("c", "out")):
            data = p.load_x(source)
            p.vst(data.hi, target[32])
            p.vst(data.lo, target.post(VECTOR))
        t.out.give()


def write_int8(p: Program, t: Tile) -> None:
    """C times the steps, rounded and saturated, as left-operand blocks in two pieces of 32 rows."""
    pairs = p.product_mode(Shape.BF16_LANES_16X2)
    plain, none = p.const(0, name="plain"), p.const(0, p.new("s", "none"))
    steps = t.parameter(Word.STEPS)
    high = p.vbcst_16(steps)
    low = p.vbcst_16(p.lshl(steps, p.const(-16)))
    bits = int(MAGIC.view(np.int32))
    start, magic = everywhere(p, bits, 512, "start"), everywhere(p, bits, 1024, "magic")
    least = p.vbcst_32(p.const(bits - 128))
    pairs_of_words = p.const(Shuffle.T32_2X16_LO)
    source = p.pointer("c", C)
    turn = p.dimensions(step=64, inner=256, count=2, middle=64 - 256, middle_count=4)
    with p.loop(2):
        target = t.out.take()
        with p.loop(PIECE // VECTOR, independent=("c", "out")):
            halves = p.accumulator(1024, "evens"), p.accumulator(1024, "odds")
            for part in (halves[0].lo, halves[1].lo, halves[0].hi, halves[1].hi):
                value = p.accumulator(512, "value")
                p.vlda(source.post(32), to=value.lo)
                p.vlda(source.post(32), to=value.hi)
                parts = split(p, value, plain)
                value = p.vmac_f(p.vmul_f(parts, low, pairs), parts, high, pairs)
                value = p.vadd_f(value, start, plain)
                pattern = p.vector(512, "pattern")
                p.vmov(value, to=pattern)
                pattern, _ = p.vmax_lt_s32(pattern, least)
                p.vmov(pattern, to=part)
            words = p.vector(512, "evens"), p.vector(512, "odds")
            for numbers, result in zip(halves, words, strict=True):
                p.vsrs_s8_s32(p.vsub(numbers, magic, plain), none, to=result.lo)
            block = p.vshuffle(words[0].lower, words[1].lower, pairs_of_words)
            p.vst(block.hi, target[32])
            p.vst(block.lo, target.post(turn))
        t.out.give()
