"""One emulated core that runs a kernel program; the test takes the part of the DMA.

Nothing waits for a stream here: a chunk is there when the core asks for it. A buffer that the core
has given back is unknown from then on, so that a late read of it is refused.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.core import Core
from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.kernels import tile

MOST_CYCLES = 50_000_000


@dataclass
class Ring:
    """Two buffers of one stream; counts of objects that the core has acquired and released."""

    start: int
    size: int
    acquired: int = 0
    released: int = 0

    def at(self, number: int) -> slice:
        """Where object `number` lies in the arena."""
        begin = self.start - tile.OWN + number % 2 * self.size
        return slice(begin, begin + self.size)


@dataclass
class Done:
    """What a run sent, how many cycles it took until it asked for more, and the core."""

    pieces: list[bytes]
    cycles: int
    core: Core
    arena: Arena


@dataclass
class Bench:
    """A core whose lock requests are answered from lists of chunks."""

    core: Core
    arena: Arena
    inputs: dict[str, tuple[Ring, list[bytes]]]
    out: Ring = field(default_factory=lambda: Ring(tile.OUT, tile.PIECE))
    pieces: list[bytes] = field(default_factory=list)

    def run(self) -> None:
        """Until the core wants a chunk that does not exist. AssertionError where it stops else."""
        names = {tile.OWN_LOCKS + number: name for name, number in tile.LOCKS.items()}
        while True:
            reason = self.core.run(MOST_CYCLES)
            assert reason in (Reason.ACQUIRE, Reason.RELEASE), reason
            stream, kind = names[self.core.lock].split("_")
            if reason is Reason.ACQUIRE:
                assert self.core.value == -1
                if not self.acquired(stream, kind):
                    return
            else:
                assert self.core.value == 1
                self.released(stream, kind)
            self.core.resume(self.core.cycle)

    def acquired(self, stream: str, kind: str) -> bool:
        """Answer an acquire; False where there is nothing more."""
        if stream == "out":
            assert kind == "free" and self.out.acquired - self.out.released < 2
            self.out.acquired += 1
            return True
        ring, waiting = self.inputs[stream]
        assert kind == "full"
        if not waiting:
            return False
        assert ring.acquired - ring.released < 2, f"the core waits for a third chunk of {stream}"
        place = ring.at(ring.acquired)
        self.arena.write(place.start, waiting.pop(0).ljust(ring.size, b"\0"))
        ring.acquired += 1
        return True

    def released(self, stream: str, kind: str) -> None:
        """Answer a release: fetch a piece, or forget an input."""
        ring = self.out if stream == "out" else self.inputs[stream][0]
        assert kind == ("full" if stream == "out" else "free") and ring.released < ring.acquired
        place = ring.at(ring.released)
        if stream == "out":
            assert self.arena.known[place].all()
            self.pieces.append(self.arena.bytes[place].tobytes())
        self.arena.known[place] = 0
        ring.released += 1


@cache
def compiled(operation: Callable[[Program, tile.Tile], None]) -> Code:
    """A program that takes headers and runs one operation, for ever."""
    code = compile_program(tile.endless(operation.__name__, {0: operation}))
    gc.freeze()  # see array_bench
    return code


def run(
    code: Code, a_chunks: Sequence[bytes], b_chunks: Sequence[bytes], row: int = 0, column: int = 0
) -> Done:
    """Run a program over the chunks of both streams, as the core of that core row and column.

    Every chunk must be taken. `cycles` count from the start to the first chunk that is missing.
    """
    arena = Arena(0x10000)
    arena.write(tile.PLACE - tile.OWN, tile.place(column, row))
    core = Core("core (0, 2)", arena, (-1, -1, -1, 0))
    core.program[: len(code.assembly.code)] = np.frombuffer(code.assembly.code, np.uint8)
    inputs = {
        "a": (Ring(tile.A, tile.CHUNK), list(a_chunks)),
        "b": (Ring(tile.B, tile.CHUNK), list(b_chunks)),
    }
    bench = Bench(core, arena, inputs)
    bench.run()
    assert not any(waiting for _, waiting in inputs.values()), "chunks were left"
    return Done(bench.pieces, core.cycle, core, arena)


def header(*words: int, payload: bytes = b"") -> bytes:
    """A chunk of stream B that begins an operation: word 0 is its op code."""
    content = np.array(words, "<i4").tobytes().ljust(tile.HEADER_BYTES, b"\0") + payload
    return content.ljust(tile.CHUNK, b"\0")
