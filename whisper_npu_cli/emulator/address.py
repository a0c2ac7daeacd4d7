"""Meaning of addresses: post-increments, 2-D and 3-D walks, windows of the neighbours' memories.

Sources: llvm-aie's aiev2_addr.h (order of the arguments, counts that run up to the size), shared
facts 4.9 (windows, banks), AM020 chapter 2.
"""

from __future__ import annotations

from whisper_npu_cli.emulator.core_state import DC, DJ, DN, SOUTH, M
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline
from whisper_npu_cli.emulator.numbers import sign_extend
from whisper_npu_cli.emulator.timing import BANK_BYTES, LOGICAL_BANK_BYTES

OFFSET, POST, POST_2D, POST_3D, POINTER = 0, 1, 2, 3, 4
"""How an address is formed: pointer + offset, pointer and then a step; POINTER is pointer alone."""

ADDRESS_MASK = 0xFFFFF  # pointers have 20 bits
WINDOW_BYTES = 0x10000
FIRST_WINDOW = 0x40000  # south, west, north, own follow each other
NO_MEMORY = -1


@inline
def pointer_step(h: Handle, mode: int, base: int, step: int) -> int:
    """The pointer in word `base` after its step; moves on the counts of a 2-D or 3-D modifier.

    step: word of the offset or modifier register; number of the modifier for 2-D and 3-D.
    """
    v = view(h)
    pointer = int(v.w[base])
    if mode == POST:
        return (pointer + int(v.w[step])) & ADDRESS_MASK
    if v.w[DC + step] != v.w[DN + step]:
        v.w[DC + step] += 1
        return (pointer + int(v.w[DJ + step])) & ADDRESS_MASK
    v.w[DC + step] = 0
    if mode == POST_3D:
        outer = step + 4
        if v.w[DC + outer] != v.w[DN + outer]:
            v.w[DC + outer] += 1
            return (pointer + int(v.w[DJ + outer])) & ADDRESS_MASK
        v.w[DC + outer] = 0
    return (pointer + int(v.w[M + step])) & ADDRESS_MASK


@inline
def effective(h: Handle, mode: int, base: int, step: int) -> int:
    """The address that an access uses."""
    v = view(h)
    if mode == OFFSET:
        return (int(v.w[base]) + int(v.w[step])) & ADDRESS_MASK
    return int(v.w[base])


@inline
def place(h: Handle, address: int) -> int:
    """The byte of the arena behind a core address, or NO_MEMORY."""
    v = view(h)
    window = (address - FIRST_WINDOW) >> 16
    if window < 0 or window > 3:
        return NO_MEMORY
    start = int(v.d[SOUTH + window])
    if start < 0:
        return NO_MEMORY
    return start + (address & (WINDOW_BYTES - 1))


@inline
def banks(address: int, size: int) -> int:
    """A bit for each of the 32 physical banks that an access touches, as a signed word."""
    logical = (address - FIRST_WINDOW) // LOGICAL_BANK_BYTES
    if size > BANK_BYTES:
        return sign_extend(3 << (2 * logical), 32)
    return sign_extend(1 << (2 * logical + (address // BANK_BYTES & 1)), 32)
