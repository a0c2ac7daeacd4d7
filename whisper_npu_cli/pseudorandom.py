"""Bytes that look random and follow from a name: inputs of runs with a known answer."""

from __future__ import annotations

from hashlib import shake_256


def pseudorandom(label: str, size: int) -> bytes:
    """The first `size` bytes of SHAKE-256 of the label in UTF-8."""
    return shake_256(label.encode()).digest(size)
