"""Layer norm of rows: bf16 in and out, fp32 statistics, any width up to 4096.

A unit is 16 rows of a row tile, as pieces of 16 x 64; of the four units of a row tile the core of
column g takes unit g. Units follow each other on net A without a gap, so that a chunk of four
pieces may hold pieces of two or more; a core lets pass what is not its own. It sends as many pieces
as it gets. Two chunks with gamma and beta (bf16) follow the header on net B and stay in their
buffers until the end.

Rows that fit into C (512 columns) are copied there while sums are taken. Wider ones pass twice,
all row tiles of the net in turn: the first time for the statistics, which wait in SIDE.

Sums are of differences from a shift, the mean of the row's first 8 numbers, so that nothing is lost
where the mean is large against the deviation; squares are the diagonal of d d^T.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.asm.modes import Shape, Shuffle
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.layout import split_bfloat16, to_bfloat16
from whisper_npu_cli.kernels.tile import BANKS, CHUNK, OWN, PIECE, SIDE, B, C, Tile
from whisper_npu_cli.kernels.vectors import ONE, VECTOR, everywhere, lane_mask

PIECE_COLUMNS = 64
MOST_RESIDENT, MOST_COLUMNS, MOST_TILES = 512, 4096, 64
CHUNK_PIECES, PIECE_BITS = CHUNK // PIECE, 11
HALF_ROW = 512
"""Bytes of 4 rows of a piece: 8 blocks."""

SHIFTS = OWN + 0x0400
"""bf16 [4 rows][8 equal columns] for each of 4 groups of 4 rows."""
SUMS = OWN + 0x0500
"""fp32 tiles for each group: sums of d (4 equal columns), d d^T."""
FACTORS = OWN + 0x0800
"""bf16 for each pair of rows: [2][8 equal columns] means and what they leave; so 1 / deviation."""
TABLE = SIDE
"""128 bytes a unit: means and what they leave in turn; so 1 / deviation. Row 4 m + r has pair
4 r + m."""

EIGHTH = 0x3E00
"""1/8 as bf16."""
GUESS = 0x5F37
"""Less half the bits of v, the bits of about v ** -0.5."""


class Word(IntEnum):
    """Words of the header, after the op code."""

    PASSES = 1
    """1, or 2 where a unit does not fit into C."""
    TILES = 2
    """Row tiles on a net: units of this core."""
    PIECES = 3
    """Of a unit."""
    FIRST = 4
    """Chunks before the one in which this core's first unit begins."""
    OFFSET = 5
    """Pieces before it in that chunk."""
    CHUNKS = 6
    """That hold pieces of a unit."""
    BETWEEN = 7
    """Chunks between two units of this core."""
    AFTER = 8
    """Chunks after the last."""
    EPSILON = 9
    """fp32."""
    SHARE = 10
    """1 / columns as bf16, and in the next word what that leaves."""


def reference(
    x: NDArray[np.float64], gamma: NDArray[np.float64], beta: NDArray[np.float64], epsilon: float
) -> NDArray[np.float64]:
    """The meaning."""
    d = x - x.mean(axis=1, keepdims=True)
    return np.asarray(d / np.sqrt((d**2).mean(axis=1, keepdims=True) + epsilon) * gamma + beta)


