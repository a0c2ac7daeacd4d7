"""The matrix product on 16 emulated cores against float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from array_bench import ArrayBench, rounded
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.kernels import gemm
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.layout import (
    Activations,
    Order,
    from_bfloat16,
    to_bfloat16,
)
from whisper_npu_cli.kernels.operations import Gemm, Target, Weights, columns_of

Matrix = NDArray[np.float32]


def tiles(size: int, multiple: int = 1) -> int:
    return -(-size // (64 * multiple)) * multiple


class Product:
    """left @ right + bias (+ residual) of given sizes, as one launch."""

    def __init__(self, m: int, k: int, n: int, residual: bool = False) -> None:
        rows, columns = tiles(m, 4), tiles(n)
        self.shape = m, n
        self.left = Activations(rows, tiles(k), Order.PAIRS)
        self.result = Activations(rows, columns, Order.PAIRS, offset=self.left.size)
        end = self.left.size + self.result.size
        self.residual = replace(self.result, offset=end) if residual else None
        self.work = Gemm(self.left, Weights(1, 0), tiles(k), columns_of(self.result), self.residual)
        self.bench = ArrayBench(end + self.result.size, self.work.size)

    def run(
        self, left: Matrix, right: Matrix, bias: Matrix, residual: Matrix | None = None
    ) -> NDArray[np.float64]:
        bench = self.bench
        bench.write(0, 0, self.left.pack(left))
        bench.write(1, 0, self.work.pack(right, bias))
        if self.residual is not None and residual is not None:
            bench.write(0, self.residual.offset, self.residual.pack(residual))
        self.cycles = bench.run(dispatch(bench.placed, [self.work.transfers()])).cycles
        memory = bench.read(0, self.result.offset, self.result.size)
        m, n = self.shape
        return self.result.unpack(memory)[:m, :n].astype(np.float64)


def draw(m: int, k: int, n: int, seed: int) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    """Operands like a layer's: a few channels are far larger than the others."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((m, k))
    left[:, rng.integers(k)] *= 100
    right = rng.standard_normal((k, n)) / np.sqrt(k)
    made = left, right, rng.standard_normal(n), rng.standard_normal((m, n))
    return tuple(a.astype(np.float32) for a in made)


@pytest.mark.parametrize(
    ("m", "k", "n", "residual"),
    [
        (256, 64, 256, False),
        (250, 200, 130, False),  # padded in every direction
        (512, 128, 320, True),  # two panels, two passes; the residual changes streams
        (512, 768, 320, True),  # so many steps of k that both nets carry the residual
    ],
)
def test_product(m: int, k: int, n: int, residual: bool) -> None:
    left, right, bias, more = draw(m, k, n, m + k)
    product = Product(m, k, n, residual)
    expected = rounded(left) @ rounded(right) + bias
    if residual:
        expected += rounded(more)
    for turn in (1, -1):  # nothing of a launch stays behind
        got = product.run(turn * left, turn * right, bias, more)
        assert np.linalg.norm(got - expected) <= 3e-3 * np.linalg.norm(expected)
        assert np.corrcoef(got.ravel(), expected.ravel())[0, 1] >= 0.9999


def test_small_whole_numbers_are_exact() -> None:
    rng = np.random.default_rng(3)
    left = rng.integers(-3, 4, (256, 64)).astype(np.float32)
    right = rng.integers(-1, 2, (64, 256)).astype(np.float32)
    bias = rng.integers(-60, 60, 256).astype(np.float32)
    got = Product(256, 64, 256).run(left, right, bias)
    np.testing.assert_array_equal(got, rounded((left @ right + bias).astype(np.float32)))


@pytest.mark.parametrize("special", [0.0, 1e-39, 1e30])
def test_extreme_operands(special: float) -> None:
    """Zero, denormal (which counts as zero) and huge numbers in one row of the left operand."""
    left, right, bias, _ = draw(256, 64, 256, 5)
    left[7] = special
    got = Product(256, 64, 256).run(left, right, bias)
    counted = left.copy()
    counted[7] = special if special != 1e-39 else 0
    expected = rounded(counted) @ rounded(right) + bias
    np.testing.assert_allclose(got[7], expected[7], rtol=1e-2, atol=1e-2)
    assert np.corrcoef(got[8:].ravel(), expected[8:].ravel())[0, 1] >= 0.9999


