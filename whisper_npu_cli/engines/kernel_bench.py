"""What single kernels cost on a device, and how close they come to float64.

Each is launched once, then twice in one launch, with results in two places so that nothing depends
on the first. The difference is what one more costs: launching is in both and cancels, and so does
dispatch, as far as it can be hidden behind the work of the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from whisper_npu_cli.engines.encoder_bench import CLOCK, PAGE, cycles_of
from whisper_npu_cli.engines.kernel_cases import (
    CASES,
    INPUTS,
    RESULTS,
    WEIGHTS,
    Case,
    Exact,
    Matrix,
)
from whisper_npu_cli.kernels.overlays import OVERLAYS
from whisper_npu_cli.kernels.streams import Streams, traffic
from whisper_npu_cli.npu.device import Device, open_device


@dataclass(frozen=True)
class Cost:
    """A kernel's figures. cycles: without launching, launch_cycles: with it; emulated, or measured.

    least: cycles at the peak rate. bytes: between host memory and the array.
    """

    case: Case
    cycles: int
    launch_cycles: int
    least: float
    bytes: int
    correlation: float

    def figures(self, emulated: bool) -> dict[str, Any]:
        """For JSON, see docs/json.md."""
        return {
            "kernel": self.case.kernel,
            "dtype": self.case.dtype,
            "shape": list(self.case.shape),
            "cycles": self.cycles,
            "launch_cycles": self.launch_cycles,
            "microseconds": None if emulated else self.cycles / CLOCK * 1e6,
            "launch_microseconds": None if emulated else self.launch_cycles / CLOCK * 1e6,
            "percent_of_peak": round(100 * self.least / self.cycles, 2),
            "peak": self.case.peak,
            "bytes": self.bytes,
            "correlation": self.correlation,
        }


def measure(
    name: str, tell: Callable[[str], None], cases: Sequence[Case] = CASES
) -> dict[str, Any]:
    """The figures of docs/json.md for the device `name`; `tell` hears how far.

    Raises DeviceError.
    """
    device, emulated = open_device(name), name == "emulator"
    found = []
    for number, case in enumerate(cases, 1):
        tell(f"{number} of {len(cases)}: {case.title}")
        found.append(run(device, case).figures(emulated))
    return {"device": name, "emulated": emulated, "kernels": found}


def run(device: Device, case: Case) -> Cost:
    """A case on an open device. Raises DeviceError."""
    context, streams, work = device.context(case.overlay), _streams(case.overlay), case.work()
    places = [0, -(-(work.size + work.room) // PAGE) * PAGE]
    sizes = work.inputs.size, work.weights.size, 2 * places[1]
    buffers = [context.buffer(size, argument) for argument, size in enumerate(sizes)]
    buffers[INPUTS].write(work.inputs.data)
    buffers[WEIGHTS].write(work.weights.data)
    parts = [buffers[RESULTS].part(place, work.size) for place in places]

    def cycles(count: int) -> int:
        stream = streams.stream([work.transfers(place) for place in places[:count]])
        return cycles_of(context.launch(stream, buffers, parts[:count]))

    cycles(1)  # where another overlay ran before, the array is configured first
    once, twice = cycles(1), cycles(2)
    found = [work.unpack(np.frombuffer(part.read(), np.uint8)) for part in parts]
    return Cost(
        case,
        max(1, twice - once),  # measured times are noisy
        once,
        work.least,
        traffic([work.transfers(0)]),
        min(correlation(each, work.expected) for each in found),
    )


def correlation(found: Matrix, expected: Exact) -> float:
    """Of all numbers of a result with the right ones: 1 where they are the same."""
    return float(np.corrcoef(found.ravel().astype(np.float64), expected.ravel())[0, 1])


@cache
def _streams(overlay: str) -> Streams:
    return Streams(next(each.design for each in OVERLAYS if each.name == overlay)())
