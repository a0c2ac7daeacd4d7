"""`whisper-npu doctor`: what keeps the NPU from working on this machine, and what mends it."""

from __future__ import annotations

import json as json_format
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli import flags
from whisper_npu_cli.cli.streams import put, speaks_unicode
from whisper_npu_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.npu.check import Report

STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}
READY = "The NPU is ready."
NOT_READY = "The NPU is not ready; transcription runs on the CPU (--device cpu)."
EMULATOR_RIGHT = "The emulator computes right, which proves nothing about an NPU."
EMULATOR_WRONG = "The emulator does not compute right here."


def doctor(
    json: Annotated[int, flags.switch("--json", help="Print one JSON object.")] = False,
    selftest: Annotated[
        int,
        flags.switch("--selftest", help="Run the golden vectors of all XCLBINs on the device."),
    ] = False,
    device: flags.Device = "auto",
) -> None:
    """Find out what keeps the NPU from working here, with one mend for each fault.

    Leaves with 0 when the NPU is ready, with 1 when only the CPU path is. With --selftest --device
    emulator the emulator is judged in its place.
    """
    from whisper_npu_cli.npu.catalog import find_folder
    from whisper_npu_cli.npu.host import Host
    from whisper_npu_cli.npu.probe import examine

    if selftest and device == "cpu":
        raise UsageError("golden vectors run on the NPU or the emulator: use --device npu.")
    where = "emulator" if device == "emulator" else "npu"
    report = examine(Host(), find_folder(), where if selftest else "")
    verdict, well = READY if report.ready else NOT_READY, report.ready
    if selftest and where == "emulator":
        well = report.emulator_right
        verdict = EMULATOR_RIGHT if well else EMULATOR_WRONG
    put(json_format.dumps(report.as_json()) if json else as_table(report, verdict))
    if not well:
        raise typer.Exit(ExitCode.INPUT_FAILED)


def as_table(report: Report, verdict: str) -> str:
    """The checks as a table for people, and the verdict below it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from whisper_npu_cli.npu.check import UNCHECKED

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("what was found, and the mend", overflow="fold")
    for check in report.checks:
        state = check.state.value
        joint = ". " if check.evidence == UNCHECKED else "\n"
        mend = f"{joint}[bold]{escape(check.mend)}[/]" if check.mend else ""
        table.add_row(check.name, f"[{STYLES[state]}]{state}[/]", f"{escape(check.evidence)}{mend}")
    console = Console(file=sys.stdout, highlight=False, safe_box=not speaks_unicode(sys.stdout))
    with console.capture() as capture:
        console.print(table)
        console.print(verdict)
    return capture.get().rstrip("\n")
