"""`whisper-npu bench`: the same transcription several times, and where the time goes."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli import flags, machine
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
    json: Annotated[int, flags.switch("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure speed, memory and processor time on this machine.

    Prints medians, and the least and most of all runs in brackets.
    """
    if encoder:
        if audio:
            raise UsageError("--encoder needs no sound; leave --audio.")
        costs = encoder_costs(model, device)
        put(json_format.dumps(costs) if json else costs_as_text(costs))
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


def encoder_costs(model: str, device: str) -> dict[str, Any]:
    """Run the encoder's operations on the NPU, or its emulator; return the figures of docs/cli.md.

    `auto` takes the NPU where there is one. Raises UsageError for the CPU, DeviceError, ModelError.
    """
    from whisper_npu_cli.engines.select import has_phoenix

    if device == "cpu":
        raise UsageError("--encoder is about the NPU; use --device npu or emulator.")
    if device == "auto":
        device = "npu" if has_phoenix() else "emulator"
    from whisper_npu_cli.engines.encoder_bench import measure as measure_encoder

    return measure_encoder(model, device, note)


def costs_as_text(costs: dict[str, Any]) -> str:
    """The costs as lines and a table for people."""
    window = costs["window"]
    lines = [
        f"model        {costs['model']}, {costs['layers']} layers, random weights",
        f"device       {costs['device']}"
        + (": emulated cycles, no measurement of an NPU" if costs["emulated"] else ""),
        f"window       {window['cycles']:,} cycles, {window['cycles'] / 1e6:.2f} ms at 1.0 GHz, in "
        f"{costs['launches']} launches",
        f"multiplied   {window['macs'] / 1e9:.2f} G of {window['needed_macs'] / 1e9:.2f} G needed; "
        f"{window['mac_utilisation']:.1%} of what 16 cores could",
        f"moved        {window['bytes'] / 1e6:.1f} MB",
        f"dispatch     the controller is busy {window['dispatch_share']:.1%} of the time",
    ]
    if costs["layers_run"] < costs["layers"]:
        lines.append(
            f"layers run   {costs['layers_run']} of {costs['layers']}: first, middle, last; the "
            "others are as the middle one"
        )
    rows = [("operation", "times", "cycles", "share", "MAC use", "MB", "dispatch")]
    alone = sum(operation["cycles"] for operation in costs["operations"])
    for each in costs["operations"]:
        rows.append(
            (
                each["name"], str(each["count"]), f"{each['cycles']:,}",
                f"{each['cycles'] / alone:.1%}", f"{each['mac_utilisation']:.1%}",
                f"{each['bytes'] / 1e6:.1f}", f"{each['dispatch_share']:.1%}",
            )
        )  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    note = "Each operation was a launch of its own here, with what that costs; their sum is"
    return "\n".join([*lines, "", *table, "", f"{note} {alone:,} cycles."])


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
