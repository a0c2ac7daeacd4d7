"""Launches of an overlay as instruction streams, and what these cost by themselves."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.facts.launch import FIRST_SYNC, INSTRUCTION, LAUNCH, QUEUE_WRITE
from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.kernels.dispatch import Transfer, dispatch

Operations = Sequence[Sequence[Transfer]]
"""Transfers of operations that run in turn in one launch."""


class Streams:
    """Makes the launches of one design, which is placed once."""

    def __init__(self, design: Design) -> None:
        self._placed = place(design)

    def stream(self, operations: Operations) -> bytes:
        """The instruction words of a launch; see `dispatch`."""
        ops = dispatch(self._placed, operations)
        return sequence.to_bytes(sequence.encode(ops, self._placed.design.columns))

    def dispatch_cycles(self, operations: Operations) -> int:
        """Array cycles for which the controller is busy with a launch, as modelled.

        The cores work meanwhile, as far as they have what they need.
        """
        ops = dispatch(self._placed, operations)
        starts = sum(isinstance(op, Write) for op in ops)
        return LAUNCH + FIRST_SYNC + INSTRUCTION * len(ops) + QUEUE_WRITE * starts


def traffic(operations: Operations) -> int:
    """Bytes that a launch moves between host memory and the array, both ways."""
    transfers = [transfer for transfers in operations for transfer in transfers]
    return sum(t.repeat * piece.access.bytes for t in transfers for piece in t.pieces)
