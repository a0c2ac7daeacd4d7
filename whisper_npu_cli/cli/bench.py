"""`whisper-npu bench`: the same transcription several times, and where the time goes."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli import encoder_costs, flags, kernel_costs, machine
from whisper_npu_cli.cli.report import STAGE_TITLES
from whisper_npu_cli.cli.streams import note, put
from whisper_npu_cli.errors import UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.results import Result

SAMPLES = Path(__file__).parent.parent / "samples"

Audio = Annotated[
    str | None, typer.Option("--audio", help="A sound file; a packaged sample if not given.")
]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="Measured runs.")]
Warmup = Annotated[int, typer.Option("--warmup", min=0, help="Runs before, not measured.")]
Encoder = Annotated[
    int, flags.switch("--encoder", help="What each operation of the NPU's encoder costs instead.")
]
Kernels = Annotated[
    int, flags.switch("--kernels", help="What single kernels of the NPU cost instead.")
]


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarize at least one value."""
        ordered = sorted(values)
        return cls(median(ordered), ordered[0], ordered[-1])


def bench(
    audio: Audio = None,
    model: flags.Model = "demo",
    device: flags.Device = "auto",
    repeat: Repeat = 5,
    warmup: Warmup = 1,
    encoder: Encoder = False,
    kernels: Kernels = False,
    json: Annotated[int, flags.switch("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure speed, memory and processor time on this machine.

    Prints medians, and the least and most of all runs in brackets.
    """
    if encoder and kernels:
        raise UsageError("--encoder and --kernels are two benchmarks; give one of them.")
    if audio and (encoder or kernels):
        raise UsageError(f"--{'encoder' if encoder else 'kernels'} needs no sound; leave --audio.")
    if kernels:
        found = kernel_costs.measure(device)
        put(json_format.dumps(found) if json else kernel_costs.as_text(found))
        return
    if encoder:
        costs = encoder_costs.measure(model, device)
        put(json_format.dumps(costs) if json else encoder_costs.as_text(costs))
        return
    figures = measure(audio or str(sample()), model, device, repeat, warmup)
    put(json_format.dumps(figures) if json else as_text(figures))


def sample() -> Path:
    """The first packaged sound, by name; raises UsageError when the package has none."""
    found = sorted(SAMPLES.glob("*.wav"))
    if not found:
        raise UsageError("this installation has no sample sounds; give a file with --audio.")
    return found[0]


def measure(audio: str, model: str, device: str, repeat: int, warmup: int) -> dict[str, Any]:
    """Transcribe `warmup` + `repeat` times; return the figures of docs/cli.md."""
    from whisper_npu_cli.pipeline.transcriber import Transcriber

    transcriber = Transcriber(model=model, device=device)
    for index in range(warmup):
        note(f"warm-up {index + 1} of {warmup}")
        transcriber.transcribe(audio)
    results = []
    cpu_start = machine.cpu_seconds()
    for index in range(repeat):
        note(f"run {index + 1} of {repeat}")
        results.append(transcriber.transcribe(audio))
    cpu = machine.cpu_seconds() - cpu_start
    return _figures(audio, results, transcriber.load_seconds, cpu)


def _figures(audio: str, results: list[Result], model_load: float, cpu: float) -> dict[str, Any]:
    last = results[-1]
    seconds = last.timings.audio_seconds
    stages = {
        stage.name: Spread.of(result.timings.stages[index].seconds for result in results)
        for index, stage in enumerate(last.timings.stages)
    }
    total = Spread.of(result.timings.total for result in results)
    decode = stages["decode"].median
    return {
        "machine": machine.describe(),
        "model": last.engine.model,
        "devices": last.engine.stage_devices,
        "audio": audio,
        "audio_seconds": seconds,
        "windows": last.timings.windows,
        "tokens": last.timings.tokens,
        "runs": len(results),
        "model_load_seconds": model_load,
        "stages": {name: asdict(spread) for name, spread in stages.items()},
        "total": asdict(total),
        "emulated": last.timings.emulated,
        "rtf": total.median / seconds if seconds else None,
        "tokens_per_second": last.timings.tokens / decode if decode else None,
        "peak_memory_bytes": machine.peak_memory(),
        "cpu_seconds_per_audio_second": cpu / (seconds * len(results)) if seconds else None,
    }


def as_text(figures: dict[str, Any]) -> str:
    """The figures as aligned lines for people."""
    stages = figures["stages"] | {"total": figures["total"]}
    rows = {
        **figures["machine"],
        "model": f"{figures['model']}, loaded in {figures['model_load_seconds']:.2f} s",
        "audio": f"{figures['audio']}, {figures['audio_seconds']:.1f} s, "
        f"{figures['windows']} windows, {figures['tokens']} tokens",
        "runs": str(figures["runs"]),
        **{STAGE_TITLES.get(name, name): _stage(name, stages[name], figures) for name in stages},
        **{f"{name}, emulated": _emulated(part) for name, part in figures["emulated"].items()},
        "real-time factor": _number(figures["rtf"], ".4f"),
        "tokens/s": _number(figures["tokens_per_second"], ".1f"),
        "peak memory": f"{figures['peak_memory_bytes'] / 1e6:.0f} MB",
        "CPU s per audio s": _number(figures["cpu_seconds_per_audio_second"], ".3f"),
    }
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _stage(name: str, spread: dict[str, float], figures: dict[str, Any]) -> str:
    device = figures["devices"].get(name, "")
    return (
        f"{spread['median']:.3f} s ({spread['low']:.3f} to {spread['high']:.3f}) {device}".rstrip()
    )


def _emulated(part: dict[str, float]) -> str:
    time = f"{part['ms_at_1_ghz']:.2f} ms at 1.0 GHz"
    return f"{part['cycles']:,} cycles, {time}; no measurement of an NPU"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
