"""`whisper-npu bench --encoder`: what each operation of the encoder costs on the NPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_npu_cli.cli.streams import note
from whisper_npu_cli.errors import UsageError

HEADINGS = ("operation", "times", "cycles", "share", "MAC use", "MB", "dispatch")


def measure(model: str, device: str) -> dict[str, Any]:
    """Run the encoder's operations on the NPU, or its emulator; return the figures of docs/cli.md.

    `auto` takes the NPU where there is one. Raises UsageError for the CPU, DeviceError, ModelError.
    """
    device = npu_or_emulator(device, "--encoder")
    from whisper_npu_cli.engines import encoder_bench

    return encoder_bench.measure(model, device, note)


def npu_or_emulator(device: str, option: str) -> str:
    """The device that is meant, `auto` resolved. Raises UsageError for the CPU."""
    from whisper_npu_cli.engines.select import has_phoenix

    if device == "cpu":
        raise UsageError(f"{option} is about the NPU; use --device npu or emulator.")
    if device == "auto":
        return "npu" if has_phoenix() else "emulator"
    return device


def as_text(costs: dict[str, Any]) -> str:
    """The costs as lines and a table for people."""
    window, operations = costs["window"], costs["operations"]
    alone = sum(operation["cycles"] for operation in operations)
    emulated = ": emulated cycles, no measurement of an NPU" if costs["emulated"] else ""
    lines = [
        f"model       {costs['model']}, {costs['layers']} layers, random weights",
        f"device      {costs['device']}{emulated}",
        f"window      {window['cycles']:,} cycles, {window['cycles'] / 1e6:.2f} ms at 1.0 GHz, in "
        f"{costs['launches']} launches",
        f"multiplied  {window['macs'] / 1e9:.2f} G for {window['needed_macs'] / 1e9:.2f} G needed, "
        f"{window['mac_utilisation']:.1%} of what 16 cores could",
        f"moved       {window['bytes'] / 1e6:.1f} MB",
        f"dispatch    the controller is busy {window['dispatch_share']:.1%} of the time",
    ]
    if costs["layers_run"] < costs["layers"]:
        lines.append(
            f"layers run  {costs['layers_run']} of {costs['layers']}: first, middle and last "
            "launch; the others are as the middle one"
        )
    rows = table([HEADINGS, *(_row(operation, alone) for operation in operations)])
    end = f"Each operation ran alone here, with what a launch costs; their sum is {alone:,} cycles."
    return "\n".join([*lines, "", *rows, "", end])


def table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines with aligned columns: the first `left` ones to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _row(operation: dict[str, Any], alone: int) -> tuple[str, ...]:
    return (
        operation["name"],
        str(operation["count"]),
        f"{operation['cycles']:,}",
        f"{operation['cycles'] / alone:.1%}",
        f"{operation['mac_utilisation']:.1%}",
        f"{operation['bytes'] / 1e6:.1f}",
        f"{operation['dispatch_share']:.1%}",
    )
