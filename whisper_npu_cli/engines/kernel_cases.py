"""The kernels that `bench --kernels` runs: sizes, operands like Whisper's, and the right answers.

A case makes its work from random numbers: what lies in the launch's first two buffers, an operation
that writes its result into the third, and that result in float64, computed from the operands as the
device gets them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.engines.npu_encoder import SCORE, from_column, split_columns
from whisper_npu_cli.kernels import (
    attention,
    gelu,
    layer_norm,
    layout_int8,
    softmax,
    transformer_int8,
)
from whisper_npu_cli.kernels.dispatch import Transfer
from whisper_npu_cli.kernels.gemm import MOST_PANELS
from whisper_npu_cli.kernels.layout import (
    NETS,
    TILE,
    TILE_WORDS,
    Activations,
    Order,
    from_bfloat16,
    second_operand,
    to_bfloat16,
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
from whisper_npu_cli.kernels.operations_int8 import GemmInt8
from whisper_npu_cli.kernels.operations_softmax import RowSoftmax

CORES, BF16_MACS, INT8_MACS = 16, 128, 256
"""Compute tiles, and multiply-accumulates that each can do in a cycle (AM020)."""
CHANNELS, WORD = 8, 4
"""Shim channels each way, and bytes that each moves in a cycle (AM020)."""
INPUTS, WEIGHTS, RESULTS = range(3)
"""Buffers of a launch."""
EPSILON = 1e-5
"""Of layer norm."""

Matrix = npt.NDArray[np.float32]
Exact = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """What to launch, and what has to come out.

    inputs, weights: bytes of these buffers. size: bytes of the result. room: bytes behind it that
    hold nothing, but may be written. transfers: the operation, or several that run in turn, with
    the result at that offset of its buffer. unpack: the result, float[...] as `expected`, from its
    bytes. least: cycles that the peak rate allows.
    """

    inputs: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.uint8]
    size: int
    transfers: Callable[[int], list[Transfer]]
    unpack: Callable[[npt.NDArray[np.uint8]], Matrix]
    expected: Exact
    least: float
    room: int = 0


@dataclass(frozen=True)
class Case:
    """A kernel at one shape; `peak` says which rate bounds it, `mac` or `dma`.

    shape: M, K, N of a product; rows, columns; heads, positions, head size of attention.
    """

    kernel: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[tuple[int, ...], np.random.Generator], Work]
    peak: str = "mac"
    overlay: str = "transformer"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.kernel} {self.dtype} {' x '.join(map(str, self.shape))}"

    def work(self) -> Work:
        """The same at each call."""
        return self.make(self.shape, np.random.default_rng(sum(self.shape)))


# Operands ----------------------------------------------------------------------------------------


def activations(rng: np.random.Generator, rows: int, columns: int) -> Matrix:
    """Normal numbers; of 128 channels one is ten times as large, as in Whisper's layers."""
    made = rng.standard_normal((rows, columns), np.float32)
    made[:, 5::128] *= 10
    return made


def probabilities(rng: np.random.Generator, rows: int, columns: int) -> Matrix:
    """Rows of a softmax of scores with deviation 2."""
    weights = np.exp(2 * rng.standard_normal((rows, columns), np.float32))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def rounded(values: Matrix) -> Exact:
    """What is left of numbers in bfloat16."""
    return from_bfloat16(to_bfloat16(values)).astype(np.float64)


def tiles(size: int, multiple: int = 1) -> int:
    """Tiles that hold so many rows or columns: a multiple of `multiple`."""
    return -(-size // (TILE * multiple)) * multiple


def in_bytes(parts: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.uint8]:
    """Parts of a buffer, one behind the other."""
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8).ravel() for part in parts])


def least_dma(elements: int, element_bytes: int = 2) -> float:
    """Cycles in which a matrix comes in, or goes out, at best: each once, at the same time."""
    return elements * element_bytes / (CHANNELS * WORD)


# Kernels -----------------------------------------------------------------------------------------


