"""Products as operations of the overlay transformer_int8: their headers and transfers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.kernels import gemm_int8, layout_int8
from whisper_npu_cli.kernels.gemm_int8 import Format
from whisper_npu_cli.kernels.layout import NETS, PIECES, TILE, split_bfloat16
from whisper_npu_cli.kernels.layout_int8 import DEPTH
from whisper_npu_cli.kernels.operations import Gemm, Product, header_chunk
from whisper_npu_cli.kernels.transformer_int8 import Operation

MOST_DEPTH = 64
"""Chunks along k: sums stay below 2^27."""


@dataclass(frozen=True)
class GemmInt8(Product):
    """result = act(row scale * column scale * (left @ right) + bias) + residual.

    left is layout_int8.left_operand. An INT8 result is multiplied by `steps`, rounded half to even
    and saturated (before that it must be below 2^128 / steps). INT32 results are the sums alone.
    """

    format: Format = Format.BF16
    steps: float = 1.0
    most_panels: ClassVar[int] = gemm_int8.MOST_PANELS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth > MOST_DEPTH:
            raise DesignError(f"An int8 product sums up at most {MOST_DEPTH * DEPTH} products.")
        if self.residual is not None and self.format is not Format.BF16:
            raise DesignError("Only bf16 results of an int8 product can have a residual added.")
        if self.gelu and self.format is Format.INT32:
            raise DesignError("Raw sums of an int8 product have no GELU.")

    @property
    def left_tiles(self) -> int:
        """Tiles of a row of the left operand that net A brings, scales included."""
        return 2 * self.depth + 2

    @property
    def result_pieces(self) -> int:
        """Pieces of a tile of the result."""
        return _pieces(self.format)

    def pack(
        self, right: NDArray[np.int8], scales: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """The right operand (int8[K, N]; scales, bf16 numbers, and bias of N) for net B.

        uint8[NETS, bytes]. DesignError for scales that are no such numbers.
        """
        columns = self.panels * NETS * TILE
        full = np.zeros((self.depth * DEPTH, columns), np.int8)
        full[: right.shape[0], : right.shape[1]] = right
        tiles = full.reshape(self.depth, DEPTH, self.panels, NETS, TILE).transpose(3, 2, 0, 1, 4)
        data = layout_int8.second_operand(tiles).reshape(NETS, -1).view(np.uint8)
        all_scales, all_bias = np.ones(columns, np.float32), np.zeros(columns, np.float32)
        all_scales[: len(scales)], all_bias[: len(bias)] = scales, bias
        packed = layout_int8.pack_columns(all_scales, all_bias)
        payload = packed.reshape(self.panels, NETS, -1).transpose(1, 0, 2)
        headers = [header_chunk(self._words(c), payload[c].tobytes()) for c in range(NETS)]
        return np.concatenate([np.stack(headers), data], axis=1)

    def _words(self, column: int) -> list[int]:
        words = self.words(Operation.GEMM, column)
        return _with_format(words, self.format, self.steps)


@dataclass(frozen=True)
class GemmWide(Gemm):
    """result = act(left @ right + bias) of bf16 matrices, as FP32 or, times `steps`, as INT8."""

    format: Format = Format.FP32
    steps: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format not in (Format.FP32, Format.INT8) or self.residual is not None:
            raise DesignError("A product of GemmWide is FP32 or INT8 and has no residual.")

    @property
    def result_pieces(self) -> int:
        """Pieces of a tile of the result."""
        return _pieces(self.format)

    def words(self, operation: int, column: int) -> list[int]:
        """The header of a column of cores, with the operation's number in this overlay."""
        words = super().words(Operation.GEMM_WIDE, column)
        return _with_format(words, self.format, self.steps)


def _pieces(format: Format) -> int:
    others = {Format.BF16: PIECES, Format.INT8: layout_int8.BYTE_PIECES}
    return others.get(format, layout_int8.WORD_PIECES)


def _with_format(words: list[int], format: Format, steps: float) -> list[int]:
    words[gemm_int8.Word.FORMAT] = format
    high, low = split_bfloat16(np.array([steps], np.float32))[:, 0].tolist()
    words[gemm_int8.Word.STEPS] = high | low << 16
    return words
