"""A toy array: plays register writes word by word, in random order, to see what data arrive where.

Knows nothing of designs: descriptors, locks and streams are read back from the writes. Cores are
given as Python generators. Streams hold few words, so that back-pressure and races show.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import product

from whisper_npu_cli.aie.array.explain import BdState, explain
from whisper_npu_cli.aie.array.place import CoreFifo
from whisper_npu_cli.aie.array.trace import trace
from whisper_npu_cli.aie.facts.tile_registers import find
from whisper_npu_cli.aie.facts.topology import FACTS, Direction, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import BlockWrite, Write, tile_of

STREAM_WORDS = 5
Steps = Generator[None, None, None]


def walk(bd: BdState) -> list[int | None]:
    """Word offsets from the base in stream order, None for an inserted zero."""
    zeros = [
        (bd.fields.get(f"D{d}_Zero_Before", 0), bd.fields.get(f"D{d}_Zero_After", 0))
        for d in reversed(range(len(bd.dims)))
    ]
    ranges = [range(-b, n + a) for (n, _), (b, a) in zip(bd.dims, zeros, strict=True)]
    found: list[int | None] = []
    for index in product(*ranges):
        inside = all(0 <= i < n for i, (n, _) in zip(index, bd.dims, strict=True))
        offset = sum(i * s for i, (_, s) in zip(index, bd.dims, strict=True))
        found.append(offset if inside else None)
    assert len(found) * 4 == bd.length_bytes
    return found


class Array:
    def __init__(self, ops: Iterable, seed: int) -> None:
        self.random = random.Random(seed)
        self.tiles = explain(ops)
        self.words = {t: [0] * (FACTS[t.kind].data_bytes // 4) for t in self.tiles}
        self.locks = {(t, i): v for t, s in self.tiles.items() for i, v in s.locks.items()}
        self.inputs: dict = {}  # (tile, channel) of an S2MM channel -> words that wait there
        self.outputs: dict = {}  # (tile, channel) of an MM2S channel -> the queues it feeds
        self.running: list[Steps] = []
        for flow in trace(self.tiles):
            if flow.packet is not None:
                continue
            queues = []
            for sink in flow.sinks:
                assert sink.port.bundle == "DMA"
                queue: deque = deque()
                assert (sink.tile, sink.port.number) not in self.inputs
                self.inputs[sink.tile, sink.port.number] = queue
                queues.append(queue)
            self.outputs[flow.source.tile, flow.source.port.number] = queues
        for tile, state in self.tiles.items():
            for start in state.channels:
                self.running.append(self.channel(tile, start))

    def wait(self, tile: Tile, lock: int, count: int) -> Steps:
        while self.locks[tile, lock] < count:
            yield
        self.locks[tile, lock] -= count

    def release(self, tile: Tile, lock: int, count: int) -> None:
        self.locks[tile, lock] += count
        assert self.locks[tile, lock] <= 63, f"{tile} lock {lock} overflows"

    def send(self, tile: Tile, channel: int, word: int) -> Steps:
        queues = self.outputs[tile, channel]
        while any(len(q) >= STREAM_WORDS for q in queues):
            yield
        for q in queues:
            q.append(word)

    def channel(self, tile: Tile, start) -> Steps:
        bds = {b.id: b for b in self.tiles[tile].bds}
        for _ in range(start.repeat):
            at: int | None = start.first_bd
            while at is not None:
                bd = bds[at]
                assert bd.valid
                if bd.acquire:
                    yield from self.wait(tile, bd.acquire[0], -bd.acquire[1])
                for offset in walk(bd):
                    yield from self.word(tile, start, bd, offset)
                if bd.release:
                    self.release(tile, *bd.release)
                at = bd.next
                yield

    def word(self, tile: Tile, start, bd: BdState, offset: int | None) -> Steps:
        memory = self.words[tile]
        if start.direction is Direction.MM2S:
            word = 0 if offset is None else memory[bd.base // 4 + offset]
            yield from self.send(tile, start.channel, word)
        else:
            queue = self.inputs[tile, start.channel]
            while not queue:
                yield
            memory[bd.base // 4 + offset] = queue.popleft()

    def write(self, op: Write | BlockWrite) -> None:
        """Play a write of a launch: to data memory, or to a lock."""
        column, row, offset = tile_of(op.address)
        tile = Tile(column, row)
        words = op.words if isinstance(op, BlockWrite) else (op.value,)
        if offset < FACTS[tile.kind].data_bytes:
            self.words[tile][offset // 4 : offset // 4 + len(words)] = words
        else:
            found = find(tile.kind, offset)
            assert found
            assert found[0].name == "Lock{}_value"
            self.locks[tile, found[1][0]] = words[0]

    def feed(self, tile: Tile, channel: int, data: Iterable[int]) -> None:
        """Let the host send words through a shim channel."""

        def steps() -> Steps:
            for word in data:
                yield from self.send(tile, channel, word)
                yield

        self.running.append(steps())

    def run(self, tile: Tile, channel: int, count: int) -> list[int]:
        """Run until so many words reached the host through a shim channel."""
        assert tile.kind is TileKind.SHIM
        got: list[int] = []
        idle = 0
        while len(got) < count:
            if self.inputs[tile, channel]:
                got.append(self.inputs[tile, channel].popleft())
                idle = 0
            burst = self.random.choice(self.running)
            for _ in range(self.random.randint(1, 12)):
                try:
                    next(burst)
                except StopIteration:
                    self.running.remove(burst)
                    break
            idle += 1
            assert idle < 20_000, f"nothing arrives any more after {len(got)} of {count} words"
        return got


def core(
    array: Array,
    tile: Tile,
    source: CoreFifo,
    sink: CoreFifo,
    work: Callable[[list[int]], list[int]],
) -> Steps:
    """A core that turns every object of one fifo into one object of another, for ever."""

    def at(address: int, size: int) -> slice:
        assert address >> 16 == 7
        return slice((address & 0xFFFF) // 4, ((address & 0xFFFF) + size) // 4)

    memory, n = array.words[tile], 0
    while True:
        yield from array.wait(tile, source.acquire - 48, 1)
        yield from array.wait(tile, sink.acquire - 48, 1)
        taken = memory[at(source.buffers[n % len(source.buffers)], source.size)]
        yield
        memory[at(sink.buffers[n % len(sink.buffers)], sink.size)] = work(taken)
        array.release(tile, source.release - 48, 1)
        array.release(tile, sink.release - 48, 1)
        n += 1
        yield
