"""Operands and results of int8 products: quantisation on the host, packing and unpacking.

An int8 tile of 64 x 64 has 2 pieces of 32 rows, each of blocks of 4 x 8 like those of a bf16
piece; a chunk of net A is two tiles side by side. Behind the last tile of a left operand come two
columns of tiles with the scales of its rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.kernels.gemm_int8 import GROUP, ROW_SCALES
from whisper_npu_cli.kernels.layout import (
    PIECE_WORDS,
    TILE,
    Activations,
    Order,
    from_bfloat16,
    split_bfloat16,
    to_bfloat16,
)

DEPTH = 128
"""Columns of the left operand in a chunk."""
BYTE_PIECES, WORD_PIECES = 2, 8
"""Pieces of a tile of int8, and of fp32 or int32."""
LARGEST = 127
"""Of the magnitudes that `quantise` gives."""
_EXPONENTS = 40
"""Scales lie between 2 to the power of minus this and 2 to this."""


def quantise(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 of a matrix and the scale of each row, a bf16 number: matrix = int8 * scale, nearly.

    Numbers are rounded half to even. A right operand has its scales by column: transpose it before
    and after.
    """
    wanted = np.abs(matrix).max(axis=1, initial=0) / np.float32(LARGEST)
    bits = np.where(wanted > 0, wanted, 1).astype(np.float32).view(np.uint32)
    scales = (bits + 0xFFFF >> 16 << 16).view(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales


def left_operand(
    rows: int, depth: int, order: Order = Order.PAIRS, argument: int = 0, offset: int = 0
) -> Activations:
    """Where a left operand of `rows` tiles and `depth` chunks lies, with the scales of its rows."""
    return Activations(rows, 2 * depth + 2, order, argument, offset, BYTE_PIECES)


def pack_left(
    where: Activations, values: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """The memory of a left operand, int8[M, K], and the scales of its rows, bf16 numbers.

    DesignError for scales that are not bf16 numbers from 2^-40 to 2^40.
    """
    columns = where.columns - 2
    full = np.zeros((where.rows * TILE, columns * TILE), np.int8)
    full[: values.shape[0], : values.shape[1]] = values
    pieces = np.zeros((where.rows, where.columns, where.pieces, 4 * PIECE_WORDS), np.uint8)
    blocks = full.reshape(where.rows, where.pieces, 8, 4, columns, 8, 8)
    pieces[:, :columns] = (
        blocks.transpose(0, 4, 1, 2, 5, 3, 6).reshape(*pieces[:, :columns].shape).view(np.uint8)
    )
    given = np.ones(where.rows * TILE, np.float32)
    given[: len(scales)] = scales
    pieces[:, columns] = _row_scales(given).reshape(where.rows, where.pieces, -1)
    return where.scatter(pieces)


def _checked(scales: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Their bit patterns."""
    bits = to_bfloat16(scales)
    exponents = np.abs((bits >> 7).astype(np.int32) - 127)
    if (from_bfloat16(bits) != scales).any() or (exponents > _EXPONENTS).any():
        raise DesignError(
            f"Scales of int8 operands have to be bfloat16 numbers from 2^-{_EXPONENTS} to "
            f"2^{_EXPONENTS}."
        )
    return bits


def _row_scales(scales: NDArray[np.float32]) -> NDArray[np.uint8]:
    """m 2^e for each row, as kernels/gemm_int8.py reads it: uint8[rows / 4, ROW_SCALES]."""
    bits = _checked(scales).astype(np.int32)
    factors = (bits & 127 | 128).reshape(-1, 4, 1)
    exponents = ((bits >> 7) - 127 - 7 << 7).reshape(-1, 1, 4, 1)
    table = np.zeros((len(factors), ROW_SCALES // 2), np.int16)
    table[:, :32] = np.broadcast_to(factors, (len(factors), 4, 8)).reshape(-1, 32)
    table[:, 32:64] = np.broadcast_to(exponents, (len(factors), 2, 4, 4)).reshape(-1, 32)
    return table.view(np.uint8)


def pack_columns(scales: NDArray[np.float32], bias: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Bias and scales of columns, float32[n * 8] each, for a header: uint8[n, GROUP]."""
    table = np.zeros((len(scales) // 8, GROUP // 2), np.uint16)
    parts = split_bfloat16(bias).reshape(2, -1, 2, 4)
    table[:, :16] = parts.transpose(1, 2, 0, 3).reshape(-1, 16)
    table[:, 16:24] = _checked(scales).reshape(-1, 8)
    return table.view(np.uint8)


def second_operand(tiles: NDArray[np.int8]) -> NDArray[np.int8]:
    """Chunks [..., 128 along k, 64 columns] as right operands, flat."""
    lead = tiles.shape[:-2]
    blocks = tiles.reshape(*lead, 16, 8, 4, 2, 8)  # kb, k, group, half, n
    n = len(lead)
    order = (*range(n), n + 2, n, n + 3, n + 1, n + 4)
    return blocks.transpose(order).reshape(*lead, DEPTH * TILE)


def unpack_int8(where: Activations, memory: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The result int8[64 rows, 64 columns] from its memory."""
    blocks = where.gather(memory.view(np.int8))
    full = blocks.reshape(where.rows, where.columns, BYTE_PIECES, 8, 8, 4, 8)
    return full.transpose(0, 2, 3, 5, 1, 4, 6).reshape(where.rows * TILE, where.columns * TILE)


def unpack_fp32(where: Activations, memory: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The result float32[64 rows, 64 columns] from its memory: blocks of 4 x 4."""
    return _unpack_words(where, memory.view(np.float32), 4)


def unpack_int32(where: Activations, memory: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The sums, int32[64 rows, 64 columns], from their memory: blocks of 4 x 8."""
    return _unpack_words(where, memory.view(np.int32), 8)


def pack_int32(where: Activations, sums: NDArray[np.int32]) -> NDArray[np.int32]:
    """The reverse of unpack_int32."""
    shape = (where.rows, WORD_PIECES, 2, 4, where.columns, 4, 2, 8)
    full = np.zeros((where.rows * TILE, where.columns * TILE), np.int32)
    full[: sums.shape[0], : sums.shape[1]] = sums
    # row tile, piece, rows by 4, row, column tile, columns by 16, by 8, column
    return where.scatter(full.reshape(shape).transpose(0, 4, 1, 5, 2, 6, 3, 7))


def _unpack_words(where: Activations, memory: NDArray[Any], block: int) -> NDArray[Any]:
    """A piece is [4 groups of 16 columns][2 groups of 4 rows][16 / block][4][block]."""
    shape = (where.rows, where.columns, WORD_PIECES, 4, 2, 16 // block, 4, block)
    full = where.gather(memory).reshape(shape).transpose(0, 2, 4, 6, 1, 3, 5, 7)
    return full.reshape(where.rows * TILE, where.columns * TILE)
