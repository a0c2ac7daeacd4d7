"""GELU of a tile of sums, on one emulated core, against the erf form in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from one_core import OneCore

from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.kernels import gelu, tile
from whisper_npu_cli.kernels.layout import split_bfloat16

MOST_BYTES, MOST_CYCLES = 960, 2700


@pytest.fixture(scope="module")
def core() -> OneCore:
    p = Program("gelu", tile.BANKS)
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    gelu.gelu(p, p.const(tile.SIDE))
    return OneCore(p)


def sums(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[64, 64] as a core keeps it: [8 rows of blocks][4 groups][2][4][4 x 4]."""
    return np.ascontiguousarray(matrix.reshape(8, 2, 4, 4, 4, 4).transpose(0, 3, 1, 4, 2, 5))


def run(
    core: OneCore, matrix: NDArray[np.float32], bias: NDArray[np.float32]
) -> tuple[NDArray[np.float32], int]:
    """The matrix after the pass, and the cycles it took."""
    blocks = np.zeros((16, 8, 4), np.uint16)
    blocks[:, :2] = split_bfloat16(bias).reshape(2, 16, 4).transpose(1, 0, 2)
    core.put(tile.SIDE, blocks)
    core.put(tile.C, sums(matrix))
    cycles = core.run()
    found = core.get(tile.C, np.float32, 4096).reshape(8, 4, 2, 4, 4, 4)
    return found.transpose(0, 2, 4, 1, 3, 5).reshape(64, 64), cycles


def check(core: OneCore, matrix: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    found, _ = run(core, matrix, bias)
    x = matrix.astype(np.float64) + bias.astype(np.float64)
    expected = gelu.reference(x)
    error = np.abs(found - expected)
    slack = 2.0**-16 * np.abs(bias)  # the bias comes in two bf16 parts
    assert (error <= 1.3e-3 + slack + 2.0**-22 * np.abs(x)).all(), error.max()
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] >= 0.99999


def test_every_range(core: OneCore) -> None:
    ramp = np.linspace(-30, 30, 4096, dtype=np.float32).reshape(64, 64)
    check(core, ramp, np.zeros(64, np.float32))
    check(core, ramp / 8, np.linspace(-3, 3, 64, dtype=np.float32))


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_random_sums_and_bias(core: OneCore, scale: float) -> None:
    rng = np.random.default_rng(int(10 * scale))
    matrix = (scale * rng.standard_normal((64, 64))).astype(np.float32)
    check(core, matrix, rng.standard_normal(64).astype(np.float32))


def test_numbers_at_the_ends(core: OneCore) -> None:
    special = np.array(
        [0, -0.0, 1e-45, -1e-45, 1e-38, 1e-20, 1e-4, 3.99, 4, 4.01, 11.9, 12, 12.1, 511, 1e4, 3e38],
        np.float32,
    )
    values = np.concatenate([special, -special])
    found, _ = run(core, np.resize(values, (64, 64)), np.zeros(64, np.float32))
    expected = gelu.reference(np.resize(values, (64, 64)).astype(np.float64))
    assert (np.abs(found - expected) <= 1.3e-3 + 2.0**-22 * np.abs(expected)).all()


def test_size_and_cycles(core: OneCore) -> None:
    _, cycles = run(core, np.zeros((64, 64), np.float32), np.zeros(64, np.float32))
    assert len(core.code.assembly.code) <= MOST_BYTES
    assert cycles <= MOST_CYCLES
