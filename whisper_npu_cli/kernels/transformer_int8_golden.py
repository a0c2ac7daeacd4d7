"""A launch of the overlay transformer_int8 whose answer is known without computing as the NPU does.

sums = x P                     int32, all numbers from -128 to 127
middle = GELU(x Q + bias)      int8: whole numbers, of which GELU rounds to those above 0
last = scales (middle R) + 1   bf16: sums of 15 bits, times powers of 2
weights = softmax of rows      columns that count hold one number and -inf: 1 / n of n columns,
                               a power of 2, or 0
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm_int8 import Format
from whisper_npu_cli.kernels.golden import Expected, Given, Golden
from whisper_npu_cli.kernels.layout import NETS, TILE, Activations, Order
from whisper_npu_cli.kernels.layout_int8 import (
    DEPTH,
    WORD_PIECES,
    left_operand,
    pack_int32,
    pack_left,
)
from whisper_npu_cli.kernels.operations import Weights, columns_of
from whisper_npu_cli.kernels.operations_int8 import GemmInt8
from whisper_npu_cli.kernels.operations_softmax import RowSoftmax
from whisper_npu_cli.kernels.softmax import Softmax
from whisper_npu_cli.pseudorandom import pseudorandom

ROWS, COLUMNS = 8 * TILE, NETS * TILE
SOFT_ROWS, VALID = 256, 250
INPUT, WEIGHTS, OUTPUT = range(3)
Matrix = NDArray[np.float32]


def golden(placed: Placement) -> Golden:
    """All kinds of operations, two passes over the rows, one and two steps along k."""
    x, p = (_bytes(name, *shape) for name, shape in (("x", (ROWS, DEPTH)), ("p", (DEPTH, COLUMNS))))
    q, r = _few("q", DEPTH), (_bytes("r", COLUMNS, COLUMNS) & 3) - 1
    scales = np.float32(2) ** (_bytes("scales", COLUMNS) & 7)
    bias = _bytes("bias", COLUMNS).astype(np.float32)
    soft, shares = _rows()

    sums = x.astype(np.int32) @ p.astype(np.int32)
    middle = np.clip(x.astype(np.int32) @ q.astype(np.int32) + bias, 0, 127)
    last = (middle @ r.astype(np.float32)) * scales + 1

    parts = _operations()
    raw, act, final, softmax = parts
    ones, none = np.ones(COLUMNS, np.float32), np.zeros(COLUMNS, np.float32)
    packed: list[NDArray[np.uint8]] = [
        raw.pack(p, ones, none),
        act.pack(q, ones, bias),
        final.pack(r.astype(np.int8), scales, ones),
        softmax.pack(),
    ]
    given: list[NDArray[Any]] = [
        pack_left(raw.left, x, np.ones(ROWS, np.float32)),
        pack_left(final.left, np.zeros((1, 1), np.int8), np.ones(ROWS, np.float32)),
        softmax.pack_source(soft),
    ]
    expected: list[NDArray[Any]] = [
        pack_int32(_result(raw, WORD_PIECES), sums),
        _result(final).pack(last),
        softmax.pack_result(shares),
    ]
    return Golden(
        dispatch(placed, [part.transfers() for part in parts]),
        (
            Given(b"".join(g.tobytes() for g in given)),
            Given(b"".join(p.tobytes() for p in packed)),
            Expected(b"".join(e.tobytes() for e in expected)),
        ),
    )


def _operations() -> tuple[GemmInt8, GemmInt8, GemmInt8, RowSoftmax]:
    rows = ROWS // TILE
    x = left_operand(rows, 1, argument=INPUT)
    middle = left_operand(rows, COLUMNS // DEPTH, argument=INPUT, offset=x.size)
    sums = Activations(rows, NETS, Order.PAIRS, OUTPUT, pieces=WORD_PIECES)
    last = Activations(rows, NETS, Order.PAIRS, OUTPUT, sums.size)
    raw = GemmInt8(x, Weights(WEIGHTS, 0), 1, columns_of(sums), format=Format.INT32)
    at = raw.size
    act = GemmInt8(
        x, Weights(WEIGHTS, at), 1, columns_of(middle)[:NETS],
        gelu=True, format=Format.INT8,
    )  # fmt: skip
    at += act.size
    final = GemmInt8(middle, Weights(WEIGHTS, at), 2, columns_of(last))
    at += final.size
    softmax = RowSoftmax(
        Softmax.of(SOFT_ROWS, VALID),
        Weights(INPUT, middle.offset + middle.size),
        Weights(OUTPUT, last.offset + last.size),
        Weights(WEIGHTS, at),
    )
    return raw, act, final, softmax


def _result(product: GemmInt8, pieces: int = 4) -> Activations:
    """Where the result of a product lies."""
    start = 4 * product.targets[0].start
    return Activations(ROWS // TILE, NETS, Order.PAIRS, OUTPUT, start, pieces)


def _bytes(label: str, *shape: int) -> NDArray[np.int8]:
    content = pseudorandom(f"transformer_int8 {label}", int(np.prod(shape)))
    return np.frombuffer(content, np.int8).reshape(shape)


def _few(label: str, rows: int) -> NDArray[np.int8]:
    """Of `rows`, a power of 2, one entry of 1 and, nearly always, one of -1 in every column."""
    made = np.zeros((rows, COLUMNS), np.int8)
    for name, number in (("less", -1), ("more", 1)):
        made[_bytes(f"{label} {name}", COLUMNS) & rows - 1, np.arange(COLUMNS)] = number
    return made


def _rows() -> tuple[Matrix, Matrix]:
    """Rows for softmax, and what becomes of them."""
    order = np.argsort(_bytes("columns", SOFT_ROWS, VALID), axis=1, kind="stable")
    counts = 2 ** (_bytes("counts", SOFT_ROWS, 1) & 7).astype(int) // 2
    chosen = order < counts
    given = np.where(chosen, _bytes("heights", SOFT_ROWS, 1), -np.inf).astype(np.float32)
    return given, (chosen / np.maximum(counts, 1)).astype(np.float32)