@dataclass(frozen=True)
class LayerNorm:
    """`tiles` row tiles on each net, of `columns` (a multiple of 64)."""

    tiles: int
    columns: int
    epsilon: float = 1e-5

    @property
    def pieces(self) -> int:
        """Of a unit, those that count."""
        return self.columns // PIECE_COLUMNS

    @property
    def passes(self) -> int:
        """How often the rows come."""
        return 1 if self.columns <= MOST_RESIDENT else 2

    def words(self, operation: int, column: int) -> list[int]:
        """The header for the cores of a column. A row tile has as many chunks as a unit pieces."""
        first, offset = divmod(column * self.pieces, CHUNK_PIECES)
        chunks = -(-(offset + self.pieces) // CHUNK_PIECES)
        high, low = split_bfloat16(np.array([1 / self.columns], np.float32)).ravel().tolist()
        words = [operation] + [0] * (len(Word) + 1)
        words[Word.PASSES], words[Word.TILES] = self.passes, self.tiles
        words[Word.PIECES], words[Word.CHUNKS] = self.pieces, chunks
        words[Word.FIRST], words[Word.OFFSET] = first, offset
        words[Word.BETWEEN] = self.pieces - chunks
        words[Word.AFTER] = self.pieces - chunks - first
        words[Word.EPSILON] = int(np.float32(self.epsilon).view(np.int32))
        words[Word.SHARE], words[Word.SHARE + 1] = high, low
        return words

    def parameters(
        self, gamma: NDArray[np.float32], beta: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """uint16[2, 4096]: the two chunks of net B after the header: 8 of each in turn."""
        pairs = np.zeros((2, MOST_COLUMNS), np.uint16)
        pairs[0, : self.columns], pairs[1, : self.columns] = map(to_bfloat16, (gamma, beta))
        return pairs.reshape(2, -1, 8).transpose(1, 0, 2).reshape(2, -1)


# ------------------------------------------------------------------------------ program


def layer_norm(p: Program, t: Tile) -> None:
    """All units of one operation."""
    p.banks.update(parameters=BANKS["b"], factors=BANKS["work"])
    for _ in range(2):
        t.b.wait()
    passes, first = t.parameter(Word.PASSES), p.const(1, name="first")
    resident = p.lt(passes, p.const(2))
    with p.while_nonzero(passes):
        t.a.skip_all(t.parameter(Word.FIRST))
        entry, units = p.const(TABLE, name="entry"), t.parameter(Word.TILES)
        with p.while_nonzero(units):
            p.add(units, -1, to=units)
            others = t.parameter(Word.BETWEEN)
            with p.if_zero(units):
                t.parameter(Word.AFTER, others)
            with p.if_nonzero(first):
                _statistics(p, t, entry, resident)
            with p.if_zero(p.add(passes, -1)):
                _normalize(p, t, entry, resident, others)
            t.a.skip_all(others)
            p.add(entry, p.const(2 * VECTOR), to=entry)
        p.const(0, first)
        p.add(passes, -1, to=passes)
    t.b.give()
    t.b.give()


# ------------------------------------------------------------------------------ statistics


def _statistics(p: Program, t: Tile, entry: Value, resident: Value) -> None:
    """Means and deviations of a unit to its entry; the unit to C where it is resident."""
    matrix, lanes = p.product_mode(Shape.BF16_4X8X4), p.product_mode(Shape.BF16_LANES_16X2)
    left, stage, fresh = t.parameter(Word.PIECES), p.const(C, name="stage"), p.const(1)
    offset = t.parameter(Word.OFFSET)
    with p.loop(t.parameter(Word.CHUNKS), pipelined=False):
        t.a.wait()
        source = p.add(t.a.at, p.lshl(offset, p.const(PIECE_BITS)), to=p.scalar("source"))
        with p.if_nonzero(fresh):
            _start(p, source, matrix)
            p.const(0, fresh)
        here = p.sub(p.const(CHUNK_PIECES), offset, to=p.scalar("here"))
        with p.if_nonzero(p.lt(left, here)):
            p.mov(left, to=here)
        _add_up(p, source, stage, p.lshl(here, p.const(3)), matrix)
        p.sub(left, here, to=left)
        with p.if_nonzero(resident):
            p.add(stage, p.lshl(here, p.const(PIECE_BITS)), to=stage)
        p.const(0, offset)
        t.a.give()
    _finish(p, t, entry, matrix, lanes)


def _start(p: Program, unit: Value, matrix: Value) -> None:
    """Shifts from the first block of each group of rows; sums are zero."""
    share, zero = p.vbcst_16(p.const(EIGHTH)), p.vbcst_16(p.const(0))
    source, shifts, sums = p.pointer("a", unit), p.pointer("work", SHIFTS), p.pointer("work", SUMS)
    none = p.accumulator(512, "none")
    p.vmov(zero, to=none)
    interleave = p.const(Shuffle.T64_2X8_LO)
    skip = p.const(HALF_ROW, p.new("m", "skip"))
    with p.loop(4, pipelined=False):
        mean = _both(p, p.vmac_f(none, p.load_x(source, skip), share, matrix))
        shift = p.vshuffle(mean, mean, interleave)
        p.vst(shift.lo, shifts.post(32))
        p.vst(shift.hi, shifts.post(32))
        for _ in range(4):
            p.vst(zero.lo, sums.post(32))


def _piecewise(p: Program) -> Value:
    """Steps along the blocks of 4 rows, piece after piece."""
    return p.dimensions(step=PIECE - HALF_ROW + VECTOR, inner=VECTOR, count=8)


def _add_up(p: Program, chunk: Value, stage: Value, blocks: Value, matrix: Value) -> None:
    """Copy `blocks` of each group of rows of a chunk, and add up d and d d^T."""
    ones, transpose = p.vbcst_16(p.const(ONE)), p.const(Shuffle.T16_4X8)
    shift_at, sum_at = p.const(SHIFTS, name="shift_at"), p.const(SUMS, name="sum_at")
    source_at, target_at = p.scalar("source_at"), p.scalar("target_at")
    p.mov(chunk, to=source_at)
    p.mov(stage, to=target_at)
    plain = p.const(0, name="plain")
    with p.loop(4, pipelined=False):
        shifts, sums = p.pointer("work", shift_at), p.pointer("work", sum_at)
        source, target = p.pointer("a", source_at), p.pointer("c", target_at)
        shift = [p.vlda_conv_fp32_bf16(shifts[32 * n]) for n in range(2)]
        total, square = p.accumulator(512, "total"), p.accumulator(512, "square")
        for n, part in enumerate((total.lo, total.hi, square.lo, square.hi)):
            p.vlda(sums[32 * n], to=part)
        steps = _piecewise(p), _piecewise(p)
        with p.loop(blocks, at_least=8, independent=("c",)):
            x, d = p.load_x(source, steps[0]), p.vector(512, "d")
            p.vst(x.hi, target[32])
            p.vst(x.lo, target.post(steps[1]))
            for half, into, less in ((x.lo, d.lo, shift[0]), (x.hi, d.hi, shift[1])):
                p.vconv_bf16_fp32(p.vsub_f(p.vconv_fp32_bf16(half), less, plain), to=into)
            p.vmac_f(total, d, ones, matrix, to=total)
            p.vmac_f(square, d, p.vshuffle(d, d, transpose), matrix, to=square)
        for n, part in enumerate((total.lo, total.hi, square.lo, square.hi)):
            p.vst(part, sums[32 * n])
        p.add(shift_at, p.const(VECTOR), to=shift_at)
        p.add(sum_at, p.const(2 * VECTOR), to=sum_at)
        half_row = p.const(HALF_ROW)
        p.add(source_at, half_row, to=source_at)
        p.add(target_at, half_row, to=target_at)


def _both(p: Program, value: Value) -> Value:
    """The bf16 of 16 float32 lanes, twice."""
    result = p.vector(512, "both")
    p.vconv_bf16_fp32(value, to=result.lo)
    p.vconv_bf16_fp32(value, to=result.hi)
    return result


def _split(p: Program, value: Value, plain: Value) -> tuple[Value, Value]:
    """The bf16 of 16 float32 lanes and those of what they leave, each twice."""
    high = _both(p, value)
    return high, _both(p, p.vsub_f(value, p.vconv_fp32_bf16(high.lo), plain))


def _finish(p: Program, t: Tile, entry: Value, matrix: Value, lanes: Value) -> None:
    """From the sums of a unit to its entry of TABLE.

    A product with a right operand that has one column gathers a number of each of 4 rows in a
    column of an accumulator: so all 16 rows come into 16 lanes.
    """
    zero = p.vbcst_16(p.const(0))
    total, square, shift = (p.accumulator(512, n) for n in ("total", "square", "shift"))
    for value in (total, square, shift):
        p.vmov(zero, to=value)
    share = [p.vbcst_16(t.parameter(Word.SHARE + n)) for n in range(2)]
    eighth = p.vbcst_16(p.const(EIGHTH))
    column, diagonal = lane_mask(p, "column"), lane_mask(p, "diagonal")
    p.const(0x11111111, column)
    p.const(0x8421, diagonal)
    interleave, plain = p.const(Shuffle.T64_2X8_LO), p.const(0, name="plain")
    shifts, sums = p.pointer("work", SHIFTS), p.pointer("work", SUMS)
    with p.loop(4, pipelined=False):
        p.vmac_f(shift, p.load_x(shifts), p.vsel_16(zero, eighth, column), matrix, to=shift)
        rights = [p.vsel_16(zero, s, column) for s in share]
        for gathered in (total, square):
            tile = p.accumulator(512, "tile")
            p.vmov(p.vsel_32(zero, p.load_x(sums), diagonal), to=tile)
            high, low = _split(p, tile, plain)
            left = p.vshuffle(high, low, interleave)
            for right in rights:
                p.vmac_f(gathered, left, right, matrix, to=gathered)
        p.add(column, column, to=column)
    mean = p.vadd_f(shift, total, plain)
    epsilon = p.accumulator(512, "epsilon")
    p.vmov(p.vbcst_32(t.parameter(Word.EPSILON)), to=epsilon)
    variance = p.vadd_f(square, epsilon, plain)
    variance = _less_product(p, variance, total, total, lanes)
    target = p.pointer("side", entry)
    join, pair = p.const(Shuffle.T256_2X2_LO), p.const(Shuffle.T16_2X16)
    for value in (mean, _inverse_root(p, variance, lanes)):
        parts = p.vshuffle(*_split(p, value, plain), join)
        parts = p.vshuffle(parts, parts, pair)
        p.vst(parts.lo, target.post(32))
        p.vst(parts.hi, target.post(32))


def _less_product(p: Program, value: Value, a: Value, b: Value, lanes: Value) -> Value:
    """value - a b of float32 lanes, 16 bits of each factor."""
    plain = p.const(0, name="plain")
    left = p.vshuffle(*_split(p, a, plain), p.const(Shuffle.T256_2X2_LO))
    for part in _split(p, b, plain):
        value = p.vmsc_f(value, left, part, lanes)
    return value


def _inverse_root(p: Program, v: Value, lanes: Value) -> Value:
    """v ** -0.5 of float32 lanes, to 2^-13: r += r (1 - v r r) / 2 twice from a guess by bits."""
    bits, r = _both(p, v), p.accumulator(512, "r")
    wide, half = p.accumulator(1024, "wide"), p.vector(512, "half")
    p.vups_s32_s16(bits, p.const(0, p.new("s")), to=wide)
    p.vsrs_s16_s32(wide, p.const(1, p.new("s")), to=half)
    guess = p.vsub_16(p.vbcst_16(p.const(GUESS)), half)
    p.vmov(p.vconv_fp32_bf16(guess.lo), to=r)
    exponent = p.vbcst_16(p.const(1 << 7))
    one_half = everywhere(p, int(np.float32(0.5).view(np.int32)), 512, "one_half")
    with p.loop(2, pipelined=False):
        twice = _both(p, r)
        halves = p.vsub_16(twice, exponent)
        square = p.vmul_f(twice, p.vsub_16(halves, exponent), lanes)  # r r / 2
        error = _both(p, _less_product(p, one_half, v, square, lanes))
        p.vmac_f(p.vconv_fp32_bf16(twice.lo), halves, error, lanes, to=r)
    return r


# ------------------------------------------------------------------------------ results


def _normalize(p: Program, t: Tile, entry: Value, resident: Value, others: Value) -> None:
    """All pieces of a unit, from C where it is resident, else from net A.

    From C, a chunk for others passes after each piece, so that the net does not wait for this core;
    `others`, of which there are fewer than pieces, is 0 then.
    """
    _spread(p, entry)
    following, ring = p.scalar("following"), p.const(2 * CHUNK - 1)
    p.mov(t.b.at, to=following)
    left, source, offset = t.parameter(Word.PIECES), p.const(C), t.parameter(Word.OFFSET)
    here = p.sub(p.const(0), resident, to=p.scalar("here"))  # in the chunk; never 0 from C
    with p.while_nonzero(left):
        with p.if_zero(here):
            t.a.wait()
            p.add(t.a.at, p.lshl(offset, p.const(PIECE_BITS)), to=source)
            p.sub(p.const(CHUNK_PIECES), offset, to=here)
            p.const(0, offset)
        _piece(p, t, source, p.or_(p.and_(following, ring), p.const(B)))
        p.add(source, p.const(PIECE), to=source)
        p.add(following, p.const(4 * VECTOR), to=following)
        p.add(left, -1, to=left)
        p.add(here, -1, to=here)
        with p.if_nonzero(resident), p.if_nonzero(others):
            t.a.skip_one(others)
        with p.otherwise(), p.if_zero(here):
            t.a.give()
    with p.if_zero(resident), p.if_nonzero(here):
        t.a.give()


def _spread(p: Program, entry: Value) -> None:
    """A unit's entry to FACTORS."""
    source, target = p.pointer("side", entry), p.pointer("factors", FACTORS)
    mean, factor = p.load_x(source), p.load_x(source)
    join, parts = p.const(Shuffle.T256_2X2_LO), p.const(Shuffle.T16_16X2)
    lane = p.const(0, name="lane")
    with p.loop(8, pipelined=False):
        following = p.add(lane, 4)
        for values in (mean, factor):
            pair = p.vshuffle(p.vextbcst_32(values, lane), p.vextbcst_32(values, following), join)
            pair = p.vshuffle(pair, pair, parts)
            p.vst(pair.lo, target.post(32))
            p.vst(pair.hi, target.post(32))
        p.add(lane, 8, to=lane)
        p.add(p.and_(lane, p.const(15)), p.lshl(lane, p.const(-4)), to=lane)


def _piece(p: Program, t: Tile, source: Value, parameters: Value) -> None:
    """16 rows of 64 columns: (x - mean) / deviation * gamma + beta, a block at a time."""
    lanes, ones = p.product_mode(Shape.BF16_LANES_16X2), p.vbcst_16(p.const(ONE))
    x, out = p.pointer("c", source), t.out.take()
    factors = p.pointer("factors", FACTORS)
    rows = p.dimensions(step=4 * VECTOR, inner=0, count=8)
    pairs = p.pointer("parameters", parameters)
    columns = p.dimensions(step=32 - 8 * 32, inner=32, count=8)
    zero = p.vbcst_16(p.const(0))
    low, high = p.const(Shuffle.T256_2X2_LO), p.const(Shuffle.T256_2X2_HI)
    parts = p.const(Shuffle.T128_4X2_LO), p.const(Shuffle.T128_4X2_HI)
    with p.loop(p.const(PIECE // VECTOR), at_least=4, independent=("out",)):
        d, scaled, pair = (p.vector(512, name) for name in ("d", "scaled", "pair"))
        p.vld(pairs[0], to=pair.hi)
        p.vld(pairs.post(columns), to=pair.lo)
        gammas, betas = p.vshuffle(pair, pair, parts[0]), p.vshuffle(pair, pair, parts[1])
        halves = ((d.lo, scaled.lo, low), (d.hi, scaled.hi, high))
        for n, (part, _, _) in enumerate(halves):
            mean = p.vector(512, "mean")
            p.vld(factors[128 * n], to=mean.lo)
            p.vld(factors[128 * n + 32], to=mean.hi)
            value = p.vlda_conv_fp32_bf16(x.post(32))
            p.vconv_bf16_fp32(p.vmsc_f(value, mean, ones, lanes), to=part)
        for n, (_, part, mode) in enumerate(halves):
            factor = p.vector(512, "factor")
            p.vld(factors[128 * n + 64], to=factor.lo)
            p.vld(factors[128 * n + 96], to=factor.hi)
            p.vconv_bf16_fp32(p.vmul_f(p.vshuffle(d, d, mode), factor, lanes), to=part)
        p.padd(factors.post(rows))
        plus = p.vconv_fp32_bf16(betas.lo)
        for pick in ((gammas, zero), (zero, gammas)):
            result = p.vmac_f(plus, scaled, p.vshuffle(*pick, low), lanes)
            p.vst_conv_bf16_fp32(result, out.post(32))
    t.out.give()
