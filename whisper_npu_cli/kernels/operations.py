"""Operations of the transformer overlay for given sizes: their headers and their transfers.

A right operand comes from the host as one block of memory for each column of cores: the header
chunk, then the tiles of panel after panel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.access import Access, AccessError, linear
from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.array.dma import pattern
from whisper_npu_cli.aie.array.transfers import Piece
from whisper_npu_cli.aie.facts.topology import SHIM_ROW, Tile
from whisper_npu_cli.kernels import attention, gemm, layer_norm
from whisper_npu_cli.kernels.dispatch import Transfer
from whisper_npu_cli.kernels.layout import (
    NETS,
    PIECE_WORDS,
    PIECES,
    TILE,
    TILE_WORDS,
    Activations,
    Order,
    second_operand,
    split_bfloat16,
    to_bfloat16,
)
from whisper_npu_cli.kernels.tile import CHUNK, HEADER_BYTES
from whisper_npu_cli.kernels.transformer import Operation

SHARED_DEPTH = 12
"""Tiles along k from which on a residual is shared between nets."""
SHIM = Tile(0, SHIM_ROW)
"""Any shim tile: what its descriptors can do, those of all can."""


@dataclass(frozen=True)
class Target:
    """Where a column of tiles of a product's result goes.

    start: word of the launch's buffer `argument`; pair_step: words between two pairs of row tiles.
    """

    start: int
    argument: int = 0
    pair_step: int = 2 * TILE_WORDS
    order: gemm.Order = gemm.FIRST_OPERAND


@dataclass(frozen=True)
class Weights:
    """Where the right operand's memory lies: NETS columns of `size` bytes each."""

    argument: int
    offset: int


