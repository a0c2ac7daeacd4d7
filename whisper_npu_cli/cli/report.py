"""What a run says on standard error: progress, the summary line, the timing table."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from whisper_npu_cli.cli.streams import is_terminal, note, put, say
from whisper_npu_cli.pipeline.results import Result, Segment, Stage

STAGE_TITLES = {"load": "load audio"}


class Progress:
    """A bar by seconds of audio with the live rate, on standard error.

    It is there only when `wanted` and standard error is a terminal; `duration` may be None.
    """

    def __init__(self, name: str, duration: float | None, wanted: bool) -> None:
        self.bar: Any = None
        self._rate = ""
        if wanted and is_terminal(sys.stderr):
            from tqdm import tqdm

            self.bar = tqdm(
                desc=name,
                total=duration or None,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                bar_format=_bar_format(duration),
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, position: float) -> None:
        """Show that the audio is done up to `position` seconds."""
        if self.bar is not None:
            elapsed = self.bar.format_dict["elapsed"]
            rate = position / elapsed if elapsed else 0.0
            self._rate = f"{rate:.1f}x real time"
            self.bar.set_postfix_str(self._rate, refresh=False)
            self.bar.update(position - self.bar.n)

    def encoding(self, done: int, launches: int) -> None:
        """Show how far the device is with the encoder's launches of a window."""
        if self.bar is not None:
            step = f"encoding {done}/{launches}" if done < launches else "decoding"
            self.bar.set_postfix_str(", ".join(filter(None, (self._rate, step))))

    def put(self, text: str) -> None:
        """Print one line of the transcript, above the bar when both share the terminal."""
        if self.bar is None:
            put(text)
        else:
            with self.bar.external_write_mode(file=sys.stdout):
                put(text)

    def warn(self, text: str) -> None:
        """Say one thing on standard error, above the bar."""
        if self.bar is None:
            note(f"warning: {text}")
        else:
            with self.bar.external_write_mode(file=sys.stderr):
                note(f"warning: {text}")


def _bar_format(duration: float | None) -> str:
    if duration:
        return (
            "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s "
            "[{elapsed}<{remaining}{postfix}]"
        )
    return "{desc} {n:.0f} s [{elapsed}{postfix}]"


def clock(seconds: float) -> str:
    """A time as openai/whisper prints it: 00:00.000, with hours only when there are some."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:02d}:" if hours else ""
    return f"{head}{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def line(segment: Segment, verbose: bool) -> str:
    """A segment as one line for standard output."""
    if not verbose:
        return " ".join(segment.text.strip().splitlines())
    return f"[{clock(segment.start)} --> {clock(segment.end)}] {segment.text}"


def summary(name: str, result: Result) -> str:
    """One line: the input, its length, how long it took and where."""
    timings = result.timings
    return (
        f"{name}: {timings.audio_seconds:.1f} s of audio in {timings.total:.1f} s, "
        f"{timings.speed:.1f}x real time on {_place(result.device)}"
    )


def _place(device: str) -> str:
    return "the emulator, which is no measurement of an NPU" if device == "emulator" else device


def show_timings(name: str, result: Result) -> None:
    """Print the timing table of one input on standard error."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    timings = result.timings
    table = Table(title=f"Where the time of {name} went", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("stage", "device"):
        table.add_column(heading)
    for heading in ("seconds", "share", "real-time factor", "tokens", "tokens/s"):
        table.add_column(heading, justify="right")
    devices = {stage.device for stage in timings.stages}
    total = Stage("total", devices.pop() if len(devices) == 1 else "several", timings.total)
    for stage in (*timings.stages, total):
        if stage is total:
            table.add_section()
        table.add_row(*_row(stage, result))
    emulated = [stage for stage in timings.stages if stage.cycles]
    if emulated:
        table.caption = "\n".join(map(_emulated, emulated))
    console = Console(stderr=True)
    with console.capture() as capture:
        console.print(table)
    say(capture.get().rstrip("\n"))


def _emulated(stage: Stage) -> str:
    return (
        f"{stage.name}: {stage.cycles:,} cycles, {stage.seconds_at_1_ghz:.4f} s at 1.0 GHz. "
        "Emulated, not measured; the seconds above are the emulator's own."
    )


def _row(stage: Stage, result: Result) -> list[str]:
    timings = result.timings
    row = [
        STAGE_TITLES.get(stage.name, stage.name),
        stage.device,
        f"{stage.seconds:.3f}",
        f"{stage.seconds / timings.total:.1%}" if timings.total else "",
        f"{stage.seconds / timings.audio_seconds:.4f}" if timings.audio_seconds else "",
    ]
    if stage.name != "decode":
        return row
    rate = f"{timings.tokens / stage.seconds:.1f}" if stage.seconds else ""
    return [*row, str(timings.tokens), rate]
