"""One program alone on one emulated core: memory in, run, memory out. For tests of kernels.

    core = OneCore(program)
    core.put(0x70400, values)
    core.run(locks={48: 1, 50: 2})
    result = core.get(0x74000, np.float32, 64)

Addresses are the core's: its own memory begins at 0x70000. There are no neighbours, streams or DMA;
locks are counters, and the run ends when the program is done or waits for a lock in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.core import Core
from whisper_npu_cli.emulator.reasons import Reason

MEMORY, BYTES = 0x70000, 0x10000
MOST_CYCLES = 10_000_000


class OneCore:
    """A core with its own memory and a program; memory keeps its content from run to run."""

    def __init__(self, program: Program | Code) -> None:
        self.code = program if isinstance(program, Code) else compile_program(program)
        self.arena = Arena(BYTES)
        self.core = Core("core (0, 2)", self.arena, (-1, -1, -1, 0))
        text = np.frombuffer(self.code.assembly.code, np.uint8)
        self.core.program[: len(text)] = text
        self.locks: Counter[int] = Counter()

    def put(self, address: int, values: NDArray[Any] | bytes) -> None:
        """Write an array's bytes to memory."""
        data = values if isinstance(values, bytes) else values.tobytes()
        assert address >= MEMORY and address + len(data) <= MEMORY + BYTES
        self.arena.write(address - MEMORY, data)

    def get(self, address: int, dtype: DTypeLike, count: int) -> NDArray[Any]:
        """A copy of `count` elements of memory; all of them must have been written."""
        at, size = address - MEMORY, count * np.dtype(dtype).itemsize
        unwritten = np.flatnonzero(self.arena.known[at : at + size] == 0)
        assert not unwritten.size, f"{address + unwritten[0]:#x} was never written"
        return np.frombuffer(self.arena.bytes[at : at + size].tobytes(), dtype)

    def run(
        self,
        inputs: Mapping[str, int] | None = None,
        locks: Mapping[int, int] | None = None,
        most: int = MOST_CYCLES,
    ) -> int:
        """Run from the start; the cycles that it took.

        `inputs` gives the program's inputs their bits, `locks` the values of locks by the numbers
        that the core uses (48 to 63 its own). Fails after `most` cycles; EmulationError for what
        silicon would punish.
        """
        self.core.reset()
        self.locks = Counter(locks or {})
        for name, value in (inputs or {}).items():
            self.core.write(self.code.inputs[name], value)
        while True:
            reason = self.core.run(most)
            assert reason is not Reason.LIMIT, f"still running after {most} cycles"
            if reason is Reason.DONE or not self._grant(reason):
                return self.core.cycle

    def _grant(self, reason: Reason) -> bool:
        """Answer a lock request; False where the core has to wait."""
        assert reason in (Reason.ACQUIRE, Reason.RELEASE), f"a core alone has no {reason.name}"
        lock, value = self.core.lock, self.core.value
        if reason is Reason.ACQUIRE:
            count = self.locks[lock]
            if count < -value if value < 0 else count != value:
                return False
        self.locks[lock] += value if reason is Reason.RELEASE or value < 0 else -value
        self.core.resume(self.core.cycle)
        return True
