"""The instructions that mend things; sources stand beside what is not common knowledge."""

from __future__ import annotations

from whisper_npu_cli.npu.host import Host

DRIVER_SOURCE = "https://github.com/amd/xdna-driver"

INSTALL_XRT = {
    "debian trixie": "sudo apt install -t trixie-backports python3-xrt libxrt-npu2 libxrt-utils "
    "libxrt-utils-npu",
    "debian forky": "sudo apt install python3-xrt libxrt-npu2 libxrt-utils libxrt-utils-npu",
    "fedora": "sudo dnf install xrt python3-xrt",
    "arch": "sudo pacman -S xrt xrt-plugin-amdxdna",
}
"""By ID and VERSION_CODENAME of os-release.

Sources: Debian's archive, packages.fedoraproject.org/pkgs/xrt, archlinux.org/packages.
"""


def install_xrt(host: Host) -> str:
    """How XRT with its Python binding and NPU plug-in is installed here."""
    release = dict(
        line.split("=", 1) for line in host.read("/etc/os-release").splitlines() if "=" in line
    )
    system = release.get("ID", "").strip('"')
    codename = release.get("VERSION_CODENAME", "").strip('"')
    command = INSTALL_XRT.get(f"{system} {codename}") or INSTALL_XRT.get(system)
    if command is None:
        return f"Install XRT and its amdxdna plug-in as {DRIVER_SOURCE} describes."
    backports = " (after adding trixie-backports to apt's sources)" if "-t " in command else ""
    return f"Run: {command}{backports}"


RELOAD_DRIVER = "Run: sudo modprobe -r amdxdna && sudo modprobe amdxdna (or restart the machine)"
DRIVER_LOG = "Look for the reason in: sudo dmesg | grep amdxdna"
LOAD_DRIVER = "Run: sudo modprobe amdxdna"
NEWER_KERNEL = f"Install a kernel from 6.14 on, or the DKMS driver from {DRIVER_SOURCE}"
ENABLE_IOMMU = (
    "Take amd_iommu=off and iommu=off out of the kernel's command line, switch the IOMMU on in the "
    "firmware setup and restart"
)
FIRMWARE = (
    "Install your distribution's package of linux-firmware that holds amdnpu/1502_00, then restart"
)
MEMLOCK = (
    "Put the line '* - memlock unlimited' into /etc/security/limits.d/99-amdxdna.conf and log in "
    "again; services and some desktops need LimitMEMLOCK=infinity in their systemd unit "
    "(sudo systemctl edit user@.service) instead"
)
"""Source: README of amd/xdna-driver, "How to allocate huge size BO?"."""
PERFORMANCE = "Run: sudo xrt-smi configure --pmode performance"
