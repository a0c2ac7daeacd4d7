"""Attention on one core, against float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import operation_bench
from numpy.typing import NDArray

from whisper_npu_cli.kernels.attention import attention, reference
from whisper_npu_cli.kernels.layout import TILE, from_bfloat16, second_operand, to_bfloat16

OP = 2
LOG2 = np.log2(np.e) / np.sqrt(TILE)
GARBAGE = 3.0e4
Array = NDArray[np.float64]


def rounded(values: Array) -> Array:
    """To bfloat16 and back."""
    return from_bfloat16(to_bfloat16(np.asarray(values, np.float32))).astype(np.float64)


def first_operand(matrix: Array) -> NDArray[np.uint16]:
    """Tiles of 64 rows of a matrix (n x 64) as blocks of 4 x 8: uint16[tile, piece, 1024]."""
    blocks = to_bfloat16(matrix.astype(np.float32)).reshape(-1, 4, 4, 4, 8, 8)
    return blocks.transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4, 1024)


def pairs(tiles: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Two tiles piece by piece, cut into chunks: uint16[pair, chunk, 4096]."""
    return tiles.reshape(-1, 2, 4, 1024).swapaxes(1, 2).reshape(-1, 2, 4096)


def stream(keys: Array, values: Array) -> list[bytes]:
    """What net A brings for one step: keys and values (n x 64, n a multiple of 128)."""
    turned = values.reshape(-1, TILE, TILE).swapaxes(1, 2).reshape(-1, TILE)
    both = np.concatenate([pairs(first_operand(keys)), pairs(first_operand(turned))], axis=1)
    return [chunk.tobytes() for chunk in both.reshape(-1, 4096)]


def queries(q: Array) -> bytes:
    """A tile of queries (64 x 64), scaled so that scores are exponents of 2."""
    return second_operand(to_bfloat16((q * LOG2).T.astype(np.float32))).tobytes()


def padded(matrix: Array, garbage: float) -> Array:
    """Up to a whole number of pairs of tiles, with rows that must not count."""
    missing = -len(matrix) % (2 * TILE)
    rng = np.random.default_rng(99)
    return np.concatenate([matrix, rng.normal(size=(missing, TILE)) * garbage])


@dataclass
class Outcome:
    """The results (a tile of queries for each step), and the cycles."""

    tiles: Array
    cycles: int


def run(steps: list[tuple[Array, Array, Array]], row: int = 2, garbage: float = 1.0) -> Outcome:
    """Attention of the given (q 64 x 64, k, v) on the core of that row; k and v equally long."""
    valid = len(steps[0][1])
    a_chunks, b_chunks = [], []
    other = np.random.default_rng(7)
    for q, k, v in steps:
        a_chunks += stream(padded(k, garbage), padded(v, garbage))
        b_chunks += [queries(q if n == row else other.normal(size=q.shape)) for n in range(4)]
    head = operation_bench.header(OP, len(steps), len(a_chunks) // len(steps) // 4, valid)
    done = operation_bench.run(
        operation_bench.compiled(attention), a_chunks, [head, *b_chunks], row=row
    )
    assert len(done.pieces) == 4 * len(steps)
    words = np.frombuffer(b"".join(done.pieces), np.uint16).reshape(len(steps), 16, 8, 4, 8)
    tiles = from_bfloat16(words.swapaxes(2, 3).reshape(len(steps), TILE, TILE))
    return Outcome(tiles.astype(np.float64), done.cycles)


def example(seed: int, keys: int, deviation: float) -> tuple[Array, Array, Array]:
    """Queries, keys and values with scores of that standard deviation (in natural units)."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(TILE, TILE)) * deviation
    k = rng.normal(size=(keys, TILE))
    v = rng.normal(size=(keys, TILE)) + rng.normal(size=TILE)
    q = rounded(q * LOG2) / LOG2
    return q, rounded(k), rounded(v)


def error(found: Array, wanted: Array) -> float:
    """Relative, by norm; the worst of all rows."""
    assert np.isfinite(found).all()
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


def check(step: tuple[Array, Array, Array], bound: float = 1e-2, **options: float) -> Outcome:
    """Run one step and compare."""
    outcome = run([step], **options)
    assert error(outcome.tiles[0], reference(*step, len(step[1]))) < bound
    return outcome


def test_one_pair_of_key_tiles() -> None:
    check(example(1, 128, 2.0))
