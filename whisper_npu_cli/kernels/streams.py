"""Launches of an overlay as instruction streams."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.kernels.dispatch import Transfer, dispatch


class Streams:
    """Makes the launches of one design, which is placed once."""

    def __init__(self, design: Design) -> None:
        self._placed = place(design)

    def stream(self, operations: Sequence[Sequence[Transfer]]) -> bytes:
        """The instruction words of the launch that runs operations in turn; see `dispatch`."""
        words = sequence.encode(dispatch(self._placed, operations), self._placed.design.columns)
        return sequence.to_bytes(words)
