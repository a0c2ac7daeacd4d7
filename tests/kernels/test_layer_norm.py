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
MOST_BYTES, MOST_CYCLES = 2900, 8000
"""Of the operation; of a unit of 512 columns, while its neighbours' pass."""


def units(matrix: NDArray[np.float32], chunks: int) -> NDArray[np.uint16]:
    """uint16[row tiles, 4 units, pieces, 4, 8, 4, 8] of a net's rows; nonsense after the columns."""
    rows, columns = matrix.shape
    full = np.full((rows, 256 * chunks), 0x7FC0, np.uint16)  # not a number
    full[:, :columns] = to_bfloat16(matrix)
    blocks = full.reshape(rows // 64, 4, 4, 4, -1, 8, 8)
    return np.ascontiguousarray(blocks.transpose(0, 1, 4, 2, 5, 3, 6))


def rows_of(pieces: NDArray[np.uint16], chunks: int) -> NDArray[np.float32]:
    """float32[rows, 256 * chunks] of the pieces of a core."""
    blocks = pieces.reshape(-1, 4 * chunks, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5)
    return from_bfloat16(blocks.reshape(-1, 256 * chunks))


def run(
    task: LayerNorm,
    matrix: NDArray[np.float32],
    gamma: NDArray[np.float32],
    beta: NDArray[np.float32],
    column: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float64], operation_bench.Done]:
    """A net's rows through the core of a column: its rows, what they should be, the run."""
    raw = units(matrix, task.chunks).tobytes() * task.passes
    chunks = [raw[at : at + CHUNK] for at in range(0, len(raw), CHUNK)]
    parameters = [row.tobytes() for row in task.parameters(gamma, beta)]
    b_chunks = [operation_bench.header(*task.words(OPERATION)), *parameters]
    done = operation_bench.run(
        operation_bench.compiled(layer_norm), chunks, b_chunks, column=column
    )
    found = rows_of(np.frombuffer(b"".join(done.pieces), np.uint16), task.chunks)
    own = matrix.reshape(-1, 4, 16, task.columns)[:, column].reshape(-1, task.columns)
    exact = [from_bfloat16(to_bfloat16(a)).astype(np.float64) for a in (own, gamma, beta)]
    return found, reference(*exact, task.epsilon), done


def check(task: LayerNorm, found: NDArray[np.float32], expected: NDArray[np.float64], beta: NDArray[np.float32]) -> None:
    assert (found[:, task.columns :] == 0).all()
    found = found[:, : task.columns]
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
