"""What single kernels cost on a device, and how close they come to float64.

Each is launched once, then twice in one launch, with results in two buffers so that nothing depends
on the first. The difference is what one more costs: launching is in both and cancels, and so does
dispatch, as far as it can be hidden behind the work of the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from whisper_npu_cli.engines.encoder_bench import CLOCK, cycles_of
from whisper_npu_cli.engines.kernel_cases import (
    CASES,
    INPUTS,
    RESULT,
    SECOND_RESULT,
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
    buffers = [context.buffer(given.size, n) for n, given in enumerate((work.inputs, work.weights))]
    buffers += [context.buffer(work.size, n) for n in (RESULT, SECOND_RESULT)]
    buffers[INPUTS].write(work.inputs.data)
    buffers[WEIGHTS].write(work.weights.data)

    def cycles(*results: int) -> int:
        stream = streams.stream([work.transfers(n) for n in results])
        outputs = [buffers[n].part(0, work.written) for n in results]
        return cycles_of(context.launch(stream, buffers, outputs))

    once, twice = cycles(RESULT), cycles(RESULT, SECOND_RESULT)
    found = [np.frombuffer(buffers[n].read(), np.uint8) for n in (RESULT, SECOND_RESULT)]
    return Cost(
        case,
        twice - once,
        once,
        work.least,
        traffic([work.transfers(RESULT)]),
        min(correlation(work.unpack(f[: work.written]), work.expected) for f in found),
    )


def correlation(found: Matrix, expected: Exact) -> float:
    """Of all numbers of a result with the right ones: 1 where they are the same."""
    return float(np.corrcoef(found.ravel().astype(np.float64), expected.ravel())[0, 1])


@cache
def _streams(overlay: str) -> Streams:
    return Streams(next(each.design for each in OVERLAYS if each.name == overlay)())
