"""The int8 matrix product on 16 emulated cores against numpy's integers and float64."""

from __future__ import annotations

from dataclasses import replace
from math import erf

import numpy as np
import pytest
from array_bench import ArrayBench
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.aie.asm.verify import verify
from whisper_npu_cli.kernels import gemm, layout_int8, transformer_int8
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm_int8 import Format, Word, gemm_int8
from whisper_npu_cli.kernels.layout import PIECES, Activations, Order, from_bfloat16, to_bfloat16
from whisper_npu_cli.kernels.operations import Weights, columns_of
from whisper_npu_cli.kernels.operations_int8 import GemmInt8
from whisper_npu_cli.kernels.tile import BANKS, Tile

Bytes = NDArray[np.int8]
Vector = NDArray[np.float32]

PIECES_OF = {
    Format.BF16: PIECES,
    Format.FP32: layout_int8.WORD_PIECES,
    Format.INT8: layout_int8.BYTE_PIECES,
    Format.INT32: layout_int8.WORD_PIECES,
}


def tiles(size: int, of: int = 64, multiple: int = 1) -> int:
    return -(-size // (of * multiple)) * multiple


def unpack(where: Activations, memory: NDArray[np.uint8], form: Format) -> NDArray:
    if form is Format.BF16:
        return where.unpack(memory.view(np.uint16))
    if form is Format.INT8:
        return layout_int8.unpack_int8(where, memory)
    if form is Format.FP32:
        return layout_int8.unpack_fp32(where, memory)
    return layout_int8.unpack_int32(where, memory)


class Product:
    """A product of given sizes as one launch, with the result in a format."""

    def __init__(
        self,
        m: int,
        k: int,
        n: int,
        form: Format = Format.FP32,
        residual: bool = False,
        gelu: bool = False,
        steps: float = 1.0,
    ) -> None:
        rows, depth = tiles(m, multiple=4), tiles(k, 128)
        self.shape, self.form = (m, n), form
        self.left = layout_int8.left_operand(rows, depth)
        self.result = Activations(
            rows, tiles(n), Order.PAIRS, offset=self.left.size, pieces=PIECES_OF[form]
        )
        end = self.left.size + self.result.size
        self.residual = replace(self.result, offset=end) if residual else None
        self.work = GemmInt8(
            self.left,
            Weights(1, 0),
            depth,
            columns_of(self.result),
            self.residual,
            gelu,
            form,
            steps,
        )
        self.bench = ArrayBench(
            end + self.result.size, 4 * self.work.column_bytes, overlay=transformer_int8.NAME
        )

    def run(
        self,
        left: Bytes,
        right: Bytes,
        rows: Vector | float = 1.0,
        columns: Vector | float = 1.0,
        bias: Vector | float = 0.0,
        residual: NDArray[np.float32] | None = None,
    ) -> NDArray:
        m, n = self.shape
        of_rows, of_columns, added = (
            np.broadcast_to(np.float32(given), (size,))
            for given, size in ((rows, m), (columns, n), (bias, n))
        )
        bench = self.bench
        bench.write(0, 0, layout_int8.pack_left(self.left, left, of_rows))
        bench.write(1, 0, self.work.pack(right, of_columns, added))
        if self.residual is not None and residual is not None:
            bench.write(0, self.residual.offset, self.residual.pack(residual))
        self.cycles = bench.run(dispatch(bench.placed, [self.work.transfers()])).cycles
        memory = bench.read(0, self.result.offset, self.result.size).view(np.uint8)
        return unpack(self.result, memory, self.form)[:m, :n]


def draw(m: int, k: int, n: int, seed: int) -> tuple[Bytes, Bytes]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, n)))


def exact(left: Bytes, right: Bytes) -> NDArray[np.int64]:
    return left.astype(np.int64) @ right.astype(np.int64)


def scales(count: int, seed: int) -> Vector:
    """bf16 numbers over many binades."""
    rng = np.random.default_rng(seed)
    return from_bfloat16(to_bfloat16(np.exp(rng.uniform(-9, 3, count)).astype(np.float32)))


def gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(256, 128, 256), (250, 400, 130), (512, 256, 320), (1, 1, 1)],
)
def test_sums_are_exact(m: int, k: int, n: int) -> None:
    left, right = draw(m, k, n, m + k)
    product = Product(m, k, n, Format.INT32)
    for turn in (left, left[::-1].copy()):  # nothing of a launch stays behind
        np.testing.assert_array_equal(product.run(turn, right), exact(turn, right))


def test_the_largest_sums() -> None:
    left, right = np.full((256, 8192), -128, np.int8), np.full((8192, 256), -128, np.int8)
    left[1], right[:, 1] = 127, 127
    found = Product(256, 8192, 256, Format.INT32).run(left, right)
    np.testing.assert_array_equal(found, exact(left, right))
    assert found.max() == 2**27


