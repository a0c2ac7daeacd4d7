"""Whole launches without a core: host memory, shim DMA, switches, a memtile, tokens."""

from __future__ import annotations

import numpy as np
from board import MM2S, S2MM, through_memtile

RNG = np.random.default_rng(0)


def words(count):
    return RNG.integers(0, 1 << 32, count, np.uint32)


def test_what_goes_in_comes_out():
    board, data = through_memtile(64), words(64)
    board.transfer(MM2S, 0, 0, 0, 64)
    board.transfer(S2MM, 0, 1, 1, 64)
    board.sync()
    outcome, (_, out) = board.run(data, 64)
    assert not outcome.hang
    np.testing.assert_array_equal(out, data)
