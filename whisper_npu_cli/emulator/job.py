"""One launch of an XCLBIN from files: what `whisper-npu emulate` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisper_npu_cli.aie.formats import cdo, sequence, xclbin
from whisper_npu_cli.emulator.buffers import HostMemory, Region
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.host import JOB_CYCLES, Launch, Outcome
from whisper_npu_cli.emulator.machine import Machine
from whisper_npu_cli.emulator.trace import Trace

FIRST_BUFFER = 3  # kernel arguments before: opcode, instructions, their number


@dataclass(frozen=True)
class Result:
    """Buffers after a launch by kernel argument, how it ended, and the machine as it stands."""

    buffers: dict[int, bytes]
    outcome: Outcome
    machine: Machine


def launch(
    file: Path,
    instructions: Path,
    arguments: Mapping[int, bytes],
    kernel: str | None = None,
    trace: Trace | None = None,
    limit: int = JOB_CYCLES,
) -> Result:
    """Run a kernel of `file` once, with a buffer for each of `arguments` (index: content).

    Raises FormatError for a damaged file, EmulationError for what silicon would not do.
    """
    box = xclbin.read(file)
    chosen = box.kernel(kernel)
    stream = sequence.decode(instructions.read_bytes(), str(instructions))
    host = HostMemory()
    regions: list[Region | None] = [None] * (len(chosen.arguments) - FIRST_BUFFER)
    for index, content in sorted(arguments.items()):
        if not FIRST_BUFFER <= index < len(chosen.arguments):
            raise EmulationError(
                f"{file}: kernel {chosen.name} takes buffers as arguments {FIRST_BUFFER} to "
                f"{len(chosen.arguments) - 1}, not as argument {index}."
            )
        if not content:
            raise EmulationError(f"{file}: the buffer for argument {index} is empty.")
        region = host.allocate(len(content), heap=False)
        host.bytes[region.offset :][: len(content)] = np.frombuffer(content, np.uint8)
        regions[index - FIRST_BUFFER] = region
    ops = cdo.register_ops(box.pdi(chosen).decode().ops, str(file))
    machine = Machine(box.partition.column_width, ops, host, trace)
    outcome = Launch(machine, regions, limit).run(stream)
    buffers = {
        n + FIRST_BUFFER: host.bytes[r.offset :][: r.size].tobytes()
        for n, r in enumerate(regions)
        if r is not None
    }
    return Result(buffers, outcome, machine)