def gemm(
    shape: tuple[int, ...],
    rng: np.random.Generator,
    left: Callable[[np.random.Generator, int, int], Matrix] = activations,
    residual: bool = False,
    with_gelu: bool = False,
) -> Work:
    """act(left right + bias) + residual, in as many operations as its panels need."""
    m, k, n = shape
    given, right = left(rng, m, k), rng.standard_normal((k, n), np.float32) / np.float32(k**0.5)
    bias, more = rng.standard_normal(n, np.float32), activations(rng, m, n)
    source = Activations(tiles(m, NETS), tiles(k), Order.PAIRS, INPUTS)
    result = Activations(source.rows, tiles(n), Order.PAIRS, RESULTS)
    added = replace(result, argument=INPUTS, offset=source.size) if residual else None
    groups = split_columns(result.padded, MOST_PANELS)

    def operations(offset: int) -> list[Gemm]:
        made: list[Gemm] = []
        targets = columns_of(replace(result, offset=offset))
        for first, last in groups:
            at = Weights(WEIGHTS, sum(product.size for product in made))
            part = None if added is None else from_column(added, first)
            chosen = targets[first:last]
            made.append(Gemm(source, at, source.columns, chosen, part, with_gelu))
        return made

    packed = [
        product.pack(right[:, first * TILE : last * TILE], bias[first * TILE : last * TILE])
        for product, (first, last) in zip(operations(0), groups, strict=True)
    ]
    sums = rounded(given) @ rounded(right) + bias
    expected = gelu.reference(sums) if with_gelu else sums
    return Work(
        in_bytes([source.pack(given), *([added.pack(more)] if added else [])]),
        in_bytes(packed),
        result.size,
        lambda offset: [t for product in operations(offset) for t in product.transfers()],
        lambda memory: result.unpack(memory.view(np.uint16))[:m, :n],
        expected + rounded(more) if residual else expected,
        m * k * n / (CORES * BF16_MACS),
    )


