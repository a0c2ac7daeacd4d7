"""Launches that never end: found, and explained."""

from __future__ import annotations

import numpy as np
from board import MEM, MM2S, S2MM, through_memtile

from whisper_npu_cli.aie.facts.launch import LAUNCH


def numbered(count):
    return np.arange(1, count + 1, dtype=np.uint32)


def test_too_little_input():
    board = through_memtile(64)
    board.transfer(MM2S, 0, 0, 0, 60)
    board.transfer(S2MM, 0, 1, 1, 64)
    board.sync()
    outcome, _ = board.run(numbered(60), 64)
    first, second, third, *_ = outcome.hang.split("\n")
    assert "waits for a token of S2MM channel 0 of shim tile (0,0), and nothing moves" in first
    assert second.startswith("shim tile (0,0) S2MM channel 0 at BD 1 waits for words")
    assert "0 of 64 words moved" in second
    assert "memtile (0,1) MM2S channel 0 at BD 1 waits for lock 1 of memtile (0,1)" in third
    assert "S2MM channel 0 at BD 0 waits for words from the stream, 60 of 64" in outcome.hang


def test_too_little_output_taken():
    """The input's token never comes since nobody drains the memtile."""
    board = through_memtile(256)
    board.transfer(MM2S, 0, 0, 0, 1024, token=True)
    board.sync(MM2S)
    outcome, _ = board.run(numbered(1024))
    assert "shim tile (0,0) MM2S channel 0 at BD 0 waits for room in the stream" in outcome.hang
    assert "memtile (0,1) MM2S channel 0 at BD 1 waits for room" in outcome.hang


def test_a_lock_that_nobody_releases():
    board = through_memtile(8)
    board.lock(MEM, 0, 0)
    board.transfer(MM2S, 0, 0, 0, 8)
    board.transfer(S2MM, 0, 1, 1, 8)
    board.sync()
    outcome, _ = board.run(numbered(8), 8)
    assert "waits for lock 0 of memtile (0,1) to reach 1; it is 0" in outcome.hang


def test_a_token_that_was_not_asked_for():
    board = through_memtile(8)
    board.transfer(MM2S, 0, 0, 0, 8)
    board.transfer(S2MM, 0, 1, 1, 8, token=False)
    board.sync()
    outcome, _ = board.run(numbered(8), 8)
    assert "shim tile (0,0) S2MM channel 0 has no task (1 done)" in outcome.hang


def test_the_time_limit_ends_a_launch():
    board = through_memtile(64)
    board.transfer(MM2S, 0, 0, 0, 1 << 16)
    board.transfer(S2MM, 0, 1, 1, 1 << 16)
    board.sync()
    outcome, _ = board.run(numbered(1 << 16), 1 << 16, limit=LAUNCH + 15_000)
    assert "its time is over" in outcome.hang
    assert "is at work" in outcome.hang or "waits for" in outcome.hang


def test_state_survives_a_launch():
    """What one launch leaves in the array the next one gets: locks, queues and memory stay."""
    board = through_memtile(8)
    machine = board.machine()
    board.transfer(MM2S, 0, 0, 0, 8, token=True)
    board.token_route()
    board.sync(MM2S)
    first, (data,) = board.run(numbered(8), machine=machine)
    board.launch.clear()
    board.transfer(S2MM, 0, 1, 0, 8)
    board.sync()
    second, (out,) = board.run(8, machine=machine)
    assert not first.hang and not second.hang
    np.testing.assert_array_equal(out, data)
