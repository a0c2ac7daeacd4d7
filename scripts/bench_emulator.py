"""Bundles a second: three inner loops on one core, an int8 GEMM on four cores with DMA and locks.

    python scripts/bench_emulator.py [--cycles N]

Times the first call of core and array (compiles, or loads the compiled code from the cache) and
then each loop. Seconds are those of the processor, not of the clock on the wall.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import Design, Program
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import CoreView, place
from whisper_npu_cli.aie.array.route import route
from whisper_npu_cli.aie.array.transfers import Launch as Transfers
from whisper_npu_cli.aie.array.transfers import Piece
from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.formats.sequence import Stream
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.core import Core
from whisper_npu_cli.emulator.host import Launch
from whisper_npu_cli.emulator.machine import Machine

MEMORY = 0x70000

LOOP = """
movxm ls, #start
movxm le, #last
movxm lc, #0x7fffffff
{nops}
.p2align 4
start:
{body}
.p2align 4
last:
{last}
"""
NOP = "nopa; nopb; nopx; nopm; nops; nopv\n"


def gemm(mac: str) -> tuple[str, str]:
    """Two loads and a multiplication in every bundle, four accumulators in turn."""
    lines = []
    for step in range(8):
        half, pair = "lh"[step % 2], step // 2 % 2 * 2
        lines.append(
            f"vlda.2d w{half}{pair}, [p0], d0; vldb.2d w{half}{pair + 1}, [p1], d1; nopx; nopm; "
            f"nops; {mac.format(step % 4, 4 + step % 2 * 2, 5 + step % 2 * 2)}"
        )
    return "\n".join(lines[:-1]), lines[-1]


EPILOGUE = "\n".join(
    f"nopa; vldb.2d wl{i}, [p1], d1; nopx; vadd.16 x{4 + i}, x0, x{i}; "
    f"vst.2d.srs.s16.s32 bml{i}, s0, [p2], d2; nopv"
    for i in range(3)
)
ROWWISE = "nopa; nopb; add r1, r1, r2; vmax_lt.bf16 x7, r16, x0, x1; nops; vmul.f bml4, x0, x1, r5"

KERNELS = {
    "int8 GEMM": gemm("vmac cm{0}, cm{0}, x{1}, x{2}, r4"),
    "bf16 GEMM": gemm("vmac.f bml{0}, bml{0}, x{1}, x{2}, r5"),
    "row-wise and stores": (EPILOGUE, ROWWISE),
}
"""Name -> bundles of the loop, its last bundle."""


def new_core(body: str, last: str) -> Core:
    """A core that runs the loop for ever, over 512 bytes of each of three buffers."""
    arena = Arena(0x10000)
    rng = np.random.default_rng(0)
    arena.write(0, rng.integers(0, 64, 0x10000, dtype=np.uint8).tobytes())
    core = Core("core (0, 2)", arena, (-1, -1, -1, 0))
    code = assemble(parse(LOOP.format(nops=NOP * 8, body=body, last=last))).code
    core.program[: len(code)] = np.frombuffer(code, np.uint8)
    core.write("r4", 0x308)
    core.write("r5", 0x1C)
    core.write("r1", 0)
    core.write("r2", 1)
    core.write("s0", 4)
    for number in range(3):
        core.write(f"p{number}", MEMORY + 0x4000 * number)
        for name, value in (("m", -480), ("dn", 15), ("dj", 32), ("dc", 0)):
            core.write(f"{name}{number}", value & 0xFFFFF)
    for number in range(12):
        core.write(f"x{number}", 0x3F803F80 << 64)
    for number in range(9):
        core.write(f"cm{number}", 0)
    return core


OBJECT, RESULT, OBJECTS, CORES = 8192, 64, 400, 4
"""Bytes of an object that all cores get, of a core's result of it, how many, and for how many."""

SETUP = (
    """
movxm r4, #0x308
movx r6, #-1
movx r7, #1
mov s0, r7
"""
    + "".join(
        f"movxm m{n}, #0xffe20\nmovx r0, #15\nmov dn{n}, r0\nmovx r0, #32\nmov dj{n}, r0\n"
        f"movx r0, #0\nmov dc{n}, r0\n"
        for n in (0, 1)
    )
    + NOP * 4
    + "".join(f"vclr cm{n}\n" for n in range(4))
)

