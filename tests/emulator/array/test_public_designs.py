"""Public XCLBINs with their instruction streams, as they are, against numpy.

Needs a checkout of tibrezus/xdna-npu-toolkit; set WHISPER_NPU_PUBLIC_DESIGNS to it. They were built
with mlir-aie and Peano; nothing of them is in this repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from whisper_npu_cli.emulator.job import launch

VARIABLE = "WHISPER_NPU_PUBLIC_DESIGNS"
FOLDER = os.environ.get(VARIABLE)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason=f"{VARIABLE} names no checkout of public designs"),
]


def run(name: str, inputs: list[np.ndarray], out_bytes: int, insts: str = "insts.txt") -> bytes:
    folder = Path(FOLDER or "") / "iron/builds"
    arguments = {n: values.tobytes() for n, values in enumerate(inputs, 3)}
    out = len(inputs) + 3
    result = launch(
        folder / f"{name}.xclbin", folder / f"{name}.{insts}", {**arguments, out: bytes(out_bytes)}
    )
    assert not result.outcome.hang
    return result.buffers[out]


def random_int16(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**15), 2**15, shape, dtype=np.int16)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product in 32 bits, which wraps as the accumulators do."""
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)


@pytest.mark.parametrize(("name", "size"), [("gemm-256-1col", 256), ("gemm-512-4col", 512)])
def test_matrix_products(name: str, size: int) -> None:
    a, b = random_int16((size, size), 1), random_int16((size, size), 2)
    found = np.frombuffer(run(name, [a, b], 4 * size * size), np.int32).reshape(size, size)
    np.testing.assert_array_equal(found, product(a, b))


def test_matrix_times_vector() -> None:
    a, x = random_int16((288, 288), 1), random_int16((288,), 2)
    found = np.frombuffer(run("gemv-288", [a, x], 4 * 288), np.int32)
    np.testing.assert_array_equal(found, product(a, x))


def widened(patterns: np.ndarray) -> np.ndarray:
    return (patterns.astype(np.uint32) << 16).view(np.float32)


def floor_bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 rounded to bfloat16 towards minus infinity: crRnd is 0 after reset."""
    bits = values.view(np.uint32)
    cut = bits >> 16
    return (cut + ((bits & 0xFFFF != 0) & (bits >> 31 == 1))).astype(np.uint16)


@pytest.mark.parametrize(("name", "count"), [("single-add", 2), ("fused-add-add", 3)])
def test_sums_of_bfloat16(name: str, count: int) -> None:
    values = np.random.default_rng(0).standard_normal((count, 4096)).astype(np.float32)
    inputs = [floor_bfloat16(3 * row) for row in values]
    total = inputs[0]
    for more in inputs[1:]:
        total = floor_bfloat16(widened(total) + widened(more))
    found = np.frombuffer(run(f"fusion/{name}", inputs, 8192, "insts.bin"), np.uint16)
    np.testing.assert_array_equal(found, total)
