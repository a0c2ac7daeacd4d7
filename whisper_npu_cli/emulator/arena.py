"""The data memories of all tiles in one block of bytes, and which bytes were ever written."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes: a cache line of the machine that runs the emulator."""


class Arena:
    """`size` bytes of emulated memory, all zero and unknown at first.

    `bytes` uint8[size]; `words` int32[size / 4] and `longs` int64[size / 8] are views of it.
    `known` uint8[size] is 1 where a byte was written since power-up, else 0.
    """

    def __init__(self, size: int) -> None:
        self.bytes = aligned(size)
        self.words: npt.NDArray[np.int32] = self.bytes.view(np.int32)
        self.longs: npt.NDArray[np.int64] = self.bytes.view(np.int64)
        self.known = aligned(size)

    def write(self, at: int, data: bytes) -> None:
        """Put bytes at an offset and mark them as written."""
        self.bytes[at : at + len(data)] = np.frombuffer(data, np.uint8)
        self.known[at : at + len(data)] = 1


def aligned(size: int) -> npt.NDArray[np.uint8]:
    """Zeros, uint8[size], that start at a multiple of ALIGNMENT."""
    block = np.zeros(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]
