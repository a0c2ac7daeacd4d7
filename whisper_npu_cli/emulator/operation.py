"""One instruction on its way to micro-operations: its operands as words, its latencies, its reads.

Latencies and forwarding come from the timing table (aie/facts/timing.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.core_registers import width
from whisper_npu_cli.emulator import micro
from whisper_npu_cli.emulator.address import OFFSET, POINTER, POST, POST_2D, POST_3D
from whisper_npu_cli.emulator.core_state import SP, flags, word

VECTOR_FORWARDING = "MOV_Bypass"


class NotModelledError(Exception):
    """An instruction whose meaning the emulator does not have; the message may say why."""


class Constant(int):
    """A number of the program, in place of the word of a core's state that will hold it."""


@dataclass(frozen=True)
class MicroOperation:
    """A row to be, with what orders it within its bundle.

    columns: column of the row -> value. reads, writes: flags of the registers that it reads and
    writes in its first cycle. checked: flags of the registers that have to be known.
    forwarded: it takes vectors from a forwarding path.
    """

    columns: dict[int, int]
    reads: frozenset[int] = frozenset()
    writes: frozenset[int] = frozenset()
    checked: tuple[int, ...] = ()
    forwarded: bool = False

    def with_columns(self, columns: dict[int, int]) -> MicroOperation:
        """The same with some columns changed."""
        return replace(self, columns=self.columns | columns)


class Operation:
    """An instruction with what its micro-operations need to know.

    `returns` is the address behind the delay slots.
    """

    def __init__(self, instruction: Instruction, returns: int) -> None:
        self.instruction = instruction
        self.opcode = instruction.opcode
        self.returns = returns
        self.accesses = instruction.accesses()
        full = self.opcode.mnemonic
        found = re.search(r"\.([23]d)(?=\.|$)", full)
        self.dimensions = found[1] if found else "1d"
        self.mnemonic = full.replace(f".{self.dimensions}", "")
        self.parts = self.mnemonic.split(".")

    # ------------------------------------------------------------------ operands

    def value(self, name: str) -> Any:
        """The operand of that name."""
        return self.instruction.value(name)

    def has(self, name: str) -> bool:
        """Whether there is an operand of that name."""
        return any(operand.name == name for operand in self.opcode.operands)

    def at(self, value: Any) -> int:
        """The word of a register, or a constant."""
        return word(value) if isinstance(value, str) else Constant(value)

    def operand(self, name: str) -> int:
        """The word of the operand of that name."""
        return self.at(self.value(name))

    def sources(self) -> list[Any]:
        """The operands that are only read, in the order of the text."""
        pairs = zip(self.opcode.operands, self.instruction.values, strict=True)
        return [value for operand, value in pairs if operand.write is None]

    def results(self) -> list[str]:
        """The registers that are written, in the order of the text."""
        pairs = zip(self.opcode.operands, self.instruction.values, strict=True)
        return [value for operand, value in pairs if operand.write is not None]

    # ------------------------------------------------------------------ timing

    def cycle(self, register: str, write: bool) -> int:
        """The stage in which a register is read, or whose end it is written at."""
        for access in self.accesses:
            if access.register == register and access.write == write:
                return access.cycle
        raise NotModelledError("its timing is not in the table")

    def latency(self, register: str) -> int:
        """LATENCY of a result of the first stage: 0 where the next bundle sees it anyway."""
        cycle = self.cycle(register, write=True)
        return 0 if cycle == 1 else cycle

    def is_forwarded(self, register: str) -> bool:
        """Whether the result goes onto a forwarding path."""
        return any(a.register == register and a.write and a.bypass for a in self.accesses)

    def expect(self, cycle: int, register: str, write: bool) -> None:
        """Refuse the instruction where the timing table and the pipeline's stages differ."""
        if self.cycle(register, write) != cycle:
            raise NotModelledError(f"the pipeline handles {register} in stage {cycle} only")

    def expect_memory(self, stage: int) -> None:
        """Refuse the instruction where it touches memory last in another stage."""
        memory = self.instruction.itinerary().memory
        if memory is None or memory[1] != stage:
            raise NotModelledError(f"the pipeline expects memory in stage {stage}, not {memory}")

    # ------------------------------------------------------------------ rows

    def make(
        self, kind: int, columns: dict[int, int], unchecked: tuple[str, ...] = ()
    ) -> MicroOperation:
        """A micro-operation that reads and writes what the instruction does.

        unchecked: operands that may be unknown, because the result then is unknown, too.
        """
        free = {self.value(name) for name in unchecked if self.has(name)}
        reads, writes, checked = set[int](), set[int](), list[int]()
        forwarded = False
        for access in self.accesses:
            numbers = flags(access.register)
            if access.cycle != 1:
                continue
            if access.write:
                writes.update(numbers)
                continue
            reads.update(numbers)
            forwarded |= access.bypass == VECTOR_FORWARDING
            if access.register not in free:
                checked += numbers
        return MicroOperation(
            {micro.KIND: kind} | columns, frozenset(reads), frozenset(writes),
            tuple(dict.fromkeys(checked)), forwarded,
        )  # fmt: skip

    def scalar_result(self, register: str) -> dict[int, int]:
        """The columns of a result in a scalar register."""
        return {
            micro.DST: word(register),
            micro.SIZE: min(32, width(register)),
            micro.LATENCY: self.latency(register),
        }

    def vector_result(self, register: str) -> dict[int, int]:
        """The columns of a result in a vector, accumulator or mask register."""
        return {
            micro.DST: word(register),
            micro.SIZE: width(register) // 32,
            micro.LATENCY: self.latency(register),
            micro.FORWARDED: int(self.is_forwarded(register)),
        }

    def address(self) -> dict[int, int]:
        """The columns that say where an access goes."""
        if "[sp" in self.opcode.asm:
            return {micro.MODE: OFFSET, micro.BASE: SP, micro.STEP: self.operand("imm")}
        base = {micro.BASE: self.operand("ptr")}
        if "[$ptr, " in self.opcode.asm:
            name = "imm" if self.has("imm") else "dj"
            return base | {micro.MODE: OFFSET, micro.STEP: self.operand(name)}
        if self.has("mod"):
            modes = {"1d": POST, "2d": POST_2D, "3d": POST_3D}
            return base | {micro.MODE: modes[self.dimensions], micro.STEP: self.operand("mod")}
        if self.has("imm"):
            return base | {micro.MODE: POST, micro.STEP: self.operand("imm")}
        return base | {micro.MODE: POINTER}
