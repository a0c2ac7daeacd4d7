"""Meaning of the multiplier: matrix and lane-by-lane products, sums with accumulators.

The control word names the shape (amode, bmode, variant), signs and negations: llvm-aie's
aiev2_vmult.h; shapes of each: Xilinx/mlir-aie, AIEVecToLLVM.cpp; the arithmetic of the forms: the
names of the MIT-licensed aie_api and its emulated multiplications.

Model of the floating-point path: bfloat16 operands, denormal ones count as zero; products and
their sum with the accumulator in double precision in a fixed order, rounded once to float32 (half
to even), denormal results become zero. AM020 says that silicon aligns all terms to the largest and
keeps 23 fractional bits, so it can differ in the last places of the largest term.
"""

from __future__ import annotations

import numpy as np

from whisper_npu_cli.emulator.core_state import UNIT, WIDE
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.landing import ALL, units_known
from whisper_npu_cli.emulator.numbers import wrap32, wrap64
from whisper_npu_cli.emulator.vectors import (
    SMALLEST_NORMAL,
    dot_bfloat16,
    dot_int8,
    lanes_bfloat16,
)

ZERO_ACCUMULATOR, SHIFT_16, NEGATE_PRODUCT, NEGATE_FIRST, NEGATE_SECOND = 0, 10, 11, 12, 13
SIGNED_Y, SIGNED_X = 8, 9
"""Bits of the control word; shape in bits 1 to 7, complex negations from bit 16 on."""

SHAPE_MASK = 0x7F
INT32, INT64, FLOAT32 = 0, 1, 2
"""amode: what the accumulator's lanes are."""

MATRIX, ELEMENTWISE = 0, 1


def shape_number(amode: int, bmode: int, variant: int) -> int:
    """Bits 1 to 7 of a control word, shifted down."""
    return amode | bmode << 2 | variant << 4


_NO_SHAPE = (-1, 0, 0, 0, 0, 0)
_SHAPES = {
    (0, 0, 0): (MATRIX, 8, 4, 4, 16, 8),
    (0, 1, 0): (MATRIX, 8, 8, 4, 8, 8),
    (0, 1, 1): (ELEMENTWISE, 8, 8, 32, 2, 1),
    (0, 2, 0): (MATRIX, 16, 8, 4, 4, 8),
    (0, 3, 0): (MATRIX, 16, 16, 4, 2, 8),
    (0, 3, 1): (ELEMENTWISE, 16, 16, 32, 1, 1),
    (1, 0, 0): (MATRIX, 32, 16, 4, 2, 4),
    (1, 2, 0): (MATRIX, 16, 8, 2, 8, 8),
    (1, 2, 1): (MATRIX, 16, 8, 4, 8, 4),
    (1, 3, 0): (MATRIX, 16, 16, 2, 4, 8),
    (1, 3, 1): (MATRIX, 16, 16, 4, 4, 4),
    (1, 3, 2): (ELEMENTWISE, 16, 16, 16, 2, 1),
    (2, 3, 0): (MATRIX, 16, 16, 4, 8, 4),
    (2, 3, 1): (ELEMENTWISE, 16, 16, 16, 2, 1),
}
"""(amode, bmode, variant) -> kind, bits of x, bits of y, rows, depth, columns.

x is rows x depth, y depth x columns, both row by row. Elementwise: `rows` lanes, each the sum of
`depth` products whose operands lie `rows` lanes apart.
"""

SHAPE_INT8 = shape_number(0, 1, 0)

SHAPES = np.array([_NO_SHAPE] * (SHAPE_MASK + 1), np.int32)
"""int32[128, 6]: _SHAPES by shape_number; -1 where there is no such shape."""
for _key, _row in _SHAPES.items():
    SHAPES[shape_number(*_key)] = _row

