"""Where matrices lie in host memory, so that streams need few and long transfers.

A matrix of bfloat16 is cut into tiles of 64 x 64, a tile into 4 pieces of 16 rows, a piece into
blocks of 4 x 8 (first operands of the multiplier), all row by row. An `Activations` says where the
pieces lie; packing and unpacking follow from that alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 64
"""Rows and columns of a tile."""
PIECES, PIECE_WORDS = 4, 512
TILE_WORDS = PIECES * PIECE_WORDS
NETS = 4
"""Rows of cores, and columns: row tiles that are worked on at a time."""


class Order(Enum):
    """Who wrote or reads a matrix."""

    PAIRS = "by a product: two row tiles alternate piece by piece"
    STREAM = "by all others, in the order in which a product reads them"


@dataclass(frozen=True)
class Activations:
    """A matrix of `rows` x `columns` tiles, `offset` bytes into a launch's buffer `argument`.

    rows is a multiple of 4. Positions within it are counted in 32-bit words. pieces: of a tile, 4
    where elements are bf16 (layout_int8 has others).
    """

    rows: int
    columns: int
    order: Order
    argument: int = 0
    offset: int = 0
    pieces: int = PIECES

    @property
    def tile_words(self) -> int:
        """Words of a tile."""
        return self.pieces * PIECE_WORDS

    @property
    def passes(self) -> int:
        """How often the four rows of cores go through the row tiles."""
        return self.rows // NETS

    @property
    def padded(self) -> int:
        """Columns of tiles that have room: products make four at a time."""
        return self.columns if self.order is Order.STREAM else -(-self.columns // NETS) * NETS

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * self.rows * self.padded * self.tile_words

    def row(self, net: int, number: int) -> int:
        """The row tile that a row of cores has in pass `number`."""
        return net // 2 * (self.rows // 2) + 2 * number + net % 2

    def place(self, row: int) -> tuple[int, int]:
        """The row of cores that has a row tile, and in which pass."""
        half, at = divmod(row, self.rows // 2)
        return 2 * half + at % 2, at // 2

    def start(self, net: int, number: int) -> int:
        """Word of the first piece of the row tile of a row of cores in a pass."""
        if self.order is Order.STREAM:
            return (net * self.passes + number) * self.padded * self.tile_words
        return self.row(net, number) // 2 * 2 * self.tile_words + net % 2 * PIECE_WORDS

    @property
    def piece_step(self) -> int:
        """Words from a piece of a tile to the next one."""
        return PIECE_WORDS if self.order is Order.STREAM else 2 * PIECE_WORDS

    @property
    def column_step(self) -> int:
        """Words from a tile to the one right of it."""
        return self.tile_words if self.order is Order.STREAM else self.rows * self.tile_words

    def _places(self) -> NDArray[np.int64]:
        """Word of every piece: int64[rows, columns, pieces]."""
        starts = np.empty(self.rows, np.int64)
        for net in range(NETS):
            for number in range(self.passes):
                starts[self.row(net, number)] = self.start(net, number)
        columns = np.arange(self.columns) * self.column_step
        return (
            starts[:, None, None]
            + columns[None, :, None]
            + np.arange(self.pieces) * self.piece_step
        )

    def scatter(self, pieces: NDArray[Any]) -> NDArray[Any]:
        """The memory (`size` bytes) that holds pieces [rows, columns, pieces, ...] of any type."""
        each = PIECE_WORDS * 4 // pieces.itemsize
        memory = np.zeros((self.size // 4 // PIECE_WORDS, each), pieces.dtype)
        memory[self._places().ravel() // PIECE_WORDS] = pieces.reshape(-1, each)
        return memory.ravel()

    def gather(self, memory: NDArray[Any]) -> NDArray[Any]:
        """The reverse: [rows * columns * pieces, elements of a piece]."""
        each = PIECE_WORDS * 4 // memory.itemsize
        return memory.reshape(-1, each)[self._places().ravel() // PIECE_WORDS]

    def pack(self, matrix: NDArray[np.float32]) -> NDArray[np.uint16]:
        """A matrix (float32, up to rows x columns tiles; the rest is zero) as it lies in memory."""
        full = np.zeros((self.rows * TILE, self.columns * TILE), np.uint16)
        full[: matrix.shape[0], : matrix.shape[1]] = to_bfloat16(matrix)
        blocks = full.reshape(self.rows, PIECES, 4, 4, self.columns, 8, 8)
        return self.scatter(blocks.transpose(0, 4, 1, 2, 5, 3, 6))

    def unpack(self, memory: NDArray[np.uint16]) -> NDArray[np.float32]:
        """The matrix, float32[64 rows, 64 columns], from its memory (uint16, `size` bytes)."""
        blocks = self.gather(memory).reshape(self.rows, self.columns, PIECES, 4, 8, 4, 8)
        full = blocks.transpose(0, 2, 3, 5, 1, 4, 6)
        return from_bfloat16(full).reshape(self.rows * TILE, self.columns * TILE)


def second_operand(tile: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """A tile [64 along k, 64 columns] (or many, leading dimensions) as a right operand, flat."""
    lead = tile.shape[:-2]
    blocks = tile.reshape(*lead, 8, 8, 4, 4, 4)  # kb, k, group, nb, n
    n = len(lead)
    order = (*range(n), n + 2, n, n + 3, n + 1, n + 4)
    return blocks.transpose(order).reshape(*lead, TILE * TILE)


def to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Bit patterns, rounded half to even; values beyond the largest become infinite."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat16(patterns: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The values of bit patterns."""
    return (patterns.astype(np.uint32) << 16).view(np.float32)


def split_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Two bfloat16 that add up to a float32 within 2**-17 of it: uint16[2, ...]."""
    high = to_bfloat16(values)
    return np.stack([high, to_bfloat16(values - from_bfloat16(high))])
