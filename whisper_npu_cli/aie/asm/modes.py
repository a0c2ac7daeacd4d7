"""Modes that a kernel sets: rounding, saturation, and what the multiplier does.

Sources: shared facts 8.7 and 8.8 (AM020); layout of the multiplier's control word: llvm-aie,
aiev2_vmult.h; shapes: Xilinx/mlir-aie, AIEVecToLLVM.cpp (both Apache-2.0 WITH LLVM-exception).
"""

from __future__ import annotations

from enum import Enum, IntEnum


class Rounding(IntEnum):
    """Values of crRnd (shared facts 8.8). FLOOR truncates fp32 to bf16."""

    FLOOR = 0
    CEIL = 1
    SYMMETRIC_FLOOR = 2
    SYMMETRIC_CEIL = 3
    HALF_DOWN = 8
    HALF_UP = 9
    HALF_TO_ZERO = 10
    HALF_FROM_ZERO = 11
    HALF_TO_EVEN = 12
    HALF_TO_ODD = 13


class Saturation(IntEnum):
    """Values of crSat: wrap, saturate to the type's range, saturate symmetrically."""

    NONE = 0
    SATURATE = 1
    SYMMETRIC = 3


class Shuffle(IntEnum):
    """Modes of vshuffle that kernels use (llvm-aie, aiev2_enums.h).

    T<bits>_<rows>X<columns> transposes a matrix of elements: both operands one after the other
    where it has 1024 bits (LO and HI name the half of the result), else each such block of the
    first.
    """

    T64_8X2_LO = 6
    T64_8X2_HI = 7
    T128_4X2_LO = 8
    T128_4X2_HI = 9
    T256_2X2_LO = 10
    T256_2X2_HI = 11
    T64_2X8_LO = 14
    T64_2X8_HI = 15
    T32_2X16_LO = 16
    T32_2X16_HI = 17
    T16_8X4 = 28
    T16_4X8 = 29
    T16_4X4 = 39
    T16_16X2 = 44
    T16_2X16 = 45


class Shape(Enum):
    """What one multiplier instruction computes: (accumulator lanes, operands, variant).

    MATRIX names are rows x depth x columns, both operands row by row, an accumulator of rows x
    columns. LANES multiply lane by lane; their depth is how many products, a whole vector apart,
    are added into each lane.
    """

    INT8_4X8X8 = (0, 1, 0)
    INT8_LANES_32X2 = (0, 1, 1)
    INT16_INT8_4X4X8 = (0, 2, 0)
    INT16_4X2X8 = (0, 3, 0)
    INT16_LANES_32 = (0, 3, 1)
    INT32_INT16_4X2X4_INT64 = (1, 0, 0)
    INT16_INT8_2X8X8_INT64 = (1, 2, 0)
    INT16_INT8_4X8X4_INT64 = (1, 2, 1)
    INT16_2X4X8_INT64 = (1, 3, 0)
    INT16_4X4X4_INT64 = (1, 3, 1)
    INT16_LANES_16X2_INT64 = (1, 3, 2)
    BF16_4X8X4 = (2, 3, 0)
    BF16_LANES_16X2 = (2, 3, 1)


def product_mode(
    shape: Shape,
    *,
    signed_first: bool = True,
    signed_second: bool = True,
    zero_accumulator: bool = False,
    negate_product: bool = False,
) -> int:
    """The control word of a multiplier instruction; the signs count for integers only."""
    lanes, operands, variant = shape.value
    word = lanes << 1 | operands << 3 | variant << 5 | zero_accumulator | negate_product << 11
    integers = shape not in (Shape.BF16_4X8X4, Shape.BF16_LANES_16X2)
    return word | integers * (signed_second << 8 | signed_first << 9)