def gemm_int8(shape: tuple[int, ...], rng: np.random.Generator) -> Work:
    """left right + bias: int8 operands with scales of rows and of columns, a bf16 result."""
    m, k, n = shape
    given, row_scales = layout_int8.quantise(activations(rng, m, k))
    turned, scales = layout_int8.quantise(rng.standard_normal((n, k), np.float32))
    scales /= 16  # a power of 2: about the root of k, and scales stay bf16 numbers
    bias = rng.standard_normal(n, np.float32)
    depth = -(-k // layout_int8.DEPTH)
    source = layout_int8.left_operand(tiles(m, NETS), depth, argument=INPUTS)
    result = Activations(source.rows, tiles(n), Order.PAIRS, RESULTS)

    def operation(offset: int) -> GemmInt8:
        targets = columns_of(replace(result, offset=offset))
        return GemmInt8(source, Weights(WEIGHTS, 0), depth, targets)

    sums = given.astype(np.float64) @ turned.T.astype(np.float64)
    return Work(
        in_bytes([layout_int8.pack_left(source, given, row_scales)]),
        in_bytes([operation(0).pack(turned.T, scales, bias)]),
        result.size,
        lambda offset: operation(offset).transfers(),
        lambda memory: result.unpack(memory.view(np.uint16))[:m, :n],
        sums * row_scales[:, None] * scales + bias,
        m * k * n / (CORES * INT8_MACS),
    )


def row_softmax(shape: tuple[int, ...], rng: np.random.Generator) -> Work:
    """Softmax of rows: scores with a deviation of 2."""
    rows, columns = shape
    given = 2 * rng.standard_normal((rows, columns), np.float32)
    sizes = softmax.Softmax(rows, columns, columns)

    def operation(offset: int) -> RowSoftmax:
        source, result = Weights(INPUTS, 0), Weights(RESULTS, offset)
        return RowSoftmax(sizes, source, result, Weights(WEIGHTS, 0))

    made = operation(0)
    return Work(
        in_bytes([made.pack_source(given)]),
        in_bytes([made.pack()]),
        made.size,
        lambda offset: operation(offset).transfers(),
        lambda memory: made.unpack_result(memory.view(np.uint16)),
        softmax.reference(rounded(given), columns),
        least_dma(rows * columns),
    )


def norm(shape: tuple[int, ...], rng: np.random.Generator) -> Work:
    """Layer norm of rows."""
    rows, columns = shape
    given = activations(rng, rows, columns)
    gamma, beta = rng.standard_normal((2, columns), np.float32)
    source = Activations(tiles(rows, NETS), tiles(columns), Order.PAIRS, INPUTS)
    result = replace(source, order=Order.STREAM, argument=RESULTS)

    def operation(offset: int) -> LayerNorm:
        return LayerNorm(source, replace(result, offset=offset), Weights(WEIGHTS, 0))

    return Work(
        in_bytes([source.pack(given)]),
        in_bytes([operation(0).pack(gamma, beta)]),
        result.size,
        lambda offset: operation(offset).transfers(),
        lambda memory: result.unpack(memory.view(np.uint16))[:rows, :columns],
        layer_norm.reference(rounded(given), rounded(gamma), rounded(beta), EPSILON),
        least_dma(rows * columns),
    )


def attend(shape: tuple[int, ...], rng: np.random.Generator) -> Work:
    """softmax(queries keys^T) values of all heads; scores have a deviation of about 2."""
    heads, positions, size = shape
    q, k, v = rng.standard_normal((3, heads, positions, size), np.float32)
    q *= np.float32(2 * SCORE)
    rows = tiles(positions, NETS)
    queries = Activations(rows, heads, Order.STREAM, INPUTS)
    keys = KeysValues(rows, heads, INPUTS, queries.size)
    result = Activations(rows, heads, Order.STREAM, RESULTS)

    def operation(offset: int) -> Attention:
        scratch = Target((offset + result.size) // 4, RESULTS)
        out = replace(result, offset=offset)
        return Attention(queries, keys, out, scratch, Weights(WEIGHTS, 0), positions)

    def unpack(memory: npt.NDArray[np.uint8]) -> Matrix:
        return result.unpack(memory.view(np.uint16))[:positions]

    each = zip(rounded(q) / SCORE, rounded(k), rounded(v), strict=True)
    expected = [attention.reference(*head, positions) for head in each]
    return Work(
        in_bytes([_pack_queries(queries, q), _pack_keys(rows, k, v)]),
        in_bytes([operation(0).pack()]),
        result.size,
        lambda offset: operation(offset).transfers(),
        unpack,
        np.concatenate(expected, axis=1),
        2 * heads * positions**2 * size / (CORES * BF16_MACS),
        room=2 * 4 * TILE_WORDS,
    )


def _pack_queries(where: Activations, queries: Matrix) -> npt.NDArray[np.uint16]:
    """Queries, float32[heads, positions, 64], as right operands: tile after tile of a net."""
    heads, positions, _ = queries.shape
    full = np.zeros((heads, where.rows * TILE, TILE), np.uint16)
    full[:, :positions] = to_bfloat16(queries)
    operands = second_operand(full.reshape(heads, where.rows, TILE, TILE).transpose(1, 0, 3, 2))
    memory = np.empty((NETS, where.passes, heads, TILE * TILE), np.uint16)
    for row, tile in enumerate(operands):
        memory[where.place(row)] = tile
    return memory


def _pack_keys(rows: int, keys: Matrix, values: Matrix) -> npt.NDArray[np.uint16]:
    """Keys and values, float32[heads, positions, 64] each, as KeysValues describes them."""
    heads, positions, _ = keys.shape
    column = Activations(rows, 1, Order.PAIRS)  # of four, the first has something in it
    memory = np.empty((heads, rows // 2, 2, 4 * TILE_WORDS), np.uint16)
    for head in range(heads):
        full = np.zeros((rows * TILE, TILE), np.float32)
        full[:positions] = values[head]
        turned = full.reshape(rows, TILE, TILE).transpose(0, 2, 1).reshape(-1, TILE)
        for at, matrix in enumerate((keys[head], turned)):
            memory[head, :, at] = column.pack(matrix)[: 2 * column.column_step].reshape(
                rows // 2, -1
            )
    return memory


CASES = (
    Case("gemm", "bf16", (1536, 512, 2048), gemm),
    Case("gemm_gelu", "bf16", (1536, 512, 2048), partial(gemm, with_gelu=True)),
    Case("gemm_residual", "bf16", (1536, 512, 512), partial(gemm, residual=True)),
    Case("gemm", "bf16", (1536, 64, 1536), gemm),
    Case("gemm", "bf16", (1536, 1536, 64), partial(gemm, left=probabilities)),
    Case("layer_norm", "bf16", (1536, 512), norm, "dma"),
    Case("layer_norm", "bf16", (1536, 1280), norm, "dma"),
    Case("attention", "bf16", (8, 1500, 64), attend),
    Case("gemm", "int8", (1536, 512, 2048), gemm_int8, overlay=transformer_int8.NAME),
    Case("softmax", "bf16", (1536, 1536), row_softmax, "dma", transformer_int8.NAME),
)
"""All that are run, in this order."""
