"""Loads, stores and addresses against a plain bytearray and explicit loops."""

from __future__ import annotations

import random

import pytest
from core_bench import MEMORY, Bench, bench, from_lanes, lanes_of
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.emulator.fault import EmulationError

BASE = MEMORY + 0x1000
DATA = bytes(random.Random(0).randrange(256) for _ in range(4096))
VECTORS = st.binary(min_size=64, max_size=64)


def little(data: bytes, signed: bool = False) -> int:
    return int.from_bytes(data, "little", signed=signed)


def walk_2d(start: int, m: int, dn: int, dj: int, dc: int, steps: int) -> list[int]:
    """Pointers of a 2-D walk: dj while the count has not reached dn, else m and a new row."""
    found = []
    for _ in range(steps):
        found.append(start)
        if dc != dn:
            start, dc = start + dj, dc + 1
        else:
            start, dc = start + m, 0
    return found


def walk_3d(start: int, d: dict[str, int], steps: int) -> list[int]:
    found, inner, outer = [], d["dc0"], d["dc4"]
    for _ in range(steps):
        found.append(start)
        if inner != d["dn0"]:
            start, inner = start + d["dj0"], inner + 1
        elif outer != d["dn4"]:
            start, inner, outer = start + d["dj4"], 0, outer + 1
        else:
            start, inner, outer = start + d["m0"], 0, 0
    return found


@pytest.mark.parametrize(
    ("text", "size", "signed"),
    [("lda r1", 4, False), ("lda.u8 r1", 1, False), ("lda.s8 r1", 1, True),
     ("lda.u16 r1", 2, False), ("lda.s16 r1", 2, True), ("vlda wl1", 32, False),
     ("vldb wl1", 32, False)],
)  # fmt: skip
@given(index=st.integers(0, 31))
def test_loads_with_a_register_offset(text: str, size: int, signed: bool, index: int) -> None:
    at = index * size
    core = bench(f"{text}, [p0, dj0]").run({"p0": BASE, "dj0": at}, {BASE: DATA})
    value = little(DATA[at : at + size], signed)
    if text.endswith("r1"):
        assert core.read("r1") == value & 0xFFFFFFFF
    else:
        assert core.read("wl1") == value


@given(a=VECTORS, offset=st.integers(-4, 3))
def test_stores_with_an_offset_and_post_increment(a: bytes, offset: int) -> None:
    text = f"vst wl0, [p0, #{32 * offset}]\nvst wh0, [p1], #{32 * offset}\nst r1, [p2], m0"
    b = bench(text)
    at = {"p0": BASE, "p1": BASE + 512, "p2": BASE + 1024, "m0": 4 * offset & 0xFFFFF}
    core = b.run({"x0": little(a), "r1": 0x12345678} | at)
    assert b.memory(BASE + 32 * offset, 32) == a[:32]
    assert b.memory(BASE + 512, 32) == a[32:]
    assert b.memory(BASE + 1024, 4) == bytes.fromhex("78563412")
    assert core.read("p1") == BASE + 512 + 32 * offset
    assert core.read("p2") == BASE + 1024 + 4 * offset


@given(value=st.integers(0, 2**32 - 1), index=st.integers(0, 63))
def test_narrow_stores_leave_their_neighbours(value: int, index: int) -> None:
    b = bench("st.s8 r1, [p0, dj0]\nst.s16 r1, [p1, dj1]")
    b.run({"p0": BASE, "p1": BASE + 64, "dj0": index, "dj1": 2 * index, "r1": value}, {BASE: DATA})
    expected = bytearray(DATA)
    expected[index] = value & 0xFF
    expected[64 + 2 * index : 66 + 2 * index] = (value & 0xFFFF).to_bytes(2, "little")
    assert b.memory(BASE, len(DATA)) == bytes(expected)


@given(m=st.integers(-8, 8), dn=st.integers(0, 3), dj=st.integers(-8, 8), dc=st.integers(0, 3))
def test_walks_in_two_dimensions(m: int, dn: int, dj: int, dc: int) -> None:
    dc = min(dc, dn)
    lines = [f"lda.2d r{i}, [p0], d1" for i in range(8)]
    modifiers = {"m1": 4 * m & 0xFFFFF, "dn1": dn, "dj1": 4 * dj & 0xFFFFF, "dc1": dc}
    start = BASE + 1024
    core = bench("\n".join(lines)).run({"p0": start} | modifiers, {BASE: DATA})
    for i, address in enumerate(walk_2d(start, 4 * m, dn, 4 * dj, dc, 8)):
        assert core.read(f"r{i}") == little(DATA[address - BASE : address - BASE + 4])
    assert core.read("p0") == walk_2d(start, 4 * m, dn, 4 * dj, dc, 9)[-1]


