import json
import os
import time

import pytest

from whisper_npu_cli.cli import bench, machine
from whisper_npu_cli.cli.bench import Spread


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
