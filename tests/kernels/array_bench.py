"""A design on the emulated array without its XCLBIN: buffers, launches, results."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.host import Launch, Outcome
from whisper_npu_cli.emulator.machine import Machine
from whisper_npu_cli.kernels.build import Configured, configure
from whisper_npu_cli.kernels.layout import from_bfloat16, to_bfloat16
from whisper_npu_cli.kernels.overlays import OVERLAYS


def rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """What is left of numbers in bfloat16."""
    return from_bfloat16(to_bfloat16(values)).astype(np.float64)


@cache
def configured(name: str) -> Configured:
    """An overlay, configured once for all tests."""
    made = configure(next(overlay for overlay in OVERLAYS if overlay.name == name))
    gc.freeze()  # millions of objects that stay: no collection needs to look at them again
    return made


class ArrayBench:
    """An overlay with buffers of so many bytes; cores keep their state between launches."""

    def __init__(self, *sizes: int, overlay: str = "transformer") -> None:
        self.placed, config = configured(overlay).placement, configured(overlay).config
        self.host = HostMemory()
        self.regions = [self.host.allocate(size, heap=False) for size in sizes]
        setup = [op for phase in config.phases for op in phase]
        self.machine = Machine(config.columns, setup, self.host)

    def write(self, number: int, offset: int, data: NDArray) -> None:
        raw = np.ascontiguousarray(data).view(np.uint8).ravel()
        start = self.regions[number].offset + offset
        self.host.bytes[start : start + raw.size] = raw

    def read(self, number: int, offset: int, size: int) -> NDArray[np.uint16]:
        start = self.regions[number].offset + offset
        return self.host.bytes[start : start + size].view(np.uint16).copy()

    def run(self, ops: Sequence[sequence.SequenceOp]) -> Outcome:
        words = sequence.to_bytes(sequence.encode(ops, self.machine.layout.columns))
        outcome = Launch(self.machine, self.regions).run(sequence.decode(words, "launch"))
        assert not outcome.hang, outcome.hang
        return outcome
