"""Meaning of lane-by-lane vector instructions: sums, comparisons, selections, logic.

Vectors have 512 bits as 64, 32 or 16 lanes. Sources: llvm-aie's aiev2_vadd.h (which result and
which comparison an instruction gives), the MIT-licensed aie_api (detail/aie2: a set bit selects
the second operand, or subtracts).
"""

from __future__ import annotations

from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.numbers import wrap8, wrap16, wrap32

(
    ADD, SUB, ADD_SUB, SELECT, MAX_LT, MIN_GE, SUB_LT, SUB_GE, MAX_DIFF_LT, GE, LT, EQZ,
    NEG_GTZ, ABS_GTZ, NOT_LTZ,
) = range(15)  # fmt: skip

OPERATIONS = {
    "vadd": ADD, "vsub": SUB, "vaddsub": ADD_SUB, "vsel": SELECT, "vmax_lt": MAX_LT,
    "vmin_ge": MIN_GE, "vsub_lt": SUB_LT, "vsub_ge": SUB_GE, "vmaxdiff_lt": MAX_DIFF_LT,
    "vge": GE, "vlt": LT, "veqz": EQZ, "vneg_gtz": NEG_GTZ, "vabs_gtz": ABS_GTZ,
    "vbneg_ltz": NOT_LTZ,
}  # fmt: skip
"""Start of the mnemonic -> operation."""

VECTOR_BITS = 512
SIGN_BIT = -(1 << 63)


@inline
def lane(h: Handle, at: int, bits: int, signed: bool, index: int) -> int:
    """A lane of 8, 16 or 32 bits of the vector at a word."""
    v = view(h)
    if bits == 32:
        value = int(v.w[at + index])
        return value if signed else value & 0xFFFFFFFF
    if bits == 16:
        value = int(v.h[2 * at + index])
        return value if signed else value & 0xFFFF
    value = int(v.b[4 * at + index])
    return value if signed else value & 0xFF


@inline
def set_lane(h: Handle, at: int, bits: int, index: int, value: int) -> None:
    """Put the low bits of a value into a lane of 8, 16, 32 or 64 bits."""
    v = view(h)
    if bits == 32:
        v.w[at + index] = wrap32(value)
    elif bits == 16:
        v.h[2 * at + index] = wrap16(value)
    elif bits == 8:
        v.b[4 * at + index] = wrap8(value)
    else:
        v.d[at // 2 + index] = value


@inline
def ordered(pattern: int) -> int:
    """A number that orders as the bfloat16 of a (signed) bit pattern does; both zeros are 0."""
    return pattern if pattern >= 0 else -(pattern & 0x7FFF)


@inline
def not_a_number(pattern: int) -> bool:
    """Whether a bfloat16 pattern is no number."""
    return (pattern & 0x7FFF) > 0x7F80


@inline
def two_operands(operation: int, a: int, b: int, chosen: bool, less: bool) -> int:
    """The lane that an operation on two lanes gives; less: a < b."""
    if operation == ADD:
        return a + b
    if operation == ADD_SUB:
        return a - b if chosen else a + b
    if operation == SELECT:
        return b if chosen else a
    if operation == MAX_LT:
        return b if less else a
    if operation == MIN_GE:
        return a if less else b
    if operation == MAX_DIFF_LT:
        return 0 if less else a - b
    return a - b  # SUB, SUB_LT, SUB_GE


@inline
def one_operand(operation: int, a: int) -> int:
    """The lane that an operation on one lane gives."""
    if operation == NEG_GTZ:
        return -a
    if operation == ABS_GTZ:
        return abs(a)
    return ~a


@inline
def condition(operation: int, a: int, less: bool) -> bool:
    """The bit that an operation reports of a lane."""
    if operation in (MAX_LT, SUB_LT, MAX_DIFF_LT, LT):
        return less
    if operation in (MIN_GE, SUB_GE, GE):
        return not less
    if operation == EQZ:
        return a == 0
    if operation == NOT_LTZ:
        return a < 0
    return a > 0  # NEG_GTZ, ABS_GTZ


@inline
def add_lanes(h: Handle, bits: int, sign: int, a: int, b: int, out: int) -> None:
    """a + sign * b, in loops that become vector instructions."""
    v = view(h)
    if bits == 8:
        for i in range(64):
            v.b[4 * out + i] = wrap8(int(v.b[4 * a + i]) + sign * int(v.b[4 * b + i]))
    elif bits == 16:
        for i in range(32):
            v.h[2 * out + i] = wrap16(int(v.h[2 * a + i]) + sign * int(v.h[2 * b + i]))
    else:
        for i in range(16):
            v.w[out + i] = wrap32(int(v.w[a + i]) + sign * int(v.w[b + i]))


@inner
def lanewise(
    h: Handle, operation: int, bits: int, signed: bool, a: int, b: int, chosen: int, out: int
) -> int:
    """Do an operation on the vectors at words a and b, put the lanes at word out.

    chosen: a bit for each lane; returns the bits that the comparison gives (64 of them as a signed
    number). For one operand b is ignored.
    """
    found = 0
    if operation in (ADD, SUB):
        add_lanes(h, bits, 1 if operation == ADD else -1, a, b, out)
        return found
    for i in range(VECTOR_BITS // bits):
        x = lane(h, a, bits, signed, i)
        y = lane(h, b, bits, signed, i)
        less = x < y
        if condition(operation, x, less):
            found |= _bit(i)
        if operation >= NEG_GTZ:
            set_lane(h, out, bits, i, one_operand(operation, x))
        elif operation < GE:
            pick = (chosen >> i) & 1 == 1
            set_lane(h, out, bits, i, two_operands(operation, x, y, pick, less))
    return found


@inline
def _bit(i: int) -> int:
    return 1 << i if i < 63 else SIGN_BIT


@inner
def lanewise_bfloat16(h: Handle, operation: int, a: int, b: int, out: int) -> int:
    """max_lt, min_ge, lt and ge of bfloat16 lanes. A comparison with no number is false."""
    v = view(h)
    found = 0
    for i in range(32):
        x = int(v.h[2 * a + i])
        y = int(v.h[2 * b + i])
        less = ordered(x) < ordered(y)
        holds = condition(operation, x, less)
        if not_a_number(x) or not_a_number(y):
            holds = False
        if holds:
            found |= 1 << i
        if operation in (MAX_LT, MIN_GE):
            v.h[2 * out + i] = y if holds else x
    return found


@inner
def logic(h: Handle, conjunction: bool, a: int, b: int, out: int) -> None:
    """Bitwise and, or bitwise or."""
    v = view(h)
    for i in range(8):
        x, y = v.d[a // 2 + i], v.d[b // 2 + i]
        v.d[out // 2 + i] = x & y if conjunction else x | y
