"""A launch with a known answer, which proves a machine before its first use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.formats.sequence import SequenceOp
from whisper_npu_cli.pseudorandom import pseudorandom


@dataclass(frozen=True)
class Input:
    """A kernel buffer that holds the first `size` bytes that belong to `label`."""

    label: str
    size: int

    @property
    def content(self) -> bytes:
        """What is in it."""
        return pseudorandom(self.label, self.size)


@dataclass(frozen=True)
class Given:
    """A kernel buffer whose content is shipped as a file."""

    content: bytes


@dataclass(frozen=True)
class Scratch:
    """A kernel buffer of `size` bytes for what a launch keeps to itself."""

    size: int


@dataclass(frozen=True)
class Expected:
    """A kernel buffer that must hold `content` after the launch."""

    content: bytes


Argument = Input | Given | Scratch | Expected


@dataclass(frozen=True)
class Golden:
    """One launch: its operations, and the kernel's buffers in their order."""

    ops: Sequence[SequenceOp]
    arguments: tuple[Argument, ...]
