"""Scalar instructions against plain Python integers."""

from __future__ import annotations

import pytest
from core_bench import bench
from hypothesis import given
from hypothesis import strategies as st

EDGES = [0, 1, 2, 31, 32, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFE1, 0xFFFFFFE0]
WORDS = st.one_of(st.sampled_from(EDGES), st.integers(0, 0xFFFFFFFF))


def signed(x: int) -> int:
    return x - (1 << 32) if x >> 31 else x


def shift(a: int, by: int, arithmetic: bool) -> int:
    value = signed(a) if arithmetic else a
    by = signed(by)
    return value << by if by >= 0 else value >> -by


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: signed(a) < signed(b),
    "ltu": lambda a, b: a < b,
    "ge": lambda a, b: signed(a) >= signed(b),
    "geu": lambda a, b: a >= b,
}
UNARY = {
    "eqz": lambda a: a == 0,
    "nez": lambda a: a != 0,
    "abs": lambda a: abs(signed(a)),
    "clz": lambda a: 32 - a.bit_length(),
    "clb": lambda a: 32 - (a if a < 1 << 31 else ~a & 0xFFFFFFFF).bit_length(),
    "extend.s8": lambda a: (a & 0xFF) - 2 * (a & 0x80),
    "extend.u8": lambda a: a & 0xFF,
    "extend.s16": lambda a: (a & 0xFFFF) - 2 * (a & 0x8000),
    "extend.u16": lambda a: a & 0xFFFF,
}


@pytest.mark.parametrize("name", BINARY)
@given(a=WORDS, b=WORDS)
def test_two_operands(name: str, a: int, b: int) -> None:
    core = bench(f"{name} r1, r2, r3").run({"r2": a, "r3": b})
    assert core.read("r1") == int(BINARY[name](a, b)) & 0xFFFFFFFF


@pytest.mark.parametrize("name", UNARY)
@given(a=WORDS)
def test_one_operand(name: str, a: int) -> None:
    core = bench(f"{name} r1, r2").run({"r2": a})
    assert core.read("r1") == int(UNARY[name](a)) & 0xFFFFFFFF


@pytest.mark.parametrize("name", ["lshl", "ashl"])
@given(a=WORDS, by=st.one_of(st.integers(-40, 40).map(lambda x: x & 0xFFFFFFFF)))
def test_shifts_left_by_positive_and_right_by_negative_amounts(name: str, a: int, by: int) -> None:
    core = bench(f"{name} r1, r2, r3").run({"r2": a, "r3": by})
    assert core.read("r1") == shift(a, by, name == "ashl") & 0xFFFFFFFF


@given(a=WORDS, b=WORDS, c=st.integers(0, 3))
def test_selections(a: int, b: int, c: int) -> None:
    text = "sel.nez r1, r2, r3, r27\nsel.eqz r4, r2, r3, r27"
    core = bench(text).run({"r2": a, "r3": b, "r27": c})
    assert (core.read("r1"), core.read("r4")) == ((a, b) if c else (b, a))


@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1))
def test_sums_and_differences_of_64_bits_with_carry(a: int, b: int) -> None:
    text = "add r8, r0, r2\nadc r9, r1, r3\nsub r10, r0, r2\nsbc r11, r1, r3"
    words = {"r0": a & 0xFFFFFFFF, "r1": a >> 32, "r2": b & 0xFFFFFFFF, "r3": b >> 32}
    core = bench(text).run(words)
    assert core.read("r8") | core.read("r9") << 32 == (a + b) % 2**64
    assert core.read("r10") | core.read("r11") << 32 == (a - b) % 2**64


@given(a=WORDS, b=WORDS.filter(bool))
def test_32_division_steps_divide(a: int, b: int) -> None:
    text = "movx r4, #0\n" + "divs r4, r31, r4, r5\n" * 32
    core = bench(text).run({"r31": a, "r5": b})
    assert (core.read("r31"), core.read("r4")) == divmod(a, b)


@given(a=WORDS, b=st.integers(-64, 63))
def test_immediates(a: int, b: int) -> None:
    core = bench("add r1, r2, #-64\nadd r3, r2, #63\nmovx r4, #-1024\nmovxm r5, #-2").run({"r2": a})
    assert core.read("r1") == (a - 64) & 0xFFFFFFFF
    assert core.read("r3") == (a + 63) & 0xFFFFFFFF
    assert (core.read("r4"), core.read("r5")) == (0xFFFFFC00, 0xFFFFFFFE)


@given(a=WORDS)
def test_pointers_keep_20_bits(a: int) -> None:
    core = bench("mov p1, r2\nmov m3, r2\nmov r4, p1").run({"r2": a})
    assert core.read("p1") == core.read("m3") == core.read("r4") == a & 0xFFFFF
