"""Fifos on the toy array: every word arrives where and when it should, in every order of events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dataflow import Array, core
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_npu_cli.aie.array.access import Access
from whisper_npu_cli.aie.array.design import Design, End, Program
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import Placement, place
from whisper_npu_cli.aie.array.route import route
from whisper_npu_cli.aie.facts.topology import Tile

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Bench:
    placed: Placement
    array: Array

    def feed(self, fifo: str, data: list[int]) -> None:
        port = self.placed.host(fifo)
        self.array.feed(port.tile, port.channel, data)

    def collect(self, fifo: str, count: int) -> list[int]:
        port = self.placed.host(fifo)
        return self.array.run(port.tile, port.channel, count)

    def core(self, tile: Tile, source: str, sink: str, add: int = 0) -> None:
        view = self.placed.core(tile)
        steps = core(
            self.array, tile, view.fifo(source), view.fifo(sink), lambda w: [x + add for x in w]
        )
        self.array.running.append(steps)


def bench(design: Design, seed: int) -> Bench:
    placed = place(design)
    programs = {tile: Program(b"") for tile in placed.design.stacks}
    config = lower(placed, route(placed.design), programs)
    ops = [op for phase in config.phases for op in phase]
    return Bench(placed, Array(ops, seed))


depths = st.integers(1, 3)


@FEW
@given(st.integers(0, 99), depths, depths, depths, st.integers(1, 3), st.integers(1, 3))
def test_forward_through_a_memtile_with_reuse(seed, link, core_in, core_out, reuse, ratio) -> None:
    d = Design("forward", columns=1)
    shim, mem, tile = d.shim(0), d.mem(0), d.core(0, 2)
    size = 16
    a = d.fifo("a", size * ratio, shim, mem)
    b = d.fifo("b", size, End(mem, reuse=reuse), End(tile, core_in))
    d.fifo("c", size, End(tile, core_out), shim)
    d.link([a], [b], depth=link)
    t = bench(d, seed)
    t.core(tile, "b", "c", add=1000)
    data = list(range(5 * ratio * size // 4))
    t.feed("a", data)
    objects = np.array(data).reshape(5, -1)
    expected = np.repeat(objects, reuse, axis=0).ravel() + 1000
    assert t.collect("c", expected.size) == expected.tolist()


@FEW
@given(st.integers(0, 99), depths, st.integers(2, 4), st.lists(st.integers(1, 4), min_size=4))
def test_split_and_join(seed, depth, cores, parts) -> None:
    d = Design("split", columns=2)
    shim, mem = d.shim(0), d.mem(0)
    tiles = [d.core(1, 2 + i) for i in range(cores)]
    sizes = [4 * n for n in parts[:cores]]
    a = d.fifo("a", sum(sizes), shim, mem)
    ins = [
        d.fifo(f"in{i}", n, mem, End(t, depth))
        for i, (n, t) in enumerate(zip(sizes, tiles, strict=True))
    ]
    outs = [
        d.fifo(f"out{i}", n, End(t, depth), mem)
        for i, (n, t) in enumerate(zip(sizes, tiles, strict=True))
    ]
    c = d.fifo("c", sum(sizes), mem, shim)
    d.link([a], ins, depth=depth)
    d.link(outs, [c], depth=depth)
    t = bench(d, seed)
    for i, tile in enumerate(tiles):
        t.core(tile, f"in{i}", f"out{i}", add=1000 * i)
    words = sum(sizes) // 4
    data = list(range(6 * words))
    t.feed("a", data)
    owner = np.repeat(np.arange(cores), [n // 4 for n in sizes])
    expected = np.array(data).reshape(6, words) + 1000 * owner
    assert t.collect("c", 6 * words) == expected.ravel().tolist()


@FEW
@given(st.integers(0, 99), depths, st.integers(1, 4))
def test_broadcast_with_a_memtile_transposing(seed, depth, cores) -> None:
    d = Design("broadcast", columns=4)
    shim, mem = d.shim(1), d.mem(1)
    tiles = [d.core(i, 3) for i in range(cores)]
    rows, columns = 3, 4
    size = 4 * rows * columns
    a = d.fifo("a", size, shim, mem)
    transposed = Access((columns, rows), (1, columns))
    b = d.fifo("b", size, End(mem, access=transposed), *(End(t, depth) for t in tiles))
    d.link([a], [b], depth=depth)
    for i, tile in enumerate(tiles):
        d.fifo(f"c{i}", size, tile, d.shim(i))
    t = bench(d, seed)
    for i, tile in enumerate(tiles):
        t.core(tile, "b", f"c{i}", add=1000 * i)
    data = list(range(4 * rows * columns))
    t.feed("a", data)
    expected = np.array(data).reshape(4, rows, columns).transpose(0, 2, 1).ravel()
    for i in range(cores):  # one after the other: the stream waits for the slowest
        got = t.collect(f"c{i}", rows * columns)
        assert got == (expected[: rows * columns] + 1000 * i).tolist()


def test_padding_by_a_memtile() -> None:
    d = Design("pad", columns=1)
    shim, mem, tile = d.shim(0), d.mem(0), d.core(0, 2)
    a = d.fifo("a", 4 * 6, shim, mem)
    padded = Access((2, 3), (3, 1), before=(1, 2), after=(0, 1))
    b = d.fifo("b", padded.bytes, End(mem, access=padded), tile)
    d.fifo("c", padded.bytes, tile, shim)
    d.link([a], [b])
    t = bench(d, 1)
    t.core(tile, "b", "c")
    t.feed("a", list(range(1, 13)))
    twice = np.arange(1, 13).reshape(2, 2, 3)
    expected = np.pad(twice, ((0, 0), (1, 0), (2, 1))).ravel()
    assert t.collect("c", expected.size) == expected.tolist()
