"""Softmax of rows as an operation of the overlay transformer_int8: its header and transfers.

Matrices lie in memory as their streams: a source as the four nets A read it, a result as the eight
output channels leave it, two cores piece by piece in turn. The host packs and unpacks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.transfers import Piece
from whisper_npu_cli.kernels import softmax
from whisper_npu_cli.kernels.dispatch import Transfer
from whisper_npu_cli.kernels.layout import NETS, from_bfloat16
from whisper_npu_cli.kernels.operations import Weights, header_chunk
from whisper_npu_cli.kernels.softmax import ROWS, Softmax
from whisper_npu_cli.kernels.tile import CHUNK, PIECE
from whisper_npu_cli.kernels.transformer_int8 import Operation


@dataclass(frozen=True)
class RowSoftmax:
    """result = softmax of the rows of source; `work` has the sizes.

    source, result: bytes from which on `size` of them belong to it, in buffers of the launch.
    weights: where the header lies, the same for all columns.
    """

    work: Softmax
    source: Weights
    result: Weights
    weights: Weights

    @property
    def net_rows(self) -> int:
        """Rows that each net has, padding included: net n those from n * net_rows on."""
        return self.work.rounds * NETS * self.work.units * ROWS

    @property
    def size(self) -> int:
        """Bytes of the source, and of the result."""
        return 2 * NETS * self.net_rows * self.work.columns

    def pack(self) -> NDArray[np.uint8]:
        """The header, and what keeps others away from where cores work: uint8[1, bytes]."""
        head = header_chunk(self.work.words(Operation.SOFTMAX))
        return np.concatenate([head, np.zeros(softmax.FILLERS * CHUNK, np.uint8)])[None]

    def pack_source(self, matrix: NDArray[np.float32]) -> NDArray[np.uint16]:
        """The source, float32[rows, columns or fewer], as it lies in memory."""
        parts = (matrix[n * self.net_rows : (n + 1) * self.net_rows] for n in range(NETS))
        return np.concatenate([self.work.pack(part).ravel() for part in parts])

    def pack_result(self, matrix: NDArray[np.float32]) -> NDArray[np.uint16]:
        """The reverse of unpack_result, for as many rows as there is room for."""
        work = self.work
        groups = self.pack_source(matrix).reshape(NETS, work.rounds, NETS, -1)
        streams = groups.transpose(2, 0, 1, 3).reshape(NETS, 2, 2, -1, PIECE // 2)
        return streams.transpose(0, 1, 3, 2, 4).ravel()

    def unpack_result(self, memory: NDArray[np.uint16]) -> NDArray[np.float32]:
        """The result, float32[rows, columns], from its memory (uint16, `size` bytes)."""
        work = self.work
        pieces = memory.reshape(NETS, 2, -1, 2, PIECE // 2)  # column, pair of nets, turn, net
        streams = pieces.transpose(1, 3, 0, 2, 4).reshape(NETS, NETS, work.rounds, -1)
        groups = work.unpack(streams.transpose(0, 2, 1, 3))
        return from_bfloat16(groups)[: work.rows]

    def transfers(self) -> list[Transfer]:
        """What the host has to move, in the order in which it should start."""
        size = CHUNK * (1 + softmax.FILLERS)
        given = Piece(self.weights.argument, linear(size, self.weights.offset))
        heads = [Transfer(f"b{c}", (given,)) for c in range(NETS)]
        rows = [Transfer(f"a{n}", (p,)) for n, p in enumerate(self._parts(NETS))]
        outs = [
            Transfer(f"out{n // 2}{n % 2}", (p,), token=True)
            for n, p in enumerate(self._parts(2 * NETS))
        ]
        return [*heads, *rows, *outs]

    def _parts(self, count: int) -> list[Piece]:
        """The source in 4 parts, or the result in 8."""
        where = self.source if count == NETS else self.result
        size = self.size // count
        return [Piece(where.argument, linear(size, where.offset + n * size)) for n in range(count)]
