import json
import os
import time

import pytest

from whisper_npu_cli.cli import bench, machine
from whisper_npu_cli.cli.bench import Spread
from whisper_npu_cli.engines import encoder_bench as encoder_bench_module
from whisper_npu_cli.engines import kernel_bench as kernel_bench_module


def test_figures_as_json(command):
    sound = command.sound()
    code, out, err = command("bench", "--audio", sound, "--repeat", 3, "--warmup", 2, "--json")
    assert code == 0
    figures = json.loads(out)
    assert len(command.made) == 1 and command.made[0]["model"] == "demo"
    assert len(command.asked) == 3 + 2
    assert figures["runs"] == 3
    assert figures["audio_seconds"] == 20.0
    assert figures["stages"]["encode"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert figures["total"]["median"] == 2.0
    assert figures["rtf"] == 0.1
    assert figures["tokens_per_second"] == 4.0
    assert figures["peak_memory_bytes"] > 1e6
    assert figures["cpu_seconds_per_audio_second"] >= 0
    assert {"processor", "cores", "memory", "python", "ctranslate2"} <= set(figures["machine"])
    assert err.count("\n") == 2 + 3


def test_figures_for_people(command):
    sound = command.sound()
    code, out, _ = command("bench", "--audio", sound, "--repeat", "1")
    assert code == 0
    for text in ("processor", "load audio", "0.500 s (0.500 to 0.500) cpu", "peak memory"):
        assert text in out


def test_the_emulator_is_no_npu(command):
    line = ("bench", "--audio", command.sound(), "--repeat", 1, "--device", "emulator")
    emulated = json.loads(command(*line, "--json")[1])["emulated"]
    assert emulated == {"encode": {"cycles": 12_345_678, "ms_at_1_ghz": 12.346}}
    out = command(*line)[1]
    assert "encode, emulated" in out and "12.35 ms at 1.0 GHz; no measurement of an NPU" in out


def test_the_first_packaged_sample_is_the_default(command, monkeypatch):
    monkeypatch.setattr(bench, "SAMPLES", command.folder)
    code, _, err = command("bench")
    assert code == 2 and "give a file with --audio" in err
    command.sound("b.wav", "second")
    first = command.sound("a.wav", "first")
    figures = json.loads(command("bench", "--repeat", "1", "--json")[1])
    assert figures["audio"] == str(first)


def test_bench_refusals(command):
    assert command("bench", "--audio", "gone.wav", "--repeat", "0")[0] == 2
    assert command("bench", "--device", "npu", "--audio", command.sound())[0] == 3


COST = {
    "name": "fc1", "count": 12, "cycles": 2_000_000, "macs": 2_048_000_000, "bytes": 3_000_000,
    "dispatch": 500_000, "mac_utilisation": 0.5, "dispatch_share": 0.25,
}  # fmt: skip
COSTS = {
    "model": "small", "device": "emulator", "emulated": True, "layers": 12, "layers_run": 3,
    "launches": 12, "operations": [COST, COST | {"name": "fc2", "cycles": 6_000_000}],
    "window": COST | {"name": "window", "needed_macs": 1_900_000_000},
}  # fmt: skip


@pytest.fixture
def encoder_bench(monkeypatch):
    asked = []

    def measure(*given):
        asked.append(given[:2])
        given[2]("fc1")
        return COSTS

    monkeypatch.setattr(encoder_bench_module, "measure", measure)
    return asked


def test_the_encoders_costs(command, encoder_bench):
    code, out, err = command("bench", "--encoder", "--model", "small", "--json")
    assert (code, json.loads(out), err) == (0, COSTS, "whisper-npu: fc1\n")
    assert encoder_bench == [("small", "emulator")]
    code, out, _ = command("bench", "--encoder", "--device", "npu")
    assert encoder_bench[1] == ("demo", "npu")
    for text in (
        "random weights", "emulated cycles, no measurement of an NPU", "2.00 ms at 1.0 GHz",
        "in 12 launches", "3 of 12: first, middle and last launch", "their sum is 8,000,000 cycles",
    ):  # fmt: skip
        assert text in out
    rows = [line.split() for line in out.splitlines()]
    assert ["fc1", "12", "2,000,000", "25.0%", "50.0%", "3.0", "25.0%"] in rows


def test_the_encoder_is_the_npus(command, encoder_bench):
    assert command("bench", "--encoder", "--device", "cpu")[0] == 2
    assert command("bench", "--encoder", "--audio", command.sound())[0] == 2
    assert encoder_bench == []


KERNEL = {
    "kernel": "gemm", "dtype": "bf16", "shape": [1536, 64, 1536], "cycles": 150_000,
    "launch_cycles": 250_000, "microseconds": None, "launch_microseconds": None,
    "percent_of_peak": 49.15, "peak": "mac", "bytes": 7_100_000, "correlation": 0.9999987,
}  # fmt: skip
MEASURED = {"microseconds": 1150.04, "launch_microseconds": 1250.0}


@pytest.fixture
def kernel_bench(monkeypatch):
    asked = []

    def measure(device, tell):
        asked.append(device)
        tell("1 of 1: gemm")
        kernel = KERNEL if device == "emulator" else KERNEL | MEASURED
        return {"device": device, "emulated": device == "emulator", "kernels": [kernel]}

    monkeypatch.setattr(kernel_bench_module, "measure", measure)
    return asked


def test_the_kernels_costs(command, kernel_bench):
    code, out, err = command("bench", "--kernels", "--json")
    assert (code, json.loads(out)["kernels"], err) == (0, [KERNEL], "whisper-npu: 1 of 1: gemm\n")
    code, out, _ = command("bench", "--kernels")
    assert code == 0 and "emulated cycles, no measurement of an NPU" in out
    row = "gemm bf16 1536 x 64 x 1536 150,000 250,000 49.1 of MAC 0.0071 0.999999"
    assert row.split() in [line.split() for line in out.splitlines()]
    _, out, _ = command("bench", "--kernels", "--device", "npu")
    assert "emulated" not in out and "µs, launch" in out
    row = "gemm bf16 1536 x 64 x 1536 1,150.0 1,250.0 49.1 of MAC 0.0071 0.999999"
    assert row.split() in [line.split() for line in out.splitlines()]
    assert kernel_bench == ["emulator", "emulator", "npu"]


def test_the_kernels_are_the_npus(command, kernel_bench, encoder_bench):
    assert command("bench", "--kernels", "--device", "cpu")[0] == 2
    assert command("bench", "--kernels", "--audio", command.sound())[0] == 2
    assert command("bench", "--kernels", "--encoder")[0] == 2
    assert kernel_bench == encoder_bench == []


@pytest.mark.parametrize(
    ("values", "spread"),
    [([3.0], Spread(3.0, 3.0, 3.0)), ([4.0, 1.0, 2.0], Spread(2.0, 1.0, 4.0))],
)
def test_spread(values, spread):
    assert Spread.of(values) == spread


def test_processor_time_counts_work_and_not_waiting():
    start = machine.cpu_seconds()
    time.sleep(0.2)
    assert machine.cpu_seconds() - start < 0.15
    while machine.cpu_seconds() - start < 0.2:
        sum(range(10_000))


def test_peak_memory_grows_with_what_is_used():
    before = machine.peak_memory()
    block = bytearray(os.urandom(1)) * (before + 50_000_000)
    assert machine.peak_memory() >= len(block)
