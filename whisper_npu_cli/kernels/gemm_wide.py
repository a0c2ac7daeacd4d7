"""Products of bf16 matrices whose results leave as fp32 or int8, with bias and GELU.

The sums are those of kernels/gemm.py, the formats those of kernels/gemm_int8.py: for results that
bf16 is too coarse for, and for those that an int8 product reads next.
"""

from __future__ import annotations

from whisper_npu_cli.aie.asm.modes import Shape
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels import gemm, gemm_int8
from whisper_npu_cli.kernels.gelu import gelu
from whisper_npu_cli.kernels.tile import SIDE, C, Tile
from whisper_npu_cli.kernels.vectors import ONE, VECTOR


def gemm_wide(p: Program, t: Tile) -> None:
    """All tiles of one operation."""
    panels, rows = t.parameter(gemm.Word.PANELS), t.parameter(gemm.Word.ROWS)
    bias = p.const(SIDE, name="bias")
    with p.loop(panels):
        with p.loop(rows):
            gemm.add_up(p, t, t.parameter(gemm.Word.CHUNKS))
            with p.if_nonzero(t.parameter(gemm.Word.GELU)):
                gelu(p, bias)
            with p.otherwise():
                _add_bias(p, bias)
            other = p.add(t.parameter(gemm_int8.Word.FORMAT), -gemm_int8.Format.INT8)
            with p.if_zero(other):
                gemm_int8.write_int8(p, t)
            with p.otherwise():
                gemm_int8.write_words(p, t)
        p.add(bias, p.const(gemm.PANEL_BIAS), to=bias)


def _add_bias(p: Program, bias: Value) -> None:
    """The bias blocks at an address to all sums of C."""
    matrix, ones = p.product_mode(Shape.BF16_4X8X4), p.vbcst_16(p.const(ONE))
    source, target, column = p.pointer("c", C), p.pointer("c", C), p.pointer("side", bias)
    columns = p.dimensions(step=VECTOR - gemm.PANEL_BIAS, inner=VECTOR, count=4)
    with p.loop(gemm.BLOCKS, independent=("c",)):
        added = [p.load_x(column, columns if j == 3 else VECTOR) for j in range(4)]
        for right in added * 2:
            value = p.accumulator(512, "value")
            p.vld(source[32], to=value.hi)
            p.vld(source.post(VECTOR), to=value.lo)
            p.vmac_f(value, ones, right, matrix, to=value)
            p.vst(value.hi, target[32])
            p.vst(value.lo, target.post(VECTOR))
