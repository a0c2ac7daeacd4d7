"""Which device runs a transcription, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.errors import DeviceError, UsageError

DEVICES = ("auto", "npu", "cpu", "emulator")
PCI_DEVICES = Path("/sys/bus/pci/devices")
PHOENIX = ("0x1022", "0x1502")
"""PCI vendor and device of the Phoenix and Hawk Point NPU (Linux: drivers/accel/amdxdna)."""


@dataclass(frozen=True)
class Choice:
    """The chosen device; `fallback_reason` says why it is not the NPU, when `auto` chose."""

    device: str
    reason: str
    fallback_reason: str | None = None


def choose(device: str, pci_devices: Path = PCI_DEVICES) -> Choice:
    """Turn what the user asked for into a device; `npu` and `emulator` never fall back.

    Raises DeviceError when a device asked for by name cannot be used, UsageError when there is
    no such device.
    """
    if device == "cpu":
        return Choice("cpu", "cpu: asked for")
    if device == "auto":
        why = _why_no_npu(pci_devices)
        return Choice("cpu", f"cpu: {why}", why)
    if device in DEVICES:
        doctor = "; whisper-npu doctor looks at the machine" if device == "npu" else ""
        raise DeviceError(
            f"The device {device} is not built into this version: use --device cpu{doctor}."
        )
    raise UsageError(f"There is no device {device}: choose one of {', '.join(DEVICES)}.")


def _why_no_npu(pci_devices: Path) -> str:
    if has_phoenix(pci_devices):
        return "a Phoenix NPU is present, but this version cannot use it yet"
    return "no Phoenix NPU on this machine"


def has_phoenix(pci_devices: Path = PCI_DEVICES) -> bool:
    """Whether the kernel lists a Phoenix NPU, with or without a driver for it."""
    return any(_pci_id(entry) == PHOENIX for entry in pci_devices.glob("*"))


def _pci_id(entry: Path) -> tuple[str, ...]:
    try:
        return tuple((entry / name).read_text().strip() for name in ("vendor", "device"))
    except OSError:
        return ()
