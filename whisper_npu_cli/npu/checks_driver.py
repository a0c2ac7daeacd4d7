"""Checks from the PCI bus to the device node: does the kernel offer this user an NPU?"""

from __future__ import annotations

import re

from whisper_npu_cli.npu import mends
from whisper_npu_cli.npu.check import Check, fail, ok, unchecked, warn
from whisper_npu_cli.npu.facts import Facts
from whisper_npu_cli.npu.host import UNLIMITED, Host
from whisper_npu_cli.npu.memlock import COMFORT, HEAP
from whisper_npu_cli.npu.node import is_member

FIRST_KERNEL = (6, 14)
"""The first kernel with the driver in its own tree (drivers/accel/amdxdna)."""


def check_npu(facts: Facts) -> Check:
    """Whether a Phoenix or Hawk Point NPU is on the PCI bus."""
    if facts.npu:
        found = facts.npu
        return ok("npu", f"{found.generation} at {found.address}, 1022:{found.device[2:]}")
    if facts.npus:
        other = facts.npus[0]
        return fail(
            "npu",
            f"the NPU at {other.address} is {other.generation}, 1022:{other.device[2:]} revision "
            f"{other.revision[2:]}, which whisper-npu does not drive",
            "Use --device cpu: only Phoenix and Hawk Point (1022:1502) are supported.",
        )
    where = " (a virtual machine or WSL shows none)" if _is_virtual(facts.host) else ""
    return fail(
        "npu",
        f"no AMD NPU on the PCI bus{where}",
        "Use --device cpu; on a Ryzen 7040 or 8040 switch the NPU (IPU) on in the firmware setup.",
    )


def _is_virtual(host: Host) -> bool:
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", host.read("/proc/cpuinfo"), re.M))


def check_kernel(facts: Facts) -> Check:
    """Whether the kernel is new enough to have the driver, or has it from DKMS."""
    release = facts.host.kernel
    match = re.match(r"(\d+)\.(\d+)", release)
    if not match:
        return warn("kernel", "its release cannot be read", "Mount /proc.")
    if (int(match[1]), int(match[2])) >= FIRST_KERNEL:
        return ok("kernel", release)
    if _module_loaded(facts.host):
        return ok("kernel", f"{release}, with the amdxdna driver from outside its tree")
    return fail("kernel", f"{release} has no amdxdna driver", mends.NEWER_KERNEL)


def check_driver(facts: Facts) -> Check:
    """Whether amdxdna is loaded and bound to the NPU; if not, why."""
    host, npu = facts.host, facts.npu
    if npu is None:
        return unchecked("driver", "npu")
    if npu.driver == "amdxdna":
        version = host.read("/sys/module/amdxdna/version") or f"of kernel {host.kernel}"
        return ok("driver", f"amdxdna {version}, bound to {npu.address}")
    if npu.driver:
        return fail(
            "driver",
            f"{npu.address} is bound to {npu.driver} in place of amdxdna",
            f"Take the NPU away from {npu.driver}, for instance vfio-pci.ids in the kernel's "
            "command line, and restart",
        )
    if not _module_loaded(host):
        return _not_loaded(host)
    evidence = f"amdxdna is loaded but did not take {npu.address}"
    if re.search(r"\b(amd_)?iommu=off\b", host.read("/proc/cmdline")):
        return fail("driver", f"{evidence}: the IOMMU is switched off", mends.ENABLE_IOMMU)
    if host.at("/lib/firmware").is_dir() and not host.glob("/lib/firmware/amdnpu/1502_00/*"):
        return fail(
            "driver", f"{evidence}: /lib/firmware/amdnpu/1502_00 is missing", mends.FIRMWARE
        )
    return fail("driver", evidence, mends.DRIVER_LOG)


def _module_loaded(host: Host) -> bool:
    return host.at("/sys/module/amdxdna").is_dir()


def _not_loaded(host: Host) -> Check:
    for file in host.glob("/etc/modprobe.d/*.conf"):
        name = host.inside(file)
        if re.search(r"^\s*blacklist\s+amdxdna\b", host.read(name), re.M):
            return fail(
                "driver",
                f"amdxdna is not loaded: {name} blacklists it",
                f"Take the line out of {name} and run: sudo modprobe amdxdna",
            )
    modules = host.read(f"/lib/modules/{host.kernel}/modules.dep")
    if modules and "/amdxdna.ko" not in modules:
        return fail("driver", f"kernel {host.kernel} has no module amdxdna", mends.NEWER_KERNEL)
    return fail("driver", "amdxdna is not loaded", mends.LOAD_DRIVER)


