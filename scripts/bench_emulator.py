"""Bundles a second of the emulated core, for three inner loops, and the time to get started.

    python scripts/bench_emulator.py [--cycles N]

Times the first call (compiles, or loads the compiled code from the cache) and then each loop.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.core import Core

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=5_000_000)
    cycles = parser.parse_args().cycles
    begun = time.perf_counter()
    new_core(*KERNELS["int8 GEMM"]).run(1000)
    print(f"first call: {time.perf_counter() - begun:.1f} s")
    for name, (body, last) in KERNELS.items():
        core = new_core(body, last)
        core.run(1000)
        before, begun = core.stats["bundles"], time.perf_counter()
        core.run(cycles)
        took, done = time.perf_counter() - begun, core.stats["bundles"] - before
        macs = core.stats["macs"] / core.cycle
        print(f"{name:20s} {done / took / 1e6:6.2f} million bundles/s, {macs:5.1f} MAC/cycle, "
              f"{core.stats['bank']} bank stalls")  # fmt: skip


if __name__ == "__main__":
    main()
