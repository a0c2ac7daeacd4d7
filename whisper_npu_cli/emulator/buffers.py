"""Host memory as the device sees it: buffers at device addresses, one block of words behind them.

The driver gives instruction buffers a heap of 64 MiB at 0x4000000 and data buffers pinned pages
elsewhere (shared facts 6.3). Here both lie in one array, so that the compiled loop can index it.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEAP_ADDRESS, HEAP_BYTES = 0x400_0000, 64 << 20
DATA_ADDRESS = 0x1_0000_0000  # of the first data buffer; any other would do
PAGE = 4096


@dataclass(frozen=True, order=True)
class Region:
    """`size` bytes from byte `offset` of the block, at device address `address`."""

    offset: int
    size: int
    address: int


class HostMemory:
    """Allocates buffers; grows as needed. Offsets and sizes in bytes."""

    def __init__(self) -> None:
        self.words: NDArray[np.uint32] = np.zeros((HEAP_BYTES + (16 << 20)) // 4, np.uint32)
        self._regions: list[Region] = []  # by offset

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """The block as bytes; invalid after the next `allocate`."""
        return self.words.view(np.uint8)

    def allocate(self, size: int, heap: bool) -> Region:
        """A new buffer of zeros, page aligned; MemoryError when the 64 MiB heap is full."""
        start, end = (0, HEAP_BYTES) if heap else (HEAP_BYTES, 1 << 62)
        room = -(-size // PAGE) * PAGE
        for region in self._regions:
            if region.offset >= end or region.offset < start:
                continue
            if start + room <= region.offset:
                break
            start = region.offset + -(-region.size // PAGE) * PAGE
        if start + room > end:
            raise MemoryError
        self._grow(start + room)
        base = HEAP_ADDRESS if heap else DATA_ADDRESS - HEAP_BYTES
        region = Region(start, size, base + start)
        insort(self._regions, region)
        self.words[start // 4 : (start + room) // 4] = 0
        return region

    def free(self, region: Region) -> None:
        """Give a buffer back."""
        self._regions.remove(region)

    def find(self, address: int) -> Region | None:
        """The buffer that holds a device address."""
        for base, offset in ((HEAP_ADDRESS, 0), (DATA_ADDRESS, HEAP_BYTES)):
            at = address - base + offset
            if at < offset:
                continue
            n = bisect_right(self._regions, at, key=lambda region: region.offset) - 1
            if n >= 0:
                region = self._regions[n]
                if region.address <= address < region.address + region.size:
                    return region
        return None

    def _grow(self, size: int) -> None:
        if size <= self.words.nbytes:
            return
        words = np.zeros(max(size, 2 * self.words.nbytes) // 4, np.uint32)
        for region in self._regions:
            part = slice(region.offset // 4, -(-(region.offset + region.size) // 4))
            words[part] = self.words[part]
        self.words = words
