"""Bytes through the whole chain and back: DDR, memtile, core, memtile, DDR. One column.

Contract: the output is the input, for any multiple of OBJECT bytes. It multiplies nothing; it is
the first thing to run on a new machine, since it needs every part that a launch needs.
"""

from __future__ import annotations

from collections.abc import Mapping

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import CoreFifo, Placement
from whisper_npu_cli.aie.array.transfers import Launch, Piece
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.aie.formats.sequence import SequenceOp
from whisper_npu_cli.kernels.golden import Expected, Golden, Input

OBJECT = 2048
"""Bytes that travel together: one acquire, one release."""
VECTOR = 64
"""Bytes that the core copies in an iteration."""


def reference(data: bytes) -> bytes:
    """The meaning."""
    return data


def tile_program(source: CoreFifo, target: CoreFifo) -> Program:
    """Copy every object of one fifo to one of the other, for ever."""
    p = Program("passthrough")
    take, give = p.const(-1), p.const(1)  # a negative count acquires when there is that much
    with p.forever():
        for full, empty in zip(source.buffers, target.buffers, strict=True):
            p.acq(source.acquire, take)
            p.acq(target.acquire, take)
            read, write = p.pointer("source", full), p.pointer("target", empty)
            with p.loop(source.size // VECTOR):
                data = p.load_x(read)
                p.vst(data.hi, write[VECTOR // 2])
                p.vst(data.lo, write.post(VECTOR))
            p.rel(target.release, give)
            p.rel(source.release, give)
    return p


def design() -> Design:
    """Two objects deep everywhere, so that all parts work at the same time."""
    d = Design("passthrough", columns=1)
    shim, mem, core = d.shim(0), d.mem(0), d.core(0, 2)
    arriving = d.fifo("input", OBJECT, shim, mem)
    source = d.fifo("source", OBJECT, mem, core)
    target = d.fifo("target", OBJECT, core, mem)
    leaving = d.fifo("output", OBJECT, mem, shim)
    d.link([arriving], [source])
    d.link([target], [leaving])
    return d


def programs(placed: Placement) -> Mapping[Tile, Program]:
    """The program of the core."""
    (tile,) = placed.design.stacks
    core = placed.core(tile)
    return {tile: tile_program(core.fifo("source"), core.fifo("target"))}


def sequence(placed: Placement, size: int) -> tuple[SequenceOp, ...]:
    """A launch that copies `size` bytes, a multiple of OBJECT, from bo0 to bo1."""
    launch = Launch()
    launch.transfer(placed.host("input"), Piece(0, linear(size)))
    launch.wait(launch.transfer(placed.host("output"), Piece(1, linear(size))))
    return launch.finish()


def golden(placed: Placement) -> Golden:
    """Seven objects: every buffer is used more than once, and not equally often."""
    source = Input("passthrough", 7 * OBJECT)
    expected = Expected(reference(source.content))
    return Golden(sequence(placed, source.size), (source, expected))
