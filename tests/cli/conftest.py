import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import cli_fakes as fakes

from whisper_npu_cli.cli.app import run

DRIVER = [sys.executable, str(Path(__file__).with_name("cli_fakes.py"))]


class Command:
    """Runs the command line in this process, or in one of its own."""

    def __init__(self, capsys, folder):
        self.capsys = capsys
        self.folder = folder
        self.made = fakes.FakeTranscriber.made
        self.asked = fakes.FakeTranscriber.asked

    def __call__(self, *args):
        """Return (exit code, stdout, stderr)."""
        self.capsys.readouterr()
        code = run([str(arg) for arg in args])
        out, err = self.capsys.readouterr()
        return code, out, err

    def process(self, *args, env=None, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(
            [*DRIVER, *map(str, args)], cwd=self.folder, env=os.environ | (env or {}), **options
        )

    def sound(self, name="a.wav", *texts, **script):
        """Write an input that says these texts."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"segments": texts or ["hello", "world"], **script}))
        return path


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, fakes.MODULE, fakes.module())
    monkeypatch.setattr(fakes.FakeTranscriber, "made", [])
    monkeypatch.setattr(fakes.FakeTranscriber, "asked", [])
    for name in ("WHISPER_NPU_MODEL", "WHISPER_NPU_DEVICE", "WHISPER_NPU_MODEL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Command(capsys, tmp_path)


@pytest.fixture
def pipe(monkeypatch):
    """Put bytes into standard input."""

    def fill(data: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return fill
