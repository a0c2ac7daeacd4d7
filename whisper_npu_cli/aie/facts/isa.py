"""The 607 instructions of an AIE2 core: encodings and operands, checked when they are loaded.

Source: facts/isa.json, made by scripts/gen_facts.py from llvm-aie's tables (Apache-2.0 WITH
LLVM-exception). Loading refuses a table in which a bit of a word belongs to nothing or to two
things, a register or timing class is unknown, or an entry has a field that nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whisper_npu_cli.aie.facts.core_registers import split
from whisper_npu_cli.aie.facts.slots import NOPS, SLOTS
from whisper_npu_cli.aie.facts.table import TABLE, TableError, number, take
from whisper_npu_cli.aie.facts.timing import ITINERARIES


@dataclass(frozen=True, eq=False, slots=True)
class RegisterClass:
    """The registers that an operand can name, and their numbers.

    `codes` register -> number with ignored bits 0; `registers` number -> register for every
    number that the core accepts.
    """

    name: str
    bits: int
    codes: dict[str, int]
    registers: dict[int, str]


@dataclass(frozen=True, slots=True)
class Immediate:
    """A number in the word: `value / step` in `bits` bits.

    `negative` immediates lie below zero with an implied sign (sp offsets of vector spills).
    """

    bits: int
    signed: bool
    step: int = 1
    negative: bool = False

    @property
    def low(self) -> int:
        """The smallest value."""
        if self.negative:
            return -self.step << self.bits
        return -self.step << self.bits - 1 if self.signed else 0

    @property
    def high(self) -> int:
        """The largest value."""
        if self.negative:
            return -self.step
        return ((1 << self.bits - self.signed) - 1) * self.step


@dataclass(frozen=True, slots=True)
class Field:
    """`width` bits of a word from bit `lsb` on, that hold the operand's bits from `at` on."""

    lsb: int
    width: int
    at: int


@dataclass(frozen=True, slots=True)
class Operand:
    """An operand in the text of an instruction.

    `read` and `write` are positions in the itinerary's cycles, None where it is not read or not
    written; `counts` those of the dimension counts that a 2-D or 3-D modifier updates; `tied`
    names the operand that must be the same register.
    """

    name: str
    kind: RegisterClass | Immediate
    fields: tuple[Field, ...]
    read: int | None
    write: int | None
    counts: tuple[int, ...]
    tied: str | None


@dataclass(frozen=True, slots=True)
class Implicit:
    """A register that an instruction reads or writes without any bits for it."""

    register: str
    read: int | None
    write: int | None


@dataclass(frozen=True, eq=False)
class Opcode:
    """One instruction of the core; `word & mask == value` with valid registers identifies it.

    `ignored` are bits of the word that mean nothing.
    """

    name: str
    slot: str
    asm: str
    mask: int
    value: int
    ignored: int
    operands: tuple[Operand, ...]
    implicit: tuple[Implicit, ...]
    itinerary: str
    load: bool
    store: bool
    delay_slots: int

    @cached_property
    def mnemonic(self) -> str:
        """The first word of the text ("ret lr" has two)."""
        return self.asm.split(" ")[0]

    def operand(self, name: str) -> int:
        """The place of the operand of that name; KeyError if there is none."""
        for place, operand in enumerate(self.operands):
            if operand.name == name:
                return place
        raise KeyError(f"{self.name} has no operand {name}")


def _register_class(name: str) -> RegisterClass:
    entry = TABLE["register_classes"][name]
    if isinstance(entry, str):
        same = _register_class(entry)
        return RegisterClass(name, same.bits, same.codes, same.registers)
    bits, patterns = take(entry, "width", "codes")
    codes, registers = {}, {}
    for register, pattern in patterns.items():
        split(register)
        codes[register] = int(pattern.replace("-", "0"), 2)
        for filled in _fill(pattern):
            if filled in registers or len(pattern) != bits:
                raise TableError(f"register class {name} of the AIE2 table: {register} overlaps.")
            registers[filled] = register
    return RegisterClass(name, bits, codes, registers)


def _fill(pattern: str) -> list[int]:
    numbers = [0]
    for bit in pattern:
        numbers = [2 * n + b for n in numbers for b in ((0, 1) if bit == "-" else (int(bit),))]
    return numbers


REGISTER_CLASSES = {name: _register_class(name) for name in TABLE["register_classes"]}
"""Register class name -> class."""


def _operand(entry: dict[str, Any]) -> Operand:
    name, fields, kind, bits, signed, step, negative, read, write, counts, tied = take(
        entry, "name", "fields", **{"class": None}, bits=None, signed=False, step=1,
        negative=False, read=None, write=None, counts=(), tied=None,
    )  # fmt: skip
    what = REGISTER_CLASSES[kind] if kind else Immediate(bits, signed, step, negative)
    placed = tuple(Field(*field) for field in fields)
    if sorted(n for f in placed for n in range(f.at, f.at + f.width)) != list(range(what.bits)):
        raise TableError(f"operand {name} of the AIE2 table has {what.bits} bits, not all placed.")
    return Operand(name, what, placed, read, write, tuple(counts), tied)


def _opcode(entry: dict[str, Any]) -> Opcode:
    name, slot, asm, mask, value, itinerary, operands, implicit, ignored, load, store, delay = take(
        entry, "name", "slot", "asm", "mask", "value", "itinerary", "operands",
        implicit=(), ignored="0x0", load=False, store=False, delay_slots=0,
    )  # fmt: skip
    hidden = tuple(Implicit(*take(item, "register", read=None, write=None)) for item in implicit)
    loaded = Opcode(
        name, slot, asm, number(mask), number(value), number(ignored),
        tuple(map(_operand, operands)), hidden, itinerary, load, store, delay,
    )  # fmt: skip
    _check(loaded)
    return loaded


def _check(opcode: Opcode) -> None:
    taken = opcode.mask | opcode.ignored
    clash = opcode.mask & opcode.ignored or opcode.value & ~opcode.mask
    for operand in opcode.operands:
        for field in operand.fields if operand.tied is None else ():
            piece = ((1 << field.width) - 1) << field.lsb
            clash = clash or taken & piece
            taken |= piece
    if clash or taken != (1 << SLOTS[opcode.slot]) - 1:
        raise TableError(f"{opcode.name} of the AIE2 table does not explain each bit once.")
    positions = [p for o in opcode.operands for p in (o.read, o.write, *o.counts) if p is not None]
    for item in opcode.implicit:
        split(item.register)
        positions += [p for p in (item.read, item.write) if p is not None]
    cycles = ITINERARIES[opcode.itinerary].cycles
    if len(set(positions)) != len(positions) or max(positions, default=-1) >= len(cycles):
        raise TableError(f"{opcode.name} of the AIE2 table and {opcode.itinerary} do not agree.")


OPCODES = {opcode.name: opcode for opcode in map(_opcode, TABLE["instructions"])}
"""llvm-aie's instruction name -> opcode."""

if len(OPCODES) != len(TABLE["instructions"]) or not OPCODES.keys() >= set(NOPS.values()):
    raise TableError("the AIE2 table names an instruction twice or lacks a nop.")
