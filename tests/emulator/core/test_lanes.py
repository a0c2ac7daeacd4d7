"""Lane-by-lane vector instructions against plain Python integers, lane after lane."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import pytest
from core_bench import bench, from_lanes, lanes_of
from hypothesis import given
from hypothesis import strategies as st

VECTORS = st.binary(min_size=64, max_size=64).map(lambda b: int.from_bytes(b, "little"))
NARROW = st.lists(st.sampled_from([0, 1, 2, 0x7F, 0x80, 0xFF]), min_size=64, max_size=64).map(
    lambda b: int.from_bytes(bytes(b), "little")
)
OPERANDS = st.one_of(VECTORS, NARROW)
TYPES = ["s8", "s16", "s32", "d8", "d16", "d32"]

LANE: dict[str, Callable[[int, int], tuple[int, bool]]] = {
    "vmax_lt": lambda a, b: (max(a, b), a < b),
    "vmin_ge": lambda a, b: (min(a, b), a >= b),
    "vsub_lt": lambda a, b: (a - b, a < b),
    "vsub_ge": lambda a, b: (a - b, a >= b),
    "vmaxdiff_lt": lambda a, b: (max(a - b, 0), a < b),
}
COMPARE = {"vlt": lambda a, b: a < b, "vge": lambda a, b: a >= b}


def condition_register(bits: int) -> str:
    return "r17:r16" if bits == 8 else "r16"


def bits_of(conditions: list[bool]) -> int:
    return sum(1 << i for i, c in enumerate(conditions) if c)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", LANE)
@given(a=OPERANDS, b=OPERANDS, sign=st.booleans())
def test_two_results(name: str, kind: str, a: int, b: int, sign: bool) -> None:
    bits = int(kind[1:])
    signed = sign if kind[0] == "d" else True
    text = f"{name}.{kind} x2, {condition_register(bits)}, x0, x1"
    core = bench(text).run({"x0": a, "x1": b, "crVaddSign": int(sign)})
    pairs = zip(lanes_of(a, bits, signed), lanes_of(b, bits, signed), strict=True)
    lanes, conditions = zip(*(LANE[name](x, y) for x, y in pairs), strict=True)
    assert core.read("x2") == from_lanes(list(lanes), bits)
    assert core.read("l0" if bits == 8 else "r16") == bits_of(list(conditions))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", COMPARE)
@given(a=OPERANDS, b=OPERANDS, sign=st.booleans())
def test_comparisons(name: str, kind: str, a: int, b: int, sign: bool) -> None:
    bits = int(kind[1:])
    signed = sign if kind[0] == "d" else True
    text = f"{name}.{kind} {condition_register(bits)}, x0, x1"
    core = bench(text).run({"x0": a, "x1": b, "crVaddSign": int(sign)})
    pairs = zip(lanes_of(a, bits, signed), lanes_of(b, bits, signed), strict=True)
    found = core.read("l0" if bits == 8 else "r16")
    assert found == bits_of([COMPARE[name](x, y) for x, y in pairs])


@pytest.mark.parametrize("bits", [8, 16, 32])
@given(a=VECTORS, b=VECTORS, mask=st.integers(0, 2**64 - 1))
def test_sums_and_selections(bits: int, a: int, b: int, mask: int) -> None:
    chosen = "r17:r16" if bits == 8 else "r16"
    text = f"vadd.{bits} x2, x0, x1\nvsub.{bits} x3, x0, x1"
    text += f"\nvaddsub.{bits} x4, x0, x1, {chosen}\nvsel.{bits} x5, x0, x1, {chosen}"
    core = bench(text).run({"x0": a, "x1": b, "l0": mask})
    pairs = list(zip(lanes_of(a, bits, True), lanes_of(b, bits, True), strict=True))
    picks = [mask >> i & 1 for i in range(512 // bits)]
    assert core.read("x2") == from_lanes([x + y for x, y in pairs], bits)
    assert core.read("x3") == from_lanes([x - y for x, y in pairs], bits)
    added = [x - y if p else x + y for (x, y), p in zip(pairs, picks, strict=True)]
    assert core.read("x4") == from_lanes(added, bits)
    selected = [y if p else x for (x, y), p in zip(pairs, picks, strict=True)]
    assert core.read("x5") == from_lanes(selected, bits)


@pytest.mark.parametrize("bits", [8, 16, 32])
@given(a=OPERANDS)
def test_one_operand(bits: int, a: int) -> None:
    where = [("r17:r16", "l0"), ("r19:r18", "l1"), ("r21:r20", "l2"), ("r23:r22", "l3")]
    if bits != 8:
        where = [(f"r{16 + 2 * i}", f"r{16 + 2 * i}") for i in range(4)]
    text = (
        f"vneg_gtz{bits} x2, {where[0][0]}, x0\nvabs_gtz.s{bits} x3, {where[1][0]}, x0\n"
        f"vbneg_ltz.s{bits} x4, {where[2][0]}, x0\nveqz.{bits} {where[3][0]}, x0"
    )
    core = bench(text).run({"x0": a})
    lanes = lanes_of(a, bits, True)
    assert core.read("x2") == from_lanes([-x for x in lanes], bits)
    assert core.read("x3") == from_lanes([abs(x) for x in lanes], bits)
    assert core.read("x4") == from_lanes([~x for x in lanes], bits)
    found = [core.read(name) for _, name in where]
    tests = (lambda x: x > 0, lambda x: x > 0, lambda x: x < 0, lambda x: x == 0)
    assert found == [bits_of([test(x) for x in lanes]) for test in tests]


@given(a=VECTORS, b=VECTORS)
def test_logic(a: int, b: int) -> None:
    core = bench("vband x2, x0, x1\nvbor x3, x0, x1").run({"x0": a, "x1": b})
    assert (core.read("x2"), core.read("x3")) == (a & b, a | b)


def bfloat16(pattern: int) -> float:
    return float(struct.unpack("<f", struct.pack("<I", pattern << 16))[0])


@given(a=OPERANDS, b=OPERANDS)
def test_bfloat16_comparisons(a: int, b: int) -> None:
    text = "vmax_lt.bf16 x2, r16, x0, x1\nvmin_ge.bf16 x3, r17, x0, x1\nvlt.bf16 r18, x0, x1\n"
    core = bench(text + "vge.bf16 r19, x0, x1").run({"x0": a, "x1": b})
    pairs = list(zip(lanes_of(a, 16, False), lanes_of(b, 16, False), strict=True))
    less = [bfloat16(x) < bfloat16(y) for x, y in pairs]
    not_less = [bfloat16(x) >= bfloat16(y) for x, y in pairs]
    assert core.read("r16") == core.read("r18") == bits_of(less)
    assert core.read("r17") == core.read("r19") == bits_of(not_less)
    for register, holds in (("x2", less), ("x3", not_less)):
        found = lanes_of(core.read(register), 16, False)
        for lane, (x, y), second in zip(found, pairs, holds, strict=True):
            if not (math.isnan(bfloat16(x)) or math.isnan(bfloat16(y))):
                assert lane == (y if second else x)
