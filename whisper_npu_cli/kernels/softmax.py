"""Softmax of rows, bf16 in and out. Attention has its own, whose scores never leave the core.

A unit is 4 rows, blocks of [4 rows][8 columns] one after the other; a group is one unit or more
that fill whole chunks of net A. The core of column g takes group g of each four, works in place in
the 32 KiB from B on, and sends the group's pieces in the same order. So that nothing else comes to
B meanwhile, FILLERS chunks without meaning follow the header on net B.

Columns from `valid` on give zeros. Inputs may be infinite: +inf counts as HIGHEST, which is also
the most that a finite input may be, -inf and all below -HIGHEST give zero where the row has
something larger. A row of nothing but -inf is zero throughout.

Results are within 0.4 % (rms, 1.4 % at most; kernels/exp2.py); those below 2^-64 may be larger than
they should, up to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.asm.modes import Shape, Shuffle
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.exp2 import X0, Exp2
from whisper_npu_cli.kernels.layout import to_bfloat16
from whisper_npu_cli.kernels.tile import CHUNK, PIECE, B, Place, Tile
from whisper_npu_cli.kernels.vectors import ONE, VECTOR, copy, everywhere, lane_mask, split

ROWS, BLOCK_COLUMNS = 4, 8
GRAIN = 64
"""Columns are a multiple of this."""
MOST_COLUMNS = 4096
PIECE_BITS = PIECE.bit_length() - 1
MOST_CHUNKS = 4
"""Of a group: B and C, where it is worked on, have as much room."""
FILLERS = 2
HIGHEST = 2.0**15

UNROLL_BITS, AT_LEAST = 1, 4
"""Blocks that a turn of the loop of exponentials makes, as a power of 2; turns at least."""
LEAST_SUM = np.float32(2.0**-60)


class Word(IntEnum):
    """Words of the header, after the op code."""

    ROUNDS = 1
    """Of four groups on a net."""
    CHUNKS = 2
    """Of a group."""
    UNITS = 3
    """Of a group."""
    BLOCKS = 4
    """Of a unit."""
    LAST = 5
    """Bytes before the last block of a unit that has a column that counts."""
    MASK = 6
    """A bit for each lane of that block, set where the column does not count."""
    REST = 7
    """Blocks after it."""


def reference(x: NDArray[np.float64], valid: int) -> NDArray[np.float64]:
    """The meaning; a row of -inf gives zeros."""
    counts = np.where(np.arange(x.shape[1]) < valid, np.minimum(x, HIGHEST), -np.inf)
    top = np.maximum(counts.max(axis=1, keepdims=True), -HIGHEST)
    weights = np.exp(counts - top)
    return np.asarray(weights / np.maximum(weights.sum(axis=1, keepdims=True), LEAST_SUM))


@dataclass(frozen=True)
class Softmax:
    """Rows of `columns`, a multiple of GRAIN, of which the first `valid` count.

    A group has to fit into where a core works: columns are a power of 2 or three times one.
    DesignError where they are not, or where `valid` is not 1 to `columns`.
    """

    rows: int
    columns: int
    valid: int

    def __post_init__(self) -> None:
        whole = self.columns % GRAIN == 0 and 0 < self.columns <= MOST_COLUMNS
        if not whole or self.chunks > MOST_CHUNKS or not 0 < self.valid <= self.columns:
            raise DesignError(
                f"Softmax cannot have rows of {self.columns} columns of which {self.valid} count: "
                f"it takes {GRAIN} to {MOST_COLUMNS} columns, a power of 2 or three times one."
            )

    @classmethod
    def of(cls, rows: int, valid: int) -> Softmax:
        """The narrowest that has room for `valid` columns, 1 to MOST_COLUMNS."""
        widths = sorted(odd << n for odd in (1, 3) for n in range(6, 13))
        return cls(rows, next((w for w in widths if w >= valid), valid), valid)

    @property
    def units(self) -> int:
        """Units of a group: as few as fill whole chunks."""
        return CHUNK // int(np.gcd(CHUNK, 2 * ROWS * self.columns))

    @property
    def chunks(self) -> int:
        """Chunks of a group."""
        return self.units * 2 * ROWS * self.columns // CHUNK

    @property
    def rounds(self) -> int:
        """Rounds of four groups on each of the four nets; the rows of the last may be padding."""
        return -(-self.rows // (16 * ROWS * self.units))

    def words(self, operation: int) -> list[int]:
        """The header."""
        blocks = self.columns // BLOCK_COLUMNS
        last = (self.valid - 1) // BLOCK_COLUMNS
        columns = 0xFF << (self.valid - BLOCK_COLUMNS * last) & 0xFF
        words = [operation] + [0] * len(Word)
        words[Word.ROUNDS], words[Word.CHUNKS] = self.rounds, self.chunks
        words[Word.UNITS], words[Word.BLOCKS] = self.units, blocks
        words[Word.LAST], words[Word.MASK] = (
            VECTOR * last,
            (columns * 0x01010101 ^ 1 << 31) - (1 << 31),
        )
        words[Word.REST] = blocks - last - 1
        return words

    def pack(self, matrix: NDArray[np.float32]) -> NDArray[np.uint16]:
        """uint16[rounds, 4 groups, units, ...] of one net's rows, padded with zeros."""
        rows = self.rounds * 4 * self.units * ROWS
        full = np.zeros((rows, self.columns), np.uint16)
        full[: matrix.shape[0], : matrix.shape[1]] = to_bfloat16(matrix)
        blocks = full.reshape(self.rounds, 4, self.units, ROWS, -1, BLOCK_COLUMNS)
        return np.ascontiguousarray(blocks.transpose(0, 1, 2, 4, 3, 5))

    def unpack(self, blocks: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """The rows of packed groups."""
        units = blocks.reshape(-1, self.columns // BLOCK_COLUMNS, ROWS, BLOCK_COLUMNS)
        return units.transpose(0, 2, 1, 3).reshape(-1, self.columns)


# ------------------------------------------------------------------------------ program


def softmax(p: Program, t: Tile) -> None:
    """All groups of one operation."""
    p.set_mode("crVaddSign", 0)
    p.set_mode("crSRSSign", 0)
    for _ in range(FILLERS):
        t.b.wait()
    chunks, rounds = t.parameter(Word.CHUNKS), t.parameter(Word.ROUNDS)
    first = p.mul(t.place(Place.COLUMN), chunks)
    others = p.sub(p.mul(p.mul(rounds, chunks), p.const(3)), first, to=p.scalar("others"))
    t.a.skip_all(first)
    with p.loop(rounds, pipelined=False):
        _group(p, t, others)
    t.a.skip_all(others)
    for _ in range(FILLERS):
        t.b.give()


def _group(p: Program, t: Tile, others: Value) -> None:
    """Softmax of a group, from net A to the output.

    Net A must not wait for this core: for three of four pieces that leave, a chunk of the `others`
    still to come may pass. That makes three groups in all.
    """
    region, unit = p.const(B, name="region"), p.const(B, name="unit")
    sent, turn = p.const(B, name="sent"), p.const(1, name="turn")
    with p.loop(t.parameter(Word.CHUNKS), pipelined=False):
        _fetch(p, t, region)
    with p.loop(t.parameter(Word.UNITS), pipelined=False):
        _unit(p, t, unit)
        p.add(unit, p.lshl(t.parameter(Word.BLOCKS), p.const(6)), to=unit)
        whole = p.lshl(p.sub(unit, sent), p.const(-PIECE_BITS), to=p.scalar("whole"))
        with p.while_nonzero(whole):
            _send(p, t, sent)
            with p.if_nonzero(p.and_(turn, p.const(3))), p.if_nonzero(others):
                t.a.skip_one(others)
            p.add(turn, 1, to=turn)
            p.add(whole, -1, to=whole)


def _fetch(p: Program, t: Tile, region: Value) -> None:
    """A chunk of net A to the region, nothing in it above HIGHEST; `region` moves on."""
    source, target = t.a.take(), p.pointer("b", region)
    highest = p.vbcst_16(p.const(_bits(HIGHEST)))
    with p.loop(CHUNK // VECTOR, independent=("a", "b")):
        data, _ = p.vmin_ge_bf16(p.load_x(source), highest)
        p.vst(data.hi, target[32])
        p.vst(data.lo, target.post(VECTOR))
    t.a.give()
    p.add(region, p.const(CHUNK), to=region)


def _send(p: Program, t: Tile, sent: Value) -> None:
    """The next piece of the region; `sent` moves on."""
    target, read = t.out.take(), p.pointer("b", sent)
    copy(p, read, target, PIECE // VECTOR, ("b", "out"))
    t.out.give()
    p.add(sent, p.const(PIECE), to=sent)


def _unit(p: Program, t: Tile, unit: Value) -> None:
    """Softmax of 4 rows in place."""
    lanes = p.product_mode(Shape.BF16_LANES_16X2)
    blocks = t.parameter(Word.BLOCKS)
    _cut(p, t, unit)
    top = _largest(p, unit, blocks)
    total = _exponentials(p, unit, blocks, top, lanes)
    _scale(p, unit, blocks, _reciprocals(p, total, lanes), lanes)


def _cut(p: Program, t: Tile, unit: Value) -> None:
    """-inf to the columns that do not count."""
    nothing = p.vbcst_16(p.const(0xFF80))
    select = t.parameter(Word.MASK, lane_mask(p))
    pointer = p.pointer("b", p.add(unit, t.parameter(Word.LAST)))
    block = p.vector(512, "block")
    p.vld(pointer[32], to=block.hi)
    p.vld(pointer[0], to=block.lo)
    block = p.vsel_16(block, nothing, select)
    p.vst(block.hi, pointer[32])
    p.vst(block.lo, pointer.post(VECTOR))
    rest = t.parameter(Word.REST)
    with p.while_nonzero(rest):
        p.vst(nothing.hi, pointer[32])
        p.vst(nothing.lo, pointer.post(VECTOR))
        p.add(rest, -1, to=rest)


def _largest(p: Program, unit: Value, blocks: Value) -> Value:
    """The largest of each row, at least -HIGHEST, as a block of 4 equal columns of 8."""
    pointer = p.pointer("b", unit)
    top = p.vbcst_16(p.const(_bits(-HIGHEST)))
    with p.loop(blocks, at_least=GRAIN // BLOCK_COLUMNS):
        p.vmax_lt_bf16(top, p.load_x(pointer), to=[top, p.scalar("compared")])
    top = p.vshuffle(top, top, p.const(Shuffle.T16_4X8))
    for distance in (32, 16, 8):
        top, _ = p.vmax_lt_bf16(top, p.vshift(top, top, p.const(distance)))
    return p.vshuffle(top, top, p.const(Shuffle.T16_8X4))


def _bits(number: float) -> int:
    """A number as bf16."""
    return int(to_bfloat16(np.array([number], np.float32))[0])


def _halves(p: Program, block: Value) -> tuple[Value, Value]:
    """Rows 0 and 1 of a block twice, rows 2 and 3 twice."""
    low, high = p.const(Shuffle.T256_2X2_LO), p.const(Shuffle.T256_2X2_HI)
    return p.vshuffle(block, block, low), p.vshuffle(block, block, high)


def _exponentials(p: Program, unit: Value, blocks: Value, top: Value, lanes: Value) -> Value:
    """e^(x - top) in place; the sums of the rows, fp32 [4 rows][4 equal columns]."""
    matrix = p.product_mode(Shape.BF16_4X8X4)
    parts = _log2e(p)
    start = everywhere(p, int(X0.view(np.int32)), 512)
    origin = p.accumulator(1024, "origin")
    for part, pair in zip((origin.lo, origin.hi), _halves(p, top), strict=True):
        p.vmac_f(start, pair, parts, lanes, to=part)
    power, ones = Exp2.of(p), p.vbcst_16(p.const(ONE))
    total = everywhere(p, int(LEAST_SUM.view(np.int32)), 512)
    read, write = p.pointer("b", unit), p.pointer("b", unit)
    turns = p.ashl(blocks, p.const(-UNROLL_BITS))
    with p.loop(turns, at_least=AT_LEAST, independent=("b",)):
        scores = [p.accumulator(1024, f"score{n}") for n in range(1 << UNROLL_BITS)]
        for score in scores:
            for half, before in ((32, origin.hi), (0, origin.lo)):
                rows = p.vector(512, "rows")
                p.vld(read[half], to=rows.hi)
                p.vld(read[half] if half else read.post(VECTOR), to=rows.lo)
                p.vmsc_f(before, rows, parts, lanes, to=score.hi if half else score.lo)
        for score in scores:
            z, w = p.vector(512, "z"), p.vector(512, "w")
            power.pattern(score, z, w, to=w)
            p.vmac_f(total, w, ones, matrix, to=total)
            p.vst(w.hi, write[32])
            p.vst(w.lo, write.post(VECTOR))
    return total


def _log2e(p: Program) -> Value:
    """log2(e) in bf16, and in the upper half what that leaves; positive both, for infinite x."""
    exact = np.float32(1 / np.log(2))
    high = int(exact.view(np.uint32)) >> 16
    rest = _bits(float(exact - np.uint32(high << 16).view(np.float32)))
    lower, upper = p.vbcst_16(p.const(high)), p.vbcst_16(p.const(rest))
    return p.vshuffle(lower, upper, p.const(Shuffle.T256_2X2_LO))


def _reciprocals(p: Program, total: Value, lanes: Value) -> tuple[Value, Value]:
    """1 / total to 2^-15: for rows 0, 1 and for rows 2, 3 in bf16, then what that leaves.

    Three steps r += r (1 - total r) from a guess by the bits, which is right to an eighth.
    """
    divisor = split(p, total, lanes)
    guess = p.vsub_16(p.vbcst_16(p.const(0x7EF3)), divisor)
    r, error = p.vbcst_16(p.const(0)), p.vbcst_16(p.const(0))
    one = everywhere(p, int(np.float32(1).view(np.int32)), 512)
    better = p.accumulator(512, "better")
    p.vmov(p.vconv_fp32_bf16(guess.lo), to=better)
    with p.loop(3, pipelined=False):
        p.vconv_bf16_fp32(better, to=r.lo)
        p.vconv_bf16_fp32(better, to=r.hi)
        p.vconv_bf16_fp32(p.vmsc_f(one, divisor, r, lanes), to=error.lo)
        p.vmac_f(p.vconv_fp32_bf16(r.lo), r, error, lanes, to=better)
    parts = split(p, better, lanes)
    high, low = (
        p.vshuffle(parts, parts, p.const(m)) for m in (Shuffle.T64_2X8_LO, Shuffle.T64_2X8_HI)
    )
    modes = p.const(Shuffle.T256_2X2_LO), p.const(Shuffle.T256_2X2_HI)
    return p.vshuffle(high, low, modes[0]), p.vshuffle(high, low, modes[1])


def _scale(
    p: Program, unit: Value, blocks: Value, factors: tuple[Value, Value], lanes: Value
) -> None:
    """Multiply the rows by their factors, in place."""
    read, write = p.pointer("b", unit), p.pointer("b", unit)
    with p.loop(blocks, at_least=GRAIN // BLOCK_COLUMNS, independent=("b",)):
        upper, lower = _halves(p, p.load_x(read))
        p.vst_conv_bf16_fp32(p.vmul_f(lower, factors[1], lanes), write[32])
        p.vst_conv_bf16_fp32(p.vmul_f(upper, factors[0], lanes), write.post(VECTOR))
