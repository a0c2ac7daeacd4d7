"""A design on the emulated array without its XCLBIN: buffers, launches, results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.design import Program
from whisper_npu_cli.aie.array.lower import Configuration, lower
from whisper_npu_cli.aie.array.place import Placement, place
from whisper_npu_cli.aie.array.route import route
from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.host import Launch, Outcome
from whisper_npu_cli.emulator.machine import Machine
from whisper_npu_cli.kernels import transformer


@cache
def configured(overlay: ModuleType = transformer) -> tuple[Placement, Configuration]:
    """An overlay whose cores all run the same program."""
    placed = place(overlay.design())
    program = Program(compile_program(overlay.tile_program()).assembly.code)
    return placed, lower(placed, route(placed.design), dict.fromkeys(placed.design.stacks, program))


class ArrayBench:
    """The overlay with buffers of so many bytes; cores keep their state between launches."""

    def __init__(self, *sizes: int, overlay: ModuleType = transformer) -> None:
        self.placed, config = configured(overlay)
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
