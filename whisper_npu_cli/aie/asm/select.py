"""From a mnemonic and typed values to the instruction that does it.

Every instruction of the table is reachable under its mnemonic (`vmac.f` as `vmac_f`). Several
instructions may share one; the operands decide. 2-D and 3-D forms have the plain mnemonic and are
chosen by the address (`p.post(d)`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.values import (
    KINDS,
    Address,
    KernelError,
    Value,
    part_name,
    plain_name,
)
from whisper_npu_cli.aie.facts.isa import OPCODES, Immediate, Opcode, Operand, RegisterClass

Argument: TypeAlias = "Value | Address | int | str"
"""What an instruction takes: a value, an address, a number, or a name (label, symbol, SS, ms)."""

FAMILIES = {
    "vld": ("vlda", "vldb"),
    "padd": ("padda", "paddb", "padds"),
    "const": ("mova", "movx", "mov", "movxm"),
    "vld_unpack_s16_s8": ("vldb_unpack_s16_s8",),
}
"""Operations that several slots offer: the scheduler takes whichever slot is free."""

FIXED = {"r26", "r27", "r28", "r29", "r31"}
"""Registers that some instructions use without naming them in the word."""


@dataclass(frozen=True)
class Selected:
    """The instructions that do the same thing in different slots, and the results they write.

    `fixed` binds registers that stand in no field (r27 of sel.nez) to values.
    """

    forms: tuple[Instruction, ...]
    results: tuple[Value, ...]
    fixed: tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class _Shape:
    """An opcode's text as slots to fill: places of results, inputs, address, and literals."""

    opcode: Opcode
    results: tuple[int, ...]
    inputs: tuple[int | str, ...]
    address: tuple[str, int, int | None] | None


def _shape(opcode: Opcode) -> _Shape | None:
    _, _, text = opcode.asm.partition(" ")
    if "[sp" in text:
        return None
    results: list[int] = []
    inputs: list[int | str] = []
    address = None
    pieces = re.findall(r"\[\$(\w+)(?:, \$(\w+))?\](?:, \$(imm|mod))?|\$(\w+)|(\w+)", text)
    for pointer, index, step, name, literal in pieces:
        if pointer:
            inner = index or step
            mode = "post" if step else "offset"
            place = opcode.operand(inner) if inner else None
            address = (mode, opcode.operand(pointer), place)
        elif literal:
            inputs.append(literal)
        else:
            place = opcode.operand(name)
            (inputs if opcode.operands[place].write is None else results).append(place)
    return _Shape(opcode, tuple(results), tuple(inputs), address)


def _by_name() -> dict[str, list[_Shape]]:
    found = defaultdict(list)
    for opcode in OPCODES.values():
        shape = _shape(opcode)
        if shape is not None:
            found[plain_name(opcode.mnemonic)].append(shape)
    return dict(found)


SHAPES = _by_name()
"""Mnemonic as a Python name -> the ways to use it."""


def choices(value: Value, registers: RegisterClass) -> list[str]:
    """The registers that the value's variable may have if this class is to name the value."""
    return [
        register
        for register in value.variable.registers
        if part_name(register, value.first, value.size) in registers.codes
    ]


def fits(argument: Argument, operand: Operand) -> bool:
    """Whether an argument can stand for an operand."""
    kind = operand.kind
    if isinstance(kind, Immediate):
        if isinstance(argument, str):
            return kind.bits >= 20
        return (
            isinstance(argument, int)
            and kind.low <= argument <= kind.high
            and argument % kind.step == 0
        )
    return isinstance(argument, Value) and bool(choices(argument, kind))


def _place(shape: _Shape, arguments: Sequence[Argument]) -> dict[int, Argument] | None:
    """Operand place -> argument for a call's inputs, or None where they do not fit."""
    placed: dict[int, Argument] = {}
    rest = [a for a in arguments if not isinstance(a, Address)]
    targets = [a for a in arguments if isinstance(a, Address)]
    if len(targets) != (shape.address is not None) or len(rest) != len(shape.inputs):
        return None
    for item, argument in zip(shape.inputs, rest, strict=True):
        if isinstance(item, str):
            bound = item in FIXED and isinstance(argument, Value) and argument.file == "r"
            if not bound and argument != item:
                return None
        elif not fits(argument, shape.opcode.operands[item]):
            return None
        else:
            placed[item] = argument
    if shape.address is not None:
        mode, pointer, step = shape.address
        target = targets[0]
        if (step is None and target.step != 0) or mode != target.mode:
            return None
        placed[pointer] = target.pointer
        if step is not None:
            if not fits(target.step, shape.opcode.operands[step]):
                return None
            placed[step] = target.step
    return placed


