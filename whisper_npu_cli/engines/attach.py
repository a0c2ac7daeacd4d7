"""A loaded model's encoder on a device: as asked for, or where `auto` finds it faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import ctranslate2
import numpy as np

from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.geometry import SOURCE_POSITIONS
from whisper_npu_cli.engines.identity import identity
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.engines.npu import Encoder, Failed, NpuCore, Progress
from whisper_npu_cli.engines.select import Choice, no_npu
from whisper_npu_cli.errors import DeviceError, ModelError
from whisper_npu_cli.npu.choice import Subject, decide
from whisper_npu_cli.npu.device import Device


def attach(
    core: Core,
    folder: Path,
    device: Device,
    choice: Choice,
    subject: str,
    failed: Failed,
    progress: Progress | None = None,
) -> tuple[Core, Choice]:
    """The Core to use for the checkpoint in `folder`, and the choice as it turned out.

    A device that was asked for by name is used. Where `auto` found an NPU, the first use of a model
    on a machine times a window on each engine and remembers the answer; `subject` is what is timed,
    for people: the model and the options that change its speed on the CPU. Whatever keeps the NPU
    from being used is a reason for the CPU then. Raises DeviceError and ModelError otherwise.
    """
    if not choice.measure:
        return NpuCore(Encoder(device, _checkpoint(folder), progress), core, failed, False), choice
    try:
        return _fastest(core, _checkpoint(folder), device, subject, failed, progress)
    except (DeviceError, ModelError) as error:
        return core, no_npu(str(error))


def _checkpoint(folder: Path) -> Checkpoint:
    if (folder / "model.bin").exists():
        raise ModelError(
            f"{folder} is in CTranslate2's format, of which the NPU engine makes nothing: use the "
            "model's Hugging Face checkpoint, or --device cpu."
        )
    return Checkpoint(folder)


def _fastest(
    core: Core,
    checkpoint: Checkpoint,
    device: Device,
    subject: str,
    failed: Failed,
    progress: Progress | None,
) -> tuple[Core, Choice]:
    encoders: list[Encoder] = []

    def loaded() -> Encoder:
        if not encoders:
            encoders.append(Encoder(device, checkpoint, progress))
        return encoders[0]

    def seconds(name: str) -> float:
        """Wall seconds of a window of noise on a device."""
        shape = (core.n_mels, 2 * SOURCE_POSITIONS)
        mel = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        if name == "cpu":
            features = ctranslate2.StorageView.from_array(mel[None])
            return _second_time(lambda: core.encode(features, to_cpu=True))
        encoder = loaded()
        return _second_time(lambda: encoder.encode(mel))

    what = Subject(subject, identity(checkpoint), device.backend.identity)
    decision = decide(what, seconds)
    if decision.device == "cpu":
        return core, no_npu(decision.reason.removeprefix("cpu: "))
    encoder = loaded()
    encoder.cycles = None  # those of the trial belong to no input
    return NpuCore(encoder, core, failed, True), Choice("npu", decision.reason)


def _second_time(work: Callable[[], object]) -> float:
    """Wall seconds of a piece of work, the second time it is done."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
