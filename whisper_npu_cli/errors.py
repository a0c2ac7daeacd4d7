"""The refusals that users see: one sentence each, with the exit code that goes with it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `whisper-npu`, documented in docs/cli.md."""

    OK = 0
    INPUT_FAILED = 1
    USAGE = 2
    DEVICE_UNAVAILABLE = 3
    MODEL_UNAVAILABLE = 4
    INTERRUPTED = 130


class WhisperNpuError(Exception):
    """A failure whose message is one sentence that names the file or device and the mend."""

    exit_code = ExitCode.INPUT_FAILED


class AudioError(WhisperNpuError):
    """An input that cannot be read as sound."""


class OutputError(WhisperNpuError):
    """A transcript that cannot be written."""


class UsageError(WhisperNpuError):
    """Options that contradict each other or that we know and do not support."""

    exit_code = ExitCode.USAGE


class DeviceError(WhisperNpuError):
    """The device that was asked for by name cannot be used."""

    exit_code = ExitCode.DEVICE_UNAVAILABLE


class DeviceFault(DeviceError):
    """The device failed while it was in use; `reason` is what itself or XRT told, in few words."""

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason or sentence


class DeviceGone(DeviceFault):
    """There is no device, or it is not there any more."""


class DeviceTimeout(DeviceFault):
    """The device did not end its work in time."""


class DeviceBusy(DeviceFault):
    """All contexts of the device are in use."""


class DeviceOutOfMemory(DeviceFault):
    """No memory that the device could use is left."""


class WrongAnswer(DeviceFault):
    """The device computed something else than what is known to be right, or nothing."""


class CorruptXclbin(DeviceFault):
    """An XCLBIN is not the file that was shipped, or cannot be read."""


class ModelError(WhisperNpuError):
    """A model that is unknown, not downloaded, damaged or inconsistent."""

    exit_code = ExitCode.MODEL_UNAVAILABLE
