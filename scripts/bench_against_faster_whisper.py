"""Our cost on top of faster-whisper: same checkpoint, same audio, whole processes in turn.

    python scripts/bench_against_faster_whisper.py [--minutes 10] [--model demo] [--runs 5]

Prints the median wall time of each, the median of the ratios pair by pair, the peak memory of each,
and the start-up of `--help` against a bare typer program.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from whisper_npu_cli.engines.convert import converted
from whisper_npu_cli.engines.models import resolve

SAMPLES = Path(__file__).parents[1] / "whisper_npu_cli" / "samples"
# temperature 0 alone: the fallback draws at random, and both should do the same work
OURS = ["--device", "cpu", "--quiet", "--temperature_increment_on_fallback", "None"]
THEIRS = """
import sys
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu")
segments, info = model.transcribe(sys.argv[2], temperature=0)
for segment in segments:
    print(segment.text.strip())
"""
BARE = """
import typer
app = typer.Typer()
@app.command()
def hello(name: str) -> None:
    print(name)
app()
"""


def talk(path: Path, minutes: float) -> None:
    """A talk made of the packaged samples with pauses, in a fixed random order."""
    rng = np.random.default_rng(0)
    clips = [soundfile.read(wav, dtype="float32")[0] for wav in sorted(SAMPLES.glob("*.wav"))]
    parts, length = [], 0
    while length < minutes * 60 * 16000:
        pause = np.zeros(int(rng.integers(3200, 16000)), np.float32)
        parts += [clips[rng.integers(len(clips))], pause]
        length += len(parts[-1]) + len(parts[-2])
    soundfile.write(path, np.concatenate(parts)[: int(minutes * 60 * 16000)], 16000, "PCM_16")


def measured(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak MB and standard output of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024, text


def compare(name: str, ours: list[str], theirs: list[str], runs: int) -> bool:
    """Run both in turn after one warm-up each and print; whether they printed the same text."""
    outputs = [measured(ours)[2], measured(theirs)[2]]
    pairs = [(measured(ours), measured(theirs)) for _ in range(runs)]
    for label, side in (("whisper-npu", 0), ("other", 1)):
        seconds = statistics.median(pair[side][0] for pair in pairs)
        memory = statistics.median(pair[side][1] for pair in pairs)
        print(f"{name:12} {label:12} median {seconds:8.3f} s   peak {memory:7.1f} MB")
    ratios = sorted(a[0] / b[0] for a, b in pairs)
    middle = statistics.median(ratios)
    print(f"{name:12} ratio        median {middle:.3f}  ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    return outputs[0] == outputs[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    tool = [sys.executable, "-m", "whisper_npu_cli"]
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "talk.wav"
        talk(wav, args.minutes)
        checkpoint = converted(resolve(args.model))
        same = compare(
            f"{args.minutes:g} min",
            [*tool, "transcribe", *OURS, "--model", args.model, str(wav)],
            [*python, THEIRS, str(checkpoint), str(wav)],
            args.runs,
        )
        print("same text" if same else "DIFFERENT TEXT")
    compare("--help", [*tool, "--help"], [*python, BARE, "--help"], 4 * args.runs)


if __name__ == "__main__":
    main()
