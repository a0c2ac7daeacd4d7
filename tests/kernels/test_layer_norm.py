"""Layer norm of row tiles on one emulated core, against double precision."""

from __future__ import annotations

import numpy as np
import operation_bench
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.kernels.layer_norm import LayerNorm, layer_norm, reference
from whisper_npu_cli.kernels.layout import from_bfloat16, to_bfloat16
from whisper_npu_cli.kernels.tile import CHUNK, Tile

OPERATION = 3
MOST_BYTES, MOST_CYCLES = 3100, 5850
"""Of the operation; of a unit of 512 columns, while its neighbours' pass."""


def units(matrix: NDArray[np.float32]) -> NDArray[np.uint16]:
    """uint16[row tiles, 4 units, pieces, 4, 8, 4, 8] of a net's rows."""
    blocks = to_bfloat16(matrix).reshape(len(matrix) // 64, 4, 4, 4, -1, 8, 8)
    return np.ascontiguousarray(blocks.transpose(0, 1, 4, 2, 5, 3, 6))


def rows_of(pieces: NDArray[np.uint16], columns: int) -> NDArray[np.float32]:
    """float32[rows, columns] of the pieces of a core."""
    blocks = pieces.reshape(-1, columns // 64, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5)
    return from_bfloat16(blocks.reshape(-1, columns))


def run(
    task: LayerNorm,
    matrix: NDArray[np.float32],
    gamma: NDArray[np.float32],
    beta: NDArray[np.float32],
    column: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float64], operation_bench.Done]:
    """A net's rows through the core of a column: its rows, what they should be, the run."""
    raw = units(matrix).tobytes() * task.passes
    chunks = [raw[at : at + CHUNK] for at in range(0, len(raw), CHUNK)]
    parameters = [row.tobytes() for row in task.parameters(gamma, beta)]
    b_chunks = [operation_bench.header(*task.words(OPERATION, column)), *parameters]
    done = operation_bench.run(
        operation_bench.compiled(layer_norm), chunks, b_chunks, column=column
    )
    found = rows_of(np.frombuffer(b"".join(done.pieces), np.uint16), task.columns)
    own = matrix.reshape(-1, 4, 16, task.columns)[:, column].reshape(-1, task.columns)
    exact = [from_bfloat16(to_bfloat16(a)).astype(np.float64) for a in (own, gamma, beta)]
    return found, reference(*exact, task.epsilon), done


def check(
    task: LayerNorm,
    found: NDArray[np.float32],
    expected: NDArray[np.float64],
    beta: NDArray[np.float32],
) -> None:
    error = np.abs(found - expected)
    slack = 2.0**-7 * (np.abs(expected - beta) + np.abs(expected)) + 2e-3
    assert (error <= slack).all(), (error / slack).max()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.9999


@pytest.mark.parametrize("columns", [64, 192, 256, 384, 512, 576, 768, 1280, 4096])
def test_random_rows(columns: int) -> None:
    task, rng = LayerNorm(2 if columns < 1000 else 1, columns), np.random.default_rng(columns)
    matrix = rng.standard_normal((64 * task.tiles, columns)) * 3 + rng.standard_normal(columns)
    gamma, beta = 1 + rng.standard_normal(columns) / 3, rng.standard_normal(columns)
    arrays = [a.astype(np.float32) for a in (matrix, gamma, beta)]
    found, expected, _ = run(task, *arrays, column=columns // 64 % 4)
    check(task, found, expected, arrays[2])


def test_deviations_are_not_off_on_average() -> None:
    """Rounding of results makes single rows up to 0.2 % too large or too small."""
    columns, rng = 512, np.random.default_rng(5)
    matrix = rng.standard_normal((256, columns)) * rng.uniform(0.1, 10, (256, 1))
    ones, zeros = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    found, exact, _ = run(LayerNorm(4, columns), matrix.astype(np.float32), ones, zeros)
    scale = (found * exact).sum(axis=1) / (exact**2).sum(axis=1)
    assert abs(scale.mean() - 1) <= 2.5e-4


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("columns", [512, 1024])
def test_each_core_takes_its_units(columns: int, column: int) -> None:
    task, rng = LayerNorm(3, columns), np.random.default_rng(column)
    matrix = rng.standard_normal((192, columns)).astype(np.float32)
    gamma, beta = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    found, expected, _ = run(task, matrix, gamma, beta, column)
    check(task, found, expected, beta)


@pytest.mark.parametrize("columns", [384, 768])
def test_rows_at_the_ends(columns: int) -> None:
    rng = np.random.default_rng(columns)
    ordinary, at = rng.standard_normal(columns), np.arange(columns)
    rows = [
        np.where(at == 3, 100, 1) * ordinary,
        np.where(at == columns - 1, 1e4, ordinary),
        np.where(at % 97 == 5, 100, 1) * ordinary,
        np.where(at < 8, 300, 0) + ordinary,
        np.where(at == 0, 3e4, 0.0),
        ordinary + 1000,
        16 * ordinary - 10000,
        np.zeros(columns),
        np.full(columns, 3.0),
        np.full(columns, -777.0),
        1e-3 * ordinary,
        1e-5 * ordinary,
        1e-40 * ordinary,
        1e4 * ordinary,
        np.linspace(-1, 1, columns),
        np.where(at % 2, 0.5, -0.5),
    ]
    task = LayerNorm(1, columns)
    matrix = np.tile(np.array(rows, np.float32), (4, 1))
    gamma, beta = 1 + ordinary / 4, rng.standard_normal(columns)
    arrays = [a.astype(np.float32) for a in (matrix, gamma, beta)]
    found, expected, _ = run(task, *arrays)
    check(task, found, expected, arrays[2])
    for row in (7, 8, 9):
        np.testing.assert_array_equal(found[row], from_bfloat16(to_bfloat16(arrays[2])))
    for ours, exact in zip(found, expected, strict=True):
        assert np.corrcoef(ours, exact)[0, 1] >= 0.9999


def test_size_and_cycles() -> None:
    def nothing(p: Program, t: Tile) -> None:
        pass

    code = operation_bench.compiled(layer_norm)
    empty = len(operation_bench.compiled(nothing).assembly.code)
    assert len(code.assembly.code) - empty <= MOST_BYTES
    rng, taken = np.random.default_rng(1), []
    for tiles in (1, 2):
        matrix = rng.standard_normal((64 * tiles, 512)).astype(np.float32)
        ones, zeros = np.ones(512, np.float32), np.zeros(512, np.float32)
        taken.append(run(LayerNorm(tiles, 512), matrix, ones, zeros)[2].cycles)
    assert taken[1] - taken[0] <= MOST_CYCLES
