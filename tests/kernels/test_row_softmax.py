"""Softmax of rows on 16 emulated cores, against double precision."""

from __future__ import annotations

import numpy as np
import pytest
from array_bench import ArrayBench
from numpy.typing import NDArray
from test_softmax import check

from whisper_npu_cli.kernels import layout_int8, transformer_int8
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm_int8 import Format
from whisper_npu_cli.kernels.layout import Activations, Order, from_bfloat16, to_bfloat16
from whisper_npu_cli.kernels.operations import Weights, columns_of
from whisper_npu_cli.kernels.operations_int8 import GemmInt8
from whisper_npu_cli.kernels.operations_softmax import RowSoftmax
from whisper_npu_cli.kernels.softmax import Softmax, reference


def planned(rows: int, columns: int, valid: int) -> RowSoftmax:
    """The source at the start of buffer 0, the result behind it, the header in buffer 1."""
    work = Softmax(rows, columns, valid)
    size = RowSoftmax(work, *[Weights(0, 0)] * 3).size
    return RowSoftmax(work, Weights(0, 0), Weights(0, size), Weights(1, 0))


def run(task: RowSoftmax, matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """The result, after the same launch has run twice; cycles of the second one."""
    bench = ArrayBench(2 * task.size, task.pack().size, overlay=transformer_int8.NAME)
    bench.write(1, 0, task.pack())
    ops = dispatch(bench.placed, [task.transfers()])
    for given in (np.zeros_like(matrix), matrix):  # nothing of a launch stays behind
        bench.write(0, 0, task.pack_source(given))
        cycles = bench.run(ops).cycles
    return task.unpack_result(bench.read(0, task.size, task.size)), cycles


def expected(matrix: NDArray[np.float32], valid: int) -> NDArray[np.float64]:
    return reference(from_bfloat16(to_bfloat16(matrix)).astype(np.float64), valid)


@pytest.mark.parametrize(
    ("rows", "columns", "valid"),
    [(256, 64, 64), (300, 512, 448), (77, 1536, 1500), (5, 4096, 4001), (64, 192, 1)],
)
def test_rows(rows: int, columns: int, valid: int) -> None:
    rng = np.random.default_rng(rows)
    matrix = (rng.choice([0.01, 1, 10], (rows, 1)) * rng.standard_normal((rows, columns))).astype(
        np.float32
    )
    matrix[:, valid:] = np.nan  # what does not count may hold anything
    found, _ = run(planned(rows, columns, valid), matrix)
    check(found, expected(matrix, valid))
    assert (found[:, valid:] == 0).all()


def test_rows_of_infinities_and_equal_rows() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((64, 256)).astype(np.float32)
    matrix[0] = -np.inf
    matrix[1] = np.where(np.arange(256) == 77, 3, -np.inf)
    matrix[17, ::2] = -np.inf
    matrix[33], matrix[63] = 2.5, 0
    found, _ = run(planned(64, 256, 256), matrix)
    check(found, expected(matrix, 256))
    assert (found[0] == 0).all() and found[1, 77] == pytest.approx(1, abs=2**-8)


def test_three_times_the_bound_of_transfers() -> None:
    """1536 x 1536, launch and dispatch included; 8 channels move 4 bytes a cycle each way."""
    matrix = np.random.default_rng(2).standard_normal((1536, 1536)).astype(np.float32)
    found, cycles = run(planned(1536, 1536, 1500), matrix)
    check(found, expected(matrix, 1500))
    assert cycles <= 3 * matrix.size * 2 / (8 * 4)


def test_a_product_before_and_after() -> None:
    """Operations of both kinds in one launch, each finding what it needs."""
    rng = np.random.default_rng(3)
    left, right = (rng.integers(-9, 10, s).astype(np.int8) for s in ((256, 128), (128, 256)))
    given = layout_int8.left_operand(4, 1)
    results = [
        Activations(4, 4, Order.PAIRS, 2, n * 4 * 16 * 4096, layout_int8.WORD_PIECES)
        for n in range(2)
    ]
    products = [
        GemmInt8(given, Weights(1, 8192 * 8), 1, columns_of(r), format=Format.INT32)
        for r in results
    ]
    middle = planned(40, 512, 500)
    at = given.size
    middle = RowSoftmax(middle.work, Weights(0, at), Weights(0, at + middle.size), Weights(1, 0))
    matrix = rng.standard_normal((40, 512)).astype(np.float32)
    bench = ArrayBench(
        at + 2 * middle.size, 8192 * 16, results[1].offset * 2, overlay=transformer_int8.NAME
    )
    ones = np.ones(256, np.float32)
    bench.write(0, 0, layout_int8.pack_left(given, left, ones))
    bench.write(0, at, middle.pack_source(matrix))
    bench.write(1, 0, middle.pack())
    bench.write(1, 8192 * 8, products[0].pack(right, ones, 0 * ones))
    parts = [products[0], middle, products[1]]
    bench.run(dispatch(bench.placed, [part.transfers() for part in parts]))
    check(middle.unpack_result(bench.read(0, at + middle.size, middle.size)), expected(matrix, 500))
    for where in results:
        memory = bench.read(2, where.offset, where.size).view(np.uint8)
        sums = layout_int8.unpack_int32(where, memory)
        np.testing.assert_array_equal(sums, left.astype(int) @ right.astype(int))
