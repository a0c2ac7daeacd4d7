"""Meaning of instructions that move lanes: shuffles, shifts, pushes, insert, extract, broadcast.

Shuffle modes: names and numbers from llvm-aie's aiev2_enums.h; T<bits>_<rows>x<columns> transposes
a matrix of elements. Where that has 1024 bits it is the two operands one after the other and
lo/hi names the half of the result; where it has fewer, every such block of the first operand is
transposed (the MIT-licensed aie_api, detail/aie2/transpose.hpp, builds on both).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.emulator.core_state import WIDE
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.lanes import lane, set_lane
from whisper_npu_cli.emulator.numbers import wrap64
from whisper_npu_cli.emulator.vectors import copy_unit

SHUFFLES = [
    "8_64x2_lo",
    "8_64x2_hi",
    "16_32x2_lo",
    "16_32x2_hi",
    "32_16x2_lo",
    "32_16x2_hi",
    "64_8x2_lo",
    "64_8x2_hi",
    "128_4x2_lo",
    "128_4x2_hi",
    "256_2x2_lo",
    "256_2x2_hi",
    "128_2x4_lo",
    "128_2x4_hi",
    "64_2x8_lo",
    "64_2x8_hi",
    "32_2x16_lo",
    "32_2x16_hi",
    "16_2x32_lo",
    "16_2x32_hi",
    "8_2x64_lo",
    "8_2x64_hi",
    "512_1x2_lo",
    "512_1x2_hi",
    "16_16x4_lo",
    "16_16x4_hi",
    "16_4x16_lo",
    "16_4x16_hi",
    "16_8x4",
    "16_4x8",
    "32_8x4_lo",
    "32_8x4_hi",
    "32_4x8_lo",
    "32_4x8_hi",
    "32_4x4",
    "8_8x8",
    "8_16x4",
    "8_4x16",
    "16_1x2_flip",
    "16_4x4",
    "16_4x2",
    "16_2x4",
    "16_8x2",
    "16_2x8",
    "16_16x2",
    "16_2x16",
    "8_8x4",
    "8_4x8",
]
"""Shuffle modes in the order of their numbers, without the leading T."""


def source_bytes(mode: int) -> npt.NDArray[np.uint8]:
    """For each of the 64 bytes of a shuffle's result the byte of the 128 of both operands."""
    size, shape, *half = SHUFFLES[mode].split("_")
    if half == ["flip"]:
        return np.arange(64, dtype=np.uint8) ^ np.uint8(2)
    rows, columns = map(int, shape.split("x"))
    block = int(size) // 8 * rows * columns
    taken = np.arange(128 if half else 64, dtype=np.uint8)
    moved = taken.reshape(-1, rows, columns, int(size) // 8).transpose(0, 2, 1, 3).reshape(-1)
    assert block == 128 or not half
    return moved[64:128] if half == ["hi"] else moved[:64]


SOURCES = np.stack([source_bytes(mode) for mode in range(len(SHUFFLES))]).reshape(-1)
"""source_bytes of all modes, uint8[48 * 64]."""


UNITS = np.array(
    [
        sum(1 << unit for unit in {int(s) // 32 for s in SOURCES[at : at + 32]})
        for at in range(0, len(SOURCES), 32)
    ],
    np.uint8,
)
"""For each half of each mode's result a bit for each 256 bits of the operands that it needs."""


@inline
def in_a_row(h: Handle, a: int, b: int) -> None:
    """Put the vectors at words a and b one behind the other to WIDE."""
    for unit in range(2):
        copy_unit(h, a, WIDE, unit)
        copy_unit(h, b, WIDE + 16, unit)


@inner
def shuffle(h: Handle, mode: int, a: int, b: int, out: int) -> None:
    """Put the bytes of the vectors at words a and b in the order of a mode at word out."""
    v = view(h)
    in_a_row(h, a, b)
    for i in range(64):
        v.b[4 * out + i] = v.b[4 * WIDE + int(SOURCES[64 * mode + i])]


@inner
def shift_bytes(h: Handle, a: int, b: int, by: int, out: int) -> None:
    """64 bytes from byte `by` on of the vectors a and b one after the other; by 0 .. 63."""
    v = view(h)
    in_a_row(h, a, b)
    for i in range(64):
        v.b[4 * out + i] = v.b[4 * WIDE + by + i]


@inner
def push(h: Handle, bits: int, high: bool, a: int, scalar: int, out: int) -> None:
    """Shift a vector by one lane and put a scalar (at a word) into the lane that falls empty.

    high: into the topmost lane, else into lane 0.
    """
    v = view(h)
    size = bits // 8
    for i in range(64):
        source = i + size if high else i - size
        if 0 <= source < 64:
            v.b[4 * out + i] = v.b[4 * a + source]
        else:
            v.b[4 * out + i] = v.b[4 * scalar + (source - 64 if high else i)]


@inner
def insert(h: Handle, bits: int, a: int, scalar: int, index: int, out: int) -> None:
    """Vector a with lane `index` (counted modulo the lanes) replaced by the scalar at a word."""
    v = view(h)
    for i in range(8):
        v.d[out // 2 + i] = v.d[a // 2 + i]
    size = bits // 8
    first = index % (64 // size) * size
    for i in range(size):
        v.b[4 * out + first + i] = v.b[4 * scalar + i]


@inner
def extract(h: Handle, bits: int, signed: bool, a: int, index: int, out: int) -> None:
    """A lane, extended to 32 bits, or both words of a 64-bit lane."""
    v = view(h)
    if bits == 64:
        first = a + 2 * (index % 8)
        v.w[out] = v.w[first]
        v.w[out + 1] = v.w[first + 1]
    else:
        set_lane(h, out, 32, 0, lane(h, a, bits, signed, index % (512 // bits)))


@inner
def broadcast(h: Handle, bits: int, source: int, out: int) -> None:
    """The lane that begins at a byte of the state, in all lanes."""
    v = view(h)
    if bits == 8:
        pattern = (int(v.b[source]) & 0xFF) * 0x0101010101010101
    elif bits == 16:
        pattern = (int(v.h[source // 2]) & 0xFFFF) * 0x0001000100010001
    elif bits == 32:
        pattern = (int(v.w[source // 4]) & 0xFFFFFFFF) * 0x0000000100000001
    else:
        low, high = int(v.w[source // 4]), int(v.w[source // 4 + 1])
        pattern = low & 0xFFFFFFFF | high << 32
    for i in range(8):
        v.d[out // 2 + i] = wrap64(pattern)
