"""Transfers of a list of operations to the instruction stream of one launch.

Operations depend on each other through host memory: what reads an operation's results waits until
all of them have arrived. What does not (weights, and room for results) is started before that wait
as far as descriptors and queues allow, so that the cores find their next operation at once; of what
does, the descriptors are written before it, so that only the start is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.array.transfers import Launch, Piece, Task
from whisper_npu_cli.aie.facts.topology import Direction, Tile
from whisper_npu_cli.aie.formats.sequence import SequenceOp

GRAIN = 2048
"""Bytes of memory on which two operations depend, or do not: a piece of a tile."""
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
    for transfers in operations:
        work.follow(transfers)
    work.follow(())
    return work.launch.finish()


Footprint = Mapping[int, NDArray[np.int64]]


def footprint(transfer: Transfer) -> Footprint:
    """By kernel buffer, the numbers of all blocks of GRAIN bytes that a transfer touches."""
    found: dict[int, list[NDArray[np.int64]]] = {}
    for piece in transfer.pieces:
        access = piece.access
        words = np.array([access.offset])
        for size, stride in zip(access.sizes, access.strides, strict=True):
            steps = np.arange(size) * stride
            if stride * access.element_bytes < GRAIN:  # one of each block does, and the last
                every = max(1, GRAIN // (stride * access.element_bytes))
                steps = np.append(steps[::every], steps[-1])
            words = (words[:, None] + steps).ravel()
        found.setdefault(piece.argument, []).append(words * access.element_bytes // GRAIN)
    return {argument: np.unique(np.concatenate(parts)) for argument, parts in found.items()}


class _Dispatch:
    def __init__(self, placed: Placement) -> None:
        self.placed, self.launch = placed, Launch()
        self.current: dict[Transfer, Task] = {}
        """The operation under way, in the order of its starts."""
        self.running: dict[Transfer, Footprint] = {}
        """All of it, over or not."""
        self.over: set[Transfer] = set()
        self.needs: dict[Transfer, frozenset[Transfer]] = {}
        """Of the operation that comes next: what must be over first."""
        self.ready: dict[Transfer, Task] = {}
        """Of the operation that comes next: configured."""
        self.ahead: dict[Transfer, Task] = {}
        """Of the operation that comes next: started."""

    def follow(self, transfers: Sequence[Transfer]) -> None:
        """End the operation under way, and start the next one as early as that allows."""
        prints = {transfer: footprint(transfer) for transfer in transfers}
        self.needs = self._dependencies(prints)
        self.ready, self.ahead = {}, {}
        self._settle(transfers)
        self.running = prints
        self._run(transfers)

    def _reads(self, transfer: Transfer) -> bool:
        return self.placed.host(transfer.port).direction is Direction.MM2S

    def _dependencies(
        self, following: Mapping[Transfer, Footprint]
    ) -> dict[Transfer, frozenset[Transfer]]:
        """What of the operation under way each transfer of the next one has to wait for.

        Where the next one overwrites what this one reads or writes, it does not begin before all of
        this one is over.
        """
        owners: dict[int, dict[int, Transfer]] = {}
        touched: dict[int, set[int]] = {}
        for transfer, spans in self.running.items():
            for argument, blocks in spans.items():
                numbers = blocks.tolist()
                touched.setdefault(argument, set()).update(numbers)
                if not self._reads(transfer):
                    owners.setdefault(argument, {}).update(dict.fromkeys(numbers, transfer))
        found, overwritten = {}, False
        for transfer, spans in following.items():
            if self._reads(transfer):
                kept = [(owners.get(argument, {}), blocks) for argument, blocks in spans.items()]
                found[transfer] = {
                    o[n] for o, blocks in kept if o for n in blocks.tolist() if n in o
                }
            else:
                found[transfer] = set()
                overwritten |= any(
                    not touched.get(argument, set()).isdisjoint(blocks.tolist())
                    for argument, blocks in spans.items()
                )
        everything = {t for t in self.running if not self._reads(t)} if overwritten else set()
        return {
            t: frozenset(needs | everything if self._reads(t) else needs)
            for t, needs in found.items()
        }

    def _fits(self, transfer: Transfer, besides: int = 0) -> bool:
        """Whether there is room, for so many more descriptors of its shim tile too."""
        port = self.placed.host(transfer.port)
        return self.launch.has_room(port, len(transfer.pieces) + besides)

    def _configure(self, transfer: Transfer) -> Task:
        port = self.placed.host(transfer.port)
        return self.launch.configure(
            port, *transfer.pieces, token=transfer.token, repeat=transfer.repeat
        )

    def _prefetch(self, transfers: Sequence[Transfer]) -> None:
        """Start what fits and need not wait, each stream in its order.

        Of the first that must wait, of each stream, only the descriptors are written.
        """
        blocked: set[str] = set()
        seen: Counter[str] = Counter()
        kept: Counter[Tile] = Counter()  # descriptors for those that found no room
        for transfer in transfers:
            seen[transfer.port] += 1
            if transfer.port in blocked or transfer in self.ahead:
                continue
            tile = self.placed.host(transfer.port).tile
            waits = not self.needs[transfer] <= self.over
            if transfer not in self.ready and seen[transfer.port] <= AHEAD:
                if self._fits(transfer, kept[tile]):
                    self.ready[transfer] = self._configure(transfer)
                else:
                    kept[tile] += len(transfer.pieces) if waits else 0
            if transfer in self.ready and not waits:
                self._start(transfer)
            else:
                blocked.add(transfer.port)

    def _start(self, transfer: Transfer) -> None:
        self.ahead[transfer] = task = self.ready.pop(transfer)
        self.launch.start(task)

    def _settle(self, following: Sequence[Transfer]) -> None:
        """Wait until the operation under way is over: then all its transfers are."""
        if not self.current:
            return
        self._prefetch(following)
        final = {task.port: t for t, task in self.current.items() if not self._reads(t)}
        others = [t for t, k in self.current.items() if k.token and t is not final.get(k.port)]
        for transfer in others:
            self._wait(transfer)
            self._prefetch(following)
        for transfer in final.values():
            self._wait(transfer)
            for next_one in list(self.ready):
                if self.needs[next_one] <= self.over:
                    self._start(next_one)
        for task in self.current.values():
            self.launch.release(task)

    def _wait(self, transfer: Transfer) -> None:
        """Wait for a transfer's token; those before it on its port are over then, too."""
        task = self.current[transfer]
        self.launch.wait(task)
        for earlier, other in list(self.current.items()):
            if other.port == task.port:
                self.over.add(earlier)
                del self.current[earlier]
            if earlier is transfer:
                return

    def _run(self, transfers: Sequence[Transfer]) -> None:
        """Start the rest in order, waiting for earlier ones where there is no room."""
        self.over, self.current = set(), dict(self.ahead)
        for transfer in transfers:
            if transfer in self.ahead:
                continue
            task = self.ready.get(transfer)
            if task is None:
                while not self._fits(transfer):
                    self._wait_for_room(transfer)
                task = self._configure(transfer)
            self.launch.start(task)
            self.current[transfer] = task

    def _wait_for_room(self, transfer: Transfer) -> None:
        """Wait for the oldest task in the way: of the same stream, else of the same shim tile."""
        port = self.placed.host(transfer.port)
        waiting = [t for t, task in self.current.items() if task.token]
        same = [t for t in waiting if self.current[t].port == port]
        near = [t for t in waiting if self.current[t].port.tile == port.tile]
        self._wait((same or near)[0])
