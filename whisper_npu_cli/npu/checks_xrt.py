"""Checks of XRT in user space: libraries, xrt-smi, pyxrt."""

from __future__ import annotations

import re

from whisper_npu_cli.npu import mends
from whisper_npu_cli.npu.binding import XILINX, Binding, find_bindings, find_x_ray_tracer
from whisper_npu_cli.npu.check import Check, fail, ok, unchecked, warn
from whisper_npu_cli.npu.facts import Facts
from whisper_npu_cli.npu.host import Host

LIBRARY_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", f"{XILINX}/lib")
CORE, PLUGIN = "libxrt_coreutil", "libxrt_driver_xdna"
OLDEST = (2, 19)
"""The oldest XRT with all calls that we make (FACTS §6.4)."""


def check_xrt(facts: Facts) -> Check:
    """Whether XRT's library and its NPU plug-in are installed, and their version."""
    host = facts.host
    core, plugin = _library(host, CORE), _library(host, PLUGIN)
    if not core:
        return fail("xrt", f"XRT is not installed (no {CORE})", mends.install_xrt(host))
    version = facts.smi.version or core
    if not plugin:
        return fail(
            "xrt",
            f"XRT {version} without its NPU plug-in ({PLUGIN})",
            mends.install_xrt(host),
        )
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if len(numbers) == 2 and numbers < OLDEST:
        return warn("xrt", f"XRT {version} is older than 2.19", mends.install_xrt(host))
    return ok("xrt", f"XRT {version} with its NPU plug-in")


def _library(host: Host, name: str) -> str:
    """The version in the longest file name of a library, "2" at least; empty when absent."""
    found = [p.name for folder in LIBRARY_FOLDERS for p in host.glob(f"{folder}/{name}.so*")]
    return max(found, key=len).partition(".so")[2].strip(".") or "?" if found else ""


def check_smi(facts: Facts) -> Check:
    """Whether xrt-smi is there and answers, and whether it sees the NPU."""
    smi = facts.smi
    if smi.program is None:
        return warn("xrt-smi", "not in PATH, /opt/xilinx/xrt/bin or /usr/bin", _install(facts.host))
    place = facts.host.inside(smi.program)
    if smi.hung:
        return warn("xrt-smi", f"{place}: {smi.fault}, stopped", mends.RELOAD_DRIVER)
    if smi.fault:
        return warn("xrt-smi", f"{place}: {smi.fault}", mends.install_xrt(facts.host))
    seen = ", ".join(f"{name} at {address}" for address, name in smi.devices) or "0 devices"
    if facts.node and not smi.devices:
        return warn(
            "xrt-smi",
            f"{place} sees 0 devices, though the kernel has {facts.node.path}",
            "Mend xrt, permission and memlock; XRT hides an NPU that it cannot open.",
        )
    return ok("xrt-smi", f"{place} sees {seen}")


def check_power(facts: Facts) -> Check:
    """The power mode, which sets the clocks, and the clocks where xrt-smi tells them."""
    if facts.node is None:
        return unchecked("power-mode", facts.blocker)
    mode, clocks = facts.smi.power_mode, facts.smi.clocks
    if not mode:
        return warn("power-mode", "not told by xrt-smi", "Mend xrt-smi first.")
    evidence = f"{mode}, {clocks or 'clocks not told'}"
    if mode.lower() in ("powersaver", "balanced"):
        return warn("power-mode", evidence, mends.PERFORMANCE)
    return ok("power-mode", evidence)


def check_pyxrt(facts: Facts) -> Check:
    """Whether this interpreter can import pyxrt; if not, why."""
    host = facts.host
    if facts.binding is None:
        return _no_binding(host)
    error = facts.trial.error("import") if facts.trial else None
    place = host.inside(facts.binding.path)
    if error is None and facts.trial:
        error = facts.trial.death
    if error:
        return fail("pyxrt", f"{place} does not load: {error}", mends.install_xrt(host))
    hidden = (
        ""
        if facts.binding.on_path
        else ", loaded by its path" + (" from this virtual environment" if host.in_venv else "")
    )
    return ok("pyxrt", f"{place}{hidden}")


def _no_binding(host: Host) -> Check:
    others = find_bindings(host)
    if others:
        return _other_python(host, others[0])
    tracer = find_x_ray_tracer(host)
    if tracer:
        return fail(
            "pyxrt",
            f"not installed: {host.inside(tracer)} is the X-ray tracer, which has the same "
            "package name (python3-xrt)",
            mends.install_xrt(host),
        )
    return fail("pyxrt", "not installed", _install(host))


def _install(host: Host) -> str:
    """How a part of XRT is installed; once is enough to say where all of it is missing."""
    return mends.install_xrt(host) if _library(host, CORE) else "Mend xrt first."


def _other_python(host: Host, other: Binding) -> Check:
    place, python = host.inside(other.path), other.python
    own = Binding(other.path, host.abi, on_path=False).python
    return fail(
        "pyxrt",
        f"{place} is built for Python {python}, and this is Python {own}",
        f"Install whisper-npu for that one: python{python} -m venv whisper && "
        "whisper/bin/pip install whisper-npu",
    )
