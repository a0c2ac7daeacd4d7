"""Multiplications against numpy matrices, lane products against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from core_bench import bench, from_lanes, lanes_of
from hypothesis import given
from hypothesis import strategies as st

VECTORS = st.binary(min_size=64, max_size=64).map(lambda b: int.from_bytes(b, "little"))
ACCUMULATORS = st.binary(min_size=128, max_size=128).map(lambda b: int.from_bytes(b, "little"))

# amode, bmode, variant -> bits of x, of y, rows, depth, columns (Xilinx/mlir-aie)
MATRICES = {
    (0, 0, 0): (8, 4, 4, 16, 8), (0, 1, 0): (8, 8, 4, 8, 8), (0, 2, 0): (16, 8, 4, 4, 8),
    (0, 3, 0): (16, 16, 4, 2, 8), (1, 2, 0): (16, 8, 2, 8, 8), (1, 2, 1): (16, 8, 4, 8, 4),
    (1, 3, 0): (16, 16, 2, 4, 8), (1, 3, 1): (16, 16, 4, 4, 4), (1, 0, 0): (32, 16, 4, 2, 4),
}  # fmt: skip
# lanes, products in each, bits
ELEMENTWISE = {(0, 1, 1): (32, 2, 8), (0, 3, 1): (32, 1, 16), (1, 3, 2): (16, 2, 16)}

FORMS = {
    "vmul": lambda p, a, b: p, "vnegmul": lambda p, a, b: -p, "vmac": lambda p, a, b: a + p,
    "vmsc": lambda p, a, b: a - p, "vnegmac": lambda p, a, b: -(a + p),
    "vnegmsc": lambda p, a, b: -(a - p), "vaddmac": lambda p, a, b: a + b + p,
    "vaddmsc": lambda p, a, b: a + b - p, "vsubmac": lambda p, a, b: a - b + p,
    "vsubmsc": lambda p, a, b: a - b - p,
}  # fmt: skip
FORM_TERMS = {
    "vmul": lambda p, a, b: p, "vnegmul": lambda p, a, b: -p, "vmac": lambda p, a, b: (a, *p),
    "vmsc": lambda p, a, b: (a, *-p), "vaddmac": lambda p, a, b: (a, b, *p),
    "vaddmsc": lambda p, a, b: (a, b, *-p),
}  # fmt: skip
SUMS = {"vadd": lambda a, b: a + b, "vsub": lambda a, b: a - b, "vnegadd": lambda a, b: -(a + b),
        "vnegsub": lambda a, b: -(a - b)}  # fmt: skip


def control(shape: tuple[int, int, int], sign_x: bool, sign_y: bool, **flags: int) -> int:
    """aiev2_compute_control of llvm-aie's aiev2_vmult.h."""
    amode, bmode, variant = shape
    word = amode << 1 | bmode << 3 | variant << 5 | sign_x << 9 | sign_y << 8
    at = {"zero": 0, "shift16": 10, "sub_mul": 11, "sub_acc1": 12, "sub_acc2": 13}
    return word | sum(value << at[name] for name, value in flags.items())


def text_of(name: str) -> str:
    if name in ("vmul", "vnegmul"):
        return f"{name} cm2, x0, x1, r0"
    if name in ("vmac", "vmsc", "vnegmac", "vnegmsc"):
        return f"{name} cm2, cm0, x0, x1, r0"
    return f"{name} cm0, cm0, cm1, x0, x1, r0"


def product(shape: tuple[int, int, int], x: int, y: int, sx: bool, sy: bool) -> list[int]:
    """The sums of products as exact integers."""
    if shape in ELEMENTWISE:
        lanes, depth, bits = ELEMENTWISE[shape]
        a, b = lanes_of(x, bits, sx), lanes_of(y, bits, sy)
        return [
            sum(a[k * lanes + i] * b[k * lanes + i] for k in range(depth)) for i in range(lanes)
        ]
    x_bits, y_bits, rows, depth, columns = MATRICES[shape]
    a = np.array(lanes_of(x, x_bits, sx)[: rows * depth], object).reshape(rows, depth)
    b = np.array(lanes_of(y, y_bits, sy)[: depth * columns], object).reshape(depth, columns)
    return [int(v) for v in (a @ b).reshape(-1)]


@pytest.mark.parametrize("shape", [*MATRICES, *ELEMENTWISE])
@given(x=VECTORS, y=VECTORS, acc=ACCUMULATORS, sx=st.booleans(), sy=st.booleans())
def test_shapes(shape: tuple[int, int, int], x: int, y: int, acc: int, sx: bool, sy: bool) -> None:
    word = control(shape, sx, sy)
    core = bench(text_of("vmac")).run({"x0": x, "x1": y, "cm0": acc, "r0": word})
    bits = 64 if shape[0] == 1 else 32
    sums = product(shape, x, y, sx, sy)
    expected = [a + p for a, p in zip(lanes_of(acc, bits, True, 1024), sums, strict=True)]
    assert core.read("cm2") == from_lanes(expected, bits)


@pytest.mark.parametrize("name", FORMS)
@given(x=VECTORS, y=VECTORS, a=ACCUMULATORS, b=ACCUMULATORS, flags=st.tuples(*[st.booleans()] * 5),
       wide=st.booleans())  # fmt: skip
