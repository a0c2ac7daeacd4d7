"""Row-wise operations and attention on 16 emulated cores, against float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from array_bench import ArrayBench, rounded
from numpy.typing import NDArray

from whisper_npu_cli.kernels import attention, gelu, layer_norm
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm import SECOND_TRANSPOSED
from whisper_npu_cli.kernels.layout import (
    NETS,
    TILE,
    TILE_WORDS,
    Activations,
    Order,
)
from whisper_npu_cli.kernels.operations import (
    Attention,
    Gemm,
    KeysValues,
    LayerNorm,
    Target,
    Weights,
    columns_of,
)

Matrix = NDArray[np.float32]
SCORE = np.log2(np.e) / np.sqrt(TILE)


def close(found: Matrix, expected: NDArray[np.float64], error: float) -> None:
    assert np.linalg.norm(found - expected) <= error * np.linalg.norm(expected)


@pytest.mark.parametrize(("tiles", "columns"), [(4, 192), (8, 512), (4, 640)])
def test_layer_norm(tiles: int, columns: int) -> None:
    """One pass and two, columns that fill no chunk, channels that are far larger than others."""
    rng = np.random.default_rng(columns)
    matrix = rng.standard_normal((TILE * tiles, columns)).astype(np.float32)
    matrix[:, 5] *= 100
    gamma, beta = rng.standard_normal((2, columns)).astype(np.float32)
    source = Activations(tiles, columns // TILE, Order.PAIRS)
    result = replace(source, order=Order.STREAM, offset=source.size)
    work = LayerNorm(source, result, Weights(1, 0))
    bench = ArrayBench(source.size + result.size, work.size)
    bench.write(0, 0, source.pack(matrix))
    bench.write(1, 0, work.pack(gamma, beta))
    for _ in range(2):  # nothing of a launch stays behind
        bench.run(dispatch(bench.placed, [work.transfers()]))
    found = result.unpack(bench.read(0, result.offset, result.size))
    expected = layer_norm.reference(*map(rounded, (matrix, gamma, beta)), 1e-5)
    close(found, expected, 5e-3)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.9999


@pytest.mark.parametrize(("heads", "valid"), [(2, 500), (3, 65)])
def test_attention_behind_its_projections(heads: int, valid: int) -> None:
    """A launch with two operations; with 3 heads a core row has less to do than the others."""
    rng = np.random.default_rng(heads)
    rows, width = 8, TILE * heads
    matrix = rng.standard_normal((TILE * rows, width)).astype(np.float32)
    right = (rng.standard_normal((width, 3 * width)) * 2 / np.sqrt(width)).astype(np.float32)
    right[:, :width] *= SCORE
    x = Activations(rows, heads, Order.PAIRS)
    queries = replace(x, offset=x.size)
    keys = KeysValues(rows, heads, 0, 2 * x.size)
    result = Activations(rows, heads, Order.STREAM, offset=keys.offset + keys.size)
    scratch = Target((result.offset + result.size) // 4)
    end = result.offset + result.size + 4 * rows * TILE_WORDS
    targets = [replace(t, order=SECOND_TRANSPOSED) for t in columns_of(queries)[:heads]]
    targets += [keys.target(h, values) for values in (False, True) for h in range(heads)]
    targets += [scratch] * (-len(targets) % NETS)
    product = Gemm(x, Weights(1, 0), heads, tuple(targets))
    weights = Weights(1, product.size)
    attend = Attention(queries, keys, result, scratch, weights, valid)
    bench = ArrayBench(end, weights.offset + attend.size)
    bench.write(0, 0, x.pack(matrix))
    bench.write(1, 0, product.pack(right, np.zeros(3 * width, np.float32)))
    bench.write(1, weights.offset, attend.pack())
    for _ in range(2):
        bench.run(dispatch(bench.placed, [product.transfers(), attend.transfers()]))
    found = result.unpack(bench.read(0, result.offset, result.size))
    made = rounded((rounded(matrix) @ rounded(right)).astype(np.float32))
    made[:, :width] /= SCORE
    q, k, v = made.reshape(-1, 3, heads, TILE).transpose(1, 2, 0, 3)
    expected = [attention.reference(q[h], k[h], v[h], valid) for h in range(heads)]
    close(found, np.concatenate(expected, axis=1), 1e-2)


def test_gelu_then_residual() -> None:
    """act(left right + bias) + residual, with a bias that no zero hides."""
    rng = np.random.default_rng(8)
    left = rng.standard_normal((512, 128)).astype(np.float32)
    right = (rng.standard_normal((128, 320)) / 8).astype(np.float32)
    bias = rng.standard_normal(320).astype(np.float32)
    more = rng.standard_normal((512, 320)).astype(np.float32)
    source = Activations(8, 2, Order.PAIRS)
    result = Activations(8, 5, Order.PAIRS, offset=source.size)
    residual = replace(result, offset=result.offset + result.size)
    work = Gemm(source, Weights(1, 0), 2, columns_of(result), residual, gelu=True)
    bench = ArrayBench(residual.offset + residual.size, work.size)
    bench.write(0, 0, source.pack(left))
    bench.write(0, residual.offset, residual.pack(more))
    bench.write(1, 0, work.pack(right, bias))
    bench.run(dispatch(bench.placed, [work.transfers()]))
    found = result.unpack(bench.read(0, result.offset, result.size))
    expected = gelu.reference(rounded(left) @ rounded(right) + bias) + rounded(more)
    close(found, expected, 3e-3)