@dataclass(frozen=True)
class Product:
    """result = act(left @ right + bias) + residual; all of whole tiles. What all formats share.

    depth: chunks along k. targets: where each column of tiles of the result goes, four a panel.
    """

    left: Activations
    weights: Weights
    depth: int
    targets: tuple[Target, ...]
    residual: Activations | None = None
    gelu: bool = False
    most_panels: ClassVar[int]

    def __post_init__(self) -> None:
        if len(self.targets) % NETS or not 0 < self.panels <= self.most_panels:
            raise DesignError(
                f"A product makes 1 to {self.most_panels} panels of {NETS} columns of tiles, not "
                f"{len(self.targets)} columns."
            )

    @property
    def left_tiles(self) -> int:
        """Tiles of a row of the left operand that net A brings."""
        return self.depth

    @property
    def result_pieces(self) -> int:
        """Pieces of a tile of the result."""
        return PIECES

    @property
    def panels(self) -> int:
        """Groups of four columns of tiles."""
        return len(self.targets) // NETS

    @property
    def column_bytes(self) -> int:
        """Memory of the right operand for one column of cores."""
        return CHUNK * (1 + self.panels * self.depth)

    @property
    def size(self) -> int:
        """Bytes of the headers and the right operand."""
        return NETS * self.column_bytes

    def words(self, operation: int, column: int) -> list[int]:
        """The header of a column of cores."""
        words = [0] * (HEADER_BYTES // 4)
        words[0] = operation
        words[gemm.Word.PANELS] = self.panels
        words[gemm.Word.ROWS] = self.left.passes
        words[gemm.Word.CHUNKS] = self.depth
        words[gemm.Word.GELU] = self.gelu
        words[gemm.Word.RESIDUAL] = self.residual is not None
        words[gemm.Word.SHARED] = self.shared
        for panel, target in enumerate(self.targets[column::NETS]):
            words[gemm.Word.ORDERS + panel] = gemm.order_address(target.order)
        return words

    @property
    def shared(self) -> bool:
        """Whether net A carries a part of the residual.

        That is faster where many steps of k are worth the transfers of each pass that it asks for.
        """
        return self.residual is not None and self.depth >= SHARED_DEPTH

    def transfers(self) -> list[Transfer]:
        """What the host has to move, in the order in which it should start."""
        first = [self._weights(c, 0, CHUNK) for c in range(NETS)]
        found = [Transfer(f"b{c}", (p,)) for c, p in enumerate(first)]
        if not self.shared:
            found += self._left()
        for panel in range(self.panels):
            passes = self._right(panel)
            found += [*passes[0], *self._results(panel), *itertools.chain(*passes[1:])]
        return found

    def _weights(self, column: int, start: int, size: int) -> Piece:
        at = self.weights.offset + column * self.column_bytes + start
        return Piece(self.weights.argument, linear(size, at))

    def _panel(self, column: int, panel: int) -> Piece:
        """The weights of a panel."""
        return self._weights(column, CHUNK * (1 + panel * self.depth), CHUNK * self.depth)

    def _walk(self, net: int, number: int) -> Access:
        """The row tile of a net in a pass, along k."""
        sizes = (self.left_tiles, self.left.pieces, PIECE_WORDS)
        strides = (self.left.column_step, self.left.piece_step, 1)
        return Access(sizes, strides, self.left.offset // 4 + self.left.start(net, number))

    def _left(self) -> list[Transfer]:
        found = []
        for net in range(NETS):
            walked = _merged([self._walk(net, number) for number in range(self.left.passes)])
            pieces = tuple(Piece(self.left.argument, access) for access in walked)
            found.append(Transfer(f"a{net}", pieces, self.panels))
        return found

    def _right(self, panel: int) -> list[list[Transfer]]:
        """The operands of a panel, except for what `_left` has; pass by pass with a residual."""
        residual = self.residual
        if residual is not None:
            return [
                (self._left_and_residual(residual, panel, number) if self.shared else [])
                + self._right_and_residual(residual, panel, number)
                for number in range(self.left.passes)
            ]
        weights = [self._panel(c, panel) for c in range(NETS)]
        return [
            [Transfer(f"b{c}", (w,), self.left.passes, token=True) for c, w in enumerate(weights)]
        ]

    def _left_and_residual(self, residual: Activations, panel: int, number: int) -> list[Transfer]:
        """A pass on the nets A; each has the residual of two columns, piece by piece by turns."""
        found = []
        for net in range(NETS):
            column = NETS * panel + 2 - net // 2 * 2
            start = residual.start(net, number) + self._column(residual, column)
            step = self._column(residual, column + 1) - self._column(residual, column)
            strides = (residual.piece_step, step, 1)
            more = Access((PIECES, 2, PIECE_WORDS), strides, residual.offset // 4 + start)
            pieces = (
                Piece(self.left.argument, self._walk(net, number)),
                Piece(residual.argument, more),
            )
            found.append(Transfer(f"a{net}", pieces, token=True))
        return found

    def _right_and_residual(self, residual: Activations, panel: int, number: int) -> list[Transfer]:
        """A pass on the nets B; residual of a pair of the upper half, one of the lower half."""
        found = []
        half = residual.rows // 2 * TILE_WORDS
        for c in range(NETS):
            start = residual.offset // 4 + self._column(residual, NETS * panel + c)
            start += residual.start(0, number)
            if self.shared:
                more = Access((8, PIECE_WORDS), (PIECE_WORDS, 1), start + c // 2 * half)
            else:
                more = Access((2, 8, PIECE_WORDS), (half, PIECE_WORDS, 1), start)
            pieces = (self._panel(c, panel), Piece(residual.argument, more))
            found.append(Transfer(f"b{c}", pieces, token=True))
        return found

    def _column(self, residual: Activations, column: int) -> int:
        """Words before a column of tiles; where there is none, that of another."""
        return min(column, residual.padded - 1) * residual.column_step

    def _results(self, panel: int) -> list[Transfer]:
        """Of a panel, or of all with the first one where a channel's tiles follow a rule."""
        found = []
        for j in range(2):
            for c in range(NETS):
                targets = self.targets[c::NETS]
                pieces = [self._result(target, j) for target in targets]
                same = len({t.argument for t in targets}) == 1
                walks = _merged(pieces) if same else pieces
                if panel < len(walks):
                    piece = Piece(targets[panel].argument, walks[panel])
                    found.append(Transfer(f"out{c}{j}", (piece,), token=True))
        return found

    def _result(self, target: Target, j: int) -> Access:
        passes, step = self.left.passes, target.pair_step
        sizes, strides = (passes, 2 * self.result_pieces, PIECE_WORDS), (step, PIECE_WORDS, 1)
        return Access(sizes, strides, target.start + j * passes * step)


@dataclass(frozen=True)
class Gemm(Product):
    """A product of bf16 matrices."""

    most_panels: ClassVar[int] = gemm.MOST_PANELS

    def header(self, column: int, bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The first chunk of net B of a column; bias is float32[64 * columns of tiles]."""
        words = self.words(Operation.GEMM, column)
        payload = np.zeros((self.panels, TILE // 4, 8, 4), np.uint16)
        for panel in range(self.panels):
            at = NETS * panel + column
            part = np.zeros(TILE, np.float32)
            given = bias[TILE * at : TILE * (at + 1)]
            part[: len(given)] = given
            payload[panel, :, :2] = split_bfloat16(part).reshape(2, -1, 4).transpose(1, 0, 2)
        return header_chunk(words, payload.tobytes())

    def pack(self, right: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The right operand (float32[K, N], bias[N]) as net B streams it: uint8[NETS, bytes]."""
        full = np.zeros((self.depth * TILE, self.panels * NETS * TILE), np.uint16)
        full[: right.shape[0], : right.shape[1]] = to_bfloat16(right)
        tiles = full.reshape(self.depth, TILE, self.panels, NETS, TILE).transpose(3, 2, 0, 1, 4)
        data = second_operand(tiles).reshape(NETS, -1).view(np.uint8)
        headers = [self.header(c, bias) for c in range(NETS)]
        return np.concatenate([np.stack(headers), data], axis=1)


@dataclass(frozen=True)
class LayerNorm:
    """result = normalised rows of source, times gamma, plus beta.

    The source is in the order PAIRS, the result in the order STREAM.
    """

    source: Activations
    result: Activations
    weights: Weights
    size: ClassVar[int] = (NETS + 2) * CHUNK
    """Bytes of the headers, gamma and beta."""

    @property
    def work(self) -> layer_norm.LayerNorm:
        """What each net has to do."""
        return layer_norm.LayerNorm(self.source.passes, TILE * self.source.columns)

    def pack(self, gamma: NDArray[np.float32], beta: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Headers of the columns of cores, gamma and beta (float32[columns]): uint8[size]."""
        work = self.work
        heads = [header_chunk(work.words(Operation.LAYER_NORM, c)) for c in range(NETS)]
        return np.concatenate([*heads, work.parameters(gamma, beta).view(np.uint8).ravel()])

    def transfers(self) -> list[Transfer]:
        """What the host has to move, in the order in which it should start."""
        heads = []
        for c in range(NETS):
            spans = (c * CHUNK, CHUNK), (NETS * CHUNK, 2 * CHUNK)
            pieces = [
                Piece(self.weights.argument, linear(size, self.weights.offset + at))
                for at, size in spans
            ]
            heads.append(Transfer(f"b{c}", tuple(pieces)))
        rows = [self._rows(net) for net in range(NETS)]
        return [*heads, *rows, *(self._results(c, j) for j in range(2) for c in range(NETS))]

    def _rows(self, net: int) -> Transfer:
        """The row tiles of a net: a unit after the other, piece by piece along its columns.

        Units of all row tiles lie at the same distance: the pieces of two row tiles alternate.
        """
        source = self.source
        sizes = (PIECES * source.passes, source.columns, PIECE_WORDS)
        strides = (source.piece_step, source.column_step, 1)
        access = Access(sizes, strides, source.offset // 4 + source.start(net, 0))
        piece = Piece(source.argument, access)
        return Transfer(f"a{net}", (piece,), self.work.passes)

    def _results(self, column: int, j: int) -> Transfer:
        """Piece `column` of all tiles of two nets, by turns."""
        result = self.result
        sizes = (result.passes * result.columns, 2, PIECE_WORDS)
        strides = (TILE_WORDS, result.start(1, 0), 1)
        start = result.offset // 4 + result.start(2 * j, 0) + column * PIECE_WORDS
        piece = Piece(result.argument, Access(sizes, strides, start))
        return Transfer(f"out{column}{j}", (piece,), token=True)


@dataclass(frozen=True)
class KeysValues:
    """Keys and transposed values of all heads: pairs of row tiles, keys then values, in turn."""

    rows: int
    heads: int
    argument: int = 0
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.heads * self.head_words

    @property
    def head_words(self) -> int:
        """Words of a head."""
        return 2 * self.rows * TILE_WORDS

    def target(self, head: int, values: bool) -> Target:
        """Where a product puts the keys, or the values, of a head."""
        start = self.offset // 4 + head * self.head_words + values * 2 * TILE_WORDS
        order = gemm.FIRST_TRANSPOSED if values else gemm.FIRST_OPERAND
        return Target(start, self.argument, 4 * TILE_WORDS, order)


@dataclass(frozen=True)
class Attention:
    """result = softmax(queries keys^T) values, head by head; the first `valid` keys count.

    Queries are those of a product in the order SECOND_TRANSPOSED, scaled so that scores are
    exponents of 2; the result is in the order STREAM. A step is one query tile of one head on each
    core: the four cores of a row have four tiles of the same head, and the rows of cores deal the
    heads out in turn. Surplus steps repeat the last one and leave their results in `scratch`, two
    tiles behind the result.
    """

    queries: Activations
    keys: KeysValues
    result: Activations
    scratch: Target
    weights: Weights
    valid: int
    size: ClassVar[int] = CHUNK
    """Bytes of the header."""

    @property
    def steps(self) -> int:
        """Steps of each core."""
        return -(-self.keys.heads * self.queries.passes // NETS)

    def pack(self) -> NDArray[np.uint8]:
        """The header, uint8[size], the same for all columns."""
        words = [0] * (len(attention.Word) + 1)
        words[0] = Operation.ATTENTION
        words[attention.Word.STEPS] = self.steps
        words[attention.Word.PAIRS] = self.keys.rows // 2
        words[attention.Word.VALID] = self.valid
        return header_chunk(words)

    def transfers(self) -> list[Transfer]:
        """What the host has to move, in the order in which it should start."""
        given = Piece(self.weights.argument, linear(CHUNK, self.weights.offset))
        found = [Transfer(f"b{c}", (given,)) for c in range(NETS)]
        for step in range(self.steps):
            found += [self._queries(c, step) for c in range(NETS)]
            found += [self._keys(net, step) for net in range(NETS)]
            found += [self._results(c, j, step) for j in range(2) for c in range(NETS)]
        return found

    def _work(self, net: int, step: int) -> tuple[int, int, bool]:
        """Head, group of four query tiles, and whether it counts."""
        last = self.keys.heads * self.queries.passes - 1
        number = NETS * step + net
        group, head = divmod(min(number, last), self.keys.heads)
        return head, group, number <= last

    def _alone(self, net: int, column: int, step: int) -> Piece:
        """The query tile of a core."""
        q = self.queries
        head, group, _ = self._work(net, step)
        start = q.start(*q.place(NETS * group + column)) + head * q.column_step
        access = Access((PIECES, PIECE_WORDS), (q.piece_step, 1), q.offset // 4 + start)
        return Piece(q.argument, access)

    def _keys(self, net: int, step: int) -> Transfer:
        """Queries of the two columns of the other half, then all keys and values of a head."""
        head, _, _ = self._work(net, step)
        size = 4 * self.keys.head_words
        keys = Piece(self.keys.argument, linear(size, self.keys.offset + head * size))
        first = 2 - net // 2 * 2
        mine = [self._alone(net, column, step) for column in (first, first + 1)]
        return Transfer(f"a{net}", (*mine, keys), token=True)

    def _queries(self, column: int, step: int) -> Transfer:
        """Those of the two rows of cores of the same half."""
        first = column // 2 * 2
        mine = [self._alone(net, column, step) for net in (first, first + 1)]
        return Transfer(f"b{column}", tuple(mine), token=True)

    def _results(self, column: int, j: int, step: int) -> Transfer:
        """The tiles of two cores, piece by piece in turn."""
        starts: list[int] = []
        out = self.result
        for net in (2 * j, 2 * j + 1):
            head, group, counts = self._work(net, step)
            start = out.start(*out.place(NETS * group + column)) + head * out.column_step
            tile = out.offset // 4 + start
            starts.append(tile if counts else self.scratch.start + len(starts) * TILE_WORDS)
        strides = (PIECE_WORDS, starts[1] - starts[0], 1)
        piece = Piece(out.argument, Access((PIECES, 2, PIECE_WORDS), strides, starts[0]))
        return Transfer(f"out{column}{j}", (piece,), token=True)


def header_chunk(words: Sequence[int], payload: bytes = b"") -> NDArray[np.uint8]:
    """The chunk of net B that begins an operation."""
    chunk = np.array(words, np.int64).astype(np.uint32).tobytes().ljust(HEADER_BYTES, b"\0")
    return np.frombuffer((chunk + payload).ljust(CHUNK, b"\0"), np.uint8)


def columns_of(result: Activations) -> tuple[Target, ...]:
    """The targets of a product whose result is a matrix in PAIRS order, padding included."""
    assert result.order is Order.PAIRS
    start, step = result.offset // 4, result.column_step
    pairs = 2 * result.tile_words
    return tuple(Target(start + n * step, result.argument, pairs) for n in range(result.padded))


def _merged(accesses: Sequence[Access]) -> list[Access]:
    """The same walk in one access where the starts are evenly spaced and a descriptor can do it."""
    first = accesses[0]
    steps = {b.offset - a.offset for a, b in itertools.pairwise(accesses)}
    same = {(a.sizes, a.strides) for a in accesses}
    if len(accesses) > 1 and len(steps) == 1 and len(same) == 1 and min(steps) > 0:
        whole = Access((len(accesses), *first.sizes), (*steps, *first.strides), first.offset)
        with suppress(AccessError, DesignError):
            pattern(SHIM, whole)
            return [whole]
    return list(accesses)
