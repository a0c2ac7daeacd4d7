"""Softmax of rows on one emulated core, against double precision."""

from __future__ import annotations

import numpy as np
import operation_bench
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.kernels.layout import from_bfloat16
from whisper_npu_cli.kernels.softmax import FILLERS, Softmax, reference, softmax
from whisper_npu_cli.kernels.tile import CHUNK, Tile

OPERATION = 4
MOST_BYTES, MOST_CYCLES = 2500, 4200
"""Of the operation; of a unit of 1536 columns, with its way in and out."""


def run(
    task: Softmax, matrix: NDArray[np.float32], column: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], operation_bench.Done]:
    """A net's rows through the core of a column: its rows, what they should be, the run."""
    packed = task.pack(matrix)
    raw = packed.tobytes()
    chunks = [raw[at : at + CHUNK] for at in range(0, len(raw), CHUNK)]
    header = operation_bench.header(*task.words(OPERATION))
    code = operation_bench.compiled(softmax)
    done = operation_bench.run(code, chunks, [header, *[b""] * FILLERS], column=column)
    own = task.unpack(packed[:, column])
    found = np.frombuffer(b"".join(done.pieces), np.uint16)
    expected = reference(from_bfloat16(own).astype(np.float64), task.valid)
    return from_bfloat16(task.unpack(found)), expected, done


def check(found: NDArray[np.float32], expected: NDArray[np.float64]) -> None:
    error = np.abs(found - expected)
    assert (error <= 0.014 * expected + 2.0**-63).all(), (error / (expected + 2.0**-56)).max()
    assert (np.abs(found.sum(axis=1) - expected.sum(axis=1)) <= 4e-3).all()
    if expected.std():
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.9999


SHAPES = [
    (64, 64), (128, 100), (1024, 1023), (1536, 1500), (1536, 1536), (4096, 4090), (192, 1),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "valid"), SHAPES)
def test_random_rows(columns: int, valid: int) -> None:
    task = Softmax(1, columns, valid)
    rng = np.random.default_rng(columns + valid)
    scale = rng.choice([0.01, 1, 10], (task.rounds * 16 * task.units, 1))
    matrix = (scale * rng.standard_normal((len(scale), columns))).astype(np.float32)
    matrix[:, valid:] = np.nan  # what does not count may hold anything
    found, expected, _ = run(task, matrix, columns // 64 % 4)
    check(found, expected)
    assert (found[:, valid:] == 0).all()


@pytest.mark.parametrize("column", range(4))
def test_each_core_takes_its_groups(column: int) -> None:
    task = Softmax(700, 512, 512)
    assert task.rounds > 1
    rng = np.random.default_rng(column)
    matrix = rng.standard_normal((task.rounds * 16 * task.units, 512)).astype(np.float32)
    found, expected, _ = run(task, matrix, column)
    check(found, expected)


def test_rows_at_the_ends() -> None:
    rng = np.random.default_rng(9)
    columns, infinite = 256, np.inf
    ordinary = rng.standard_normal(columns)
    rows = [
        np.full(columns, -infinite),
        np.where(np.arange(columns) == 77, 3.0, -infinite),
        np.where(rng.random(columns) < 0.5, ordinary, -infinite),
        np.where(np.arange(columns) == 5, infinite, ordinary),
        np.where(np.arange(columns) == 200, 3e38, -3e38),
        np.full(columns, 3e38),
        np.zeros(columns),
        np.full(columns, -2.5),
        ordinary + 8192,
        ordinary - 8192,
        8192 * ordinary,
        np.where(np.arange(columns) == 255, 30.0, ordinary),
        1e-40 * ordinary,
        np.linspace(-100, 0, columns),
        np.linspace(30, -200, columns),
        np.where(np.arange(columns) % 2, -1e30, ordinary),
    ]
    matrix = np.tile(np.array(rows, np.float32), (4, 1))
    found, expected, _ = run(Softmax(1, columns, columns), matrix, 2)
    assert np.isfinite(found).all()
    check(found, expected)
    assert (found[0] == 0).all()


def test_widths() -> None:
    widths = {Softmax.of(1, n).columns for n in range(1, 4097)}
    assert widths == {64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096}
    assert Softmax.of(1, 1500) == Softmax(1, 1536, 1500)
    for columns, valid in ((448, 448), (96, 9), (4160, 1), (64, 65), (64, 0)):
        with pytest.raises(DesignError, match=f"{columns} columns of which {valid} count"):
            Softmax(1, columns, valid)
    with pytest.raises(DesignError, match="4097"):
        Softmax.of(1, 4097)


def test_size_and_cycles() -> None:
    def nothing(p: Program, t: Tile) -> None:
        pass

    code = operation_bench.compiled(softmax)
    empty = len(operation_bench.compiled(nothing).assembly.code)
    assert len(code.assembly.code) - empty <= MOST_BYTES
    rng = np.random.default_rng(1)
    taken = []
    for rows in (1, 257):
        task = Softmax(rows, 1536, 1500)
        matrix = rng.standard_normal((task.rounds * 16 * task.units, 1536)).astype(np.float32)
        _, _, done = run(task, matrix, 0)
        taken.append(done.cycles / task.units)
    assert taken[1] - taken[0] <= MOST_CYCLES * 2
