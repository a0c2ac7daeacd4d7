"""The NPU engine: the encoder on the device, the decoder still on the CPU.

`NpuCore` stands where the CPU's Core does. It is written to `npu.device` alone, so the emulator is
the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from whisper_npu_cli.cache import digest_of_sources
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.identity import identity
from whisper_npu_cli.engines.interface import Around, Core
from whisper_npu_cli.engines.npu_encoder import EncoderPlan
from whisper_npu_cli.errors import DeviceFault
from whisper_npu_cli.kernels import transformer
from whisper_npu_cli.kernels.streams import Streams
from whisper_npu_cli.npu.device import Device
from whisper_npu_cli.npu.failure import wrong
from whisper_npu_cli.npu.job import Job
from whisper_npu_cli.npu.packed import Recipe, packed

OVERLAY = "transformer"
NOT_A_NUMBER = 0xFFFF
"""A bfloat16 that no encoder computes: fills the result until the device has written it."""

Progress = Callable[[int, int], None]
"""Hears how many launches of a window are done, of how many."""
Failed = Callable[[DeviceFault, bool], None]
"""Hears of a device's failure, and whether it was for good."""


class Encoder:
    """A checkpoint's encoder, resident on a device.

    `cycles` counts the array cycles of all windows so far, None where the device does not tell.
    `retried` is the failure after which the last window was encoded once more, None without.
    Raises ModelError for sizes that the kernels do not have, DeviceError.
    """

    def __init__(
        self, device: Device, checkpoint: Checkpoint, progress: Progress | None = None
    ) -> None:
        self.plan = plan = EncoderPlan(checkpoint.geometry)
        self.cycles: int | None = None
        self.retried: DeviceFault | None = None
        self._backend = device.backend
        self._progress = progress
        context = device.context(OVERLAY)
        activations, weights = (context.buffer(size, n) for n, size in enumerate(plan.bytes))
        _load(weights.array(), checkpoint, plan, context.overlay.source_sha256)
        weights.to_device()
        activations.to_device()
        self._buffer = activations
        streams = Streams(transformer.design())
        launches = []
        for launch in plan.launches:
            output = activations.part(launch.output.offset, launch.output.size)
            words = streams.stream(launch.transfers())
            launches.append(context.launch(words, [activations, weights], [output]))
        self._job = Job(*([launch] for launch in launches))

    def encode(self, mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Log-mel float32[n_mels, 3000] to hidden states float32[1500, d_model].

        Raises DeviceFault when the device fails, or gives what cannot be right, twice.
        """
        plan = self.plan
        hidden: list[npt.NDArray[np.float32]] = []

        def after(done: int, launches: int) -> None:
            if self._progress:
                self._progress(done, launches)
            if done == launches:  # within the job, which is repeated if that raises
                hidden.append(self._result())

        self._write(plan.mel.offset, plan.pack_mel(mel))
        self._forget_result()
        ran = self._job.run(after)
        self.retried = ran.retried
        if all(cycles is not None for cycles in ran.cycles):
            self.cycles = (self.cycles or 0) + sum(cycles or 0 for cycles in ran.cycles)
        return hidden[0]

    def _write(self, offset: int, values: npt.NDArray[np.uint16]) -> None:
        self._buffer.array("uint16", values.shape, offset)[:] = values
        self._buffer.to_device(offset, values.nbytes)

    def _forget_result(self) -> None:
        """The last window's result must not pass for this one's."""
        result = self.plan.result
        self._write(result.offset, np.full(result.size // 2, NOT_A_NUMBER, np.uint16))

    def _result(self) -> npt.NDArray[np.float32]:
        result = self.plan.result
        self._buffer.from_device(result.offset, result.size)
        hidden = self.plan.unpack_result(self._buffer.array("uint16"))
        fault = _fault(hidden)
        if fault:
            self._forget_result()
            raise wrong(self._backend, "encoding a window", fault)
        return hidden


def _fault(hidden: npt.NDArray[np.float32]) -> str:
    """What no encoder gives; empty when there is nothing of it.

    Junk from any launch spreads to a result that is not finite, zeros from any launch to one that
    knows no positions.
    """
    if not np.isfinite(hidden).all():
        return "its result is not of numbers"
    if (hidden == hidden[0]).all():
        return "its result is the same at every position"
    return ""


def _load(
    memory: npt.NDArray[np.uint8], checkpoint: Checkpoint, plan: EncoderPlan, overlay: str
) -> None:
    """Fill the buffer of weights, from the cache where they were packed before."""
    recipe = Recipe(identity(checkpoint), _packing_version(), overlay, checkpoint.folder)
    pieces = packed(recipe, lambda: ((str(at), d) for at, d in plan.weights(checkpoint.tensor)))
    for name, data in pieces.items():
        at = int(name)
        memory[at : at + data.size] = data


def _packing_version() -> str:
    """A hash of all code that packs weights."""
    package = Path(__file__).parents[1]
    return digest_of_sources(package / "engines/npu_encoder.py", *package.glob("kernels/*.py"))


class NpuCore(Around):
    """A Core that encodes on a device and decodes with another Core.

    `failed` hears when a window had to be repeated. With `fall_back` it also hears when the device
    fails for good: the other Core encodes from then on. Without it the DeviceFault goes up.
    """

    def __init__(self, encoder: Encoder, cpu: Core, failed: Failed, fall_back: bool) -> None:
        super().__init__(cpu)
        self._encoder: Encoder | None = encoder
        self._failed = failed
        self._fall_back = fall_back

    def take_cycles(self) -> int | None:
        """Array cycles since the last call, None where the device does not tell."""
        if self._encoder is None:
            return None
        cycles, self._encoder.cycles = self._encoder.cycles, None
        return cycles

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """See Core."""
        if self._encoder is None:
            return super().encode(features, to_cpu=to_cpu)
        try:
            hidden = [self._encode(self._encoder, window) for window in np.array(features)]
            return ctranslate2.StorageView.from_array(np.stack(hidden))
        except DeviceFault as fault:
            if not self._fall_back:
                raise
            self._encoder = None  # frees its buffers
            self._failed(fault, True)
        return super().encode(features, to_cpu=to_cpu)

    def _encode(self, encoder: Encoder, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        hidden = encoder.encode(window)
        if encoder.retried is not None:
            self._failed(encoder.retried, False)
        return hidden
