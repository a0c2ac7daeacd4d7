"""Number formats of the core: wrapping, rounding shifts, saturation, bfloat16.

Rounding modes: crRnd, saturation modes: crSat, as in shared facts 8.1 and 8.8 (AM020, and the
enumerations of the MIT-licensed aie_api).
"""

from __future__ import annotations

from whisper_npu_cli.emulator.jit import COMPILED, inline, inner

FLOOR, CEIL, SYMMETRIC_FLOOR, SYMMETRIC_CEIL = 0, 1, 2, 3
HALF_DOWN, HALF_UP, HALF_TO_ZERO, HALF_FROM_ZERO, HALF_TO_EVEN, HALF_TO_ODD = 8, 9, 10, 11, 12, 13

WRAP, SATURATE, SYMMETRIC = 0, 1, 3
"""crSat: keep the low bits; clamp to the type's range; clamp to -max .. max."""

if COMPILED:

    @inline
    def wrap32(value: int) -> int:
        """The value as it lies in a 32-bit word; machine integers wrap when they are stored."""
        return value

    @inline
    def wrap64(value: int) -> int:
        """The value as it lies in a 64-bit word; machine integers wrap by themselves."""
        return value

    @inline
    def wrap16(value: int) -> int:
        """The value as it lies in a 16-bit word."""
        return value

    @inline
    def wrap8(value: int) -> int:
        """The value as it lies in a byte."""
        return value

else:

    def wrap32(value: int) -> int:
        """The value as it lies in a 32-bit word."""
        return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)

    def wrap64(value: int) -> int:
        """The value as it lies in a 64-bit word."""
        return ((value + (1 << 63)) & 0xFFFFFFFFFFFFFFFF) - (1 << 63)

    def wrap16(value: int) -> int:
        """The value as it lies in a 16-bit word."""
        return ((value + 0x8000) & 0xFFFF) - 0x8000

    def wrap8(value: int) -> int:
        """The value as it lies in a byte."""
        return ((value + 0x80) & 0xFF) - 0x80


@inline
def sign_extend(value: int, bits: int) -> int:
    """The low `bits` (below 64) of a value as a signed number."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


@inner
def rounds_up(odd: bool, above: bool, half: bool, negative: bool, mode: int) -> bool:
    """Whether a mode rounds floor(x) up to the next number, for x that is no whole number.

    odd: floor(x) is odd; above: the fraction is above one half; half: it is one half.
    """
    if mode >= HALF_DOWN and not half:
        return above
    if mode in (CEIL, HALF_UP):
        return True
    if mode in (SYMMETRIC_FLOOR, HALF_TO_ZERO):
        return negative
    if mode in (SYMMETRIC_CEIL, HALF_FROM_ZERO):
        return not negative
    if mode == HALF_TO_EVEN:
        return odd
    if mode == HALF_TO_ODD:
        return not odd
    return False  # FLOOR, HALF_DOWN


@inner
def round_shift(value: int, shift: int, mode: int) -> int:
    """value / 2**shift rounded; shift 0 .. 63, value a signed 64-bit number."""
    if shift == 0:
        return value
    low = value >> shift
    rest = value - (low << shift)
    if rest == 0:
        return low
    half = 1 << (shift - 1)
    if rounds_up(low & 1 == 1, rest > half, rest == half, value < 0, mode):
        return low + 1
    return low


@inner
def saturate(value: int, bits: int, signed: bool, mode: int) -> int:
    """The value in a type of `bits` (at most 32), by crSat."""
    if mode & SATURATE == 0:
        return sign_extend(value, bits) if signed else value & ((1 << bits) - 1)
    high = (1 << (bits - signed)) - 1
    low = 0
    if signed:
        low = -high if mode == SYMMETRIC else -high - 1
    return min(max(value, low), high)


@inner
def round_to_bfloat16(bits: int, mode: int) -> int:
    """The 16 bits of a bfloat16 for the 32 bits of a float32, rounded by crRnd.

    Denormal numbers count as zero with their sign (AM020: the datapath does not support them).
    Not-a-number stays one.
    """
    bits &= 0xFFFFFFFF
    top = bits >> 16
    exponent = (bits >> 23) & 0xFF
    if exponent == 0xFF:
        return top | 0x40 if bits & 0x7FFFFF else top
    if exponent == 0:
        return top & 0x8000
    rest = bits & 0xFFFF
    if rest == 0:
        return top
    negative = bits >> 31 == 1
    away = _away_from_zero(top & 1 == 1, rest > 0x8000, rest == 0x8000, negative, mode)
    return top + 1 if away else top


@inner
def _away_from_zero(odd: bool, above: bool, half: bool, negative: bool, mode: int) -> bool:
    """Whether a magnitude is rounded up; `rounds_up` speaks of numbers, this of magnitudes."""
    if not negative:
        return rounds_up(odd, above, half, False, mode)
    # floor(-m - f) = -m - 1, whose fraction is 1 - f
    return not rounds_up(not odd, not above and not half, half, True, mode)
