"""Operations of the transformer overlay for given sizes: their headers and their transfers.

A right operand comes from the host as one block of memory for each column of cores: the header
chunk, then the tiles of panel after panel.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.access import Access, linear
from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.array.transfers import Piece
from whisper_npu_cli.kernels import gemm
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

DIMENSIONS, MOST_WRAP = 3, 1023
"""Of a shim descriptor; the outermost dimension needs no counter (aie/facts)."""
MOST_PANELS = 7
"""Panels of a product: so much bias fits behind a header."""


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
class Gemm:
    """result = left @ right + bias + residual; all of whole tiles.

    depth: tiles along k. targets: where each column of tiles of the result goes, four a panel.
    """

    left: Activations
    weights: Weights
    depth: int
    targets: tuple[Target, ...]
    residual: Activations | None = None

    def __post_init__(self) -> None:
        if len(self.targets) % NETS or not 0 < self.panels <= MOST_PANELS:
            raise DesignError(
                f"A product makes 1 to {MOST_PANELS} panels of {NETS} columns of tiles, not "
                f"{len(self.targets)} columns."
            )

    @property
    def panels(self) -> int:
        """Groups of four columns of tiles."""
        return len(self.targets) // NETS

    @property
    def column_bytes(self) -> int:
        """Memory of the right operand for one column of cores."""
        return CHUNK * (1 + self.panels * self.depth)

    def header(self, column: int, bias: NDArray[np.float32]) -> bytes:
        """The first chunk of net B of a column; bias is float32[64 * columns of tiles]."""
        words = np.zeros(HEADER_BYTES // 4, np.uint32)
        words[0] = Operation.GEMM
        words[gemm.Word.PANELS] = self.panels
        words[gemm.Word.ROWS] = self.left.passes
        words[gemm.Word.CHUNKS] = self.depth
        words[gemm.Word.RESIDUAL] = self.residual is not None
        payload = np.zeros((self.panels, TILE // 4, 8, 4), np.uint16)
        for panel in range(self.panels):
            at = NETS * panel + column
            words[gemm.Word.ORDERS + panel] = gemm.order_address(self.targets[at].order)
            part = np.zeros(TILE, np.float32)
            given = bias[TILE * at : TILE * (at + 1)]
            part[: len(given)] = given
            payload[panel, :, :2] = split_bfloat16(part).reshape(2, -1, 4).transpose(1, 0, 2)
        chunk = words.tobytes() + payload.tobytes()
        return chunk + bytes(CHUNK - len(chunk))

    def pack(self, right: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The right operand (float32[K, N], bias[N]) as net B streams it: uint8[NETS, bytes]."""
        full = np.zeros((self.depth * TILE, self.panels * NETS * TILE), np.uint16)
        full[: right.shape[0], : right.shape[1]] = to_bfloat16(right)
        tiles = full.reshape(self.depth, TILE, self.panels, NETS, TILE).transpose(3, 2, 0, 1, 4)
        data = second_operand(tiles).reshape(NETS, -1).view(np.uint8)
        headers = [np.frombuffer(self.header(c, bias), np.uint8) for c in range(NETS)]
        return np.concatenate([np.stack(headers), data], axis=1)

    def transfers(self) -> list[Transfer]:
        """What the host has to move, in the order in which it should start."""
        first = [self._weights(c, 0, CHUNK) for c in range(NETS)]
        heads = [Transfer(f"b{c}", (p,)) for c, p in enumerate(first)]
        return [*heads, *self._results(), *self._left(), *self._right()]

    def _weights(self, column: int, start: int, size: int) -> Piece:
        at = self.weights.offset + column * self.column_bytes + start
        return Piece(self.weights.argument, linear(size, at))

    def _left(self) -> list[Transfer]:
        found = []
        for net in range(NETS):
            pieces = []
            for number in range(self.left.passes):
                start = self.left.offset // 4 + self.left.start(net, number)
                sizes = (self.depth, PIECES, PIECE_WORDS)
                strides = (self.left.column_step, self.left.piece_step, 1)
                pieces.append(Access(sizes, strides, start))
            walked = _merged(pieces)
            made = tuple(Piece(self.left.argument, access) for access in walked)
            found.append(Transfer(f"a{net}", made, self.panels, depends=True))
        return found

    def _right(self) -> list[Transfer]:
        found = []
        for panel in range(self.panels):
            start, size = CHUNK * (1 + panel * self.depth), CHUNK * self.depth
            if self.residual is None:
                found += [
                    Transfer(
                        f"b{c}", (self._weights(c, start, size),), self.left.passes, token=True
                    )
                    for c in range(NETS)
                ]
                continue
            for number in range(self.left.passes):
                for c in range(NETS):
                    pieces = (
                        self._weights(c, start, size),
                        self._residual(self.residual, NETS * panel + c, number),
                    )
                    found.append(Transfer(f"b{c}", pieces, depends=True, token=True))
        return found

    def _residual(self, residual: Activations, column: int, number: int) -> Piece:
        """Row tiles of a pass in one column: a pair of the upper half, one of the lower half."""
        start = residual.offset // 4 + residual.start(0, number)
        start += min(column, residual.padded - 1) * residual.column_step
        half = residual.rows // 2 * TILE_WORDS
        return Piece(residual.argument, Access((2, 8, PIECE_WORDS), (half, PIECE_WORDS, 1), start))

    def _results(self) -> list[Transfer]:
        """One transfer a channel where its tiles follow a rule, else one for each panel."""
        found = []
        for j in range(2):
            for c in range(NETS):
                targets = self.targets[c::NETS]
                pieces = [self._result(target, j) for target in targets]
                same = len({t.argument for t in targets}) == 1
                found += [
                    Transfer(f"out{c}{j}", (Piece(targets[n].argument, a),), token=True)
                    for n, a in enumerate(_merged(pieces) if same else pieces)
                ]
        return found

    def _result(self, target: Target, j: int) -> Access:
        passes, step = self.left.passes, target.pair_step
        sizes, strides = (passes, 2 * PIECES, PIECE_WORDS), (step, PIECE_WORDS, 1)
        return Access(sizes, strides, target.start + j * passes * step)


def columns_of(result: Activations) -> tuple[Target, ...]:
    """The targets of a product whose result is a matrix in PAIRS order, padding included."""
    assert result.order is Order.PAIRS
    start, step = result.offset // 4, result.column_step
    return tuple(Target(start + n * step, result.argument) for n in range(result.padded))


def _merged(accesses: Sequence[Access]) -> list[Access]:
    """The same walk in one access where the starts are evenly spaced and dimensions suffice."""
    first = accesses[0]
    steps = {b.offset - a.offset for a, b in itertools.pairwise(accesses)}
    same = {(a.sizes, a.strides) for a in accesses}
    if len(accesses) > 1 and len(steps) == 1 and len(same) == 1 and min(steps) > 0:
        whole = Access((len(accesses), *first.sizes), (*steps, *first.strides), first.offset)
        fitted = whole.reduced(DIMENSIONS).fitted(DIMENSIONS, MOST_WRAP)
        if len(fitted.sizes) <= DIMENSIONS and max(fitted.sizes[-2:]) <= MOST_WRAP:
            return [whole.reduced(DIMENSIONS)]
    return [a.reduced(DIMENSIONS) for a in accesses]
