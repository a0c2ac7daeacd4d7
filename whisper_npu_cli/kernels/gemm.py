"""Matrix product with bf16 operands and fp32 sums: bias, GELU, residual; any sizes through tiles.

Each core makes 64 x 64 tiles of the result. Net A brings tiles of the left operand to a row of
cores, net B tiles of the right operand to a column; an operation runs over `panels` groups of
columns and, within each, over `rows` groups of row tiles, with `chunks` steps of 64 along k.

Life of a tile: sums in C (fp32) -> where asked for, plus bias and GELU -> plus bias, unless that is
done, and residual, as bf16 tiles of 4 x 4 -> pieces of 16 rows in the order in which the next
operation reads them.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from enum import IntEnum

from whisper_npu_cli.aie.asm.modes import Shape, Shuffle
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.gelu import gelu
from whisper_npu_cli.kernels.product import (
    C_BLOCK,
    group_steps,
    row_steps,
    tile_product,
)
from whisper_npu_cli.kernels.tile import HEADER, PIECE, SIDE, WORK, C, Place, Tile
from whisper_npu_cli.kernels.vectors import ONE, VECTOR

BLOCKS = 32
"""Blocks of C in a tile."""
PANEL_BIAS = 1024
"""Bytes of bias of a panel: 16 second-operand blocks whose first two rows add up to the bias."""
MOST_PANELS = 6
"""Panels of a product: what of the payload is left is a bias of zeros, for after GELU."""


class Word(IntEnum):
    """Words of the header."""

    PANELS = 1
    ROWS = 2
    CHUNKS = 3
    GELU = 4
    RESIDUAL = 5
    SHARED = 6
    """Where there is a residual: whether net A carries a part of it."""
    ORDERS = 16
    """One word a panel: address of its Order."""


@dataclass(frozen=True)
class Order:
    """How bf16 tiles of 4 x 4 in C become blocks of 64 bytes in a piece: a loop over 16 blocks.

    Two tiles, `pair` bytes apart, make a block by the shuffle `mode`. source_.../target_...: steps
    of the pointers in bytes: nearly always `inner`, every `count`-th time `middle`, after
    count * middle_count `step`. halves: source and target of the second loop of a piece; piece:
    source of the next piece. late: how many further pieces of C must be finished before the first
    piece can leave. All are 32-bit words in the core's memory.
    """

    pair: int
    mode: int
    source_step: int
    source_inner: int
    source_count: int
    source_middle: int
    source_middle_count: int
    target_step: int
    target_inner: int
    target_count: int
    target_middle: int
    target_middle_count: int
    source_half: int
    target_half: int
    source_piece: int
    late: int = 0

    def words(self) -> list[int]:
        """The 16 words as they stand in memory; counts are stored less one."""
        values = list(astuple(self))
        for at in (4, 6, 9, 11):
            values[at] -= 1
        return values


_ROWS = {
    "pair": 32, "source_step": -1472, "source_inner": 64, "source_count": 2, "source_middle": 448,
    "source_middle_count": 4, "source_half": 4 * C_BLOCK, "source_piece": 8 * C_BLOCK,
}  # fmt: skip

FIRST_OPERAND = Order(
    mode=Shuffle.T64_2X8_LO, target_step=64, target_inner=64, target_count=2, target_middle=64,
    target_middle_count=4, target_half=1024, **_ROWS,
)  # fmt: skip
"""As the left operand of the next product: blocks 4 x 8, along k first."""

SECOND_TRANSPOSED = Order(
    mode=Shuffle.T16_4X4, target_step=-1728, target_inner=256, target_count=2, target_middle=256,
    target_middle_count=4, target_half=128, **_ROWS,
)  # fmt: skip
"""The transpose as a right operand: queries, of which a piece holds 16."""

FIRST_TRANSPOSED = Order(
    pair=128, mode=Shuffle.T16_8X4,
    source_step=1952, source_inner=32, source_count=4, source_middle=1952, source_middle_count=4,
    target_step=-1472, target_inner=512, target_count=4, target_middle=-1472, target_middle_count=4,
    source_half=16 * C_BLOCK, target_half=256, source_piece=C_BLOCK, late=3,
)  # fmt: skip
"""The transpose as a left operand: values, of which a piece holds 16 columns."""

LATE = [f.name for f in fields(Order)].index("late")
"""Word of an Order."""
ORDERS = (FIRST_OPERAND, SECOND_TRANSPOSED, FIRST_TRANSPOSED)
ORDERS_AT = WORK
ORDER_BYTES = 64
ZEROS_AT = ORDERS_AT + ORDER_BYTES * len(ORDERS)
"""128 bytes of zeros, the residual of a product without one."""
SELECT_AT = ZEROS_AT + 2 * VECTOR
"""32 bytes of zeros, then 16 ones (bf16), then zeros: picks one of the halves of a vector."""


def order_address(order: Order) -> int:
    """Where a core keeps an Order."""
    return ORDERS_AT + ORDER_BYTES * ORDERS.index(order)


def tables() -> bytes:
    """What WORK holds at configuration: orders, zeros, selection."""
    words = [w & 0xFFFFFFFF for order in ORDERS for w in order.words()]
    half = VECTOR // 2
    select = bytes(half) + ONE.to_bytes(2, "little") * (half // 2) + bytes(half)
    return b"".join(w.to_bytes(4, "little") for w in words) + bytes(2 * VECTOR) + select


def gemm(p: Program, t: Tile) -> None:
    """All tiles of one operation."""
    panels, rows, chunks = (t.parameter(w) for w in (Word.PANELS, Word.ROWS, Word.CHUNKS))
    bias = p.const(SIDE, name="bias")
    order_at = p.const(HEADER + 4 * Word.ORDERS, name="order_at")
    with p.loop(panels):
        with p.loop(rows):
            add_up(p, t, chunks)
            added = p.scalar("added")
            p.mov(bias, to=added)
            with p.if_nonzero(t.parameter(Word.GELU)):
                gelu(p, bias)
                p.const(SIDE + MOST_PANELS * PANEL_BIAS, added)
            finish(p, t, added, order_at)
        p.add(bias, p.const(PANEL_BIAS), to=bias)
        p.add(order_at, 4, to=order_at)


def add_up(p: Program, t: Tile, chunks: Value) -> None:
    """The sums of a tile to C, from so many chunks of both nets."""
    mode, first = p.product_mode(Shape.BF16_4X8X4), p.scalar("first")
    p.mov(p.product_mode(Shape.BF16_4X8X4, zero_accumulator=True), to=first)
    with p.loop(chunks):
        a, b, c = t.a.take(), t.b.take(), p.pointer("c", C)
        tile_product(p, a, b, c, row_steps(p), group_steps(p), first, mode, BLOCKS)
        t.a.give()
        t.b.give()
        p.mov(mode, to=first)


def finish(p: Program, t: Tile, bias: Value, order_at: Value) -> None:
    """Bias and residual to C, as bf16 tiles; pieces leave as soon as they can.

    Tile n of a block of 512 bytes comes to stand at 32 n of it. `order_at` is where the address of
    an Order stands.

    The residual comes as pieces of two tiles by turns, in two chunks: on net B those of row tiles 0
    and 1, then of 2 and 3; where it is shared, on net B for one of these pairs, and on net A for
    two columns of cores. Without a residual, zeros are read again and again.
    """
    base, piece, second = p.scalar("residual"), p.scalar("piece"), p.scalar("second")
    steps = [p.new("d", "residual_steps") for _ in range(2)]  # each counts for one pointer
    p.const(ZEROS_AT, base)
    for value in (piece, second, *(v for d in steps for v in (d.m, d.dj, d.dc))):
        p.const(0, value)
    for d in steps:
        p.const(3, d.dn)
    with p.if_nonzero(t.parameter(Word.RESIDUAL)):
        p.const(2 * PIECE, piece)
        p.const(512, second)
        for d in steps:
            p.const(640, d.m)
            p.const(128, d.dj)
        with p.if_nonzero(t.parameter(Word.SHARED)):
            _skip_two(p, t, t.place(Place.ON_A))
        with p.otherwise(), p.if_nonzero(t.place(Place.PAIR)):
            t.b.skip_all(p.const(2))
    on_a = p.and_(t.parameter(Word.SHARED), t.place(Place.ON_A), to=p.scalar("on_a"))
    total, start = p.const(C, name="total"), p.const(C, name="start")
    unfinished, odd = p.const(4, name="unfinished"), p.const(1)
    late = p.lda(_order(p, order_at)[4 * LATE], to=p.scalar("late"))
    with p.loop(p.add(late, 4)):
        with p.if_nonzero(unfinished):
            with p.if_nonzero(t.parameter(Word.RESIDUAL)), p.if_zero(p.and_(unfinished, odd)):
                with p.if_nonzero(on_a):
                    t.a.wait()
                    p.add(t.a.at, t.place(Place.PARITY_A), to=base)
                with p.otherwise():
                    t.b.wait()
                    p.add(t.b.at, t.place(Place.PARITY), to=base)
            _finish_piece(p, total, bias, base, second, steps)
            p.add(base, piece, to=base)
            p.add(total, p.const(8 * C_BLOCK), to=total)
            p.add(unfinished, -1, to=unfinished)
            with p.if_nonzero(t.parameter(Word.RESIDUAL)), p.if_zero(p.and_(unfinished, odd)):
                with p.if_nonzero(on_a):
                    t.a.give()
                with p.otherwise():
                    t.b.give()
        with p.if_zero(late):
            _write_piece(p, t, order_at, start)
        with p.otherwise():
            p.add(late, -1, to=late)
    alone = p.sub(t.parameter(Word.RESIDUAL), t.parameter(Word.SHARED), to=p.scalar("alone"))
    with p.if_nonzero(alone), p.if_zero(t.place(Place.PAIR)):
        t.b.skip_all(p.const(2))


def _skip_two(p: Program, t: Tile, on_a: Value) -> None:
    """Let the chunks pass that a shared residual has for others on the other net."""
    with p.if_nonzero(on_a):
        t.b.skip_all(p.const(2))
    with p.otherwise():
        t.a.skip_all(p.const(2))


def _order(p: Program, order_at: Value) -> Value:
    """A pointer to the Order whose address stands there."""
    return p.pointer("work", p.lda(p.pointer("header", order_at)[0], to=p.scalar("order")))


def _finish_piece(
    p: Program,
    total: Value,
    bias: Value,
    base: Value,
    second: Value,
    steps: list[Value],
) -> None:
    """Eight blocks of C: plus bias, plus residual, rounded to bf16."""
    matrix = p.product_mode(Shape.BF16_4X8X4)
    lanes = p.product_mode(Shape.BF16_LANES_16X2)
    ones = p.vbcst_16(p.const(ONE))
    select = p.pointer("work", SELECT_AT)
    upper, lower = p.load_x(select, 32), p.load_x(select, 32)
    evens, odds = p.const(Shuffle.T64_8X2_LO), p.const(Shuffle.T64_8X2_HI)
    c, out = p.pointer("c", total), p.pointer("c", total)
    skip = p.const(32 + C_BLOCK // 2, p.new("m", "skip"))
    column = p.pointer("side", bias)
    columns = p.dimensions(step=VECTOR - PANEL_BIAS, inner=VECTOR, count=4)
    residual = [p.pointer("b", base), p.pointer("b", p.add(base, second))]
    with p.loop(8, independent=("c",)):
        sums = [[p.accumulator(512, f"sum{i}{j}") for j in range(4)] for i in range(2)]
        for row in sums:
            for value in row:
                p.vld(c[32], to=value.hi)
                p.vld(c.post(VECTOR), to=value.lo)
        for j in range(4):
            added = p.load_x(column, columns if j == 3 else VECTOR)
            for row in sums:
                p.vmac_f(row[j], ones, added, matrix, to=row[j])
        for row, pointer, step in zip(sums, residual, steps, strict=True):
            left = p.vector(512, "left")
            p.vld(pointer[VECTOR], to=left.lo)
            p.vld(pointer[VECTOR + 32], to=left.hi)
            first = p.load_x(pointer, step)
            for mode, tiles in ((evens, (0, 2)), (odds, (1, 3))):
                mixed = p.vshuffle(first, left, mode)
                for j, half in zip(tiles, (lower, upper), strict=True):
                    p.vmac_f(row[j], mixed, half, lanes, to=row[j])
        results = sums[0] + sums[1]
        for value in results:
            p.vst_conv_bf16_fp32(value, out.post(skip if value is results[-1] else 32))


def _write_piece(p: Program, t: Tile, order_at: Value, start: Value) -> None:
    """Send a piece of the bf16 tiles of C, arranged as the Order says whose address stands there.

    `start` is the address of its first tile, and goes on to the next piece's.
    """
    pointer = _order(p, order_at)
    pair, shuffle = p.new("dj", "pair"), p.scalar("mode")
    source, target = p.new("d3", "source"), p.new("d3", "target")
    for value in (
        pair, shuffle,
        source.m, source.dj, source.dn, source.dj2, source.dn2,
        target.m, target.dj, target.dn, target.dj2, target.dn2,
    ):  # fmt: skip
        p.lda(pointer.post(4), to=value)
    for value in (source.dc, source.dc2, target.dc, target.dc2):
        p.const(0, value)
    t.out.wait()
    from_at, to_at = p.scalar("from"), p.scalar("to")
    p.mov(start, to=from_at)
    p.mov(t.out.at, to=to_at)
    with p.loop(2):
        read, write = p.pointer("c", from_at), p.pointer("out", to_at)
        with p.loop(16):
            both, other = p.vector(512, "both"), p.vector(512, "other")
            p.vld(read[pair], to=both.hi)
            p.vld(read[pair], to=other.lo)
            p.vld(read.post(source), to=both.lo)
            block = p.vshuffle(both, other.lower, shuffle)
            p.vst(block.hi, write[32])
            p.vst(block.lo, write.post(target))
        p.add(from_at, p.lda(pointer[0], to=p.scalar("half")), to=from_at)
        p.add(to_at, p.lda(pointer[4], to=p.scalar("half")), to=to_at)
    t.out.give()
    p.add(start, p.lda(pointer[8], to=p.scalar("step")), to=start)
