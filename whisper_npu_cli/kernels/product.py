"""The loop that does nearly all the arithmetic: C (8 x 16 blocks) += A (8 x 64) B (64 x 16), bf16.

One multiply-accumulate a cycle: the 64 of a block hide its 96 operand loads, its 16 accumulator
loads and its 16 stores (docs/scheduling.md shows the small relatives of this loop).

Layouts, 64 bytes a block: A [8 rows of blocks][2][8 along k][4 x 8], B [4 groups of 16 columns]
[8 along k][4][8 x 4], C fp32 [8][4][2][4][4 x 4].
"""

from __future__ import annotations

from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.vectors import VECTOR

A_HALF, B_GROUP, C_BLOCK = 512, 2048, 512
"""Bytes of 4 rows of A (4 x 64), of a group of columns of B (64 x 16), of a block of C."""
DEPTH, GROUPS = 8, 4
"""Blocks along k; groups of columns of B."""


def row_steps(p: Program, skip: int = 0) -> Value:
    """How the pointer to A goes on after a block: the same rows 4 times, then the next ones.

    `skip` bytes are left out between two rows of blocks.
    """
    back = VECTOR - A_HALF
    return p.dimensions(step=VECTOR + A_HALF + skip, inner=back, count=GROUPS)


def group_steps(p: Program) -> Value:
    """How the pointer to B goes on after a block: the next group, after 4 the first again."""
    return p.dimensions(step=VECTOR - GROUPS * B_GROUP, inner=VECTOR, count=GROUPS)


def tile_product(
    p: Program,
    a: Value,
    b: Value,
    c: Value,
    rows: Value,
    groups: Value,
    first: Value,
    mode: Value,
    count: int | Value,
    blocks: tuple[int | Value, int | Value] = (VECTOR, 32),
    turn: Value | None = None,
) -> None:
    """`count` blocks (16 or more) from the pointers a, b, c on, along a row of C first.

    rows, groups: row_steps and group_steps. first: control word of the first product of each
    accumulator, which may ignore what C holds; mode: that of all others. blocks: how C goes on
    after a block, from its last load and its last store; a block may come again after 4 others at
    the earliest. turn: a further step of a after each block.
    """
    out = p.pointer("c")
    p.mov(c, to=out)
    with p.loop(count, at_least=16, independent=("c",)):
        sums = [[p.accumulator(512, f"sum{i}{j}") for j in range(4)] for i in range(2)]
        for total in sums[0] + sums[1]:
            p.vld(c[32], to=total.hi)
            p.vld(c.post(blocks[0] if total is sums[1][3] else VECTOR), to=total.lo)
        for k in range(DEPTH):
            lower = p.vector(512, "left")
            p.vld(a[A_HALF], to=lower.lo)
            p.vld(a[A_HALF + 32], to=lower.hi)
            last = k == DEPTH - 1
            upper = p.load_x(a, rows if last else VECTOR)
            right = [p.load_x(b, groups if last and j == 3 else VECTOR) for j in range(4)]
            word = mode if k else first
            for i, left in enumerate((upper, lower)):
                for j in range(4) if i == 0 else reversed(range(4)):
                    p.vmac_f(sums[i][j], left, right[j], word, to=sums[i][j])
        for total in sums[0] + sums[1]:
            p.vst(total.lo, out.post(32))
            p.vst(total.hi, out.post(blocks[1] if total is sums[1][3] else 32))
        if turn is not None:
            p.padd(a.post(turn))