@pytest.mark.parametrize("form", [Format.FP32, Format.BF16])
def test_powers_of_two_keep_whole_numbers_exact(form: Format) -> None:
    """Sums of 16 bits pass two bf16, times any powers of two; plus a bias that fits, too."""
    left, right = draw(256, 128, 256, 5)
    left >>= 2
    right >>= 3  # sums below 2^16
    rng = np.random.default_rng(6)
    rows, columns = (np.float32(2.0) ** rng.integers(-9, 9, 256) for _ in range(2))
    bias = rng.integers(-99, 99, 256) * columns
    found = Product(256, 128, 256, form).run(left, right, rows, columns)
    expected = (exact(left, right) * rows[:, None] * columns).astype(np.float32)
    if form is Format.BF16:
        expected = from_bfloat16(to_bfloat16(expected))
    np.testing.assert_array_equal(found, expected)
    found = Product(256, 128, 256, form).run(left, right, 1.0, columns, bias)
    expected = (exact(left, right) * columns + bias).astype(np.float32)
    if form is Format.BF16:
        expected = from_bfloat16(to_bfloat16(expected))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("m", "k", "n"), [(256, 128, 256), (300, 600, 330)])
def test_scales_and_bias(m: int, k: int, n: int) -> None:
    left, right = draw(m, k, n, 1)
    rows, columns = scales(m, 2), scales(n, 3)
    bias = (columns * np.random.default_rng(4).uniform(-9, 9, n)).astype(np.float32)
    found = Product(m, k, n).run(left, right, rows, columns, bias)
    scaled = exact(left, right) * rows[:, None].astype(np.float64) * columns
    expected = scaled + bias
    assert (np.abs(found - expected) <= 2.0**-15 * (np.abs(scaled) + np.abs(bias))).all()


@pytest.mark.parametrize("form", [Format.BF16, Format.FP32])
def test_gelu(form: Format) -> None:
    left, right = draw(256, 256, 256, 7)
    columns = from_bfloat16(to_bfloat16(np.geomspace(1e-5, 1e-4, 256).astype(np.float32)))
    bias = np.linspace(-1, 1, 256).astype(np.float32)
    found = Product(256, 256, 256, form, gelu=True).run(left, right, 0.5, columns, bias)
    expected = gelu(exact(left, right) * 0.5 * columns.astype(np.float64) + bias)
    assert (np.abs(found - expected) <= 1.5e-3 + np.abs(expected) / 256).all()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.9999


def test_residual() -> None:
    left, right = draw(512, 256, 320, 8)
    rng = np.random.default_rng(9)
    more = rng.standard_normal((512, 320)).astype(np.float32)
    product = Product(512, 256, 320, Format.BF16, residual=True)
    found = product.run(left, right, 2.0**-10, 2.0**-8, 0.25, more)
    expected = exact(left, right) * 2.0**-18 + 0.25 + from_bfloat16(to_bfloat16(more))
    assert (np.abs(found - expected) <= np.abs(expected) / 256 + 1e-5).all()


def test_int8_results_round_to_even_and_saturate() -> None:
    left, right = draw(256, 128, 256, 10)
    columns = np.geomspace(2**-14, 2**-3, 256).astype(np.float32)
    columns = np.float32(2.0) ** np.round(np.log2(columns))
    product = Product(256, 128, 256, Format.INT8, steps=0.5)
    found = product.run(left >> 2, right >> 3, 1.0, columns)
    wanted = exact(left >> 2, right >> 3) * columns.astype(np.float64) / 2
    np.testing.assert_array_equal(found, np.clip(np.rint(wanted), -128, 127))
    assert (wanted % 1 == 0.5).sum() > 500


def test_int8_results_for_any_steps() -> None:
    left, right = draw(300, 384, 300, 11)
    rows, columns = scales(300, 12), scales(300, 13)
    columns[:3], rows[:3] = 2.0**39, 2.0**39  # far beyond the range
    product = Product(300, 384, 300, Format.INT8, steps=0.123)
    found = product.run(left, right, rows, columns)
    wanted = exact(left, right) * rows[:, None].astype(np.float64) * columns * 0.123
    assert (np.abs(np.clip(wanted, -128, 127) - found) <= 0.505).all()


