"""bf16 products with fp32 and int8 results on 16 emulated cores, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from array_bench import ArrayBench, rounded
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.kernels import gelu, layout_int8, transformer_int8
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.kernels.gemm_int8 import Format
from whisper_npu_cli.kernels.layout import Activations, Order
from whisper_npu_cli.kernels.operations import Weights, columns_of
from whisper_npu_cli.kernels.operations_int8 import GemmWide

M, K, N = 500, 100, 300
PIECES = {Format.FP32: layout_int8.WORD_PIECES, Format.INT8: layout_int8.BYTE_PIECES}
UNPACK = {Format.FP32: layout_int8.unpack_fp32, Format.INT8: layout_int8.unpack_int8}


def run(
    form: Format, with_gelu: bool, steps: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A product padded in every direction, of two passes and two panels; what it should be."""
    rng = np.random.default_rng(4)
    left = rng.standard_normal((M, K)).astype(np.float32)
    left[:, 7] *= 100
    right = (rng.standard_normal((K, N)) / 10).astype(np.float32)
    bias = rng.standard_normal(N).astype(np.float32)
    source = Activations(8, 2, Order.PAIRS)
    result = Activations(8, 5, Order.PAIRS, offset=source.size, pieces=PIECES[form])
    work = GemmWide(
        source, Weights(1, 0), 2, columns_of(result), gelu=with_gelu, format=form, steps=steps
    )
    sizes = source.size + result.size, work.size
    bench = ArrayBench(*sizes, overlay=transformer_int8.NAME)
    bench.write(0, 0, source.pack(left))
    bench.write(1, 0, work.pack(right, bias))
    for _ in range(2):  # nothing of a launch stays behind
        bench.run(dispatch(bench.placed, [work.transfers()]))
    memory = bench.read(0, result.offset, result.size).view(np.uint8)
    expected = rounded(left) @ rounded(right) + bias
    return (
        UNPACK[form](result, memory)[:M, :N].astype(np.float64),
        gelu.reference(expected) if with_gelu else expected,
    )


def test_fp32_results_are_as_exact_as_the_sums() -> None:
    found, expected = run(Format.FP32, with_gelu=False)
    assert np.abs(found - expected).max() <= 2.0**-15 * np.abs(expected).max()


def test_fp32_results_of_gelu() -> None:
    found, expected = run(Format.FP32, with_gelu=True)
    np.testing.assert_allclose(found, expected, atol=1.5e-3, rtol=2.0**-14)


@pytest.mark.parametrize("with_gelu", [False, True])
def test_int8_results_are_rounded_and_saturated(with_gelu: bool) -> None:
    steps = 5.25
    found, expected = run(Format.INT8, with_gelu, steps)
    exact = np.clip(expected * steps, -128, 127)
    assert (found.min(), found.max()) == (-1 if with_gelu else -128, 127)
    assert np.abs(found - exact).max() <= 0.51
    assert np.abs(found - np.rint(exact)).mean() <= 0.01


def test_what_it_does_not_do_is_refused() -> None:
    left = Activations(4, 1, Order.PAIRS)
    with pytest.raises(DesignError, match="FP32 or INT8 and has no residual"):
        GemmWide(left, Weights(1, 0), 1, columns_of(left), format=Format.INT32)