def _default_kind(shape: _Shape, place: int) -> str | None:
    registers = shape.opcode.operands[place].kind
    assert isinstance(registers, RegisterClass)
    names = registers.codes.keys()
    return next((k.name for k in KINDS.values() if names & set(k.registers)), None)


def select(name: str, arguments: Sequence[Argument], results: Sequence[Value] | None) -> Selected:
    """The instruction `name` for these arguments.

    `results` are the values to write; None takes new ones of the natural kind. Raises KernelError
    naming what was given and the forms that exist.
    """
    fitting = [
        (shape, placed)
        for member in FAMILIES.get(name, (name,))
        for shape in SHAPES.get(member, ())
        if (placed := _place(shape, arguments)) is not None
        and (results is None or _takes(shape, results))
    ]
    if not fitting:
        raise KernelError(_refusal(name, arguments, results))
    if results is None:
        results = _fresh(name, fitting)
        fitting = [(shape, placed) for shape, placed in fitting if _takes(shape, results)]
    if name not in FAMILIES:
        fitting = fitting[:1]
    forms = tuple(_build(shape, placed, results) for shape, placed in fitting)
    return Selected(forms, tuple(results), _bindings(fitting[0][0], arguments))


def _takes(shape: _Shape, results: Sequence[Value]) -> bool:
    operands = [shape.opcode.operands[place] for place in shape.results]
    return len(operands) == len(results) and all(map(fits, results, operands))


def _fresh(name: str, fitting: Sequence[tuple[_Shape, dict[int, Argument]]]) -> list[Value]:
    from whisper_npu_cli.aie.asm.values import Variable

    shape, placed = fitting[0]
    ties = {o.tied: i for i, o in enumerate(shape.opcode.operands) if o.tied}
    wanted = [
        {_default_kind(other, other.results[i]) for other, _ in fitting}
        for i in range(len(shape.results))
    ]
    fresh = []
    for place, kinds in zip(shape.results, wanted, strict=True):
        tied = ties.get(shape.opcode.operands[place].name)
        if tied is not None:
            fresh.append(placed[tied])
            continue
        if len(kinds) > 1 and "w" not in kinds:
            raise KernelError(
                f"{name} can write values of kinds {', '.join(sorted(map(str, kinds)))}: "
                "say which with to=."
            )
        kind = "w" if "w" in kinds else str(next(iter(kinds)))
        fresh.append(Value.of(Variable(KINDS[kind], "")))
    return [value for value in fresh if isinstance(value, Value)]


def _build(shape: _Shape, placed: dict[int, Argument], results: Sequence[Value]) -> Instruction:
    values: dict[int, Any] = dict(placed) | dict(zip(shape.results, results, strict=True))
    for operand in shape.opcode.operands:
        if operand.tied:
            first, second = shape.opcode.operand(operand.tied), shape.opcode.operand(operand.name)
            if values[first] != values[second]:
                raise KernelError(
                    f"{shape.opcode.mnemonic} adds to its first accumulator in place: "
                    f"{values[first]!r} must be {values[second]!r}."
                )
    return Instruction(shape.opcode, tuple(values[i] for i in range(len(shape.opcode.operands))))


def _bindings(shape: _Shape, arguments: Sequence[Argument]) -> tuple[tuple[str, Value], ...]:
    rest = [a for a in arguments if not isinstance(a, Address)]
    return tuple(
        (item, argument)
        for item, argument in zip(shape.inputs, rest, strict=True)
        if isinstance(item, str) and isinstance(argument, Value)
    )


def _refusal(name: str, arguments: Sequence[Argument], results: Sequence[Value] | None) -> str:
    def show(argument: Argument) -> str:
        if isinstance(argument, Value):
            return f"{argument!r}:{argument.file}"
        if isinstance(argument, Address):
            step = show(argument.step)
            pointer = repr(argument.pointer)
            return f"{pointer}[{step}]" if argument.mode == "offset" else f"{pointer}.post({step})"
        return str(argument)

    members = FAMILIES.get(name, (name,))
    known = [shape.opcode.asm for member in members for shape in SHAPES.get(member, ())]
    given = ", ".join(map(show, arguments))
    into = "" if results is None else " to " + ", ".join(map(show, results))
    if not known:
        return f"There is no instruction '{name}' (called with {given})."
    return f"{name}({given}){into} fits none of its forms: {'; '.join(known)}."