def test_forms_and_signs(
    name: str, x: int, y: int, a: int, b: int, flags: tuple[bool, ...], wide: bool
) -> None:
    zero, shift16, sub_mul, sub_acc1, sub_acc2 = flags
    shape = (1, 3, 1) if wide else (0, 1, 0)
    word = control(shape, True, True, zero=zero, shift16=shift16, sub_mul=sub_mul,
                   sub_acc1=sub_acc1, sub_acc2=sub_acc2)  # fmt: skip
    core = bench(text_of(name)).run({"x0": x, "x1": y, "cm0": a, "cm1": b, "r0": word})
    bits = 64 if wide else 32
    expected = []
    sums = product(shape, x, y, True, True)
    for p, first, second in zip(
        sums, lanes_of(a, bits, True, 1024), lanes_of(b, bits, True, 1024), strict=True
    ):
        one = 0 if zero else (-1 if sub_acc1 else 1) * (first << (16 if shift16 else 0))
        two = -second if sub_acc2 else second
        expected.append(FORMS[name](-p if sub_mul else p, one, two))
    out = "cm0" if name.startswith(("vadd", "vsub")) else "cm2"
    assert core.read(out) == from_lanes(expected, bits)


@pytest.mark.parametrize("name", SUMS)
@given(a=ACCUMULATORS, b=ACCUMULATORS, wide=st.booleans())
def test_sums_of_accumulators(name: str, a: int, b: int, wide: bool) -> None:
    word = control((1, 0, 0) if wide else (0, 1, 0), True, True)
    text = f"{name} cm2, cm0, cm1, r0\nvneg cm3, cm0, r0\nvmov cm4, cm0\nvclr cm5\nvmov.d cm6, cm1"
    core = bench(text).run({"cm0": a, "cm1": b, "r0": word})
    bits = 64 if wide else 32
    lanes = zip(lanes_of(a, bits, True, 1024), lanes_of(b, bits, True, 1024), strict=True)
    assert core.read("cm2") == from_lanes([SUMS[name](x, y) for x, y in lanes], bits)
    assert core.read("cm3") == from_lanes([-x for x in lanes_of(a, bits, True, 1024)], bits)
    assert (core.read("cm4"), core.read("cm5"), core.read("cm6")) == (a, 0, b)


FLOATS = st.lists(
    st.one_of(st.floats(-4, 4, width=32), st.floats(-(2.0**60), 2.0**60, width=32)),
    min_size=32,
    max_size=32,
)


def to_bfloat16(values: list[float]) -> list[int]:
    return [int(v) >> 16 for v in np.array(values, np.float32).view(np.uint32)]


SMALLEST_NORMAL = 2.0**-126


def flush(values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(values) < SMALLEST_NORMAL, 0.0, values)


@pytest.mark.parametrize("elementwise", [False, True])
@pytest.mark.parametrize("name", ["vmul", "vnegmul", "vmac", "vmsc", "vaddmac", "vaddmsc"])
@given(x=FLOATS, y=FLOATS, a=FLOATS, b=FLOATS)
def test_bfloat16(
    name: str, elementwise: bool, x: list[float], y: list[float], a: list[float], b: list[float]
) -> None:
    word = control((2, 3, int(elementwise)), False, False)
    text = {2: f"{name}.f bml0, x0, x1, r0", 3: f"{name}.f bml0, bml0, x0, x1, r0",
            4: f"{name}.f bml0, bml0, bml1, x0, x1, r0"}  # fmt: skip
    operands = 2 if "mul" in name else 4 if "add" in name else 3
    bits = [to_bfloat16(v) for v in (x, y)]
    accumulators = [np.array(v[:16], np.float32) for v in (a, b)]
    registers = {"x0": from_lanes(bits[0], 16), "x1": from_lanes(bits[1], 16), "r0": word}
    for name_of, values in zip(("bml0", "bml1"), accumulators, strict=True):
        registers[name_of] = from_lanes([int(v) for v in values.view(np.uint32)], 32)
    core = bench(text[operands]).run(registers)
    p, q = (flush(np.array(v, np.uint32) .__lshift__(16).astype(np.uint32).view(np.float32)
                  .astype(np.float64)) for v in bits)  # fmt: skip
    if elementwise:
        products = np.stack([(p * q)[:16], (p * q)[16:]])
    else:
        products = np.einsum("ik,kj->kij", p.reshape(4, 8), q.reshape(8, 4)).reshape(8, 16)
    one, two = (flush(v.astype(np.float64)) for v in accumulators)
    found = np.array(lanes_of(core.read("bml0"), 32, False), np.uint32).view(np.float32)
    for lane, result in enumerate(found.astype(np.float64)):
        terms = [*FORM_TERMS[name](products[:, lane], one[lane], two[lane])]
        exact = math.fsum(terms)  # products of bfloat16 are exact in double precision
        unit = float(np.spacing(np.float32(abs(exact))))
        error = unit / 2 + 2.0**-48 * sum(map(abs, terms))
        assert result == 0 or abs(result) >= SMALLEST_NORMAL
        if result != 0 or abs(exact) >= SMALLEST_NORMAL + error:
            assert abs(result - exact) <= error
