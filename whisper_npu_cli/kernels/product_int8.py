"""The loop of the int8 matrix product: C (8 x 16 blocks, int32) += A (8 x 128) B (128 x 16).

As in kernels/product.py, the 64 multiply-accumulates of a block (4 x 8 by 8 x 8 each) hide its 96
operand loads, its 16 accumulator loads and its 16 stores. Each product of 4 rows takes a whole
vector register, of which it looks at one half, so registers are short: operands have fixed ones in
turn, which makes the scheduler load them late. 70 cycles come of it instead of 64.

Layouts: A [2 halves along k][16 groups of 4 rows][8 along k][4 x 8], B [4 groups of 16 columns]
[16 along k][2][8 x 8], C int32 [8][4][2][2][4 x 8].
"""

from __future__ import annotations

from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.product import B_GROUP, GROUPS
from whisper_npu_cli.kernels.vectors import VECTOR

BLOCKS = 32
"""Blocks of C in a tile."""
DEPTH = 16
"""Blocks of 8 along k."""
A_BLOCK, A_ROWS, A_HALF = 32, 256, 4096
"""Bytes of 4 x 8 of A, of 4 rows of half a chunk, of half a chunk."""
LEFTS, RIGHTS = 4, 7
"""Vector registers of the operands: the numbers with which the loop came out shortest."""


def tile_product(p: Program, a: Value, b: Value, c: Value, first: Value, mode: Value) -> None:
    """All blocks of a tile from the pointers a, b, c on, along a row of C first.

    first: control word of the first product of each accumulator, which may ignore what C holds;
    mode: that of all others.
    """
    back = A_BLOCK - A_HALF - A_ROWS
    rows = p.dimensions(step=A_BLOCK - A_HALF + A_ROWS, inner=back, count=GROUPS)
    groups = p.dimensions(step=VECTOR - GROUPS * B_GROUP, inner=VECTOR, count=GROUPS)
    turn = p.const(A_HALF - A_BLOCK * (DEPTH // 2 - 1), p.new("m", "turn"))  # to the other half
    lefts = [p.new("x", "left", [f"x{n}"]) for n in range(LEFTS)]
    rights = [p.new("x", "right", [f"x{n}"]) for n in range(LEFTS, LEFTS + RIGHTS)]
    out = p.pointer("c")
    p.mov(c, to=out)
    with p.loop(BLOCKS, independent=("c",)):
        sums = [[p.accumulator(1024, f"sum{i}{j}") for j in range(2)] for i in range(2)]
        for total in sums[0] + sums[1]:
            for part in (total.lo.lo, total.lo.hi, total.hi.lo, total.hi.hi):
                p.vlda(c.post(32), to=part)
        for k in range(DEPTH):
            last = k == DEPTH - 1
            upper, lower = (lefts[(2 * k + i) % len(lefts)] for i in range(2))
            p.vld(a[A_ROWS], to=lower.lo)
            step = rows if last else turn if k == DEPTH // 2 - 1 else A_BLOCK
            p.vld(a.post(step), to=upper.lo)
            right = [rights[(2 * k + j) % len(rights)] for j in range(2)]
            for j, value in enumerate(right):
                p.load_x(b, groups if last and j == 1 else VECTOR, to=value)
            word = mode if k else first
            for i, left in enumerate((upper, lower)):
                for j in range(2) if i == 0 else reversed(range(2)):
                    p.vmac(sums[i][j], left.lower, right[j], word, to=sums[i][j])
        for total in sums[0] + sums[1]:
            for part in (total.lo.lo, total.lo.hi, total.hi.lo, total.hi.hi):
                p.vst(part, out.post(32))
