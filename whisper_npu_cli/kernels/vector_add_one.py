"""One added to every 32-bit integer, on 16 cores in 4 columns.

Contract: int32 in and out, modulo 2**32, any multiple of BLOCK bytes. Every column works on a
quarter of the data; its memtile deals each object out to the four cores and gathers the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import CoreFifo, Placement
from whisper_npu_cli.aie.array.transfers import Launch, Piece
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import COLUMNS, CORE_ROWS, Tile
from whisper_npu_cli.aie.formats.sequence import SequenceOp
from whisper_npu_cli.kernels.golden import Expected, Golden, Input

PART = 1024
"""Bytes of one core's part of an object."""
OBJECT = PART * len(CORE_ROWS)
BLOCK = OBJECT * COLUMNS
"""Bytes that one object for each column makes."""
VECTOR = 64
"""Bytes of 16 numbers, added in one instruction."""


def reference(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The meaning."""
    return values + np.uint32(1)


def tile_program(source: CoreFifo, target: CoreFifo) -> Program:
    """Add one to every number of an object, for ever."""
    p = Program("vector_add_one")
    take, give = p.const(-1), p.const(1)
    ones = p.vbcst_32(give)
    with p.forever():
        for full, empty in zip(source.buffers, target.buffers, strict=True):
            p.acq(source.acquire, take)
            p.acq(target.acquire, take)
            read, write = p.pointer("source", full), p.pointer("target", empty)
            with p.loop(source.size // VECTOR):
                total = p.vadd_32(p.load_x(read), ones)
                p.vst(total.hi, write[VECTOR // 2])
                p.vst(total.lo, write.post(VECTOR))
            p.rel(target.release, give)
            p.rel(source.release, give)
    return p


def design() -> Design:
    """In each column: DDR to memtile, split to four cores, joined in the memtile, to DDR."""
    d = Design("vector_add_one")
    for column in range(COLUMNS):
        shim, mem = d.shim(column), d.mem(column)
        cores = [d.core(column, row) for row in CORE_ROWS]
        arriving = d.fifo(f"input{column}", OBJECT, shim, mem)
        sources = [d.fifo(f"source{c.column}{c.row}", PART, mem, c) for c in cores]
        targets = [d.fifo(f"target{c.column}{c.row}", PART, c, mem) for c in cores]
        leaving = d.fifo(f"output{column}", OBJECT, mem, shim)
        d.link([arriving], sources)
        d.link(targets, [leaving])
    return d


def programs(placed: Placement) -> Mapping[Tile, Program]:
    """A program for each core; cores that see the same addresses share one."""
    shared = cache(tile_program)
    return {
        tile: shared(
            placed.core(tile).fifo(f"source{tile.column}{tile.row}"),
            placed.core(tile).fifo(f"target{tile.column}{tile.row}"),
        )
        for tile in placed.design.stacks
    }


def sequence(placed: Placement, size: int) -> tuple[SequenceOp, ...]:
    """A launch over `size` bytes, a multiple of BLOCK, from bo0 to bo1."""
    launch, quarter = Launch(), size // COLUMNS
    done = []
    for column in range(COLUMNS):
        part = linear(quarter, column * quarter)
        launch.transfer(placed.host(f"input{column}"), Piece(0, part))
        done.append(launch.transfer(placed.host(f"output{column}"), Piece(1, part)))
    for task in done:
        launch.wait(task)
    return launch.finish()


def golden(placed: Placement) -> Golden:
    """Three objects for each column."""
    source = Input("vector_add_one", 3 * BLOCK)
    values = np.frombuffer(source.content, "<u4")
    expected = Expected(reference(values).astype("<u4").tobytes())
    return Golden(sequence(placed, source.size), (source, expected))
