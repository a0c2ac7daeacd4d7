"""Conversions against exact fractions: SRS, UPS, pack, unpack, bfloat16, floor."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import pytest
from core_bench import bench, from_lanes, lanes_of
from hypothesis import given
from hypothesis import strategies as st

ACCUMULATORS = st.binary(min_size=128, max_size=128).map(lambda b: int.from_bytes(b, "little"))
SMALL = st.lists(
    st.one_of(st.integers(-300, 300), st.integers(-(2**20), 2**20)), min_size=32, max_size=32
)
VECTORS = st.binary(min_size=64, max_size=64).map(lambda b: int.from_bytes(b, "little"))
MODES = [0, 1, 2, 3, 8, 9, 10, 11, 12, 13]


def rounded(x: Fraction, mode: int) -> int:
    """The rounding modes by their definition (shared facts 8.8)."""
    low, high = math.floor(x), math.ceil(x)
    toward_zero = low if x >= 0 else high
    from_zero = high if x >= 0 else low
    if mode < 8:
        return {0: low, 1: high, 2: toward_zero, 3: from_zero}[mode]
    if x - low != high - x:
        return low if x - low < high - x else high
    even, odd = (low, high) if low % 2 == 0 else (high, low)
    return {8: low, 9: high, 10: toward_zero, 11: from_zero, 12: even, 13: odd}[mode]


def clamped(x: int, bits: int, signed: bool, saturation: int) -> int:
    if saturation == 0:
        return x
    high = 2 ** (bits - signed) - 1
    low = (-high if saturation == 3 else -high - 1) if signed else 0
    return min(max(x, low), high)


SRS = [
    ("16", "32", "wl0", "bml0"), ("16", "32", "x0", "cm0"), ("8", "32", "wl0", "cm0"),
    ("32", "64", "wl0", "bml0"), ("32", "64", "x0", "cm0"), ("16", "64", "wl0", "cm0"),
]  # fmt: skip


@pytest.mark.parametrize("sign", ["s", "d"])
@pytest.mark.parametrize(("out", "into", "dst", "src"), SRS)
@given(
    raw=ACCUMULATORS, small=SMALL, shift=st.integers(0, 24), mode=st.sampled_from(MODES),
    saturation=st.sampled_from([0, 1, 3]), unsigned=st.booleans(), narrow=st.booleans(),
)  # fmt: skip
def test_shift_round_saturate(
    out: str, into: str, dst: str, src: str, sign: str, raw: int, small: list[int], shift: int,
    mode: int, saturation: int, unsigned: bool, narrow: bool,
) -> None:  # fmt: skip
    bits, wide = int(out), int(into)
    value = from_lanes(small, wide) if narrow else raw
    signed = sign == "s" or not unsigned
    registers = {"cm0": value, "s1": shift, "crRnd": mode, "crSat": saturation}
    core = bench(f"vsrs.{sign}{out}.s{into} {dst}, {src}, s1").run(
        registers | {"crSRSSign": int(not unsigned)}
    )
    total = 1024 if src.startswith("cm") else 512
    lanes = lanes_of(value & ((1 << total) - 1), wide, True, total)
    expected = [
        clamped(rounded(Fraction(x, 2**shift), mode), bits, signed, saturation) for x in lanes
    ]
    assert core.read(dst) == from_lanes(expected, bits)


UPS = [
    ("32", "16", "bml0", "wl0"), ("32", "16", "cm0", "x0"), ("32", "8", "cm0", "wl0"),
    ("64", "32", "bml0", "wl0"), ("64", "32", "cm0", "x0"), ("64", "16", "cm0", "wl0"),
]  # fmt: skip


@pytest.mark.parametrize("sign", ["s", "d"])
@pytest.mark.parametrize(("into", "out", "dst", "src"), UPS)
@given(
    value=VECTORS, shift=st.integers(0, 40), saturation=st.sampled_from([0, 1, 3]),
    unsigned=st.booleans(),
)  # fmt: skip
def test_shift_up(
    into: str, out: str, dst: str, src: str, sign: str, value: int, shift: int, saturation: int,
    unsigned: bool,
) -> None:  # fmt: skip
    bits, wide = int(out), int(into)
    signed = sign == "s" or not unsigned
    registers = {"x0": value, "s1": shift, "crSat": saturation, "crUPSSign": int(not unsigned)}
    core = bench(f"vups.s{into}.{sign}{out} {dst}, {src}, s1").run(registers)
    total = 512 if src == "x0" else 256
    lanes = lanes_of(value & ((1 << total) - 1), bits, signed, total)
    expected = [clamped(x << shift, wide, True, saturation) for x in lanes]
    assert core.read(dst) == from_lanes(expected, wide)


@pytest.mark.parametrize("bits", [8, 4])
@given(value=VECTORS, saturation=st.sampled_from([0, 1, 3]), signed=st.booleans())
def test_pack(bits: int, value: int, saturation: int, signed: bool) -> None:
    core = bench(f"vpack.d{bits}.d{2 * bits} wl1, x0").run(
        {"x0": value, "crSat": saturation, "crPackSign": int(signed)}
    )
    lanes = lanes_of(value, 2 * bits, signed)
    expected = [clamped(x, bits, signed, saturation) for x in lanes]
    assert core.read("wl1") == from_lanes(expected, bits)


@pytest.mark.parametrize("bits", [8, 4])
@given(value=VECTORS, signed=st.booleans())
def test_unpack(bits: int, value: int, signed: bool) -> None:
    text = f"vunpack.d{2 * bits}.d{bits} x1, wl0\nvunpack.s{2 * bits}.s{bits} x2, wl0"
    core = bench(text).run({"x0": value, "crUnpackSign": int(signed)})
    low = value & ((1 << 256) - 1)
    assert core.read("x1") == from_lanes(lanes_of(low, bits, signed, 256), 2 * bits)
    assert core.read("x2") == from_lanes(lanes_of(low, bits, True, 256), 2 * bits)


def as_float(pattern: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", pattern))[0])


def bfloat16_of(pattern: int, mode: int) -> int:
    """A float32 rounded to bfloat16 by exact fractions; denormal numbers are zero."""
    exponent = pattern >> 23 & 0xFF
    if exponent == 0:
        return pattern >> 31 << 15
    if exponent == 0xFF:
        return pattern >> 16 | (0x40 if pattern & 0x7FFFFF else 0)
    unit = Fraction(2) ** (exponent - 127 - 7)
    steps = rounded(Fraction(as_float(pattern)) / unit, mode)
    magnitude = abs(steps)
    if magnitude == 256:
        magnitude, exponent = 128, exponent + 1
    if exponent == 0xFF:
        return pattern >> 31 << 15 | 0x7F80
    return pattern >> 31 << 15 | exponent << 7 | magnitude - 128


@given(value=VECTORS, mode=st.sampled_from(MODES))
def test_float32_to_bfloat16(value: int, mode: int) -> None:
    core = bench("vconv.bf16.fp32 wl1, bml0").run({"bml0": value, "crRnd": mode})
    expected = [bfloat16_of(x, mode) for x in lanes_of(value, 32, False)]
    assert lanes_of(core.read("wl1"), 16, False, 256) == expected


@given(value=VECTORS)
def test_bfloat16_to_float32(value: int) -> None:
    core = bench("vconv.fp32.bf16 bml0, wl1").run({"x1": value})
    lanes = lanes_of(value & ((1 << 256) - 1), 16, False, 256)
    assert core.read("bml0") == from_lanes([x << 16 for x in lanes], 32)


@given(value=VECTORS, shift=st.integers(-8, 31))
def test_floor(value: int, shift: int) -> None:
    core = bench("vfloor.s32.bf16 x2, wl1, s0").run({"x1": value, "s0": shift & 63})
    expected = []
    for x in lanes_of(value & ((1 << 256) - 1), 16, False, 256):
        number = as_float(x << 16)
        if math.isnan(number) or x >> 7 & 0xFF == 0:
            expected.append(0)
        elif math.isinf(number):
            expected.append(clamped(1 << 40 if number > 0 else -1 << 40, 32, True, 1))
        else:
            exact = math.floor(Fraction(number) * Fraction(2) ** shift)
            expected.append(clamped(exact, 32, True, 1))
    assert core.read("x2") == from_lanes(expected, 32)
