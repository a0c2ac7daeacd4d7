"""Attention on one core, against float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import operation_bench
import pytest
from numpy.typing import NDArray

from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.aie.asm.verify import verify
from whisper_npu_cli.kernels import attention as module
from whisper_npu_cli.kernels.attention import Word, attention, reference
from whisper_npu_cli.kernels.layout import TILE, from_bfloat16, second_operand, to_bfloat16
from whisper_npu_cli.kernels.tile import BANKS, Tile

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


def run(
    steps: list[tuple[Array, Array, Array]], row: int = 2, column: int = 0, garbage: float = 1.0
) -> Outcome:
    """Attention of the given (q 64 x 64, k, v) on one core; k and v equally long."""
    valid = len(steps[0][1])
    a_chunks, b_chunks = [], []
    other = np.random.default_rng(7)
    for q, k, v in steps:
        own, foreign = queries(q), [queries(other.normal(size=q.shape)) for _ in range(3)]
        on_a = row // 2 != column // 2
        turn = column % 2 if on_a else row % 2
        tiles = {on_a: [*foreign[:turn], own, *foreign[turn:1]], not on_a: foreign[1:]}
        a_chunks += [*tiles[True], *stream(padded(k, garbage), padded(v, garbage))]
        b_chunks += tiles[False]
    head = operation_bench.header(OP, len(steps), len(a_chunks) // len(steps) // 4, valid)
    done = operation_bench.run(
        operation_bench.compiled(attention), a_chunks, [head, *b_chunks], row=row, column=column
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


def peaked(step: tuple[Array, Array, Array], above: float) -> tuple[Array, Array, Array]:
    """Half of the queries with one key whose score lies `above` everything else's mean."""
    q, k, v = (x.copy() for x in step)
    rng = np.random.default_rng(11)
    for n in range(0, TILE, 2):
        k[rng.integers(len(k))] = 8 * above * q[n] / (q[n] @ q[n])
    return q, rounded(k), v


def ramp(keys: int, scores: Array) -> tuple[Array, Array, Array]:
    """Keys whose scores are `scores` times a factor from 0.5 to 1, different for each query."""
    rng = np.random.default_rng(5)
    q, k = np.zeros((TILE, TILE)), rng.normal(size=(keys, TILE)) * 0.05
    q[:, 0] = np.linspace(0.5, 1, TILE)
    q[:, 1:] = rng.normal(size=(TILE, TILE - 1))
    k[:, 0] = scores * 8
    v = rng.normal(size=(keys, TILE)) + rng.normal(size=TILE)
    return rounded(q * LOG2) / LOG2, rounded(k), rounded(v)


def test_scores_like_whisper() -> None:
    check(example(2, 1500, 2.0), garbage=GARBAGE)


def test_peaked_heads() -> None:
    check(peaked(example(3, 1500, 4.0), 30.0))


@pytest.mark.parametrize("start, end", [(-300, 300), (300, -300), (0, 300), (-300, -299)])
def test_scores_far_from_zero(start: float, end: float) -> None:
    check(ramp(1500, np.linspace(start, end, 1500)))


def test_scores_that_jump() -> None:
    scores = np.random.default_rng(8).permuted(np.linspace(-300, 300, 640))
    check(ramp(640, scores))


@pytest.mark.parametrize("keys", [1, 7, 16, 65, 100, 128, 129, 448])
def test_any_number_of_keys(keys: int) -> None:
    check(example(keys, keys, 3.0), garbage=GARBAGE)


def test_keys_of_zeros_give_the_mean_of_the_values() -> None:
    q, k, v = example(6, 1500, 3.0)
    found = run([(q, 0 * k, v)]).tiles[0]
    mean = v.mean(axis=0)
    assert np.array_equal(found, np.broadcast_to(found[0], found.shape))
    assert np.all(np.abs(found[0] - mean) <= 2.0**-8 * np.abs(mean))


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("row", range(4))
def test_steps_follow_each_other_on_every_core(row: int, column: int) -> None:
    steps = [example(20 + n, 300, 1.0 + n) for n in range(3)]
    outcome = run(steps, row=row, column=column)
    for found, step in zip(outcome.tiles, steps, strict=True):
        assert error(found, reference(*step, 300)) < 1e-2


@pytest.mark.parametrize("score", [np.inf, -np.inf, np.nan])
def test_scores_that_are_no_numbers_do_not_hang_the_core(score: float) -> None:
    q, k, v = example(9, 200, 2.0)
    k[150, 0] = score
    words = [*[queries(q)] * 2, *stream(padded(k, 1.0), padded(v, 1.0))]
    chunks = [operation_bench.header(OP, 1, 2, 200), *[queries(q)] * 2]
    done = operation_bench.run(operation_bench.compiled(attention), words, chunks)
    assert len(done.pieces) == 4


def test_cycles_for_64_queries_and_64_keys() -> None:
    short, long = (run([example(1, keys, 2.0)]).cycles for keys in (256, 1280))
    assert (long - short) / 16 < 5200


@pytest.mark.slow
def test_program_stands_up_to_the_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedule against operations, on numbers without meaning: two rebases of every chunk."""
    numbers = {Word.STEPS: 1, Word.PAIRS: 1, Word.VALID: 100}

    def parameter(t: Tile, number: int, to: Value | None = None) -> Value:
        return t.p.const(numbers[Word(number)], to)

    monkeypatch.setattr(Tile, "parameter", parameter)
    monkeypatch.setattr(module, "MOST_REBASES", 2)
    p = Program("attention", BANKS)
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    attention(p, Tile.of(p))
    code = compile_program(p)
    assert verify(p, code.assembly, inputs=code.inputs, origins=code.origins, most=10**6) > 0