@given(values=st.lists(st.integers(0, 3), min_size=4, max_size=4), steps=st.lists(
    st.integers(-6, 6), min_size=3, max_size=3))  # fmt: skip
def test_walks_in_three_dimensions(values: list[int], steps: list[int]) -> None:
    d = {"dn0": values[0], "dn4": values[1], "dc0": min(values[2], values[0]),
         "dc4": min(values[3], values[1]), "m0": 4 * steps[0], "dj0": 4 * steps[1],
         "dj4": 4 * steps[2]}  # fmt: skip
    lines = [f"lda.3d r{i}, [p0], d0" for i in range(10)] + ["padda.3d [p0], d0"]
    start = BASE + 1024
    registers = {name: value & 0xFFFFF for name, value in d.items()}
    core = bench("\n".join(lines)).run({"p0": start, "m4": 0} | registers, {BASE: DATA})
    walked = walk_3d(start, d, 12)
    for i, address in enumerate(walked[:10]):
        assert core.read(f"r{i}") == little(DATA[address - BASE : address - BASE + 4])
    assert core.read("p0") == walked[11]


@given(a=VECTORS, shift=st.integers(0, 8))
def test_loads_and_stores_that_convert(a: bytes, shift: int) -> None:
    text = (
        "vlda.ups.s32.s16 bml0, s0, [p0, #0]\nvlda.conv.fp32.bf16 bml1, [p0, #0]\n"
        "vldb.unpack.s16.s8 x2, [p0, dj0]\n" + "nop\n" * 10 + "vst.srs.s16.s32 bml0, s0, [p1, #0]\n"
        "vst.conv.bf16.fp32 bml1, [p1, #32]\nvst.pack.s8.s16 x2, [p1, #64]"
    )
    b = bench(text)
    core = b.run(
        {"p0": BASE, "p1": BASE + 256, "s0": shift, "dj0": 0, "crRnd": 0, "crSat": 0}, {BASE: a}
    )
    low = little(a[:32])
    wide = [x << shift for x in lanes_of(low, 16, True, 256)]
    assert core.read("bml0") == from_lanes(wide, 32)
    assert core.read("bml1") == from_lanes([x << 16 for x in lanes_of(low, 16, False, 256)], 32)
    assert b.memory(BASE + 256, 32) == a[:32]
    exponents = [x >> 7 & 0xFF for x in lanes_of(low, 16, False, 256)]
    if 0 not in exponents and 255 not in exponents:
        assert b.memory(BASE + 288, 32) == a[:32]
    assert b.memory(BASE + 320, 32) == a[:32]


@pytest.mark.parametrize(
    ("text", "address", "sentence"),
    [
        ("vlda wl0, [p0, #0]", BASE + 4, "not a multiple"),
        ("lda r0, [p0, #0]", BASE + 2, "not a multiple"),
        ("st.s16 r1, [p0, #0]", BASE + 1, "not a multiple"),
        ("vst wl1, [p0, #0]", BASE + 16, "not a multiple"),
        ("lda r0, [p0, #0]", 0x60000, "no memory"),
        ("lda r0, [p0, #0]", 0x10000, "no memory"),
    ],
)
def test_bad_addresses_stop_with_the_instruction(text: str, address: int, sentence: str) -> None:
    with pytest.raises(EmulationError, match=sentence) as error:
        Bench(text).run({"p0": address, "r1": 0, "x1": 0})
    assert "0x0" in str(error.value)
    assert text.split(",")[0] in str(error.value)


def test_unwritten_memory_may_be_copied_but_not_used() -> None:
    copy = "lda r1, [p0, #0]\nnop\nnop\nnop\nnop\nnop\nnop\nst r1, [p0, #4]"
    Bench(copy).run({"p0": BASE})
    with pytest.raises(EmulationError, match="r1, which was never written"):
        Bench(copy + "\nadd r2, r1, #1").run({"p0": BASE})
