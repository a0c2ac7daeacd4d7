"""`whisper-npu bench --kernels`: what each kernel costs on the NPU at fixed shapes."""

from __future__ import annotations

from typing import Any

from whisper_npu_cli.cli.encoder_costs import npu_or_emulator, table
from whisper_npu_cli.cli.streams import note


def measure(device: str) -> dict[str, Any]:
    """Run the kernels on the NPU, or its emulator; return the figures of docs/json.md.

    `auto` takes the NPU where there is one. Raises UsageError for the CPU, DeviceError.
    """
    device = npu_or_emulator(device, "--kernels")
    from whisper_npu_cli.engines import kernel_bench

    return kernel_bench.measure(device, note)


def as_text(costs: dict[str, Any]) -> str:
    """The figures as a table for people."""
    emulated = costs["emulated"]
    what = "emulated cycles, no measurement of an NPU" if emulated else "measured microseconds"
    unit = "cycles" if emulated else "µs"
    heading = ("kernel", "type", "shape", unit, f"{unit}, launch", "% of peak", "GB", "correlation")
    rows = [_row(kernel, emulated) for kernel in costs["kernels"]]
    return "\n".join(
        [
            f"device  {costs['device']}: {what}",
            "",
            *table([heading, *rows], left=3),
            "",
            "MAC: 16 cores x 128 bf16 (256 int8) multiply-accumulates a cycle. DMA: 8 channels x 4",
            "bytes a cycle each way, for the matrix once in and once out.",
        ]
    )


def _row(kernel: dict[str, Any], emulated: bool) -> tuple[str, ...]:
    times = ("cycles", "launch_cycles") if emulated else ("microseconds", "launch_microseconds")
    return (
        kernel["kernel"],
        kernel["dtype"],
        " x ".join(map(str, kernel["shape"])),
        *(f"{kernel[time]:,.{0 if emulated else 1}f}" for time in times),
        f"{kernel['percent_of_peak']:.1f} of {kernel['peak'].upper()}",
        f"{kernel['bytes'] / 1e9:.4f}",
        f"{kernel['correlation']:.6f}",
    )
