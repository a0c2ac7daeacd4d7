"""Attention of 64 queries of one head over all keys, without scores ever leaving the core.

Contract: out = softmax(q k^T / 8) v for the first `valid` keys; q, k, v and out bf16, 64 per head.
What comes after the valid keys may hold anything finite. Scores may lie anywhere within +-300.

Everything is transposed: S^T = K Q^T comes out of the multiplier in tiles of 4 keys x 4 queries,
two of which, turned into P^T = 2^(S^T - m), are a right operand for O^T = V^T P^T as they are.

m is not the running maximum but a whole number for each query, 0 as long as the largest exponent
of a query lies between LOWEST and HIGHEST. bf16 and fp32 have room for that, so P and the sums
need no rescaling in nearly all cases; where they do, `_rebase` moves m and the chunk is done again.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.asm.modes import Shape, Shuffle
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.exp2 import X0, Exp2
from whisper_npu_cli.kernels.product import (
    A_HALF,
    B_GROUP,
    C_BLOCK,
    group_steps,
    row_steps,
    tile_product,
)
from whisper_npu_cli.kernels.tile import CHUNK, OWN, PIECE, SIDE, B, C, Place, Tile
from whisper_npu_cli.kernels.vectors import ONE, VECTOR, copy, everywhere, fill, lane_mask, split

LOWEST, HIGHEST = -32, 64
"""Exponents of 2 between which the largest P of a query may lie."""
MOST_REBASES = 8
"""For one chunk; only infinite or undefined scores need more."""

BLOCKS = 32
"""Blocks of 8 x 16 in a chunk of keys (keys x queries), products of a chunk of values."""
TILES = 16
"""Tiles of 4 x 4 that stand for 64 queries, four of each group of 16."""

ORIGIN = OWN + 0x0400
"""fp32 X0 + m, a tile of [4 keys][4 queries] for each 4 queries, all rows equal."""
SUMS = OWN + 0x0800
"""fp32 sums of P in the same form."""
SPARE = OWN + 0x0C00
"""Largest P, factors of a rebase, reciprocal sums: 64 bytes for each 4 queries."""


class Word(IntEnum):
    """Words of the header."""

    STEPS = 1
    PAIRS = 2
    """Pairs of key tiles."""
    VALID = 3
    """Keys that count, 1 or more; tiles of keys begin with them."""


def reference(
    q: NDArray[np.float64], k: NDArray[np.float64], v: NDArray[np.float64], valid: int
) -> NDArray[np.float64]:
    """The meaning: float64[queries, 64] from q, k and v, one head."""
    scores = q @ k[:valid].T / np.sqrt(q.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ v[:valid] / weights.sum(axis=1, keepdims=True)


# ------------------------------------------------------------------------------ program


def attention(p: Program, t: Tile) -> None:
    """All steps of one operation: a tile of queries each."""
    p.set_mode("crVaddSign", 0)
    p.set_mode("crSRSSign", 0)
    p.set_mode("crUPSSign", 0)
    matrix = p.product_mode(Shape.BF16_4X8X4)
    with p.loop(t.parameter(Word.STEPS)):
        _take_queries(p, t)
        fill(p, p.pointer("work", ORIGIN), int(X0.view(np.int32)), TILES)
        fill(p, p.pointer("work", SUMS), 0, TILES)
        fill(p, p.pointer("c", C), 0, 2 * CHUNK // VECTOR)
        remaining, first = t.parameter(Word.VALID), p.const(1, name="first")
        with p.loop(t.parameter(Word.PAIRS)):
            half = p.const(0, name="half")
            with p.loop(2):
                _keys(p, t, half, first, remaining, matrix)
                p.const(1, half)
            _add_sums(p, matrix)
            _values(p, t, matrix)
            p.add(remaining, p.const(-128), to=remaining)
        t.b.give()
        t.b.give()
        _reciprocals(p)
        _write(p, t)


def _take_queries(p: Program, t: Tile) -> None:
    """Of two tiles on each net, copy this core's to SIDE.

    The buffers of those on net B are kept until all keys are done: P lies there.
    """
    number = p.const(0, name="number")
    with p.loop(2):
        for ring, turn in ((t.b, Place.TURN_B), (t.a, Place.TURN_A)):
            source = ring.take()
            with p.if_zero(p.xor(t.place(turn), number)):
                side = p.pointer("side", SIDE)
                copy(p, source, side, CHUNK // VECTOR, (ring.name, "side"))
            if ring is t.b:
                ring.keep()
            else:
                ring.give()
        p.add(number, 1, to=number)


def _keys(p: Program, t: Tile, half: Value, first: Value, remaining: Value, matrix: Value) -> None:
    """A chunk of keys to P, again where the largest P of a query is out of range."""
    t.a.wait()
    again, tries = p.const(1, name="again"), p.const(MOST_REBASES, name="tries")
    with p.while_nonzero(again):
        p.const(0, again)
        peak = _probabilities(p, t.a.at, half, matrix)
        tail = p.lt(remaining, p.const(128))
        look = p.or_(p.or_(_over(p, peak), tail), first)
        with p.if_nonzero(look):
            peak = _scan(p, half, remaining)
            with p.if_nonzero(p.or_(_over(p, peak), p.and_(first, _under(p)))):
                _rebase(p, first, again)
                p.add(tries, -1, to=tries)
                with p.if_zero(tries):
                    p.const(0, again)
    p.const(0, first)
    t.a.give()


def _over(p: Program, peak: Value) -> Value:
    """Not zero where a P (bf16 patterns) is too large."""
    return p.vge_d16(peak, p.vbcst_16(p.const(128 * (127 + HIGHEST + 1))))


def _under(p: Program) -> Value:
    """1 where the largest P of a query may be too small: that of some of its keys is; else 0."""
    least, largest = p.vbcst_16(p.const(0x7F00)), p.pointer("work", SPARE)
    with p.loop(TILES):
        p.vmin_ge_d16(least, p.load_x(largest), to=[least, p.scalar("compared")])
    low = p.vlt_d16(least, p.vbcst_16(p.const(128 * (127 + LOWEST))))
    return p.xor(p.eqz(low), p.const(1))


# ------------------------------------------------------------------------------ scores


def _probabilities(p: Program, keys: Value, half: Value, matrix: Value) -> Value:
    """P of a chunk of 128 half keys; the largest of each lane, bf16 patterns.

    The accumulators start at X0 + m and the products are subtracted, as Exp2 wants its scores.
    """
    a, q, m = p.pointer("a", keys), p.pointer("side", SIDE), p.pointer("work", ORIGIN)
    out = p.pointer("b", p.add(p.const(B), p.lshl(half, p.const(10))))
    rows, groups = row_steps(p), group_steps(p)
    origins = p.dimensions(step=VECTOR - TILES * VECTOR, inner=VECTOR, count=4)
    # 4 groups of queries, 2 blocks of keys, 2 tiles; and so again for the second pieces
    near = VECTOR - 256
    targets = p.dimensions(
        step=near + CHUNK - 3 * B_GROUP - 256,
        inner=near + B_GROUP,
        count=4,
        middle=near + 256 - 3 * B_GROUP,
        middle_count=2,
    )
    second = p.dimensions(step=512 - 2 * CHUNK, inner=0, count=16)
    power = Exp2.of(p)
    peak = p.vbcst_16(p.const(0))
    # one register each: four chains one after the other take fewer than side by side
    z, w = p.new("x", "z", ["x9"]), p.new("x", "w", ["x10"])
    weights = p.new("x", "weights", ["x11"])
    with p.loop(BLOCKS, independent=("b",)):
        start = [p.accumulator(512, f"start{j}") for j in range(4)]
        for j, value in enumerate(start):
            p.vld(m[32], to=value.hi)
            p.vld(m.post(origins if j == 3 else VECTOR), to=value.lo)
        scores = [p.accumulator(1024, f"score{j}") for j in range(4)]
        for k in range(8):
            lower = p.vector(512, "lower")
            p.vld(a[A_HALF], to=lower.lo)
            p.vld(a[A_HALF + 32], to=lower.hi)
            upper = p.load_x(a, rows if k == 7 else VECTOR)
            right = [p.load_x(q, groups if k == 7 and j == 3 else VECTOR) for j in range(4)]
            for j in range(4):
                p.vmsc_f(scores[j].lo if k else start[j], upper, right[j], matrix, to=scores[j].lo)
            for j in reversed(range(4)):
                p.vmsc_f(scores[j].hi if k else start[j], lower, right[j], matrix, to=scores[j].hi)
        for j, score in enumerate(scores):
            power.pattern(score, z, w, to=weights)
            p.vmax_lt_d16(peak, weights, to=[peak, p.scalar("compared")])
            p.vst(weights.hi, out[32])
            p.vst(weights.lo, out.post(targets if j == 3 else VECTOR))
        p.padd(out.post(second))
    return peak


def _scan(p: Program, half: Value, remaining: Value) -> Value:
    """Set P of keys that do not count to zero; the largest P to SPARE, and of each lane."""
    fill(p, p.pointer("work", SPARE), 0, TILES)
    peak = p.vbcst_16(p.const(0))
    zero = p.vbcst_16(p.const(0))
    start = p.add(p.const(B), p.lshl(half, p.const(10)))
    left = p.sub(remaining, p.lshl(half, p.const(5)), to=p.scalar("left"))
    step = p.const(256)
    with p.loop(2):
        with p.loop(4):
            select = lane_mask(p)
            p.mov(_counting(p, left), to=select)
            read, write = p.pointer("b", start), p.pointer("b", start)
            steps = [p.dimensions(step=VECTOR + B_GROUP - 256, inner=VECTOR, count=4) for _ in "rw"]
            load, store = p.pointer("work", SPARE), p.pointer("work", SPARE)
            with p.loop(TILES, independent=("b", "work")):
                weights = p.vsel_16(zero, p.load_x(read, steps[0]), select)
                p.vmax_lt_d16(peak, weights, to=[peak, p.scalar("compared")])
                largest, _ = p.vmax_lt_d16(p.load_x(load), weights)
                p.vst(weights.hi, write[32])
                p.vst(weights.lo, write.post(steps[1]))
                p.vst(largest.hi, store[32])
                p.vst(largest.lo, store.post(VECTOR))
            p.add(left, -8, to=left)
            p.add(start, step, to=start)
        p.add(left, -32, to=left)
        p.add(start, p.const(CHUNK - 1024), to=start)
    return peak


def _counting(p: Program, keys: Value) -> Value:
    """A bit for each of 8 keys x 4 queries, set for the first `keys` keys (of any number)."""
    bits = p.lshl(keys, p.const(1))
    beyond = p.add(bits, -16)
    beyond = p.and_(beyond, p.ashl(beyond, p.const(-31)))
    bits = p.add(beyond, 16)
    bits = p.and_(bits, p.xor(p.ashl(bits, p.const(-31)), p.const(-1)))
    return p.xor(p.lshl(p.lshl(p.const(-1), bits), bits), p.const(-1))


# ------------------------------------------------------------------------------ rebase


def _rebase(p: Program, first: Value, again: Value) -> None:
    """Move m where the largest P of a query (SPARE) is out of range, and all that depends on it.

    At the first chunk nothing depends on m yet, and P may not be too small either.
    """
    lanes = p.product_mode(Shape.BF16_LANES_16X2)
    integers = p.product_mode(Shape.INT16_LANES_32)
    lowest = p.scalar("lowest")
    p.const(0, lowest)
    with p.if_nonzero(first):
        p.const(128 * (127 + LOWEST), lowest)
    origin_at, sum_at = p.const(ORIGIN, name="origin_at"), p.const(SUMS, name="sum_at")
    largest_at = p.const(SPARE, name="largest_at")
    value_at, weight_at = p.const(C, name="value_at"), p.const(B, name="weight_at")
    with p.loop(4):
        with p.loop(4):
            exponent = _largest(p, largest_at)
            low = p.vlt_d16(exponent, p.vbcst_16(lowest))
            out = p.or_(low, p.vge_d16(exponent, p.vbcst_16(p.const(128 * (127 + HIGHEST + 1)))))
            with p.if_nonzero(out):
                p.const(1, again)
                select = lane_mask(p)
                p.mov(out, to=select)
                same = p.vbcst_16(p.const(ONE))
                exponent = p.vsel_16(same, exponent, select)
                _move_origin(p, origin_at, exponent, integers)
                largest = p.vbcst_16(p.const(0x7F00))
                factor = p.vsub_16(largest, p.vmin_ge_d16(exponent, largest)[0])
                _scale(p, sum_at, 1, factor, lanes)
                start = p.scalar("start")
                p.mov(value_at, to=start)
                with p.loop(2):
                    _scale(p, start, 8, factor, lanes)
                    p.add(start, p.const(C_BLOCK // 2), to=start)
                _scale_weights(p, weight_at, p.vsub_16(exponent, same))
            vector = p.const(VECTOR)
            for address in (origin_at, sum_at, largest_at, value_at, weight_at):
                p.add(address, vector, to=address)
        p.add(value_at, p.const(C_BLOCK - 4 * VECTOR), to=value_at)
        p.add(weight_at, p.const(B_GROUP - 4 * VECTOR), to=weight_at)


def _largest(p: Program, address: Value) -> Value:
    """The exponent of the largest P of each of 4 queries, in 8 equal rows, as bf16 pattern."""
    x = p.load_x(p.pointer("work", address))
    for distance in (32, 16, 8):
        x, _ = p.vmax_lt_d16(x, p.vshift(x, x, p.const(distance)))
    return p.vband(x, p.vbcst_16(p.const(0xFF80 - 0x10000)))


def _move_origin(p: Program, address: Value, exponent: Value, integers: Value) -> None:
    """m += exponent: 2^7 times an exponent is the fraction of a float32 of 1.5 2^16."""
    magic = np.float32(1.5 * 2**16)
    accumulator = p.accumulator(1024, "exponent")
    p.vups_s32_d16(exponent, p.const(0, p.new("s")), to=accumulator)
    total = p.accumulator(1024, "total")
    base = everywhere(p, int(magic.view(np.int32)), 1024, "magic")
    p.vadd(accumulator, base, integers, to=total)
    zero = everywhere(p, int(np.float32(magic + 127).view(np.int32)), 512, "zero")
    origin = p.accumulator(512, "origin")
    pointer = p.pointer("work", address)
    p.vld(pointer[32], to=origin.hi)
    p.vld(pointer[0], to=origin.lo)
    floats = p.product_mode(Shape.BF16_LANES_16X2)
    moved = p.vadd_f(origin, p.vsub_f(total.lo, zero, floats), floats)
    p.vst(moved.lo, pointer[0])
    p.vst(moved.hi, pointer[32])


def _scale(p: Program, address: Value, count: int, factor: Value, lanes: Value) -> None:
    """Multiply `count` tiles, 4 blocks of C apart, by a power of two of each query (bf16)."""
    load, store = p.pointer("", address), p.pointer("", address)
    with p.loop(count, pipelined=False):
        value = p.accumulator(512, "value")
        p.vld(load[32], to=value.hi)
        p.vld(load[0], to=value.lo)
        p.padd(load.post(p.const(4 * C_BLOCK, p.new("m"))))
        scaled = p.vmul_f(split(p, value, lanes), factor, lanes)
        p.vst(scaled.hi, store[32])
        p.vst(scaled.lo, store[0])
        p.padd(store.post(p.const(4 * C_BLOCK, p.new("m"))))


def _scale_weights(p: Program, address: Value, exponent: Value) -> None:
    """Divide P of the first half of a pair by 2^exponent; what is too small becomes zero."""
    start = p.scalar("weights")
    p.mov(address, to=start)
    with p.loop(2):
        pointer = p.pointer("b", start)
        with p.loop(4):
            weights = p.vector(512, "weights")
            p.vld(pointer[32], to=weights.hi)
            p.vld(pointer[0], to=weights.lo)
            weights = p.vsub_16(p.vmax_lt_d16(weights, exponent)[0], exponent)
            p.vst(weights.hi, pointer[32])
            p.vst(weights.lo, pointer.post(256))
        p.add(start, p.const(CHUNK), to=start)


# ------------------------------------------------------------------------------ sums


def _add_sums(p: Program, matrix: Value) -> None:
    """Add P of a pair of key tiles, over the keys, to SUMS: a product with ones."""
    ones = p.vbcst_16(p.const(ONE))
    start, sum_at = p.const(B, name="start"), p.const(SUMS, name="sum_at")
    with p.loop(4):
        weights, pointer = p.pointer("b", start), p.pointer("work", sum_at)
        keys = p.dimensions(step=VECTOR + CHUNK - B_GROUP, inner=VECTOR, count=8)
        sums = [p.accumulator(512, f"sum{j}") for j in range(4)]
        for j, value in enumerate(sums):
            p.vld(pointer[VECTOR * j], to=value.lo)
            p.vld(pointer[VECTOR * j + 32], to=value.hi)
        with p.loop(16):
            for j, value in enumerate(sums):
                x = p.load_x(weights, keys if j == 3 else VECTOR)
                p.vmac_f(value, ones, x, matrix, to=value)
        for j, value in enumerate(sums):
            p.vst(value.lo, pointer[VECTOR * j])
            p.vst(value.hi, pointer[VECTOR * j + 32])
        p.add(start, p.const(B_GROUP), to=start)
        p.add(sum_at, p.const(4 * VECTOR), to=sum_at)


def _values(p: Program, t: Tile, matrix: Value) -> None:
    """O^T += V^T P^T for a pair of key tiles.

    A chunk of values has two pieces (16 dimensions) of both tiles by turns. For each 8 dimensions
    come 4 blocks of O^T with P of tile 0, the same 4 with P of tile 1.
    """
    start = p.const(C, name="start")
    with p.loop(2):
        a, b, c = t.a.take(), p.pointer("b", B), p.pointer("c", start)
        back = VECTOR - A_HALF
        rows = p.dimensions(
            step=back + 2 * A_HALF - PIECE, inner=back, count=4, middle=back + PIECE, middle_count=2
        )
        turn = p.dimensions(step=PIECE, inner=0, count=16)
        groups = p.dimensions(step=VECTOR - 2 * CHUNK, inner=VECTOR, count=8)
        loads, stores = (
            p.dimensions(step=step, inner=step, count=4, middle=step - 4 * C_BLOCK, middle_count=2)
            for step in (VECTOR, 32)
        )
        blocks = loads, stores
        tile_product(p, a, b, c, rows, groups, matrix, matrix, BLOCKS, blocks, turn)
        t.a.give()
        p.add(start, p.const(CHUNK), to=start)


# ------------------------------------------------------------------------------ results


def _reciprocals(p: Program) -> None:
    """1 / SUMS to SPARE for each 16 queries, as bf16 and what that leaves: 32 + 32 bytes."""
    lanes = p.product_mode(Shape.BF16_LANES_16X2)
    integers = p.product_mode(Shape.INT16_LANES_32)
    base = everywhere(p, 0x7EF311C7, 1024, "base")
    one = everywhere(p, ONE << 16, 512, "one")
    load, store = p.pointer("work", SUMS), p.pointer("work", SPARE)
    with p.loop(4):
        sums = p.load_x(load)
        for j in range(1, 4):  # all rows of a tile are equal: row j from tile j
            select = lane_mask(p)
            p.const(0xF << 4 * j, select)
            sums = p.vsel_32(sums, p.load_x(load), select)
        total, guess = p.accumulator(1024, "total"), p.accumulator(1024, "guess")
        p.vmov(sums, to=total.lo)
        p.vmov(sums, to=total.hi)
        p.vsub(base, total, integers, to=guess)
        divisor, inverse = split(p, total.lo, lanes), guess.lo
        with p.loop(3, pipelined=False):  # Newton; the error of 12 % becomes 2^-16
            high, low = _doubled(p, inverse, lanes)
            error = p.vmsc_f(p.vmsc_f(one, divisor, high, lanes), divisor, low, lanes)
            p.vmac_f(inverse, split(p, error, lanes), high, lanes, to=inverse)
        parts = split(p, inverse, lanes)
        p.vst(parts.lo, store[0])
        p.vst(parts.hi, store[32])
        p.padd(store.post(VECTOR))


def _doubled(p: Program, value: Value, lanes: Value) -> tuple[Value, Value]:
    """The two bf16 parts of float32 lanes, each in both halves of a vector."""
    parts = split(p, value, lanes)
    high, low = p.vector(512, "high"), p.vector(512, "low")
    p.vmov(parts.lo, to=high.lo)
    p.vmov(parts.lo, to=high.hi)
    p.vmov(parts.hi, to=low.lo)
    p.vmov(parts.hi, to=low.hi)
    return high, low


def _write(p: Program, t: Tile) -> None:
    """O^T times the reciprocals, transposed, as four pieces of 16 queries."""
    lanes = p.product_mode(Shape.BF16_LANES_16X2)
    transpose = p.const(Shuffle.T16_8X4)
    start, inverse_at = p.const(C, name="start"), p.const(SPARE, name="inverse_at")
    reads = p.dimensions(step=4 * C_BLOCK - 3 * VECTOR, inner=VECTOR, count=4)
    writes = p.dimensions(step=VECTOR - 3 * A_HALF, inner=A_HALF, count=4)
    with p.loop(4):
        out, read = t.out.take(), p.pointer("c", start)
        inverse = p.load_x(p.pointer("work", inverse_at))
        j = p.const(0, name="j")
        with p.loop(BLOCKS, independent=("out",)):
            high, low = p.vextbcst_64(inverse, j), p.vextbcst_64(inverse, p.add(j, 4))
            p.and_(p.add(j, 1), p.const(3), to=j)
            both = p.vector(512, "both")
            for part, at in ((both.hi, C_BLOCK // 2), (both.lo, 0)):
                value = p.accumulator(512, "value")
                p.vld(read[at + 32], to=value.hi)
                p.vld(read[at] if at else read.post(reads), to=value.lo)
                parts = split(p, value, lanes)
                product = p.vmac_f(p.vmul_f(parts, high, lanes), parts, low, lanes)
                p.vconv_bf16_fp32(product, to=part)
            block = p.vector(512, "block")
            p.vshuffle(both, both, transpose, to=block)
            p.vst(block.hi, out[32])
            p.vst(block.lo, out.post(writes))
        t.out.give()
        p.add(start, p.const(C_BLOCK), to=start)
        p.add(inverse_at, p.const(VECTOR), to=inverse_at)
