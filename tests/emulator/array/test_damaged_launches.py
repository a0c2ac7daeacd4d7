"""Damaged XCLBINs and instruction streams: a sentence or a run, never a traceback."""

from __future__ import annotations

import numpy as np
import pytest
from board import CORE, MM2S, S2MM, Board, through_memtile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cores_in_the_array import add_one, buffers, program, streams, through

from whisper_npu_cli.emulator.job import launch
from whisper_npu_cli.errors import WhisperNpuError

WORDS = 16
FEW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def copying() -> Board:
    """WORDS words through a memtile."""
    board = through_memtile(WORDS)
    board.transfer(MM2S, 0, 0, 0, WORDS)
    board.transfer(S2MM, 0, 1, 1, WORDS)
    board.sync()
    return board


def counting() -> Board:
    """WORDS words, each increased by a core."""
    board = Board()
    streams(board)
    buffers(board)
    program(board, CORE, add_one())
    through(board, WORDS)
    return board


@pytest.fixture(scope="module", params=[copying, counting])
def files(request, tmp_path_factory):
    """Container and instructions of a launch."""
    board = request.param()
    folder = tmp_path_factory.mktemp("damaged")
    return folder, board.xclbin(), board.instructions().tobytes()


def attempt(folder, container: bytes, instructions: bytes) -> str:
    """The sentence of a refused launch, or nothing."""
    (folder / "a.xclbin").write_bytes(container)
    (folder / "a.bin").write_bytes(instructions)
    arguments = {3: np.arange(WORDS, dtype=np.uint32).tobytes(), 4: bytes(4 * WORDS)}
    try:
        launch(folder / "a.xclbin", folder / "a.bin", arguments, limit=100_000)
    except WhisperNpuError as error:
        return str(error)
    return ""


def damaged(data: bytes, at: int, change: int, kind: int) -> bytes:
    """One bit, byte or word changed, or the end missing."""
    at %= len(data)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes([data[at] ^ (1 << change % 8)]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + bytes([change % 256]) + data[at + 1 :]
    at -= at % 4
    return data[:at] + change.to_bytes(4, "little") + data[at + 4 :]


CHANGES = st.tuples(st.integers(0, 1 << 20), st.integers(0, 2**32 - 1), st.integers(0, 3))


def test_the_files_are_sound_to_begin_with(files) -> None:
    folder, container, instructions = files
    assert attempt(folder, container, instructions) == ""


@FEW
@given(change=CHANGES)
def test_damaged_containers(files, change) -> None:
    folder, container, instructions = files
    sentence = attempt(folder, damaged(container, *change), instructions)
    assert not sentence or sentence.rstrip().endswith(".")


@FEW
@given(change=CHANGES)
def test_damaged_instruction_streams(files, change) -> None:
    folder, container, instructions = files
    sentence = attempt(folder, container, damaged(instructions, *change))
    assert not sentence or sentence.rstrip().endswith(".")


@pytest.mark.parametrize("size", [0, 3, 4, 15, 16, 200])
def test_cut_files_are_refused(files, size: int) -> None:
    folder, container, instructions = files
    assert str(folder) in attempt(folder, container[:size], instructions)
    assert str(folder) in attempt(folder, container, instructions[:size])
