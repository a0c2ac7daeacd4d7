"""`whisper-npu emulate`: one launch of an XCLBIN on the emulated NPU, from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli import flags
from whisper_npu_cli.cli.streams import note, say
from whisper_npu_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.emulator.job import Result

Container = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, show_default=False,
                         help="An XCLBIN for npu1 (Phoenix).")
]  # fmt: skip
Instructions = Annotated[
    Path, typer.Option("--insts", exists=True, dir_okay=False, show_default=False,
                       help="Instruction stream of the launch.")
]  # fmt: skip
Buffers = Annotated[
    list[str] | None,
    typer.Option(
        "--arg", metavar="N=FILE or N=:BYTES=FILE", show_default=False,
        help="Kernel argument N: a buffer filled from FILE, or one of BYTES zeros that is written "
        "to FILE afterwards. May be given several times.",
    ),
]  # fmt: skip
KernelName = Annotated[
    str | None, typer.Option("--kernel", help="Which kernel, if there are several.")
]
TraceFile = Annotated[
    Path | None, typer.Option("--trace", help="Write events for ui.perfetto.dev to this file.")
]
Limit = Annotated[
    int | None, typer.Option("--max-cycles", min=1, help="Stop after so many array cycles.")
]
Stats = Annotated[int, flags.switch("--stats", help="Show cycles, stalls and channel use.")]


def emulate(
    file: Container,
    insts: Instructions,
    arg: Buffers = None,
    kernel: KernelName = None,
    trace: TraceFile = None,
    max_cycles: Limit = None,
    stats: Stats = False,
) -> None:
    """Launch a kernel once on the emulated NPU."""
    from whisper_npu_cli.emulator.fault import EmulationError
    from whisper_npu_cli.emulator.host import JOB_CYCLES
    from whisper_npu_cli.emulator.job import launch
    from whisper_npu_cli.emulator.trace import Trace

    contents, outputs = _arguments(arg or [])
    events = Trace() if trace else None
    result = launch(file, insts, contents, kernel, events, max_cycles or JOB_CYCLES)
    if events is not None and trace is not None:
        _write(trace, events.text().encode())
    if stats:
        say("\n".join(_table(result)))
    if result.outcome.hang:
        say(result.outcome.hang)
        raise EmulationError(f"{file}: the launch hangs; see above who waits for what.")
    for index, path in outputs.items():
        _write(path, result.buffers[index])
    note(f"{file}: {result.outcome.cycles} array cycles (emulated)")


def _arguments(texts: list[str]) -> tuple[dict[int, bytes], dict[int, Path]]:
    """Contents and output files by argument. Raises UsageError."""
    contents: dict[int, bytes] = {}
    outputs: dict[int, Path] = {}
    for text in texts:
        number, _, rest = text.partition("=")
        size, _, name = rest.removeprefix(":").partition("=")
        if not number.isdecimal() or not rest or int(number) in contents:
            raise UsageError(f"--arg {text}: write N=FILE or N=:BYTES=FILE, each N once.")
        if not rest.startswith(":"):
            try:
                contents[int(number)] = Path(rest).read_bytes()
            except OSError as error:
                raise UsageError(f"--arg {text}: cannot be read ({error.strerror}).") from error
        elif size.isdecimal() and int(size) and name:
            contents[int(number)] = bytes(int(size))
            outputs[int(number)] = Path(name)
        else:
            raise UsageError(f"--arg {text}: an output is N=:BYTES=FILE, BYTES from 1.")
    return contents, outputs


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error


def _table(result: Result) -> list[str]:
    """Lines for people; percentages are of the launch's cycles."""
    from whisper_npu_cli.emulator.stats import use_of

    use, cycles = use_of(result.machine), max(result.outcome.cycles, 1)
    lines = [f"{cycles} array cycles, emulated"]
    lines += [
        f"{core.name}: {core.bundles} bundles ({core.bundles / cycles:.1%}), {core.macs} MACs "
        f"({core.macs / cycles:.1f} a cycle); "
        "stalled " + ", ".join(f"{count} by {cause}" for cause, count in core.stalls.items())
        for core in use.cores
    ]
    lines += [
        f"{channel.name}: {channel.words} words ({channel.words / cycles:.1%}), {channel.tasks} "
        f"tasks; stalled {channel.lock} by locks, {channel.stream} by its stream, "
        f"{channel.arbiter} by arbiters"
        for channel in use.channels
    ]
    return lines
