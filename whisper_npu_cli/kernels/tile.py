"""One core of the transformer overlay: its memory map, its three rings, the header of an operation.

Every core runs the same program. Two streams arrive and one leaves, each through a ring of two
buffers. An operation begins with one chunk of stream B, whose first HEADER_BYTES say what to do and
how often; what follows the header is a payload (bias, gamma and beta). So nothing but streams
reaches a core after configuration, and shapes are data (docs/overlay.md).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.vectors import VECTOR, copy, fill

OWN = 0x70000
"""Where a core sees its own data memory (shared facts 4.9)."""

CHUNK = 8192
"""Bytes of one object of the streams A and B: a 64 x 64 tile of bf16, or 64 x 128 of int8."""
PIECE = 2048
"""Bytes of one object of the output: 16 rows of a bf16 tile."""

# quarter 0: small things and the output ring; 1: stream A; 2: stream B; 3: accumulators
HEADER = OWN + 0x0000
HEADER_BYTES = 256
PLACE = OWN + 0x0100
"""int32 words about this core: see Place."""
WORK = OWN + 0x0140
"""Small tables of an operation, up to OUT."""
OUT = OWN + 0x1000
SIDE = OWN + 0x2000
"""8 KiB: the payload of a header, or what an operation keeps besides its accumulators."""
A, B, C = OWN + 0x4000, OWN + 0x8000, OWN + 0xC000
"""Rings of two chunks each; C: 16 KiB of accumulators."""

BANKS = {"header": 0, "work": 0, "out": 0, "side": 0, "a": 1, "b": 2, "c": 3}
"""Buffer name of the kernel language -> 16 KiB quarter that it lies in."""

LOCKS = {"a_free": 0, "a_full": 1, "b_free": 2, "b_full": 3, "out_free": 4, "out_full": 5}
"""Lock numbers of a core tile; its own core sees them from 48 on."""
OWN_LOCKS = 48


class Place(IntEnum):
    """Words of PLACE.

    What each core gets for itself alone (queries, residuals) is shared out between both nets: net A
    carries it to cores whose row and column lie in different halves, net B to the others.
    """

    COLUMN = 0
    PAIR = 1
    """0 in core rows 0 and 1, 1 in rows 2 and 3."""
    PARITY = 2
    """Row modulo 2, times PIECE."""
    ROW = 3
    ON_A = 4
    """1 where net A carries what is for this core alone."""
    PARITY_A = 5
    """Column modulo 2, times PIECE."""
    TURN_B = 6
    """Which of the two chunks of net B is for this core; 2 where none is."""
    TURN_A = 7


def place(column: int, row: int) -> bytes:
    """The content of PLACE for a core (core rows count from 0)."""
    on_a = column // 2 != row // 2
    words = {
        Place.COLUMN: column, Place.ROW: row, Place.PAIR: row // 2, Place.PARITY: row % 2 * PIECE,
        Place.ON_A: int(on_a), Place.PARITY_A: column % 2 * PIECE,
        Place.TURN_B: 2 if on_a else row % 2, Place.TURN_A: column % 2 if on_a else 2,
    }  # fmt: skip
    return struct.pack(f"<{len(Place)}i", *(words[w] for w in Place))


@dataclass
class Ring:
    """One stream's ring of two buffers: `take` waits for the current buffer, `give` passes it on.

    `at` is a scalar with the address of the current buffer. It lives as long as the program, since
    an operation may end on either buffer.
    """

    p: Program
    name: str
    at: Value
    flip: Value
    wanted: int
    returned: int
    minus: Value
    one: Value

    def wait(self) -> None:
        """Wait until the current buffer is ours."""
        self.p.acq(OWN_LOCKS + self.wanted, self.minus)

    def take(self) -> Value:
        """Wait for the current buffer; a new pointer to it."""
        self.wait()
        return self.p.pointer(self.name, self.at)

    def give(self) -> None:
        """Hand the current buffer back and go on to the other one."""
        self.p.rel(OWN_LOCKS + self.returned, self.one)
        self.p.xor(self.at, self.flip, to=self.at)

    def keep(self) -> None:
        """Go on to the other buffer and hold this one: a later give returns the older one."""
        self.p.xor(self.at, self.flip, to=self.at)

    def skip(self) -> None:
        """Let one object pass unread (of an input)."""
        self.wait()
        self.give()

    def skip_one(self, count: Value) -> None:
        """Let one of `count` pass."""
        self.skip()
        self.p.add(count, -1, to=count)

    def skip_all(self, count: Value) -> None:
        """Let so many pass; `count` is 0 afterwards."""
        with self.p.while_nonzero(count):
            self.skip_one(count)


@dataclass
class Tile:
    """What all operations of a core's program share; made once at the start of the program."""

    p: Program
    a: Ring
    b: Ring
    out: Ring

    @classmethod
    def of(cls, p: Program) -> Tile:
        """The rings at their first buffers, as the DMA starts."""
        minus, one = p.const(-1, name="minus"), p.const(1, name="one")
        chunk, piece = p.const(CHUNK, name="chunk"), p.const(PIECE, name="piece")

        def ring(name: str, start: int, flip: Value, wanted: str, returned: str) -> Ring:
            at = p.const(start, name=f"{name}_at")
            return Ring(p, name, at, flip, LOCKS[wanted], LOCKS[returned], minus, one)

        return cls(
            p,
            ring("a", A, chunk, "a_full", "a_free"),
            ring("b", B, chunk, "b_full", "b_free"),
            ring("out", OUT, piece, "out_free", "out_full"),
        )

    def parameter(self, number: int, to: Value | None = None) -> Value:
        """Word `number` of the operation's header, as a scalar (or `to`)."""
        pointer = self.p.pointer("header", HEADER + 4 * number)
        return self.p.lda(pointer[0], to=to if to is not None else self.p.scalar("parameter"))

    def place(self, number: Place) -> Value:
        """A word of PLACE."""
        return self.p.lda(self.p.pointer("work", PLACE + 4 * number)[0], to=self.p.scalar("place"))

    def read_header(self) -> None:
        """Take the chunk that starts an operation: its header to HEADER, the payload to SIDE."""
        p, source = self.p, self.b.take()
        copy(p, source, p.pointer("header", HEADER), HEADER_BYTES // VECTOR)
        copy(p, source, p.pointer("side", SIDE), (CHUNK - HEADER_BYTES) // VECTOR)
        self.b.give()


def endless(name: str, kernels: Mapping[int, Callable[[Program, Tile], None]]) -> Program:
    """What every core of an overlay runs: operation after operation, as the headers say.

    `kernels` by word 0 of a header; what is none of the others is taken for the last.
    """
    p = Program(name, BANKS)
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    t = Tile.of(p)
    clear_accumulators(p)
    with p.forever():
        t.read_header()
        _choose(p, t, list(kernels.items()))
    return p


def _choose(
    p: Program,
    t: Tile,
    kernels: Sequence[tuple[int, Callable[[Program, Tile], None]]],
    word: Value | None = None,
    less: int = 0,
) -> None:
    """Run one of the kernels; `word` is word 0 of the header less a number, once it is loaded."""
    (number, kernel), *others = kernels
    if not others:
        kernel(p, t)
        return
    word = p.add(t.parameter(0) if word is None else word, less - number)
    with p.if_zero(word):
        kernel(p, t)
    with p.otherwise():
        _choose(p, t, others, word, number)


def clear_accumulators(p: Program) -> None:
    """Zeros to C: its first products ignore what it holds, but silicon and emulator read it."""
    fill(p, p.pointer("c", C), 0, 2 * CHUNK // VECTOR)
