"""Checks of the computer around the NPU, on which the CPU path depends as well."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from whisper_npu_cli.npu.check import Check, ok, warn
from whisper_npu_cli.npu.facts import Facts

LEAST_MEMORY = 4 << 30
"""Bytes; whisper-base takes about 1 GB on the CPU, beside everything else that runs."""
LEAST_DISK = 2 << 30
"""Bytes; whisper-small's checkpoint and its converted copy."""


def check_cpu(facts: Facts) -> Check:
    """Name of the processor, cores, and the vector instructions that the CPU engine wants."""
    text = facts.host.read("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.M)
    if not names:
        return warn("cpu", "/proc/cpuinfo names no processor", "Mount /proc.")
    flags = set(" ".join(re.findall(r"^flags\s*:\s*(.+)$", text, re.M)[:1]).split())
    has = [name for name in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni") if name in flags]
    evidence = f"{names[0].strip()}, {len(names)} threads, {' '.join(has) or 'no AVX2'}"
    if "avx2" not in flags:
        return warn("cpu", evidence, "Use --model tiny or base: without AVX2 the CPU is slow.")
    return ok("cpu", evidence)


def check_memory(facts: Facts) -> Check:
    """Main memory, all of it and what is free to use."""
    sizes = dict(
        re.findall(r"^(MemTotal|MemAvailable):\s*(\d+) kB", facts.host.read("/proc/meminfo"), re.M)
    )
    total, free = (int(sizes.get(key, 0)) * 1024 for key in ("MemTotal", "MemAvailable"))
    evidence = f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB available"
    if total < LEAST_MEMORY:
        return warn("memory", evidence, "Use --model tiny or base.")
    return ok("memory", evidence)


def check_models(facts: Facts) -> Check:
    """The hub's cache of models: where it is, what it holds, whether there is space for more."""
    host = facts.host
    cache = host.at(_hub_cache(host.environ))
    held = len(list(cache.glob("models--*")))
    place = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    evidence = f"{host.inside(cache)}, {held} models, {free / 2**30:.1f} GiB free"
    if not os.access(place, os.W_OK | os.X_OK):
        return warn(
            "model-cache",
            f"{evidence}, not writable",
            f"Run: sudo chown -R {host.user} {host.inside(place)} (or set HF_HOME elsewhere)",
        )
    if free < LEAST_DISK:
        return warn("model-cache", evidence, "Free some space, or set HF_HOME to a larger disk.")
    return ok("model-cache", evidence)


def _hub_cache(environ: Mapping[str, str]) -> Path:
    """Our --model_dir, else the folder that huggingface_hub documents: hub in HF_HOME."""
    caches = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME', '/')}/.cache"
    home = environ.get("HF_HOME") or f"{caches}/huggingface"
    named = environ.get("WHISPER_NPU_MODEL_DIR") or environ.get("HF_HUB_CACHE") or f"{home}/hub"
    return Path(named).expanduser().absolute()


def check_openvino(facts: Facts) -> Check:
    """Whether OpenVINO is there, whose device "NPU" is often taken for this one."""
    meaning = 'its device "NPU" is Intel\'s'
    installed = metadata.distributions(name="openvino", path=list(facts.host.module_path))
    found = next(iter(installed), None)
    if found is None:
        return ok("openvino", f"not installed; {meaning} and would not drive an AMD NPU")
    return warn(
        "openvino",
        f"OpenVINO {found.version} is installed; {meaning} and does not drive an AMD NPU",
        "Use --device npu of whisper-npu, not OpenVINO, for this NPU.",
    )
