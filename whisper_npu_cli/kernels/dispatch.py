"""Transfers of a list of operations to the instruction stream of one launch.

Operations depend on each other through host memory: what reads an operation's results waits until
all of them have arrived. What does not (weights, and room for results) is started before that wait
as far as descriptors and queues allow, so that the cores find their next operation at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.array.transfers import Launch, Piece, Task
from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.aie.formats.sequence import SequenceOp


@dataclass(frozen=True)
class Transfer:
    """A task of the host stream `port`: pieces one after the other, all of them `repeat` times.

    depends: it reads what the operation before wrote. token: its end can be waited for.
    """

    port: str
    pieces: tuple[Piece, ...]
    repeat: int = 1
    depends: bool = False
    token: bool = False


def dispatch(placed: Placement, operations: Sequence[Sequence[Transfer]]) -> tuple[SequenceOp, ...]:
    """The launch that runs the operations in turn.

    Transfers are started in the order given, which has to be that in which cores need them: where
    there is no room for one, an earlier one is waited for.
    """
    work = _Dispatch(placed)
    for transfers in operations:
        work.prefetch(transfers)
        work.settle()
        work.run(transfers)
    work.settle()
    return work.launch.finish()


class _Dispatch:
    def __init__(self, placed: Placement) -> None:
        self.placed, self.launch = placed, Launch()
        self.started: set[int] = set()  # of the operation that comes next, by identity
        self.current: list[Task] = []  # of the operation under way, in the order of their start
        self.ahead: list[Task] = []

    def _fits(self, transfer: Transfer, besides: int = 0) -> bool:
        """Whether there is room, for so many more descriptors of its shim tile too."""
        port = self.placed.host(transfer.port)
        return self.launch.has_room(port, len(transfer.pieces) + besides)

    def _start(self, transfer: Transfer) -> Task:
        port = self.placed.host(transfer.port)
        return self.launch.transfer(
            port, *transfer.pieces, token=transfer.token, repeat=transfer.repeat
        )

    def prefetch(self, transfers: Sequence[Transfer]) -> None:
        """Start what fits and depends on nothing, each stream in its order.

        The first that depends, of each stream, must find room later on.
        """
        self.started, self.ahead = set(), []
        blocked: set[str] = set()
        kept: Counter[Tile] = Counter()  # descriptors
        for transfer in transfers:
            tile = self.placed.host(transfer.port).tile
            if transfer.port in blocked:
                continue
            if transfer.depends or not self._fits(transfer, kept[tile]):
                blocked.add(transfer.port)
                kept[tile] += len(transfer.pieces) if transfer.depends else 0
                continue
            self.ahead.append(self._start(transfer))
            self.started.add(id(transfer))

    def settle(self) -> None:
        """Wait until the operation under way is over: then all its transfers are."""
        for task in self.current:
            if task.token:
                self.launch.wait(task)
        for task in self.current:
            self.launch.release(task)
        self.current = []

    def run(self, transfers: Sequence[Transfer]) -> None:
        """Start the rest in order, waiting for earlier ones where there is no room."""
        self.current, self.ahead = self.ahead, []
        for transfer in transfers:
            if id(transfer) in self.started:
                continue
            while not self._fits(transfer):
                self._wait_for_room(transfer)
            self.current.append(self._start(transfer))

    def _wait_for_room(self, transfer: Transfer) -> None:
        """Wait for the oldest task in the way: of the same stream, else of the same shim tile."""
        port = self.placed.host(transfer.port)
        same = [t for t in self.current if t.token and t.port == port]
        near = [t for t in self.current if t.token and t.port.tile == port.tile]
        oldest = (same or near)[0]
        self.launch.wait(oldest)
        over = self.current.index(oldest)
        self.current = [t for i, t in enumerate(self.current) if i > over or t.port != oldest.port]
