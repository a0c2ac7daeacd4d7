"""Damage to files: each mutator takes a file, others to borrow from, and a random generator."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

EXTREMES = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def flip_bits(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def truncate(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def splice(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A stretch of another file over, or into, this one."""
    other = rng.choice(others)
    start, size = rng.randrange(len(other)), rng.choice((4, 16, 40, 96, 400))
    at = rng.randrange(0, len(data), 4)
    return data[:at] + other[start : start + size] + data[at + rng.choice((0, size)) :]


def extreme(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Words set to extremes: at any place where a length, count or offset may stand."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = rng.choice((*EXTREMES, len(data), len(data) - 4, rng.randrange(1 << 32)))
        struct.pack_into("<I", out, rng.randrange(0, len(out) - 4, 4), value)
    return bytes(out)


def wide_extreme(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    out = bytearray(data)
    value = rng.choice((1 << 63, (1 << 64) - 1, 1 << 32, len(data), rng.randrange(1 << 64)))
    struct.pack_into("<Q", out, rng.randrange(0, len(out) - 8, 8), value)
    return bytes(out)


def repeat(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """A stretch twice, so that everything behind it moves."""
    at, size = rng.randrange(len(data)), rng.choice((1, 4, 40, 1000))
    return data[: at + size] + data[at:]


def junk(data: bytes, _: Sequence[bytes], rng: random.Random) -> bytes:
    """Random bytes behind an intact beginning."""
    keep = rng.randrange(len(data))
    return data[:keep] + rng.randbytes(len(data) - keep)


Mutator = Callable[[bytes, Sequence[bytes], random.Random], bytes]
MUTATORS: tuple[Mutator, ...] = (
    flip_bits, truncate, splice, extreme, wide_extreme, repeat, junk,
)  # fmt: skip


def resum(data: bytearray, start: int, count: int) -> None:
    """Make the checksum of `count` words at `start` right again, if they are all there."""
    if start >= 0 and start + 4 * count <= len(data):
        words = struct.unpack_from(f"<{count - 1}I", data, start)
        struct.pack_into("<I", data, start + 4 * count - 4, ~sum(words) & 0xFFFFFFFF)


def repair(data: bytes) -> bytes:
    """Make lengths and checksums of a damaged file right, so that damage reaches further in."""
    out = bytearray(data)
    if out[:7] == b"xclbin2" and len(out) >= 0x138:
        struct.pack_into("<Q", out, 0x130, len(out))
    if out[:4] == b"\x00\x01\x03\x06" and len(out) >= 16:
        struct.pack_into("<I", out, 12, len(out))
    at = out.find(b"\xdd\0\0\0\x44\x33\x22\x11")
    if at >= 0:
        for start, count in ((0x10, 32), (0x90, 16), (0xD0, 32), (0x150, 5)):
            resum(out, at + start, count)
    elif out[4:7] == b"CDO":
        resum(out, 0, 5)
    return bytes(out)