def check_firmware(facts: Facts) -> Check:
    """The version of the firmware that runs on the NPU."""
    if facts.npu is None or facts.npu.driver != "amdxdna":
        return unchecked("firmware", "driver" if facts.npu else "npu")
    version = facts.npu.attribute("fw_version") or facts.smi.firmware
    if not version or version == "0.0.0.0":
        return warn("firmware", "the driver tells no version", mends.DRIVER_LOG)
    return ok("firmware", version)


def check_device(facts: Facts) -> Check:
    """Whether there is a device node for the NPU."""
    host = facts.host
    if facts.npu is None:
        return unchecked("device-node", "npu")
    if facts.node:
        return ok("device-node", str(facts.node))
    if host.container:
        return fail(
            "device-node",
            f"/dev/accel is not passed into this {host.container} container",
            "Start the container with --device /dev/accel/accel0",
        )
    if facts.npu.driver != "amdxdna":
        return unchecked("device-node", "driver")
    return fail("device-node", "there is no /dev/accel/accel*", mends.RELOAD_DRIVER)


def check_permission(facts: Facts) -> Check:
    """Whether this process may open the node; if not, what its user lacks."""
    host, node = facts.host, facts.node
    if node is None:
        return unchecked("permission", facts.blocker)
    evidence = f"{host.user} may {{}} {node.path}"
    if node.opens_for(host):
        return ok("permission", evidence.format("open"))
    evidence = evidence.format("not open")
    if host.container:
        return fail(
            "permission",
            f"{evidence}: group {node.gid} is not among this container's groups",
            f"Start the container with --group-add {node.gid}",
        )
    if node.gid == 0 or node.mode & 0o060 != 0o060:
        rule = 'KERNEL=="accel*", DRIVERS=="amdxdna", GROUP="render", MODE="0660"'
        return fail(
            "permission",
            f"{evidence}: {node}",
            f"Put {rule} into /etc/udev/rules.d/99-amdxdna.rules and restart",
        )
    group = node.group or str(node.gid)
    if is_member(host, node.gid):  # added after this login began
        return fail(
            "permission",
            f"{evidence}: {host.user} is in group {group}, but not in this login",
            f"Log out and in again, or run: newgrp {group}",
        )
    return fail(
        "permission",
        f"{evidence}: not in group {group}",
        f"Run: sudo usermod -aG {group} {host.user}, then log out and in again",
    )


def check_memlock(facts: Facts) -> Check:
    """Whether this process may lock the memory that XRT pins; the soft limit we raise ourselves."""
    host = facts.host
    soft, hard = host.memlock
    evidence = f"limit {_mebibytes(soft)}, hard limit {_mebibytes(hard)}"
    if host.may_lock_memory:
        return ok("memlock", f"{evidence}, not binding with CAP_IPC_LOCK")
    if hard == UNLIMITED or hard >= COMFORT:
        return ok("memlock", evidence)
    mend = mends.MEMLOCK
    if host.container:
        mend = "Start the container with --cap-add IPC_LOCK --ulimit memlock=-1"
    if hard < HEAP:
        return fail("memlock", f"{evidence}, less than the {_mebibytes(HEAP)} of any context", mend)
    return warn("memlock", f"{evidence}, too little for larger models", mend)


def _mebibytes(size: int) -> str:
    return "unlimited" if size == UNLIMITED else f"{size / 2**20:.4g} MiB"


def check_busy(facts: Facts) -> Check:
    """Whether other processes hold the NPU: it is shared, but has six contexts and one clock."""
    if facts.node is None:
        return unchecked("in-use", facts.blocker)
    holders = [str(holder) for holder in facts.holders]
    known = {holder.pid for holder in facts.holders}
    holders += [f"{name} (process {pid})" for pid, name in facts.smi.contexts if pid not in known]
    if holders:
        return warn(
            "in-use",
            f"{facts.node.path} is held by {', '.join(holders)}",
            "Close these programs when the NPU is slow or has no free context.",
        )
    hidden = "" if facts.host.uid == 0 else " that this user can see"
    return ok("in-use", f"no process{hidden} holds {facts.node.path}")


def check_container(facts: Facts) -> Check:
    """Whether a container passes on all that the NPU needs: device, group, locked memory."""
    host, node = facts.host, facts.node
    if not host.container:
        return ok("container", "not in a container")
    if facts.npu is None:
        return ok("container", host.container)
    lacks = {}
    if node is None:
        lacks["the device"] = "--device /dev/accel/accel0"
    elif not node.opens_for(host):
        lacks["the device's group"] = f"--group-add {node.gid}"
    if check_memlock(facts).mend:
        lacks["the right to lock memory"] = "--cap-add IPC_LOCK --ulimit memlock=-1"
    if not lacks:
        return ok("container", f"{host.container}, nothing is missing")
    return fail(
        "container",
        f"this {host.container} container lacks {', '.join(lacks)}",
        f"Start the container with {' '.join(lacks.values())}.",
    )
