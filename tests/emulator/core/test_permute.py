"""Shuffles as transposed matrices; shifts, pushes, insert, extract, broadcast on bytes."""

from __future__ import annotations

import pytest
from core_bench import bench, from_lanes, lanes_of
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.modes import Shuffle

VECTORS = st.binary(min_size=64, max_size=64)

# llvm-aie's aiev2_enums.h, T<bits>_<rows>x<columns>; written out again on purpose
MODES = {
    0: (8, 64, 2, 0), 1: (8, 64, 2, 1), 2: (16, 32, 2, 0), 3: (16, 32, 2, 1), 4: (32, 16, 2, 0),
    5: (32, 16, 2, 1), 6: (64, 8, 2, 0), 7: (64, 8, 2, 1), 8: (128, 4, 2, 0), 9: (128, 4, 2, 1),
    10: (256, 2, 2, 0), 11: (256, 2, 2, 1), 12: (128, 2, 4, 0), 13: (128, 2, 4, 1),
    14: (64, 2, 8, 0), 15: (64, 2, 8, 1), 16: (32, 2, 16, 0), 17: (32, 2, 16, 1),
    18: (16, 2, 32, 0), 19: (16, 2, 32, 1), 20: (8, 2, 64, 0), 21: (8, 2, 64, 1),
    22: (512, 1, 2, 0), 23: (512, 1, 2, 1), 24: (16, 16, 4, 0), 25: (16, 16, 4, 1),
    26: (16, 4, 16, 0), 27: (16, 4, 16, 1), 28: (16, 8, 4, 0), 29: (16, 4, 8, 0),
    30: (32, 8, 4, 0), 31: (32, 8, 4, 1), 32: (32, 4, 8, 0), 33: (32, 4, 8, 1), 34: (32, 4, 4, 0),
    35: (8, 8, 8, 0), 36: (8, 16, 4, 0), 37: (8, 4, 16, 0), 39: (16, 4, 4, 0), 40: (16, 4, 2, 0),
    41: (16, 2, 4, 0), 42: (16, 8, 2, 0), 43: (16, 2, 8, 0), 44: (16, 16, 2, 0),
    45: (16, 2, 16, 0), 46: (8, 8, 4, 0), 47: (8, 4, 8, 0),
}  # fmt: skip


@pytest.mark.parametrize("mode", Shuffle)
def test_the_assembler_names_modes_by_what_they_do(mode):
    bits, rows, columns, half = MODES[mode]
    whole = bits * rows * columns == 1024
    assert mode.name == f"T{bits}_{rows}X{columns}" + ("_LO", "_HI")[half] * whole


def transposed(data: bytes, bits: int, rows: int, columns: int) -> bytes:
    size = bits // 8
    items = [data[i : i + size] for i in range(0, len(data), size)]
    block = rows * columns
    moved = []
    for start in range(0, len(items), block):
        for column in range(columns):
            for row in range(rows):
                moved.append(items[start + row * columns + column])
    return b"".join(moved)


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


@pytest.mark.parametrize("mode", MODES)
@given(a=VECTORS, b=VECTORS)
def test_shuffle(mode: int, a: bytes, b: bytes) -> None:
    bits, rows, columns, half = MODES[mode]
    core = bench("vshuffle x2, x0, x1, r0").run({"x0": number(a), "x1": number(b), "r0": mode})
    data = a + b if bits * rows * columns == 1024 else a
    expected = transposed(data, bits, rows, columns)[64 * half : 64 * half + 64]
    assert core.read("x2") == number(expected)


@given(a=VECTORS, b=VECTORS)
def test_the_flip_swaps_halves_of_words(a: bytes, b: bytes) -> None:
    core = bench("vshuffle x2, x0, x1, r0").run({"x0": number(a), "x1": number(b), "r0": 38})
    lanes = lanes_of(number(a), 32, False)
    assert core.read("x2") == from_lanes([x >> 16 | (x & 0xFFFF) << 16 for x in lanes], 32)


@given(a=VECTORS, b=VECTORS, by=st.integers(0, 63))
def test_shift(a: bytes, b: bytes, by: int) -> None:
    core = bench("vshift x2, x0, x1, r0").run({"x0": number(a), "x1": number(b), "r0": by})
    assert core.read("x2") == number((a + b)[by : by + 64])


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@given(a=VECTORS, scalar=st.integers(0, 2**64 - 1))
def test_push(bits: int, a: bytes, scalar: int) -> None:
    source = "r17:r16" if bits == 64 else "r16"
    text = f"vpush.lo.{bits} x1, {source}, x0\nvpush.hi.{bits} x2, x0, {source}"
    core = bench(text).run({"x0": number(a), "l0": scalar})
    size = bits // 8
    item = scalar.to_bytes(8, "little")[:size]
    assert core.read("x1") == number(item + a[: 64 - size])
    assert core.read("x2") == number(a[size:] + item)


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@given(a=VECTORS, scalar=st.integers(0, 2**64 - 1), index=st.integers(0, 63))
def test_insert_and_broadcast(bits: int, a: bytes, scalar: int, index: int) -> None:
    source = "r17:r16" if bits == 64 else "r16"
    index %= 512 // bits
    text = f"vinsert.{bits} x1, x0, r29, {source}\nvbcst.{bits} x2, {source}\n"
    core = bench(text).run({"x0": number(a), "l0": scalar, "r29": index})
    lanes = lanes_of(number(a), bits, False)
    lanes[index] = scalar
    assert core.read("x1") == from_lanes(lanes, bits)
    assert core.read("x2") == from_lanes([scalar] * (512 // bits), bits)


@pytest.mark.parametrize("bits", [8, 16, 32])
@given(a=VECTORS, index=st.integers(0, 63), sign=st.booleans())
def test_extract(bits: int, a: bytes, index: int, sign: bool) -> None:
    index %= 512 // bits
    text = f"vextract.s{bits} r1, x0, r16\nvextract.d{bits} r2, x0, r16\n"
    text += f"vextbcst.{bits} x1, x0, r16"
    core = bench(text).run({"x0": number(a), "r16": index, "crVaddSign": int(sign)})
    lane = lanes_of(number(a), bits, True)[index]
    assert core.read("r1") == lane & 0xFFFFFFFF
    mask = 0xFFFFFFFF if sign else (1 << bits) - 1
    assert core.read("r2") == lane & mask
    assert core.read("x1") == from_lanes([lane] * (512 // bits), bits)
