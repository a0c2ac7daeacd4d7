"""The machine that a measurement was made on, and what this process has used of it."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

from whisper_npu_cli import __version__

LIBRARIES = ("ctranslate2", "faster-whisper", "numpy")


def describe() -> dict[str, str]:
    """Processor, cores, memory, system and versions, as name and text."""
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "whisper-npu": __version__,
        **{name: _version(name) for name in LIBRARIES},
    }


def peak_memory() -> int:
    """Bytes of the largest resident set so far (ru_maxrss: KiB, but bytes on macOS)."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def cpu_seconds() -> float:
    """Processor time of all threads so far, user and system."""
    times = os.times()
    return times.user + times.system


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"
