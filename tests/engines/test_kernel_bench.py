"""The costs of single kernels: small shapes always, those that users see with -m slow."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from whisper_npu_cli.aie.facts import launch
from whisper_npu_cli.emulator import timing
from whisper_npu_cli.engines import encoder_bench, kernel_bench
from whisper_npu_cli.engines.kernel_bench import Cost, measure, run
from whisper_npu_cli.engines.kernel_cases import (
    CASES,
    Case,
    attend,
    gemm,
    gemm_int8,
    norm,
    probabilities,
    row_softmax,
)
from whisper_npu_cli.kernels import transformer_int8
from whisper_npu_cli.npu.device import Device, open_device

SMALL = (
    Case("gemm", "bf16", (250, 100, 130), partial(gemm, residual=True, with_gelu=True)),
    Case("layer_norm", "bf16", (256, 192), norm, "dma"),
    Case("attention", "bf16", (3, 200, 64), attend),
    Case("gemm", "int8", (250, 200, 130), gemm_int8, overlay=transformer_int8.NAME),
    Case("softmax", "bf16", (70, 192), row_softmax, "dma", transformer_int8.NAME),
)
LEAST = {
    ("gemm", "bf16", (1536, 512, 2048)): 60,
    ("gemm", "int8", (1536, 512, 2048)): 50,
    ("gemm", "bf16", (1536, 64, 1536)): 35,
    ("gemm", "bf16", (1536, 1536, 64)): 20,  # four nets allow 24 (docs/overlay.md)
    ("layer_norm", "bf16", (1536, 512)): 100 / 3,
    ("softmax", "bf16", (1536, 1536)): 100 / 3,
}
"""Percent of the peak that a kernel has to reach."""


@pytest.fixture(scope="module")
def device() -> Device:
    return open_device("emulator")


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.title)
def test_costs_of_small_kernels(device: Device, case: Case) -> None:
    cost, work = run(device, case), case.work()
    assert cost.correlation >= 0.9999
    assert work.least < cost.cycles <= cost.launch_cycles - launch.LAUNCH - launch.FIRST_SYNC
    assert cost.bytes >= work.inputs.size + work.size


def test_changing_the_overlay_costs_nothing(device: Device) -> None:
    """The array is configured anew then, which takes much longer than these kernels."""
    for case in (SMALL[1], SMALL[4], SMALL[1]):
        cost = run(device, case)
        assert cost.cycles < cost.launch_cycles < timing.CONTEXT_SWITCH


def test_a_wrong_result_shows(device: Device) -> None:
    def wrong(*given):
        work = norm(*given)
        return replace(work, expected=work.expected[::-1])

    assert run(device, replace(SMALL[1], make=wrong)).correlation < 0.9


def test_figures_and_progress(monkeypatch) -> None:
    monkeypatch.setattr(kernel_bench, "open_device", lambda name: name)
    monkeypatch.setattr(
        kernel_bench, "run", lambda _, case: Cost(case, 2000, 50_000, 500.0, 7, 0.5)
    )
    told = []
    found = measure("emulator", told.append, SMALL[:2])
    assert told == ["1 of 2: gemm bf16 250 x 100 x 130", "2 of 2: layer_norm bf16 256 x 192"]
    assert (found["device"], found["emulated"]) == ("emulator", True)
    assert found["kernels"][1] == {
        "kernel": "layer_norm", "dtype": "bf16", "shape": [256, 192], "cycles": 2000,
        "launch_cycles": 50_000, "microseconds": None, "launch_microseconds": None,
        "percent_of_peak": 25.0, "peak": "dma", "bytes": 7, "correlation": 0.5,
    }  # fmt: skip
    (kernel,) = measure("npu", told.append, SMALL[:1])["kernels"]
    assert (kernel["microseconds"], kernel["launch_microseconds"]) == (2.0, 50.0)


def test_a_device_without_cycles_is_timed(monkeypatch) -> None:
    """The first run warms up; of the others the median counts."""
    seconds = iter([9.0, *(1e-6 * n for n in range(1, encoder_bench.RUNS + 1))])

    class Timed:
        def __init__(self, launches) -> None:
            pass

        def run(self):
            return SimpleNamespace(cycles=(None,), seconds=next(seconds))

    monkeypatch.setattr(encoder_bench, "Job", Timed)
    assert encoder_bench.cycles_of(None) == 1000 * (encoder_bench.RUNS + 1) // 2


def test_peaks_by_hand() -> None:
    rng = np.random.default_rng(0)
    assert gemm((256, 64, 512), rng).least == 256 * 64 * 512 / 2048
    assert norm((256, 128), rng).least == 256 * 128 * 2 / 32
    assert attend((1, 256, 64), rng).least == 2 * 256 * 256 * 64 / 2048
    assert gemm_int8((256, 64, 512), rng).least == 256 * 64 * 512 / 4096
    assert row_softmax((64, 256), rng).least == 64 * 256 * 2 / 32


def test_work_is_the_same_each_time_and_probabilities_are_some() -> None:
    first, second = SMALL[0].work(), SMALL[0].work()
    assert (first.inputs == second.inputs).all() and (first.expected == second.expected).all()
    rows = probabilities(np.random.default_rng(0), 4, 100)
    assert (rows >= 0).all() and rows.sum(axis=1) == pytest.approx(1)


@pytest.mark.slow
def test_the_kernels_keep_their_bounds() -> None:
    kernels = measure("emulator", lambda _: None)["kernels"]
    assert len(kernels) == len(CASES)
    reached = {(k["kernel"], k["dtype"], tuple(k["shape"])): k["percent_of_peak"] for k in kernels}
    assert {key: least for key, least in LEAST.items() if reached[key] < least} == {}
    assert all(k["correlation"] >= 0.9999 for k in kernels)


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 5])
def test_cycles_are_about_those_of_a_launch_that_costs_nothing(
    device: Device, monkeypatch, number: int
) -> None:
    """The emulator can do without the costs of launch and dispatch, and then tells the truth.

    Filling the array before the first product and draining it behind the last is in there too.
    """
    told = run(device, CASES[number]).cycles
    for name in ("LAUNCH", "FIRST_SYNC", "QUEUE_WRITE"):
        monkeypatch.setattr(launch, name, 0)
    monkeypatch.setattr(launch, "INSTRUCTION", 1)
    assert told == pytest.approx(run(device, CASES[number]).launch_cycles, rel=0.1)
