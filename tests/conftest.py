"""What all tests share: no test may read or fill this user's caches, or reach the network."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("hypothesis"):  # not installed beside a real XRT
    from hypothesis import HealthCheck, settings

    # properties are judged by what they find, not by how busy the machine is
    settings.register_profile(
        "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before any test module imports a library that reads it once."""
    folder = tempfile.mkdtemp(prefix="whisper-npu-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["WHISPER_NPU_CACHE"] = f"{folder}/whisper-npu"
    os.environ["HF_HOME"] = f"{folder}/huggingface"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # compiling the emulator takes a minute: what is compiled stays beside the sources
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "numba"))
