"""An instruction with its operands: text, encoding, register accesses and timing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from whisper_npu_cli.aie.asm.fields import EncodingError, code_of, scatter
from whisper_npu_cli.aie.facts.core_registers import PORT_GROUPS, port_group, printed, split
from whisper_npu_cli.aie.facts.isa import OPCODES, Immediate, Opcode, RegisterClass
from whisper_npu_cli.aie.facts.timing import ITINERARIES, Access, Itinerary, Stage


@dataclass(frozen=True, slots=True)
class Instruction:
    """An opcode and the values of its operands in text order.

    A value is a register name, a number, a label (for a branch target or a long immediate) or,
    until it is encoded, any object with an attribute `file` that names a register file.
    `spare` holds the bits of a decoded word that differ from the canonical spelling.
    """

    opcode: Opcode
    values: tuple[Any, ...]
    spare: int = 0

    def __post_init__(self) -> None:
        if len(self.values) != len(self.opcode.operands):
            raise EncodingError(
                f"{self.opcode.name} takes {len(self.opcode.operands)} operands "
                f"({self.opcode.asm}), not {len(self.values)}."
            )

    def __str__(self) -> str:
        return self.text()

    def value(self, name: str) -> Any:
        """The value of the operand of that name; KeyError if there is none."""
        return self.values[self.opcode.operand(name)]

    def text(self) -> str:
        """The instruction as the assembler writes it: "add r1, r2, #3"."""
        pieces = list(_pieces(self.opcode.asm))
        for place, (operand, value) in enumerate(
            zip(self.opcode.operands, self.values, strict=True)
        ):
            pieces[2 * place + 1] = _written(operand.kind, value)
        return "".join(pieces)

    def encode(self) -> int:
        """The slot word; EncodingError names the operand that does not fit."""
        word = self.opcode.value
        for operand, value in zip(self.opcode.operands, self.values, strict=True):
            if operand.tied is not None and value != self.value(operand.tied):
                raise EncodingError(
                    f"`{self}`: ${operand.name} and ${operand.tied} must be the same register."
                )
            try:
                word |= scatter(code_of(operand.kind, value), operand.fields)
            except EncodingError as error:
                raise EncodingError(f"`{self}`: ${operand.name} {error}.") from None
        return word ^ self.spare

    def resolved(self, labels: Mapping[str, int]) -> Instruction:
        """The instruction with labels replaced by addresses; EncodingError for an unknown one."""
        values = []
        for operand, value in zip(self.opcode.operands, self.values, strict=True):
            if isinstance(value, str) and not isinstance(operand.kind, RegisterClass):
                if value not in labels:
                    raise EncodingError(f"`{self}`: there is no label {value}.")
                value = labels[value]
            values.append(value)
        return replace(self, values=tuple(values))

    def itinerary(self) -> Itinerary:
        """The timing class, refined by the files of the operands where the table says so."""
        base = ITINERARIES[self.opcode.itinerary]
        if not base.finer:
            return base
        groups = []
        for position in base.finer_by:
            for operand, value in zip(self.opcode.operands, self.values, strict=True):
                if position in (operand.read, operand.write):
                    groups.append(_group(value))
        return ITINERARIES[base.finer.get(" ".join(groups), base.name)]

    def stages(self) -> tuple[Stage, ...]:
        """The units that the instruction occupies."""
        return self.itinerary().stages

    def accesses(self) -> tuple[Access, ...]:
        """Every register that is read or written and when, also those that the text leaves out."""
        itinerary = self.itinerary()
        found: list[Access] = []

        def add(register: Any, position: int | None, write: bool, name: str) -> None:
            if position is not None:
                cycle, bypass = itinerary.cycles[position], itinerary.bypasses[position]
                found.append(Access(register, write, cycle, bypass, name))

        for operand, value in zip(self.opcode.operands, self.values, strict=True):
            if isinstance(operand.kind, RegisterClass):
                add(value, operand.read, False, operand.name)
                add(value, operand.write, True, operand.name)
                for dimension, position in enumerate(operand.counts):
                    add(_count(value, dimension), position, True, operand.name)
        for item in self.opcode.implicit:
            add(item.register, item.read, False, item.register)
            add(item.register, item.write, True, item.register)
        return tuple(found)


def make(name: str, *values: Any) -> Instruction:
    """The instruction of that name in OPCODES with operands in text order."""
    if name not in OPCODES:
        raise EncodingError(f"there is no AIE2 instruction named {name}.")
    return Instruction(OPCODES[name], values)


@cache
def _pieces(asm: str) -> tuple[str, ...]:
    """Text and operand names by turns."""
    return tuple(re.split(r"\$(\w+)", asm))


def _written(kind: RegisterClass | Immediate, value: Any) -> str:
    if isinstance(kind, Immediate):
        return f"#{value}"
    return printed(value) if value in kind.codes else str(value)


def _group(value: Any) -> str:
    """The file of a register or of a stand-in, as the timing tables name it."""
    if isinstance(value, str):
        return port_group(value)
    name = str(value.file)
    return next((group for group, files in PORT_GROUPS.items() if name in files), name)


def _count(modifier: Any, dimension: int) -> Any:
    """The count register that a 2-D or 3-D modifier updates; a stand-in answers with `count`."""
    if isinstance(modifier, str):
        return f"dc{split(modifier)[1] + 4 * dimension}"
    return modifier.count(dimension)
