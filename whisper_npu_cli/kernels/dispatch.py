"""Transfers of a list of operations to the instruction stream of one launch.

Operations depend on each other through host memory: what reads an operation's results waits until
all of them have arrived. What does not (weights, and room for results) is started before that wait
as far as descriptors and queues allow, so that the cores find their next operation at once; of what
does, the descriptors are written before it, so that only the start is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.array.transfers import Launch, Piece, Task
from whisper_npu_cli.aie.facts.topology import Direction, Tile
from whisper_npu_cli.aie.formats.sequence import SequenceOp

AHEAD = 2
"""Tasks of a stream that are started before the operation before is over: a header, and what cores
need next. Each start costs 2600 cycles, by which more of them could delay what must wait."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """A task of the host stream `port`: pieces one after the other, all of them `repeat` times.

    token: its end can be waited for.
    """

    port: str
    pieces: tuple[Piece, ...]
    repeat: int = 1
    token: bool = False


def dispatch(placed: Placement, operations: Sequence[Sequence[Transfer]]) -> tuple[SequenceOp, ...]:
    """The launch that runs the operations in turn.

    Transfers are started in the order given, which has to be that in which cores need them: where
    there is no room for one, an earlier one is waited for.
    """
    work = _Dispatch(placed)
    before: Sequence[Transfer] = ()
    for transfers in operations:
        work.settle(transfers, _Memory.of(placed, before))
        work.run(transfers)
        before = transfers
    work.settle()
    return work.launch.finish()


@dataclass(frozen=True)
class _Memory:
    """What an operation reads and writes: spans of bytes of the launch's buffers."""

    reads: tuple[tuple[int, int, int], ...]
    writes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, placed: Placement, transfers: Iterable[Transfer]) -> _Memory:
        """All transfers of an operation."""
        spans: dict[Direction, list[tuple[int, int, int]]] = {d: [] for d in Direction}
        for t in transfers:
            found = spans[placed.host(t.port).direction]
            for piece in t.pieces:
                access = piece.access
                first = access.offset * access.element_bytes
                found.append((piece.argument, first, access.end))
        return cls(tuple(spans[Direction.MM2S]), tuple(spans[Direction.S2MM]))

    def hinders(self, later: _Memory) -> bool:
        """Whether an operation that follows must wait with what these do."""
        both = self.reads + self.writes
        return _meet(self.writes, later.reads) or _meet(both, later.writes)


def _meet(some: Iterable[tuple[int, int, int]], others: Sequence[tuple[int, int, int]]) -> bool:
    return any(a == b and s < f and t < e for a, s, e in some for b, t, f in others)


class _Dispatch:
    def __init__(self, placed: Placement) -> None:
        self.placed, self.launch = placed, Launch()
        self.ready: dict[Transfer, Task] = {}  # of the operation that comes next, not started yet
        self.current: list[Task] = []  # of the operation under way, in the order of their start
        self.ahead: dict[Transfer, Task] = {}  # of the operation that comes next, started

    def _fits(self, transfer: Transfer, besides: int = 0) -> bool:
        """Whether there is room, for so many more descriptors of its shim tile too."""
        port = self.placed.host(transfer.port)
        return self.launch.has_room(port, len(transfer.pieces) + besides)

    def _configure(self, transfer: Transfer) -> Task:
        port = self.placed.host(transfer.port)
        return self.launch.configure(
            port, *transfer.pieces, token=transfer.token, repeat=transfer.repeat
        )

    def prefetch(self, transfers: Sequence[Transfer], before: _Memory) -> None:
        """Start what fits and does not depend on the operation before, each stream in its order.

        Of the first that does depend, of each stream, only the descriptors are written.
        """
        ours = _Memory.of(self.placed, transfers)
        overwritten = _meet(before.reads + before.writes, ours.writes)
        blocked: set[str] = set()
        seen: Counter[str] = Counter()
        kept: Counter[Tile] = Counter()  # descriptors for those that found no room
        for transfer in transfers:
            seen[transfer.port] += 1
            if transfer.port in blocked or transfer in self.ahead:
                continue
            if transfer in self.ready or seen[transfer.port] > AHEAD:
                blocked.add(transfer.port)
                continue
            port = self.placed.host(transfer.port)
            reads = port.direction is Direction.MM2S
            depends = before.hinders(_Memory.of(self.placed, [transfer])) or (overwritten and reads)
            if depends and self._fits(transfer, kept[port.tile]):
                self.ready[transfer] = self._configure(transfer)
            elif depends:
                kept[port.tile] += len(transfer.pieces)
            elif self._fits(transfer, kept[port.tile]):
                self.ahead[transfer] = task = self._configure(transfer)
                self.launch.start(task)
                continue
            blocked.add(transfer.port)

    def settle(self, following: Sequence[Transfer] = (), before: _Memory = _Memory((), ())) -> None:
        """Wait until the operation under way is over: then all its transfers are.

        Meanwhile start what is possible of the `following` one; `before` is that under way.
        """
        if not self.current:
            return
        self.prefetch(following, before)
        final = {t.port: t for t in self.current if t.port.direction is Direction.S2MM}
        others = [t for t in self.current if t.token and t is not final.get(t.port)]
        for task in others:
            self.launch.wait(task)
            self.prefetch(following, before)
        for task in final.values():  # when these are over, what depends on them shall start at once
            self.launch.wait(task)
        for task in self.current:
            self.launch.release(task)
        self.current = []

    def run(self, transfers: Sequence[Transfer]) -> None:
        """Start the rest in order, waiting for earlier ones where there is no room."""
        self.current = list(self.ahead.values())
        for transfer in transfers:
            if transfer in self.ahead:
                continue
            task = self.ready.get(transfer)
            if task is None:
                while not self._fits(transfer):
                    self._wait_for_room(transfer)
                task = self._configure(transfer)
            self.launch.start(task)
            self.current.append(task)
        self.ready, self.ahead = {}, {}

    def _wait_for_room(self, transfer: Transfer) -> None:
        """Wait for the oldest task in the way: of the same stream, else of the same shim tile."""
        port = self.placed.host(transfer.port)
        same = [t for t in self.current if t.token and t.port == port]
        near = [t for t in self.current if t.token and t.port.tile == port.tile]
        oldest = (same or near)[0]
        self.launch.wait(oldest)
        over = self.current.index(oldest)
        self.current = [t for i, t in enumerate(self.current) if i > over or t.port != oldest.port]
