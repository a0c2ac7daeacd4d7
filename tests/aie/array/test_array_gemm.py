"""The design that comes next, described with fifos: a matrix product on 4 by 4 cores.

A is broadcast along rows, B along columns, C is joined per column; a memtile keeps each panel of A
and sends it again for every block of columns; a parameter block and a command lock start a launch.
"""

from __future__ import annotations

import numpy as np
import pytest
from dataflow import Array, Steps

from whisper_npu_cli.aie.array.access import Access, linear
from whisper_npu_cli.aie.array.design import Design, End, Program
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import Placement, place
from whisper_npu_cli.aie.array.route import Routes, route
from whisper_npu_cli.aie.array.trace import trace
from whisper_npu_cli.aie.array.transfers import Launch, Piece
from whisper_npu_cli.aie.facts.topology import Tile

COLUMNS, ROWS = range(4), range(2, 6)


def gemm(a_tile: int, b_tile: int, c_tile: int, k_tiles: int, reuse: int) -> Design:
    """Tiles in bytes; a panel of A is `k_tiles` tiles, sent `reuse` times."""
    d = Design("gemm")
    cores = {(c, r): d.core(c, r) for c in COLUMNS for r in ROWS}
    for tile in cores.values():
        d.buffer("parameters", tile, 64)
        d.lock("command", tile)
    for i in COLUMNS:
        shim, mem = d.shim(i), d.mem(i)
        panel = linear(k_tiles * a_tile)
        row = [cores[c, i + 2] for c in COLUMNS]
        column = [cores[i, r] for r in ROWS]
        a = d.fifo(f"a{i}", a_tile, shim, mem)
        a_row = d.fifo(f"a_row{i}", a_tile, End(mem, access=panel, reuse=reuse), *row)
        b = d.fifo(f"b{i}", b_tile, shim, mem)
        b_column = d.fifo(f"b_column{i}", b_tile, mem, *column)
        parts = [d.fifo(f"c{i}_{t.row}", c_tile, t, mem) for t in column]
        c = d.fifo(f"c{i}", 4 * c_tile, mem, shim)
        d.link([a], [a_row])
        d.link([b], [b_column])
        d.link(parts, [c])
    return d


def configured(design: Design) -> tuple[Placement, Routes, Array]:
    placed = place(design)
    routes = route(placed.design)
    programs = {tile: Program(b"") for tile in placed.design.stacks}
    config = lower(placed, routes, programs)
    return placed, routes, Array([op for phase in config.phases for op in phase], seed=7)


