"""`whisper-npu bench --encoder`: what each operation of the encoder costs on the NPU."""

from __future__ import annotations

from typing import Any

from whisper_npu_cli.cli.streams import note
from whisper_npu_cli.errors import UsageError

HEADINGS = ("operation", "times", "cycles", "share", "MAC use", "MB", "dispatch")


def measure(model: str, device: str) -> dict[str, Any]:
    """Run the encoder's operations on the NPU, or its emulator; return the figures of docs/cli.md.

    `auto` takes the NPU where there is one. Raises UsageError for the CPU, DeviceError, ModelError.
    """
    from whisper_npu_cli.engines.select import has_phoenix

    if device == "cpu":
        raise UsageError("--encoder is about the NPU; use --device npu or emulator.")
    if device == "auto":
        device = "npu" if has_phoenix() else "emulator"
    from whisper_npu_cli.engines import encoder_bench

    return encoder_bench.measure(model, device, note)


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
            f"layers run  {costs['layers_run']} of {costs['layers']}: first, middle, last; the "
            "others are as the middle one"
        )
    rows = [HEADINGS, *(_row(operation, alone) for operation in operations)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
        for name, *cells in rows
    ]
    end = f"Each operation ran alone here, with what a launch costs; their sum is {alone:,} cycles."
    return "\n".join([*lines, "", *table, "", end])


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
