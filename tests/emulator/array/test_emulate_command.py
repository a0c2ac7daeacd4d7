"""`whisper-npu emulate`: files in, files out, hangs and wrong use."""

from __future__ import annotations

import json

import numpy as np
import pytest
from board import MEM, MM2S, S2MM, through_memtile
from typer import Typer
from typer.testing import CliRunner

from whisper_npu_cli.cli.emulate import emulate
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.errors import UsageError

WORDS = 16


@pytest.fixture
def folder(tmp_path):
    board = through_memtile(WORDS)
    board.transfer(MM2S, 0, 0, 0, WORDS)
    board.transfer(S2MM, 0, 1, 1, WORDS)
    board.sync()
    (tmp_path / "a.xclbin").write_bytes(board.xclbin())
    (tmp_path / "a.bin").write_bytes(board.instructions().tobytes())
    (tmp_path / "in.bin").write_bytes(np.arange(WORDS, dtype=np.uint32).tobytes())
    board.lock(MEM, 0, 0)
    (tmp_path / "hung.xclbin").write_bytes(board.xclbin())
    return tmp_path


def run(folder, *more, file="a.xclbin"):
    app = Typer()
    app.command()(emulate)
    arguments = [str(folder / file), "--insts", str(folder / "a.bin"), *map(str, more)]
    return CliRunner().invoke(app, arguments)


def buffers(folder):
    return ("--arg", f"3={folder}/in.bin", "--arg", f"4=:{4 * WORDS}={folder}/out.bin")


def test_a_launch_from_files_to_files(folder):
    result = run(folder, *buffers(folder), "--stats", "True", "--trace", folder / "t.json")
    assert result.exit_code == 0 and not result.stdout
    assert (folder / "out.bin").read_bytes() == (folder / "in.bin").read_bytes()
    assert "array cycles (emulated)" in result.stderr
    assert f"memtile (0,1) S2MM channel 0: {WORDS} words" in result.stderr
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert "shim tile (0,0) MM2S channel 0" in names
    begun = [event["name"] for event in events if event["ph"] == "B"]
    assert "BD 1" in begun and "wait for lock 1 of memtile (0,1)" in begun
    depth = {}
    for event in events:  # every end has its beginning
        if event["ph"] in "BE":
            depth[event["tid"]] = depth.get(event["tid"], 0) + (1 if event["ph"] == "B" else -1)
            assert depth[event["tid"]] >= 0


def test_a_hang_is_shown_and_fails(folder):
    result = run(folder, *buffers(folder), file="hung.xclbin")
    assert isinstance(result.exception, EmulationError)
    assert "waits for lock 0 of memtile (0,1) to reach 1; it is 0" in result.stderr
    assert not (folder / "out.bin").exists()


def test_the_limit_of_cycles(folder):
    result = run(folder, *buffers(folder), "--max-cycles", 29_000)
    assert isinstance(result.exception, EmulationError)
    assert "takes longer than 29000 cycles" in result.stderr


@pytest.mark.parametrize(
    ("argument", "error", "sentence"),
    [
        ("3", UsageError, "write N=FILE or N=:BYTES=FILE"),
        ("x=in.bin", UsageError, "write N=FILE"),
        ("3=:0=out.bin", UsageError, "an output is N=:BYTES=FILE"),
        ("3=:8", UsageError, "an output is N=:BYTES=FILE"),
        ("3=none.bin", UsageError, "cannot be read"),
        ("2=:8=out.bin", EmulationError, "takes buffers as arguments 3 to 4, not as argument 2"),
    ],
)
def test_wrong_arguments(folder, argument, error, sentence):
    result = run(folder, "--arg", argument)
    assert isinstance(result.exception, error)
    assert sentence in str(result.exception)
