"""The one array of the device, shared by contexts: who is on it, and what a change costs."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.aie.facts.topology import COLUMNS
from whisper_npu_cli.aie.formats.registers import RegisterOp
from whisper_npu_cli.aie.formats.sequence import Stream
from whisper_npu_cli.emulator import timing
from whisper_npu_cli.emulator.buffers import HostMemory, Region
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.host import Launch, Outcome
from whisper_npu_cli.emulator.machine import Machine


class Slot:
    """A context as the firmware has it: its columns, a configuration by kernel, its machine."""

    def __init__(
        self, columns: int, images: dict[str, tuple[RegisterOp, ...]], host: HostMemory
    ) -> None:
        self.columns = columns
        self._images = images
        self._host = host
        self._loaded = ""
        self.machine: Machine | None = None

    def load(self, kernel: str) -> Machine:
        """The machine, configured for a kernel; state is kept while the configuration stays."""
        image = self._images[kernel]
        if self.machine is None or self._images.get(self._loaded) != image:
            self.machine = Machine(self.columns, image, self._host)
            self._loaded = kernel
        return self.machine

    def unload(self) -> None:
        """Lose all state, as when the columns are given to somebody else."""
        self.machine = None


class PhysicalArray:
    """Four columns; contexts that do not fit beside each other displace each other."""

    def __init__(self) -> None:
        self._resident: list[Slot] = []  # the one used last comes last

    def forget(self, slot: Slot) -> None:
        """A context was closed."""
        if slot in self._resident:
            self._resident.remove(slot)

    def launch(
        self, slot: Slot, kernel: str, stream: Stream, buffers: Sequence[Region | None]
    ) -> Outcome:
        """Execute a launch on a context's partition. After a hang its state is gone."""
        extra = 0
        if slot not in self._resident:
            while self._resident and self._used() + slot.columns > COLUMNS:
                self._resident.pop(0).unload()
                extra = timing.CONTEXT_SWITCH
        self.forget(slot)
        self._resident.append(slot)
        try:
            outcome = Launch(slot.load(kernel), buffers).run(stream)
        except EmulationError:
            slot.unload()
            raise
        if outcome.hang:
            slot.unload()
        return Outcome(outcome.cycles + extra, outcome.hang)

    def _used(self) -> int:
        return sum(slot.columns for slot in self._resident)
