"""The NPU engine: the encoder on the device, the decoder still on the CPU.

`NpuCore` stands where the CPU's Core does. It is written to `npu.device` alone, so the emulator is
the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt

from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.identity import identity
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.engines.npu_encoder import EncoderPlan
from whisper_npu_cli.errors import DeviceFault
from whisper_npu_cli.kernels import transformer
from whisper_npu_cli.kernels.dispatch import dispatch
from whisper_npu_cli.npu.device import Device
from whisper_npu_cli.npu.job import Job
from whisper_npu_cli.npu.packed import Recipe, packed

OVERLAY = "transformer"
PACKING_VERSION = "1 bfloat16"
"""Changes whenever packed weights of older versions would not do."""

Progress = Callable[[int, int], None]
"""Hears how many launches of a window are done, of how many."""


class Encoder:
    """A checkpoint's encoder, resident on a device.

    `cycles` counts the array cycles of all windows so far, None where the device does not tell.
    Raises ModelError for sizes that the kernels do not have, DeviceFault.
    """

    def __init__(
        self, device: Device, checkpoint: Checkpoint, progress: Progress | None = None
    ) -> None:
        self.plan = plan = EncoderPlan(checkpoint.geometry)
        self.cycles: int | None = None
        self.retried: DeviceFault | None = None
        self._progress = progress
        context = device.context(OVERLAY)
        activations, weights = (context.buffer(size, n) for n, size in enumerate(plan.bytes))
        _load(weights.array(), checkpoint, plan, context.overlay.source_sha256)
        weights.to_device()
        activations.to_device()
        self._buffer = activations
        design = transformer.design()
        placed, columns = place(design), design.columns
        launches = []
        for launch in plan.launches:
            words = sequence.encode(dispatch(placed, launch.transfers()), columns)
            output = activations.part(launch.output.offset, launch.output.size)
            launches.append(
                context.launch(sequence.to_bytes(words), [activations, weights], [output])
            )
        self._job = Job(*([launch] for launch in launches))

    def encode(self, mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Log-mel float32[n_mels, 3000] to hidden states float32[1500, d_model].

        Raises DeviceFault when the device fails twice.
        """
        plan, buffer = self.plan, self._buffer
        memory = buffer.array("uint16")
        start = plan.mel.offset // 2
        memory[start : start + plan.mel.size // 2] = plan.pack_mel(mel)
        buffer.to_device(plan.mel.offset, plan.mel.size)
        ran = self._job.run(self._progress)
        buffer.from_device(plan.result.offset, plan.result.size)
        if all(cycles is not None for cycles in ran.cycles):
            self.cycles = (self.cycles or 0) + sum(c for c in ran.cycles if c)
        self.retried = ran.retried or self.retried
        return plan.unpack_result(memory)


def _load(
    memory: npt.NDArray[np.uint8], checkpoint: Checkpoint, plan: EncoderPlan, overlay: str
) -> None:
    """Fill the buffer of weights, from the cache where they were packed before."""
    recipe = Recipe(identity(checkpoint), PACKING_VERSION, overlay, checkpoint.folder)
    pieces = packed(recipe, lambda: ((str(at), d) for at, d in plan.weights(checkpoint.tensor)))
    for name, data in pieces.items():
        at = int(name)
        memory[at : at + data.size] = data


class NpuCore:
    """A Core that encodes on a device and decodes with another Core.

    With `failed`, a device that fails for good is left alone from then on: `failed` hears why, and
    the other Core encodes too. Without it the DeviceFault goes up.
    """

    def __init__(
        self, encoder: Encoder, cpu: Core, failed: Callable[[DeviceFault], None] | None = None
    ) -> None:
        self._encoder: Encoder | None = encoder
        self._cpu = cpu
        self._failed = failed

    @property
    def device(self) -> str:
        """See Core."""
        return self._cpu.device

    @property
    def device_index(self) -> list[int]:
        """See Core."""
        return self._cpu.device_index

    @property
    def is_multilingual(self) -> bool:
        """See Core."""
        return self._cpu.is_multilingual

    @property
    def n_mels(self) -> int:
        """See Core."""
        return self._cpu.n_mels

    def take_cycles(self) -> int | None:
        """Array cycles since the last call, None where the device does not tell."""
        if self._encoder is None:
            return None
        cycles, self._encoder.cycles = self._encoder.cycles, None
        return cycles

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """See Core."""
        if self._encoder is not None:
            try:
                windows = np.array(features)
                return ctranslate2.StorageView.from_array(
                    np.stack([self._encoder.encode(window) for window in windows])
                )
            except DeviceFault as fault:
                if self._failed is None:
                    raise
                self._encoder = None
                self._failed(fault)
        return self._cpu.encode(features, to_cpu=to_cpu)

    def generate(self, features: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        """See Core."""
        return self._cpu.generate(features, prompts, **options)

    def detect_language(self, features: Any) -> list[list[tuple[str, float]]]:
        """See Core."""
        return self._cpu.detect_language(features)

    def align(
        self,
        features: Any,
        start_sequence: list[int],
        text_tokens: list[list[int]],
        num_frames: int | list[int],
        *,
        median_filter_width: int = 7,
    ) -> list[Any]:
        """See Core."""
        return self._cpu.align(
            features,
            start_sequence,
            text_tokens,
            num_frames,
            median_filter_width=median_filter_width,
        )
