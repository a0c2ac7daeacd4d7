"""A launch of the transformer overlay whose answer is known without computing it as the NPU does.

Five operations in a chain, on numbers for which every step has an exact result in bf16, whatever
the order of sums or the rounding of what lies below a bf16:

    keys, values = x P, x S for two heads      rows of x: 64 times +-1, balanced; P and S move
    queries = (x's rows in another order) P    columns and turn signs
    mixed = softmax(queries keys^T) values     a query's own key scores 64, all others far less:
                                               the values of that key, exactly
    normal = layer norm of x                   mean 0, variance 1: gamma x + beta
    last = GELU(mixed W + bias) + residual     sums are multiples of 8, where GELU is x or 0
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm import SECOND_TRANSPOSED
from whisper_npu_cli.kernels.golden import Expected, Given, Golden, Scratch
from whisper_npu_cli.kernels.layout import NETS, TILE, TILE_WORDS, Activations, Order
from whisper_npu_cli.kernels.operations import (
    Attention,
    Gemm,
    KeysValues,
    LayerNorm,
    Target,
    Weights,
    columns_of,
)
from whisper_npu_cli.pseudorandom import pseudorandom

ROWS, HEADS = 8, 2
VALID = 500
"""Keys that count of the 512."""
COLUMN = 4 * ROWS * TILE_WORDS
"""Bytes of a column of tiles."""
INPUT, WEIGHTS, BETWEEN, OUTPUT = range(4)
STEP = 8
"""All sums before GELU are multiples of this: GELU(8) is 8 and GELU(-8) is 0 within 2^-13."""

Matrix = NDArray[np.float32]


def golden(placed: Placement) -> Golden:
    """All kinds of operations, all orders of results, two passes over the rows."""
    rows, columns = TILE * ROWS, NETS * TILE
    x = _signs(_ranks("rows", rows, TILE) % 2)
    own = _numbers("own keys", rows) % VALID
    heads = [_moved(f"keys {n}") for n in range(HEADS)]
    values = [_moved(f"values {n}") for n in range(HEADS)]
    odd = 2 * _small("residual", 100, rows, 2 * TILE) - 99
    given = np.concatenate([x, x[own], odd], axis=1)
    gamma, beta = _small("gamma", 4, TILE) + 1, _small("beta", 16, TILE) - 8
    weight = STEP * _sparse(HEADS * TILE, columns)
    bias = STEP * (_small("bias", 3, columns) - 1)

    mixed = x[own] @ np.concatenate(values, axis=1)
    normal = x * gamma + beta
    last = np.maximum(mixed @ weight + bias, 0) + given

    parts = _operations()
    product, project, attend, norm, final = parts
    right = [*heads, np.zeros((TILE, 2 * TILE), np.float32)]
    none = np.zeros(NETS * TILE, np.float32)
    packed = [
        product.pack(np.concatenate([*heads, *values], axis=1), none),
        project.pack(np.concatenate(right, axis=1), none),
        attend.pack(),
        norm.pack(gamma, beta),
        final.pack(weight, bias),
    ]
    everything = Activations(ROWS, NETS, Order.PAIRS)
    expected = [
        attend.result.pack(mixed),
        norm.result.pack(normal),
        _last(final).pack(last),
    ]
    return Golden(
        dispatch(placed, [part.transfers() for part in parts]),
        (
            Given(everything.pack(given).tobytes()),
            Given(b"".join(p.tobytes() for p in packed)),
            Scratch(8 * HEADS * COLUMN),
            Expected(b"".join(e.tobytes() for e in expected)),
        ),
    )


def _last(final: Gemm) -> Activations:
    """The result of the last product."""
    return Activations(ROWS, NETS, Order.PAIRS, OUTPUT, 4 * final.targets[0].start)


def _operations() -> tuple[Gemm, Gemm, Attention, LayerNorm, Gemm]:
    x = Activations(ROWS, 1, Order.PAIRS, INPUT)
    keys = KeysValues(ROWS, HEADS, BETWEEN)
    queries = Activations(ROWS, HEADS, Order.PAIRS, BETWEEN, keys.size)
    rest = Target((queries.offset + HEADS * COLUMN) // 4, BETWEEN)
    mixed = Activations(ROWS, HEADS, Order.STREAM, OUTPUT)
    normal = Activations(ROWS, 1, Order.STREAM, OUTPUT, HEADS * COLUMN)
    last = Activations(ROWS, NETS, Order.PAIRS, OUTPUT, normal.offset + normal.size)
    targets = [keys.target(h, values) for values in (False, True) for h in range(HEADS)]
    product = Gemm(x, Weights(WEIGHTS, 0), 1, tuple(targets))
    at = product.size
    targets = [replace(t, order=SECOND_TRANSPOSED) for t in columns_of(queries)[:HEADS]]
    targets += [replace(rest, start=rest.start + n * COLUMN // 4) for n in range(NETS - HEADS)]
    project = Gemm(replace(x, offset=COLUMN), Weights(WEIGHTS, at), 1, tuple(targets))
    at += project.size
    attend = Attention(queries, keys, mixed, rest, Weights(WEIGHTS, at), VALID)
    at += attend.size
    norm = LayerNorm(x, normal, Weights(WEIGHTS, at))
    at += norm.size
    residual = Activations(ROWS, NETS, Order.PAIRS, INPUT)
    final = Gemm(mixed, Weights(WEIGHTS, at), HEADS, columns_of(last), residual, gelu=True)
    return product, project, attend, norm, final


def _numbers(label: str, *shape: int) -> NDArray[np.uint32]:
    """Evenly spread, the same for every version of numpy."""
    content = pseudorandom(f"transformer {label}", 4 * int(np.prod(shape)))
    return np.frombuffer(content, "<u4").reshape(shape)


def _ranks(label: str, *shape: int) -> NDArray[np.int64]:
    """Permutations along the last dimension."""
    return np.argsort(_numbers(label, *shape), axis=-1, kind="stable")


def _small(label: str, below: int, *shape: int) -> Matrix:
    return (_numbers(label, *shape) % below).astype(np.float32)


def _signs(bits: NDArray[np.integer]) -> Matrix:
    return np.where(bits, np.float32(1), np.float32(-1))


def _moved(label: str) -> Matrix:
    """A permutation of 64 columns with signs."""
    signs = _signs(_numbers(f"signs of {label}", TILE) % 2)
    return (np.eye(TILE, dtype=np.float32) * signs)[_ranks(label, TILE)]


def _sparse(rows: int, columns: int) -> Matrix:
    """Two entries of +-1 in every column."""
    chosen = _ranks("weight", columns, rows) < 2
    return (chosen * _signs(_numbers("signs of weight", columns, rows) % 2)).T
