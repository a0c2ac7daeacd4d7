"""From what XRT throws to typed errors whose sentences name device, reason and mend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from whisper_npu_cli.errors import (
    DeviceBusy,
    DeviceFault,
    DeviceGone,
    DeviceOutOfMemory,
    DeviceTimeout,
    WrongAnswer,
)
from whisper_npu_cli.npu import faults
from whisper_npu_cli.npu.backend import Backend
from whisper_npu_cli.npu.faults import Fault

Kinds = Mapping[Fault, type[DeviceFault]]

OPENING: Kinds = {
    faults.NO_XRT_DEVICE: DeviceGone,
    faults.NO_IOMMU: DeviceGone,
    faults.NO_CONTEXT: DeviceBusy,
    faults.BUSY: DeviceBusy,
    faults.HUNG: DeviceTimeout,
    faults.MEMLOCK: DeviceOutOfMemory,
    faults.NO_MEMORY: DeviceOutOfMemory,
}
"""Meaning of an error while a device or a context is opened; others are plain DeviceFaults."""

RUNNING: Kinds = {
    faults.NO_XRT_DEVICE: DeviceGone,
    faults.NO_IOMMU: DeviceGone,
    faults.HUNG: DeviceTimeout,
    faults.MEMLOCK: DeviceOutOfMemory,
    faults.NO_MEMORY: DeviceOutOfMemory,
}
"""Meaning of an error later on, when the same error numbers tell of other things."""

GONE = Fault("it is gone", "Run: whisper-npu doctor")
BROKEN = Fault("it does not work", "Run: whisper-npu doctor")


def typed(error: Exception | str, backend: Backend, doing: str, kinds: Kinds) -> DeviceFault:
    """The DeviceFault for an error text of XRT; `doing` completes "The NPU failed while ..."."""
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    fault = faults.explain(reason)
    kind = kinds.get(fault, DeviceFault)
    if isinstance(error, MemoryError):
        kind, fault = DeviceOutOfMemory, faults.NO_MEMORY
    elif kinds is RUNNING and kind is DeviceGone:
        fault = GONE
    elif kinds is RUNNING and kind is DeviceFault:
        fault = BROKEN
    meaning = f"{fault.meaning} ({reason})" if fault.meaning else reason
    return kind(_sentence(backend, doing, meaning, fault.mend), reason)


def wrong(backend: Backend, doing: str, reason: str) -> WrongAnswer:
    """What to raise for work that is said to be done, and is not done right."""
    return WrongAnswer(_sentence(backend, doing, reason, BROKEN.mend), reason)


def _sentence(backend: Backend, doing: str, what: str, mend: str) -> str:
    mend = backend.mend or mend[0].lower() + mend[1:].rstrip(".")
    return f"The {backend.title} failed while {doing}, {what}; {mend}."


@contextmanager
def typed_failures(backend: Backend, doing: str, kinds: Kinds = RUNNING) -> Iterator[None]:
    """Turn what XRT throws inside the block into a DeviceFault; see `typed`.

    NotImplementedError, the emulator's word for what it does not model, is a fault of ours and
    passes, as does everything that is not about a device.
    """
    try:
        yield
    except NotImplementedError:
        raise
    except (RuntimeError, MemoryError, OSError) as error:
        raise typed(error, backend, doing, kinds) from error
