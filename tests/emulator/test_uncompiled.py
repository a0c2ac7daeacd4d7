"""WHISPER_NPU_UNCOMPILED=1, plain Python, is the same emulator as the compiled one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
XCLBINS = TESTS.parents[1] / "xclbins"
PLAIN = {"WHISPER_NPU_UNCOMPILED": "1"}


def run(arguments: list[str], more: dict[str, str]) -> str:
    """What a module says on both streams; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], env=os.environ | more, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_launch_on_16_cores(tmp_path: Path) -> None:
    """The same bytes, cycles, bundles, words and stalls."""
    (tmp_path / "in.bin").write_bytes(bytes(range(256)) * 192)
    said = []
    xclbin = XCLBINS / "vector_add_one"
    command = [
        "whisper_npu_cli", "emulate", f"{xclbin}.xclbin", "--insts", f"{xclbin}.insts", "--stats",
        "--arg", f"3={tmp_path}/in.bin", "--arg",
    ]  # fmt: skip
    for name, more in (("compiled", {}), ("plain", PLAIN)):
        said.append(run([*command, f"4=:49152={tmp_path}/{name}"], more))
    assert said[0] == said[1] and "core (3,5): " in said[0]
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "compiled").read_bytes()


@pytest.mark.slow
def test_the_multiplier() -> None:
    run(["pytest", "-q", "-p", "no:cacheprovider", str(TESTS / "core/test_multiply.py")], PLAIN)
