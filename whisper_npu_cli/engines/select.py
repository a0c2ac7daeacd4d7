"""Which device a transcription is to run on, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.errors import UsageError

DEVICES = ("auto", "npu", "cpu", "emulator")
PCI_DEVICES = Path("/sys/bus/pci/devices")
PHOENIX = ("0x1022", "0x1502")
"""PCI vendor and device of the Phoenix and Hawk Point NPU (Linux: drivers/accel/amdxdna)."""


@dataclass(frozen=True)
class Choice:
    """The chosen device; `fallback_reason` says why it is not the NPU, when `auto` chose.

    `measure`: `auto` has found an NPU, and what is faster has to be measured.
    """

    device: str
    reason: str
    fallback_reason: str | None = None
    measure: bool = False


def choose(device: str, pci_devices: Path = PCI_DEVICES) -> Choice:
    """Turn what the user asked for into a device; `npu` and `emulator` never fall back.

    Raises UsageError when there is no such device.
    """
    if device not in DEVICES:
        raise UsageError(f"There is no device {device}: choose one of {', '.join(DEVICES)}.")
    if device != "auto":
        return Choice(device, f"{device}: asked for")
    if has_phoenix(pci_devices):
        return Choice("npu", "npu: a Phoenix NPU is present", measure=True)
    why = "no Phoenix NPU on this machine"
    return Choice("cpu", f"cpu: {why}", why)


def has_phoenix(pci_devices: Path = PCI_DEVICES) -> bool:
    """Whether the kernel lists a Phoenix NPU, with or without a driver for it."""
    return any(_pci_id(entry) == PHOENIX for entry in pci_devices.glob("*"))


def _pci_id(entry: Path) -> tuple[str, ...]:
    try:
        return tuple((entry / name).read_text().strip() for name in ("vendor", "device"))
    except OSError:
        return ()
