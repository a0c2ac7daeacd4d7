"""Which device runs a transcription, and why; it is opened before any model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whisper_npu_cli.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from whisper_npu_cli.npu.device import Device

DEVICES = ("auto", "npu", "cpu", "emulator")
NPU_COMPUTE_TYPE = "bfloat16"
"""What the encoder computes in on the NPU and its emulator, sums in float32 (docs/overlay.md)."""
PCI_DEVICES = Path("/sys/bus/pci/devices")
PHOENIX = ("0x1022", "0x1502")
"""PCI vendor and device of the Phoenix and Hawk Point NPU (Linux: drivers/accel/amdxdna)."""


@dataclass(frozen=True)
class Choice:
    """The chosen device for the encoder.

    fallback_reason: why it is not the NPU, when `auto` chose.
    measure: `auto` found an NPU; whether it is faster than the CPU has to be measured.
    trouble: a sentence about a failure of the device that did not stop the work, empty without.
    """

    device: str
    reason: str
    fallback_reason: str | None = None
    measure: bool = False
    trouble: str = ""


def no_npu(why: str) -> Choice:
    """The CPU, because `why` keeps `auto` from the NPU."""
    return Choice("cpu", f"cpu: {why}", why)


def choose(device: str, pci_devices: Path = PCI_DEVICES) -> Choice:
    """Turn what the user asked for into a device; only `auto` ever falls back to another one.

    Raises UsageError when there is no such device.
    """
    if device not in DEVICES:
        raise UsageError(f"There is no device {device}: choose one of {', '.join(DEVICES)}.")
    if device != "auto":
        return Choice(device, f"{device}: asked for")
    if has_phoenix(pci_devices):
        return Choice("npu", "npu: a Phoenix NPU is present", measure=True)
    return no_npu("no Phoenix NPU on this machine")


def open_chosen(choice: Choice) -> tuple[Choice, Device | None]:
    """The choice as it turned out, and its device opened; None for the CPU.

    Raises DeviceError when a device that was asked for by name cannot be used.
    """
    if choice.device == "cpu":
        return choice, None
    from whisper_npu_cli.npu.device import open_device

    try:
        return choice, open_device(choice.device)
    except DeviceError as error:
        if not choice.measure:
            raise
        return no_npu(str(error)), None


def has_phoenix(pci_devices: Path = PCI_DEVICES) -> bool:
    """Whether the kernel lists a Phoenix NPU, with or without a driver for it."""
    return any(_pci_id(entry) == PHOENIX for entry in pci_devices.glob("*"))


def _pci_id(entry: Path) -> tuple[str, ...]:
    try:
        return tuple((entry / name).read_text().strip() for name in ("vendor", "device"))
    except OSError:
        return ()