def test_results_in_the_orders_of_attention() -> None:
    """Four column tiles: as they are, transposed as right and as left operand, and dropped."""
    left, right, bias, _ = draw(256, 64, 256, 9)
    product = Product(256, 64, 256)
    orders = (gemm.FIRST_OPERAND, gemm.SECOND_TRANSPOSED, gemm.FIRST_TRANSPOSED)
    targets = [
        replace(t, order=order)
        for t, order in zip(product.work.targets, [*orders, orders[0]], strict=True)
    ]
    plain = product.run(left, right, bias)
    product.work = replace(product.work, targets=tuple(targets))
    product.run(left, right, bias)
    memory = product.bench.read(0, product.result.offset, product.result.size)
    # a column of tiles: two pairs of tiles, four pieces alternately
    pieces = from_bfloat16(memory).reshape(4, 2, 4, 2, 1024).swapaxes(2, 3).reshape(4, 4, -1)
    for row in range(4):
        tile = plain[64 * row : 64 * row + 64]
        queries = tile[:, 64:128].reshape(4, 4, 4, 8, 8)  # group, nb, q, kb, d
        turned = queries.transpose(0, 3, 1, 4, 2)  # group, kb, nb, d, q
        np.testing.assert_array_equal(pieces[1, row], turned.ravel())
        values = tile[:, 128:192].T.reshape(16, 4, 8, 8)  # db, d, kb, key
        np.testing.assert_array_equal(pieces[2, row], values.transpose(0, 2, 1, 3).ravel())


def test_sixty_percent_of_the_peak() -> None:
    """1536 x 512 x 1536, launch and dispatch included, by the emulator's count."""
    left, right, bias, _ = draw(1536, 512, 1536, 11)
    product = Product(1536, 512, 1536)
    got = product.run(left, right, bias)
    expected = rounded(left) @ rounded(right) + bias
    assert np.linalg.norm(got - expected) <= 3e-3 * np.linalg.norm(expected)
    least = 1536 * 512 * 1536 / (16 * 128)
    assert product.cycles <= least / 0.6


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("rows", [4, 24])
def test_layouts_round_trip(order: Order, rows: int) -> None:
    where = Activations(rows, 5, order)
    matrix = np.arange(rows * 64 * 320, dtype=np.float32).reshape(rows * 64, 320) % 251
    memory = where.pack(matrix)
    assert memory.nbytes == where.size
    np.testing.assert_array_equal(where.unpack(memory), matrix)
    # every piece has a place of its own
    ones = where.pack(np.ones_like(matrix))
    assert (ones == to_bfloat16(np.float32([1]))[0]).sum() == matrix.size


def test_too_wide_products_are_refused() -> None:
    left = Activations(4, 1, Order.PAIRS)
    with pytest.raises(DesignError, match="1 to 6 panels of 4 columns of tiles, not 32"):
        Gemm(left, Weights(1, 0), 1, (Target(0),) * 32)
    with pytest.raises(DesignError, match="not 3"):
        Gemm(left, Weights(1, 0), 1, (Target(0),) * 3)


@pytest.mark.parametrize("width", [384, 768, 1280])
def test_whisper_s_shapes_make_valid_launches(width: int) -> None:
    """Projections and both halves of the feed-forward layer of tiny to large, in 6 panels."""
    bench_placed = ArrayBench(4096).placed
    for k, n in ((width, width), (width, min(4 * width, 1536)), (4 * width, width)):
        left = Activations(24, k // 64, Order.PAIRS)
        result = Activations(24, n // 64, Order.PAIRS, offset=left.size)
        for residual in (None, result):
            work = Gemm(left, Weights(1, 0), k // 64, columns_of(result), residual)
            assert len(dispatch(bench_placed, [work.transfers()] * 2)) > 100
