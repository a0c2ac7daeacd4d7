"""Runs a few bundles on a core with given registers and memory, for tests of their meaning."""

from __future__ import annotations

from functools import cache

import numpy as np

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.core import Core
from whisper_npu_cli.emulator.reasons import Reason

MEMORY = 0x70000
"""Core address of the tile's own data memory."""

SETTLE = 16
"""Nops after which every result has arrived."""


@cache
def machine_code(text: str) -> bytes:
    """Bytes of an assembly text."""
    return assemble(parse(text)).code


def new_core(code: bytes) -> tuple[Core, Arena]:
    """A core with its own memory only and a program at address 0."""
    arena = Arena(0x10000)
    core = Core("core (0, 2)", arena, (-1, -1, -1, 0))
    core.program[: len(code)] = np.frombuffer(code, np.uint8)
    return core, arena


class Bench:
    """A program that is run again and again with other registers and memory."""

    def __init__(self, text: str, settle: int = SETTLE) -> None:
        body = text + "\n" + "nop\n" * settle + "done\n"
        self.core, self.arena = new_core(machine_code(body))

    def run(self, registers: dict[str, int], memory: dict[int, bytes] | None = None) -> Core:
        """The core after the program, begun with these registers and bytes at these addresses."""
        self.arena.bytes[:] = 0
        self.arena.known[:] = 0
        self.core.reset()
        for name, value in registers.items():
            self.core.write(name, value)
        for address, data in (memory or {}).items():
            self.arena.write(address - MEMORY, data)
        assert self.core.run(100_000) is Reason.DONE
        return self.core

    def memory(self, address: int, size: int) -> bytes:
        """Bytes of the tile's memory."""
        at = address - MEMORY
        return self.arena.bytes[at : at + size].tobytes()


@cache
def bench(text: str) -> Bench:
    """The bench of a text, made once."""
    return Bench(text)


def lanes_of(value: int, bits: int, signed: bool, total: int = 512) -> list[int]:
    """The lanes of a register's bits."""
    found = [(value >> at) & ((1 << bits) - 1) for at in range(0, total, bits)]
    half = 1 << (bits - 1)
    return [x - 2 * half if signed and x >= half else x for x in found]


def from_lanes(lanes: list[int], bits: int) -> int:
    """The bits of a register with these lanes, each cut to its width."""
    return sum((x & ((1 << bits) - 1)) << (i * bits) for i, x in enumerate(lanes))