USED_UNITS = np.zeros((SHAPE_MASK + 1, 2), np.int32)
"""Units of 256 bits of x and of y that a shape uses."""
for _key, (_kind, _x, _y, _rows, _depth, _columns) in _SHAPES.items():
    _y_count = _rows * _depth if _kind == ELEMENTWISE else _depth * _columns
    USED_UNITS[shape_number(*_key)] = -(-_rows * _depth * _x // 256), -(-_y_count * _y // 256)

FORM_PRODUCT, FORM_FIRST, FORM_SECOND = 1, 2, 4
"""A form takes the product, the first accumulator, the second; bits of a form number."""
MINUS_PRODUCT, MINUS_FIRST, MINUS_SECOND = 8, 16, 32

FORMS = {
    "vmul": 1, "vnegmul": 1 | 8, "vmac": 3, "vmsc": 3 | 8, "vnegmac": 3 | 8 | 16,
    "vnegmsc": 3 | 16, "vaddmac": 7, "vaddmsc": 7 | 8, "vsubmac": 7 | 32, "vsubmsc": 7 | 8 | 32,
    "vadd": 6, "vsub": 6 | 32, "vnegadd": 6 | 16 | 32, "vnegsub": 6 | 16, "vneg": 2 | 16,
    "vclr": 0,
}  # fmt: skip
"""Mnemonic without `.f` -> what is added up, with which signs.

The bits that tell the encodings apart bear this out: vneg... turns the sign of the whole.
"""


@inline
def shape_of(control: int) -> int:
    """The row of SHAPES that a control word names."""
    return (control >> 1) & SHAPE_MASK


@inline
def bit(control: int, number: int) -> bool:
    """A bit of the control word."""
    return (control >> number) & 1 == 1


@inline
def product_known(h: Handle, shape: int, x: int, y: int) -> int:
    """A bit for each 256 bits of the products: whether the lanes that go into them are known.

    Lanes of an operand that the shape does not use may be unknown.
    """
    x_units, y_units = int(USED_UNITS[shape, 0]), int(USED_UNITS[shape, 1])
    x_known, y_known = units_known(h, x, x_units * UNIT), units_known(h, y, y_units * UNIT)
    if SHAPES[shape, 0] == ELEMENTWISE and SHAPES[shape, 4] == 1:
        both = x_known & y_known
        return (both & 1) * 3 | (both >> 1) * 12
    whole = x_known == (1 << x_units) - 1 and y_known == (1 << y_units) - 1
    return ALL if whole else 0


@inner
def widen(h: Handle, at: int, bits: int, signed: bool, count: int, out: int) -> None:
    """Lanes of 4, 8, 16 or 32 bits as int32."""
    v = view(h)
    if bits == 8 and signed:
        for i in range(count):
            v.w[out + i] = v.b[4 * at + i]
    elif bits == 8:
        for i in range(count):
            v.w[out + i] = int(v.b[4 * at + i]) & 0xFF
    elif bits == 16 and signed:
        for i in range(count):
            v.w[out + i] = v.h[2 * at + i]
    elif bits == 16:
        for i in range(count):
            v.w[out + i] = int(v.h[2 * at + i]) & 0xFFFF
    elif bits == 32:
        for i in range(count):
            v.w[out + i] = v.w[at + i]
    else:
        for i in range(count):
            nibble = (int(v.b[4 * at + i // 2]) >> (4 * (i & 1))) & 15
            v.w[out + i] = nibble - ((nibble & 8) << 1) if signed else nibble


@inner
def multiply_int32(h: Handle, depth: int, out: int) -> None:
    """4 x depth times depth x 8 into 32 lanes of 32 bits; operands as int32 at WIDE."""
    v = view(h)
    for i in range(32):
        v.w[out + i] = 0
    for row in range(4):
        for k in range(depth):
            factor = v.w[WIDE + row * depth + k]
            for column in range(8):
                at = out + row * 8 + column
                v.w[at] = np.int32(
                    wrap32(int(v.w[at]) + int(factor) * int(v.w[WIDE + 128 + k * 8 + column]))
                )


@inner
def multiply_int64(
    h: Handle, rows: int, depth: int, columns: int, x_signed: bool, out: int
) -> None:
    """rows x depth times depth x columns into 16 lanes of 64 bits."""
    v = view(h)
    for row in range(rows):
        for column in range(columns):
            total = 0
            for k in range(depth):
                factor = int(v.w[WIDE + row * depth + k])
                if not x_signed:
                    factor &= 0xFFFFFFFF
                total += factor * int(v.w[WIDE + 128 + k * columns + column])
            v.d[out // 2 + row * columns + column] = total


@inner
def multiply_lanes(h: Handle, lanes: int, depth: int, wide: bool, out: int) -> None:
    """Products of lanes, `depth` of them `lanes` apart added up."""
    v = view(h)
    for i in range(lanes):
        total = 0
        for k in range(depth):
            at = k * lanes + i
            total += int(v.w[WIDE + at]) * int(v.w[WIDE + 128 + at])
        if wide:
            v.d[out // 2 + i] = total
        else:
            v.w[out + i] = wrap32(total)


@inner
def integer_products(h: Handle, control: int, x: int, y: int, out: int) -> int:
    """Sums of products of the vectors at words x and y into `out`; multiplications done, or -1.

    The control word decides the shape; -1 where it names none that is known.
    """
    shape = shape_of(control)
    kind = int(SHAPES[shape, 0])
    rows, depth, columns = int(SHAPES[shape, 3]), int(SHAPES[shape, 4]), int(SHAPES[shape, 5])
    mode = shape & 3
    if kind < 0 or mode == FLOAT32 or control >> 16 != 0:
        return -1
    if shape == SHAPE_INT8 and control >> SIGNED_Y & 3 == 3:
        dot_int8(h, x, y, out)
        return 256
    x_count = rows * depth
    y_count = depth * columns if kind == MATRIX else x_count
    widen(h, x, int(SHAPES[shape, 1]), bit(control, SIGNED_X), x_count, WIDE)
    widen(h, y, int(SHAPES[shape, 2]), bit(control, SIGNED_Y), y_count, WIDE + 128)
    if kind == ELEMENTWISE:
        multiply_lanes(h, rows, depth, mode == INT64, out)
    elif mode == INT32:
        multiply_int32(h, depth, out)
    else:
        multiply_int64(h, rows, depth, columns, bit(control, SIGNED_X), out)
    return rows * depth * columns


@inner
def add_up_int32(
    h: Handle, form: int, control: int, product: int, a: int, b: int, out: int
) -> None:
    """32 lanes: product and accumulators at words with the signs of form and control word."""
    v = view(h)
    p, first, second = signs(form, control)
    shift = 16 if bit(control, SHIFT_16) else 0
    for i in range(32):
        total = p * int(v.w[product + i]) if p != 0 else 0
        if first != 0:
            total += first * (int(v.w[a + i]) << shift)
        if second != 0:
            total += second * int(v.w[b + i])
        v.w[out + i] = np.int32(wrap32(total))


@inner
def add_up_int64(
    h: Handle, form: int, control: int, product: int, a: int, b: int, out: int
) -> None:
    """16 lanes of 64 bits."""
    v = view(h)
    p, first, second = signs(form, control)
    shift = 16 if bit(control, SHIFT_16) else 0
    for i in range(16):
        total = p * int(v.d[product // 2 + i]) if p != 0 else 0
        if first != 0:
            total += first * (int(v.d[a // 2 + i]) << shift)
        if second != 0:
            total += second * int(v.d[b // 2 + i])
        v.d[out // 2 + i] = wrap64(total)


@inline
def signs(form: int, control: int) -> tuple[int, int, int]:
    """Factors of product, first and second accumulator: 1, -1, or 0 where it takes no part."""
    product = 0
    if form & FORM_PRODUCT:
        product = -1 if (form & MINUS_PRODUCT != 0) != bit(control, NEGATE_PRODUCT) else 1
    first = 0
    if form & FORM_FIRST and not bit(control, ZERO_ACCUMULATOR):
        first = -1 if (form & MINUS_FIRST != 0) != bit(control, NEGATE_FIRST) else 1
    second = 0
    if form & FORM_SECOND:
        second = -1 if (form & MINUS_SECOND != 0) != bit(control, NEGATE_SECOND) else 1
    return product, first, second


NOT_PLAIN, SUM, PRODUCT_ALONE = 0, 1, 2


@inline
def plain_form(form: int, control: int) -> int:
    """SUM of product and first accumulator as they are, PRODUCT_ALONE, or NOT_PLAIN."""
    product, first, second = signs(form, control)
    if product != 1 or first < 0 or second != 0 or bit(control, SHIFT_16):
        return NOT_PLAIN
    return SUM if first == 1 else PRODUCT_ALONE


@inline
def flushed(value: float) -> float:
    """A float32 value, zero for a denormal one."""
    if -SMALLEST_NORMAL < value < SMALLEST_NORMAL:
        return 0.0
    return value


@inner
def float_products(h: Handle, control: int, x: int, y: int, out: int) -> int:
    """16 sums of products of bfloat16 as float64 at word `out`; multiplications done, or -1."""
    shape = shape_of(control)
    kind = int(SHAPES[shape, 0])
    if kind < 0 or shape & 3 != FLOAT32 or control >> 16 != 0:
        return -1
    if kind == ELEMENTWISE:
        lanes_bfloat16(h, x, y, out)
        return 32
    dot_bfloat16(h, x, y, out)
    return 128


@inner
def add_up_float(
    h: Handle, form: int, control: int, product: int, a: int, b: int, out: int
) -> None:
    """16 lanes: product (float64) and accumulators (float32) rounded to float32 once."""
    v = view(h)
    p, first, second = signs(form, control)
    for i in range(16):
        total = 0.0
        if p != 0:
            total = p * v.g[product // 2 + i]
        if first != 0:
            term = first * flushed(np.float64(v.f[a + i]))
            total = total + term if p != 0 else term
        if second != 0:
            total += second * flushed(np.float64(v.f[b + i]))
        v.f[out + i] = np.float32(flushed(np.float64(np.float32(total))))
