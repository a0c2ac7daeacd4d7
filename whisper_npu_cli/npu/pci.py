"""AMD's NPUs on the PCI bus, told apart by device and revision."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.npu.host import Host

AMD = "0x1022"
PHOENIX = "0x1502"
"""Phoenix and Hawk Point, the one NPU that we drive ("npu1", XDNA1)."""

OTHER_NPUS = {
    ("0x17f0", "0x00"): "Strix (XDNA2, early revision)",
    ("0x17f0", "0x10"): "Strix Point (XDNA2, npu4)",
    ("0x17f0", "0x11"): "Strix Halo (XDNA2, npu5)",
    ("0x17f0", "0x20"): "Krackan Point (XDNA2, npu6)",
    ("0x17f0", ""): "XDNA2 NPU",
    ("0x17f1", ""): "npu3",
    ("0x17f2", ""): "npu3",
    ("0x17f3", ""): "npu3",
    ("0x1b0a", ""): "npu3",
    ("0x1b0b", ""): "npu3",
    ("0x1b0c", ""): "npu3",
}
"""(device, revision or any) to generation.

Source: device tables of amd/xdna-driver 856409ca, drivers/accel/amdxdna/amdxdna_pci_drv.c.
"""


@dataclass(frozen=True)
class PciDevice:
    """One NPU: its address (domain:bus:device.function), ids, sysfs folder and bound driver."""

    address: str
    device: str
    revision: str
    folder: Path
    driver: str

    @property
    def supported(self) -> bool:
        """Whether it is a Phoenix or Hawk Point NPU."""
        return self.device == PHOENIX

    @property
    def generation(self) -> str:
        """The name of its generation."""
        if self.supported:
            return "Phoenix/Hawk Point (XDNA1, npu1)"
        exact = OTHER_NPUS.get((self.device, self.revision))
        return exact or OTHER_NPUS[self.device, ""]

    def attribute(self, name: str) -> str:
        """A sysfs attribute, for instance fw_version; empty when there is none."""
        try:
            return (self.folder / name).read_text().strip()
        except OSError:
            return ""


def find_npus(host: Host) -> list[PciDevice]:
    """All AMD NPUs that the kernel lists, in the order of their addresses."""
    known = {PHOENIX, *(device for device, _ in OTHER_NPUS)}
    found = []
    for folder in host.glob("/sys/bus/pci/devices/*"):
        ids = [host.read(host.inside(folder / name)) for name in ("vendor", "device", "revision")]
        if ids[0] == AMD and ids[1] in known:
            found.append(PciDevice(folder.name, ids[1], ids[2], folder, _driver(folder)))
    return found


def _driver(folder: Path) -> str:
    try:
        return Path(os.readlink(folder / "driver")).name
    except OSError:
        return ""