def test_full_size_fits_and_spreads_over_the_banks() -> None:
    """64 x 64 tiles of bf16, everything twice: 49 KiB of a core, operands in banks of their own."""
    tile = 64 * 64 * 2
    placed, _, array = configured(gemm(tile, tile, tile, k_tiles=8, reuse=3))
    for column in COLUMNS:
        for row in ROWS:
            view = placed.core(Tile(column, row))
            fifos = [
                view.fifo(n) for n in (f"a_row{row - 2}", f"b_column{column}", f"c{column}_{row}")
            ]
            banks = [{(a & 0xFFFF) // 0x4000 for a in f.buffers} for f in fifos]
            assert all(len(b) == 1 for b in banks)
            assert len(set.union(*banks)) == 3
            assert all(0x70400 <= a < 0x80000 for f in fifos for a in f.buffers)
            locks = [n for f in fifos for n in (f.acquire, f.release)] + [view.lock("command")]
            assert len(set(locks)) == 7
            assert all(48 <= n < 64 for n in locks)
    flows = {(f.source, frozenset(f.sinks)) for f in trace(array.tiles) if f.packet is None}
    assert flows == {(f.source, frozenset(f.sinks)) for f in placed.design.flows}
    for mem in (Tile(c, 1) for c in COLUMNS):
        assert len(array.tiles[mem].bds) == 2 + 6 + 2 + 2 + 4 * 2 + 8


def gemm_core(array: Array, placed: Placement, tile: Tile, shape: tuple[int, int, int]) -> Steps:
    """Wait for the command; then, for every block, multiply K tiles and hand out the sum."""
    view, n = placed.core(tile), shape
    a, b = view.fifo(f"a_row{tile.row - 2}"), view.fifo(f"b_column{tile.column}")
    c = view.fifo(f"c{tile.column}_{tile.row}")
    memory = array.words[tile]

    def cut(address: int, rows: int, columns: int) -> slice:
        return slice((address & 0xFFFF) // 4, (address & 0xFFFF) // 4 + rows * columns)

    yield from array.wait(tile, view.lock("command") - 48, 1)
    blocks, k_tiles = memory[cut(view.buffer("parameters").address, 1, 2)]
    step = 0
    for block in range(blocks):
        total = np.zeros((n[0], n[2]), int)
        for _ in range(k_tiles):
            for f in (a, b):
                yield from array.wait(tile, f.acquire - 48, 1)
            left = np.array(memory[cut(a.buffers[step % 2], n[0], n[1])]).reshape(n[0], n[1])
            yield
            right = np.array(memory[cut(b.buffers[step % 2], n[1], n[2])]).reshape(n[1], n[2])
            total += left @ right
            for f in (a, b):
                array.release(tile, f.release - 48, 1)
            step += 1
        yield from array.wait(tile, c.acquire - 48, 1)
        memory[cut(c.buffers[block % 2], n[0], n[2])] = total.ravel().tolist()
        array.release(tile, c.release - 48, 1)


@pytest.mark.parametrize("launches", [1, 2])
def test_small_product_is_right(launches: int) -> None:
    m, k, n, k_tiles, blocks = (
        2,
        2,
        2,
        3,
        2,
    )  # per core; B has `blocks` blocks of 4 columns of tiles
    placed, _, array = configured(gemm(4 * m * k, 4 * k * n, 4 * m * n, k_tiles, reuse=blocks))
    rng = np.random.default_rng(3)
    launch = Launch()
    for tile in placed.design.stacks:
        launch.write_buffer(placed, tile, "parameters", [blocks * launches, k_tiles])
        launch.set_lock(placed, tile, "command", 1)
        array.running.append(gemm_core(array, placed, tile, (m, k, n)))
    for op in launch.ops:
        array.write(op)
    expected = []
    feeds: dict[str, list[int]] = {f"{x}{i}": [] for x in "ab" for i in COLUMNS}
    for _ in range(launches):
        left = rng.integers(0, 99, (4 * m, k_tiles * k))
        right = rng.integers(0, 99, (k_tiles * k, blocks * 4 * n))
        for i in COLUMNS:
            rows = left[i * m : (i + 1) * m].reshape(m, k_tiles, k).transpose(1, 0, 2)
            feeds[f"a{i}"] += rows.ravel().tolist()
            columns = right.reshape(k_tiles, k, blocks, 4, n)[:, :, :, i]
            feeds[f"b{i}"] += columns.transpose(2, 0, 1, 3).ravel().tolist()
        expected.append(left @ right)
    for name, data in feeds.items():
        port = placed.host(name)
        array.feed(port.tile, port.channel, data)
    for i in COLUMNS:
        port = placed.host(f"c{i}")
        got = array.run(port.tile, port.channel, launches * blocks * 4 * m * n)
        tiles = np.array(got).reshape(launches, blocks, 4 * m, n)
        for done, right in zip(tiles, expected, strict=True):
            assert (done == right.reshape(4 * m, blocks, 4, n)[:, :, i].transpose(1, 0, 2)).all()


def test_its_launch_stays_within_the_books() -> None:
    """One launch of a 256 x 1536 x 1536 product: three tasks a column, one wait."""
    tile = 64 * 64 * 2
    placed, _, _ = configured(gemm(tile, tile, tile, k_tiles=24, reuse=6))
    launch = Launch()
    for i in COLUMNS:
        a = linear(24 * tile, i * 24 * tile)
        launch.transfer(placed.host(f"a{i}"), Piece(0, a))
        launch.transfer(placed.host(f"b{i}"), Piece(1, linear(6 * 24 * tile, i * 6 * 24 * tile)))
    outs = []
    for i in COLUMNS:
        # rows of C in blocks of 64 x 64: this column's block of every group of four
        c = Access((6, 256, 64), (256, 1536, 1), i * 64, 2)
        outs.append(launch.transfer(placed.host(f"c{i}"), Piece(2, c)))
    for task in outs:
        launch.wait(task)
    ops = launch.finish()
    assert len(ops) == 4 * (3 * 3 + 1) + 4
