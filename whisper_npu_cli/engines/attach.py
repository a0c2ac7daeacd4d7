"""A loaded model's encoder on a device: as asked for, or where `auto` finds it faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np

from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.identity import identity
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.engines.npu import Encoder, NpuCore, Progress
from whisper_npu_cli.engines.select import Choice
from whisper_npu_cli.errors import DeviceError, DeviceFault
from whisper_npu_cli.npu.choice import decide
from whisper_npu_cli.npu.device import Device, open_device

FRAMES = 3000
"""Mel frames of a window."""


def attach(
    core: Core,
    folder: Path,
    choice: Choice,
    model: str,
    failed: Callable[[DeviceFault], None],
    progress: Progress | None = None,
) -> tuple[Core, Choice]:
    """The Core to use and the choice as it turned out.

    A device that was asked for by name is used, or DeviceError raised. Where `auto` found an NPU,
    the first use of a model on a machine times a window on each engine and remembers the answer;
    `failed` then hears when the device fails later on.
    """
    if not choice.measure:
        encoder = Encoder(open_device(choice.device), Checkpoint(folder), progress)
        return NpuCore(encoder, core), choice
    attempt = _Attempt(core, folder, progress)
    try:
        device = open_device(choice.device)
        driver = device.backend.identity
        decision = decide(attempt.identity(model), driver, lambda d: attempt.seconds(d, device))
    except DeviceError as error:
        return core, Choice("cpu", f"cpu: {error}", str(error))
    if decision.device == "cpu":
        return core, Choice("cpu", decision.reason, decision.reason)
    encoder = attempt.encoder or Encoder(device, Checkpoint(folder), progress)
    return NpuCore(encoder, core, failed), Choice("npu", decision.reason)


class _Attempt:
    """Times one window on each engine; keeps the encoder that it loaded for that."""

    def __init__(self, core: Core, folder: Path, progress: Progress | None) -> None:
        self._core, self._folder, self._progress = core, folder, progress
        self.encoder: Encoder | None = None

    def identity(self, model: str) -> str:
        """The model's name for people, and what its content is."""
        return f"{model} {identity(Checkpoint(self._folder))[:16]}"

    def seconds(self, name: str, device: Device) -> float:
        """Wall seconds of a window of noise, the second one after loading."""
        shape = (self._core.n_mels, FRAMES)
        mel = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        if name == "cpu":
            features = ctranslate2.StorageView.from_array(mel[None])
            return _second_time(lambda: self._core.encode(features, to_cpu=True))
        self.encoder = encoder = Encoder(device, Checkpoint(self._folder), self._progress)
        return _second_time(lambda: encoder.encode(mel))


def _second_time(work: Callable[[], object]) -> float:
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