TURN = """
acq #{lock_in}, r6
movxm p0, #{object}
movxm p1, #{object}
vlda wl0, [p0, #0]
vlda wh0, [p0, #0]
vlda wl2, [p0, #0]
vlda wh2, [p0, #0]
vldb wl1, [p0, #0]
vldb wh1, [p0, #0]
vldb wl3, [p0, #0]
vldb wh3, [p0, #0]
movxm ls, #start{n}
movxm le, #last{n}
movxm lc, #{steps}
{nops}
.p2align 4
start{n}:
{body}
.p2align 4
last{n}:
{last}
{nops}
acq #{lock_out}, r6
movxm p2, #{result}
vst.srs.s8.s32 cm0, s0, [p2, #0]
vst.srs.s8.s32 cm1, s0, [p2, #32]
{nops}
rel #{free}, r7
rel #{full}, r7
"""


def core_program(view: CoreView, number: int) -> bytes:
    """A core that multiplies a 64 x 64 by a 64 x 64 matrix for each object, for ever."""
    body, last = gemm("vmac cm{0}, cm{0}, x{1}, x{2}, r4")
    body, last = (t.replace("x4", "x0").replace("x6", "x2").replace("x5", "x1").replace("x7", "x3")
                  for t in (body, last))  # fmt: skip
    source, sink = view.fifo("b"), view.fifo(f"c{number}")
    turns = [
        TURN.format(
            n=n, lock_in=source.acquire, object=source.buffers[n], steps=64**3 // 256 // 8,
            nops=NOP * 8, body=body, last=last, lock_out=sink.acquire, result=sink.buffers[n],
            free=source.release, full=sink.release,
        )
        for n in (0, 1)
    ]  # fmt: skip
    text = SETUP + ".p2align 4\ntop:\n" + "".join(turns) + "j #top\n" + NOP * 6
    return assemble(parse(text)).code


def run_array(objects: int) -> tuple[int, int, float]:
    """Bundles, array cycles and seconds of a launch over so many objects."""
    design = Design("gemm", columns=1)
    shim, mem = design.shim(0), design.mem(0)
    tiles = [design.core(0, 2 + n) for n in range(CORES)]
    a, b = design.fifo("a", OBJECT, shim, mem), design.fifo("b", OBJECT, mem, *tiles)
    results = [design.fifo(f"c{n}", RESULT, tile, mem) for n, tile in enumerate(tiles)]
    c = design.fifo("c", RESULT * CORES, mem, shim)
    design.link([a], [b])
    design.link(results, [c])
    placed = place(design)
    programs = {t: Program(core_program(placed.core(t), n)) for n, t in enumerate(tiles)}
    phases = lower(placed, route(placed.design), programs).phases
    host = HostMemory()
    machine = Machine(1, [op for phase in phases for op in phase], host)
    regions = [host.allocate(size * objects, heap=False) for size in (OBJECT, RESULT * CORES)]
    transfers = Transfers()
    transfers.transfer(placed.host("a"), Piece(0, linear(OBJECT * objects)))
    transfers.wait(transfers.transfer(placed.host("c"), Piece(1, linear(RESULT * CORES * objects))))
    stream = Stream(1, tuple(transfers.finish()))
    begun = time.process_time()
    outcome = Launch(machine, regions).run(stream)
    took = time.process_time() - begun
    if outcome.hang:
        raise SystemExit(outcome.hang)
    return sum(c.stats["bundles"] for c in machine.cores.cores.values()), outcome.cycles, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=5_000_000)
    cycles = parser.parse_args().cycles
    begun = time.process_time()
    new_core(*KERNELS["int8 GEMM"]).run(1000)
    print(f"first call of a core: {time.process_time() - begun:.1f} s")
    begun = time.process_time()
    run_array(1)
    print(f"first call of an array: {time.process_time() - begun:.1f} s")
    for name, (body, last) in KERNELS.items():
        core = new_core(body, last)
        core.run(1000)
        before, begun = core.stats["bundles"], time.process_time()
        core.run(cycles)
        took, done = time.process_time() - begun, core.stats["bundles"] - before
        macs = core.stats["macs"] / core.cycle
        print(f"{name:20s} {done / took / 1e6:6.2f} million bundles/s, {macs:5.1f} MAC/cycle, "
              f"{core.stats['bank']} bank stalls")  # fmt: skip
    bundles, total, took = run_array(OBJECTS)
    print(f"{CORES} cores, DMA and locks {bundles / took / 1e6:6.2f} million bundles/s, "
          f"{bundles} bundles in {total} array cycles")  # fmt: skip


if __name__ == "__main__":
    main()
