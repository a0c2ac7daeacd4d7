"""Meaning of the scalar instructions.

Sources: AM020 chapter 4 (shifts by a signed amount, latencies), llvm-aie's aiev2_scalar.h (clb);
the division step is checked against compiled programs that divide.
"""

from __future__ import annotations

from whisper_npu_cli.emulator.jit import inline
from whisper_npu_cli.emulator.numbers import sign_extend

(
    MOVE, ADD, SUB, ADC, SBC, AND, OR, XOR, MUL, LSHL, ASHL,
    EQ, NE, LT, LTU, GE, GEU, EQZ, NEZ, SELEQZ, SELNEZ,
    ABS, CLZ, CLB, EXTEND_S8, EXTEND_U8, EXTEND_S16, EXTEND_U16,
) = range(28)  # fmt: skip

OPERATIONS = {
    "add": ADD, "sub": SUB, "adc": ADC, "sbc": SBC, "and": AND, "or": OR, "xor": XOR, "mul": MUL,
    "lshl": LSHL, "ashl": ASHL, "eq": EQ, "ne": NE, "lt": LT, "ltu": LTU, "ge": GE, "geu": GEU,
    "eqz": EQZ, "nez": NEZ, "sel.eqz": SELEQZ, "sel.nez": SELNEZ, "abs": ABS, "clz": CLZ,
    "clb": CLB, "extend.s8": EXTEND_S8, "extend.u8": EXTEND_U8, "extend.s16": EXTEND_S16,
    "extend.u16": EXTEND_U16, "add.nc": ADD, "mov": MOVE, "movx": MOVE, "mova": MOVE,
    "movxm": MOVE, "mov.d1": MOVE, "mov.d2": MOVE, "mov.d3": MOVE, "mov.d4": MOVE,
    "mov.d5": MOVE, "mov.d6": MOVE,
}  # fmt: skip
"""Mnemonic -> operation."""

WITH_CARRY = {"add", "sub", "adc", "sbc"}
"""Mnemonics that write srCarry; for differences it is the borrow."""


@inline
def alu(operation: int, a: int, b: int, c: int) -> int:
    """The result of an operation on signed 32-bit values, to be cut to 32 bits.

    c is the condition (r27) of sel.nez and sel.eqz, the carry of adc and sbc.
    """
    if operation == MOVE:
        return a
    if operation == ADD:
        return a + b
    if operation == SUB:
        return a - b
    if operation == ADC:
        return a + b + c
    if operation == SBC:
        return a - b - c
    if operation == AND:
        return a & b
    if operation == OR:
        return a | b
    if operation == XOR:
        return a ^ b
    if operation == MUL:
        return a * b
    if operation == LSHL:
        return logical_shift(a, b)
    if operation == ASHL:
        return arithmetic_shift(a, b)
    if operation <= NEZ:
        return compare(operation, a, b)
    return rare(operation, a, b, c)


@inline
def logical_shift(a: int, by: int) -> int:
    """A shift left, or right with zeros for a negative amount; beyond 31 nothing is left."""
    if by >= 0:
        return a << by if by < 32 else 0
    return (a & 0xFFFFFFFF) >> -by if by > -32 else 0


@inline
def arithmetic_shift(a: int, by: int) -> int:
    """A shift left, or right with copies of the sign for a negative amount."""
    if by >= 0:
        return a << by if by < 32 else 0
    return a >> min(-by, 31)


@inline
def compare(operation: int, a: int, b: int) -> int:
    """1 or 0."""
    if operation == EQ:
        return int(a == b)
    if operation == NE:
        return int(a != b)
    if operation == LT:
        return int(a < b)
    if operation == LTU:
        return int((a & 0xFFFFFFFF) < (b & 0xFFFFFFFF))
    if operation == GE:
        return int(a >= b)
    if operation == GEU:
        return int((a & 0xFFFFFFFF) >= (b & 0xFFFFFFFF))
    if operation == EQZ:
        return int(a == 0)
    return int(a != 0)


@inline
def rare(operation: int, a: int, b: int, c: int) -> int:
    """Selections, magnitudes, leading bits and extensions."""
    if operation == SELEQZ:
        return a if c == 0 else b
    if operation == SELNEZ:
        return a if c != 0 else b
    if operation == ABS:
        return abs(a)
    if operation == CLZ:
        return leading_zeros(a & 0xFFFFFFFF)
    if operation == CLB:
        return leading_zeros(a if a >= 0 else ~a)
    if operation == EXTEND_S8:
        return sign_extend(a, 8)
    if operation == EXTEND_U8:
        return a & 0xFF
    if operation == EXTEND_S16:
        return sign_extend(a, 16)
    return a & 0xFFFF


@inline
def leading_zeros(value: int) -> int:
    """Zeros above the highest one of a 32-bit number that is not negative."""
    count = 32
    while value > 0:
        value >>= 1
        count -= 1
    return count


@inline
def carry_out(operation: int, a: int, b: int, c: int) -> int:
    """The carry of a sum, the borrow of a difference."""
    a &= 0xFFFFFFFF
    b &= 0xFFFFFFFF
    if operation == ADD:
        return (a + b) >> 32
    if operation == ADC:
        return (a + b + c) >> 32
    if operation == SUB:
        return int(a < b)
    return int(a < b + c)


@inline
def divide_step(rest: int, dividend: int, divisor: int) -> tuple[int, int]:
    """One bit of an unsigned division: (rest, dividend) shift left by one, restoring.

    After 32 steps from rest 0 the dividend has become the quotient.
    """
    rest = ((rest & 0xFFFFFFFF) << 1) | ((dividend >> 31) & 1)
    divisor &= 0xFFFFFFFF
    dividend = (dividend & 0x7FFFFFFF) << 1
    if rest >= divisor:
        return rest - divisor, dividend | 1
    return rest, dividend
