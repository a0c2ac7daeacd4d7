"""Meaning of conversions: SRS, UPS, pack, unpack, bfloat16 to and from float32, float to integer.

Sources: AM020 chapter 4 (lanes, modes), shared facts 8.8 (rounding modes), llvm-aie's aiev2_srs.h
and aiev2_ups.h. A shift register holds the plain number of bits (the shift 0 .. 63).
"""

from __future__ import annotations

from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.lanes import lane, set_lane
from whisper_npu_cli.emulator.numbers import (
    HALF_TO_EVEN,
    SATURATE,
    SYMMETRIC,
    round_shift,
    round_to_bfloat16,
    saturate,
    sign_extend,
    wrap16,
    wrap32,
    wrap64,
)

INT32_MAX = (1 << 31) - 1
INT64_MAX = (1 << 63) - 1


@inline
def accumulator_lane(h: Handle, at: int, bits: int, index: int) -> int:
    """A lane of 32 or 64 bits of the accumulator at a word."""
    v = view(h)
    return int(v.d[at // 2 + index]) if bits == 64 else int(v.w[at + index])


@inner
def shift_round_saturate(
    h: Handle, source: int, source_bits: int, lanes: int, shift: int, rounding: int, bits: int,
    signed: bool, saturation: int, out: int,
) -> bool:  # fmt: skip
    """SRS: accumulator lanes to vector lanes of `bits`; returns whether a lane did not fit."""
    overflow = False
    for i in range(lanes):
        value = round_shift(accumulator_lane(h, source, source_bits, i), shift, rounding)
        result = saturate(value, bits, signed, saturation)
        overflow |= result != value
        set_lane(h, out, bits, i, result)
    return overflow


@inner
def shift_up(
    h: Handle, source: int, bits: int, lanes: int, shift: int, signed: bool, out_bits: int,
    saturation: int, out: int,
) -> bool:  # fmt: skip
    """UPS: vector lanes shifted left into accumulator lanes; returns whether a lane did not fit."""
    overflow = False
    for i in range(lanes):
        value = lane(h, source, bits, signed, i)
        room = out_bits - 1 - shift
        fits = room >= 33 or (room >= 0 and -(1 << room) <= value < (1 << room))
        if value == 0:
            result = 0
        elif fits:
            result = value << shift
            if saturation == SYMMETRIC and result == (-1 << (out_bits - 1)):
                result += 1
        else:
            overflow = True
            result = _beyond(value, shift, out_bits, saturation)
        set_lane(h, out, out_bits, i, result)
    return overflow


@inline
def _beyond(value: int, shift: int, bits: int, saturation: int) -> int:
    """A shifted value that does not fit: clamped, or to be cut to the accumulator's bits."""
    if saturation & SATURATE == 0:
        return wrap64(value << shift)
    high = INT64_MAX if bits == 64 else INT32_MAX
    if value > 0:
        return high
    return -high if saturation & 2 else -high - 1


@inner
def pack(h: Handle, source: int, bits: int, signed: bool, saturation: int, out: int) -> None:
    """Lanes of 2 * bits of a 512-bit vector to lanes of `bits` (8 or 4)."""
    if bits == 8:
        for i in range(32):
            value = saturate(lane(h, source, 16, signed, i), 8, signed, saturation)
            set_lane(h, out, 8, i, value)
    else:
        for i in range(32):
            low = saturate(lane(h, source, 8, signed, 2 * i), 4, signed, saturation)
            high = saturate(lane(h, source, 8, signed, 2 * i + 1), 4, signed, saturation)
            set_lane(h, out, 8, i, (low & 15) | (high & 15) << 4)


@inner
def unpack(h: Handle, source: int, bits: int, signed: bool, out: int) -> None:
    """Lanes of `bits` (8 or 4) of a 256-bit vector to lanes of twice the width."""
    if bits == 8:
        for i in range(32):
            set_lane(h, out, 16, i, lane(h, source, 8, signed, i))
    else:
        for i in range(64):
            nibble = (lane(h, source, 8, False, i // 2) >> (4 * (i % 2))) & 15
            set_lane(h, out, 8, i, sign_extend(nibble, 4) if signed else nibble)


@inner
def bfloat16_to_float32(h: Handle, source: int, out: int) -> None:
    """16 lanes; exact, the bits are copied."""
    v = view(h)
    for i in range(16):
        v.w[out + i] = wrap32((int(v.h[2 * source + i]) & 0xFFFF) << 16)


@inner
def float32_to_bfloat16(h: Handle, source: int, rounding: int, out: int) -> None:
    """16 lanes, rounded by crRnd."""
    v = view(h)
    if rounding == HALF_TO_EVEN:
        for i in range(16):
            v.h[2 * out + i] = wrap16(round_to_even(int(v.w[source + i]) & 0xFFFFFFFF))
    else:
        for i in range(16):
            set_lane(h, out, 16, i, round_to_bfloat16(int(v.w[source + i]), rounding))


@inline
def round_to_even(bits: int) -> int:
    """round_to_bfloat16 by HALF_TO_EVEN without branches: 16 of them become vector instructions."""
    top = bits >> 16
    rounded = (bits + 0x7FFF + (top & 1)) >> 16
    rounded = top & 0x8000 if bits & 0x7F800000 == 0 else rounded
    return top | 0x40 if bits & 0x7FFFFFFF > 0x7F800000 else rounded


@inner
def floor_to_int32(h: Handle, source: int, shift: int, out: int) -> None:
    """16 bfloat16 lanes times 2**shift, rounded down, clamped to 32 bits; not-a-number gives 0."""
    v = view(h)
    for i in range(16):
        v.w[out + i] = wrap32(_floor(int(v.h[2 * source + i]) & 0xFFFF, shift))


@inline
def _floor(pattern: int, shift: int) -> int:
    exponent = (pattern >> 7) & 0xFF
    negative = pattern >> 15 == 1
    if exponent == 0 or (pattern & 0x7FFF) > 0x7F80:
        return 0
    mantissa = 0x80 | (pattern & 0x7F)
    by = exponent - 127 - 7 + shift
    if by > 24 or exponent == 0xFF:
        return -INT32_MAX - 1 if negative else INT32_MAX
    value = -mantissa if negative else mantissa
    if by >= 0:
        return min(max(value << by, -INT32_MAX - 1), INT32_MAX)
    return value >> min(-by, 31)