def test_a_feed_forward_layer_stays_in_int8() -> None:
    """act(x W + b) V with the activations of the middle as int8, in one launch."""
    rng = np.random.default_rng(14)
    x, w, v = (
        rng.standard_normal(s).astype(np.float32) for s in ((256, 200), (200, 256), (256, 64))
    )
    w, v = w / np.sqrt(200), v / 16
    bias = rng.standard_normal(256).astype(np.float32)
    left, rows = layout_int8.quantise(x)
    first, second = ((q.T, s) for q, s in (layout_int8.quantise(w.T), layout_int8.quantise(v.T)))
    step = np.float32(2.0**-5)
    given = layout_int8.left_operand(4, 2)
    middle = replace(given, offset=given.size)
    end = middle.offset + middle.size
    result = Activations(4, 1, Order.PAIRS, offset=end)
    targets = columns_of(middle)[:4]
    one = GemmInt8(given, Weights(1, 0), 2, targets, None, True, Format.INT8, 1 / step)
    start = 4 * one.column_bytes
    two = GemmInt8(middle, Weights(1, start), 2, columns_of(result))
    bench = ArrayBench(
        end + result.size, start + 4 * two.column_bytes, overlay=transformer_int8.NAME
    )
    bench.write(0, 0, layout_int8.pack_left(given, left, rows))
    nothing = np.zeros((256, 256), np.int8)
    constant = np.full(256, step, np.float32)
    bench.write(0, middle.offset, layout_int8.pack_left(middle, nothing, constant))
    bench.write(1, 0, one.pack(*first, bias))
    bench.write(1, start, two.pack(*second, np.zeros(64, np.float32)))
    bench.run(dispatch(bench.placed, [one.transfers(), two.transfers()]))
    found = result.unpack(bench.read(0, end, result.size))[:256, :64]
    expected = gelu((x @ w + bias).astype(np.float64)) @ v
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.9995


@pytest.mark.slow
def test_half_of_the_peak() -> None:
    """1536 x 512 x 2048, launch and dispatch included, by the emulator's count."""
    left, right = draw(1536, 512, 2048, 15)
    product = Product(1536, 512, 2048, Format.BF16)
    found = product.run(left, right, 2.0**-9, 2.0**-9)
    expected = from_bfloat16(to_bfloat16((exact(left, right) * 2.0**-18).astype(np.float32)))
    np.testing.assert_allclose(found, expected, rtol=2**-7)
    assert product.cycles <= 1536 * 512 * 2048 / (16 * 256) / 0.5


def test_quantise() -> None:
    rng = np.random.default_rng(16)
    matrix = (rng.standard_normal((40, 300)) * scales(40, 17)[:, None]).astype(np.float32)
    matrix[3] = 0
    values, found = layout_int8.quantise(matrix)
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(found)), found)
    assert (np.abs(matrix - values * found[:, None]) <= 0.5001 * found[:, None]).all()
    largest = np.abs(values.astype(int)).max(axis=1)
    assert (largest[np.arange(40) != 3] >= 126).all() and largest.max() <= 127


def test_what_cannot_be_done_is_refused() -> None:
    left = layout_int8.left_operand(4, 1)
    result = Activations(4, 4, Order.PAIRS)
    targets, weights = columns_of(result), Weights(1, 0)
    with pytest.raises(DesignError, match="1 to 12 panels"):
        GemmInt8(left, weights, 1, targets * 13)
    with pytest.raises(DesignError, match="at most 8192"):
        GemmInt8(left, weights, 65, targets)
    with pytest.raises(DesignError, match="Only bf16 results"):
        GemmInt8(left, weights, 1, targets, result, format=Format.FP32)
    with pytest.raises(DesignError, match="no GELU"):
        GemmInt8(left, weights, 1, targets, gelu=True, format=Format.INT32)
    for scale in (1.001, 0.0, 2.0**41, np.inf):
        with pytest.raises(DesignError, match="have to be bfloat16 numbers"):
            layout_int8.pack_left(left, np.zeros((1, 1), np.int8), np.float32([scale]))


@pytest.mark.parametrize("width", [384, 768, 1280])
def test_whisper_s_shapes_make_valid_launches(width: int) -> None:
    """Projections and both halves of the feed-forward layer of tiny to large, in 12 panels."""
    placed = ArrayBench(4096, overlay=transformer_int8.NAME).placed
    for k, n in ((width, width), (width, min(4 * width, 3072)), (4 * width, width)):
        left = layout_int8.left_operand(24, k // 128)
        for form, pieces in PIECES_OF.items():
            result = Activations(24, n // 64, Order.PAIRS, offset=left.size, pieces=pieces)
            for residual in (None, result) if form is Format.BF16 else (None,):
                work = GemmInt8(
                    left, Weights(1, 0), k // 128, columns_of(result), residual, format=form
                )
                assert len(dispatch(placed, [work.transfers()] * 2)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("form", [Format.FP32, Format.INT8, Format.INT32])
def test_program_stands_up_to_the_checker(form: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedule against operations, on numbers without meaning."""
    numbers = {gemm.Word.PANELS: 1, gemm.Word.ROWS: 1, gemm.Word.CHUNKS: 2, Word.FORMAT: form}

    def parameter(t: Tile, number: int, to: Value | None = None) -> Value:
        return t.p.const(numbers.get(number, 0), to)

    monkeypatch.setattr(Tile, "parameter", parameter)
    p = Program("gemm_int8", BANKS)
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    gemm_int8(p, Tile.of(p))
    code = compile_program(p)
    assert verify(p, code.assembly, inputs=code.inputs, origins=code.origins, most=10**6) > 0
