"""Bundles, labels and alignments to bytes; and assembler text to these."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.fields import EncodingError, code_of
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.core_registers import printed
from whisper_npu_cli.aie.facts.isa import OPCODES, REGISTER_CLASSES, Immediate, Opcode, Operand
from whisper_npu_cli.aie.facts.slots import SIZES, Format, formats_holding
from whisper_npu_cli.errors import WhisperNpuError

LABEL_BITS = 20
"""Immediates at least this long can hold the address of a label."""


class SyntaxFault(WhisperNpuError):
    """Assembler text that means nothing; the sentence gives the line."""


@dataclass(frozen=True, slots=True)
class Label:
    """A name for the address of the next bundle."""

    name: str


@dataclass(frozen=True, slots=True)
class Align:
    """The next bundle starts at a multiple of `bytes`."""

    bytes: int


Item = Bundle | Label | Align


@dataclass(frozen=True)
class Assembly:
    """A program: its bytes, label addresses, and every bundle as placed (address, bundle)."""

    code: bytes
    labels: dict[str, int]
    bundles: tuple[tuple[int, Bundle], ...]


def assemble(items: Iterable[Item], origin: int = 0) -> Assembly:
    """Lay out a program from address `origin` (bytes) on and encode it.

    Bundles take their shortest format. An alignment is reached by longer formats for bundles
    since the one before, which costs no cycle; where that is impossible, by bundles of nops.
    Raises EncodingError.
    """
    placed: list[Bundle] = []
    marks: dict[str, int] = {}
    address, barrier = origin, 0
    for item in items:
        if isinstance(item, Bundle):
            placed.append(item)
            address += item.layout().size
        elif isinstance(item, Label):
            if item.name in marks:
                raise EncodingError(f"the label {item.name} stands twice in the program.")
            marks[item.name] = len(placed)
        else:
            missing = -address % item.bytes
            if missing and not _stretch(placed, barrier, missing):
                filling = _nops(missing)
                # a label right before the alignment names what follows it
                names = [name for name, at in marks.items() if at == len(placed)]
                marks |= dict.fromkeys(names, len(placed) + len(filling))
                placed += filling
            address, barrier = address + missing, len(placed)
    return _encoded(placed, marks, origin)


def _encoded(placed: list[Bundle], marks: Mapping[str, int], origin: int) -> Assembly:
    addresses = [origin]
    for bundle in placed:
        addresses.append(addresses[-1] + bundle.layout().size)
    labels = {name: addresses[index] for name, index in marks.items()}
    resolved = [
        replace(bundle, instructions=tuple(i.resolved(labels) for i in bundle.instructions))
        for bundle in placed
    ]
    code = b"".join(bundle.encode() for bundle in resolved)
    return Assembly(code, labels, tuple(zip(addresses, resolved, strict=False)))


def _stretch(placed: list[Bundle], start: int, missing: int) -> bool:
    """Give bundles from `start` on longer formats that add up to `missing` bytes, if possible."""
    ways: dict[int, dict[int, Format]] = {0: {}}
    for index in range(len(placed) - 1, start - 1, -1):
        for added, chosen in list(ways.items()):
            for growth, layout in _longer(placed[index]).items():
                if added + growth <= missing:
                    ways.setdefault(added + growth, {**chosen, index: layout})
        if missing in ways:
            for place, layout in ways[missing].items():
                placed[place] = placed[place].widened(layout)
            return True
    return False


def _longer(bundle: Bundle) -> dict[int, Format]:
    """Bytes added -> the simplest format that adds them; none where a format was asked for."""
    if bundle.format is not None:
        return {}
    size = bundle.layout().size
    found: dict[int, Format] = {}
    for layout in formats_holding(bundle.slots()):
        if layout.size > size:
            found.setdefault(layout.size - size, layout)
    return found


def _nops(size: int) -> list[Bundle]:
    """As few bundles of nops as fill that many bytes."""
    largest, rest = divmod(size, SIZES[-1])
    sizes = [SIZES[-1]] * largest + [rest] * bool(rest)
    return [Bundle((), next(f.name for f in formats_holding(()) if f.size == s)) for s in sizes]


def parse(text: str) -> list[Item]:
    """Assembler text to the items of a program.

    A line holds a bundle ("padda [p1], #4; add r0, r0, r1"), a label ("loop:"), both, or
    ".p2align N" (a multiple of 2 ** N bytes); "//" starts a comment. Raises SyntaxFault.
    """
    items: list[Item] = []
    for number, line in enumerate(text.splitlines(), 1):
        rest = line.partition("//")[0].strip()
        while label := re.match(r"([A-Za-z_.$][\w.$]*):(?!\S)\s*", rest):
            items.append(Label(label[1]))
            rest = rest[label.end() :]
        if align := re.fullmatch(r"\.p2align\s+(\d+)", rest):
            items.append(Align(1 << int(align[1])))
        elif rest:
            parts = [part.strip() for part in rest.split(";")]
            items.append(Bundle(tuple(_instruction(part, number) for part in parts if part)))
    return items


def parse_instruction(text: str) -> Instruction:
    """One instruction from its text; SyntaxFault if there is none like that."""
    return _instruction(text.strip(), 1)


def _instruction(text: str, line: int) -> Instruction:
    mnemonic = text.split()[0]
    forms = _forms().get(mnemonic, ())
    if not forms:
        raise SyntaxFault(f"line {line}: there is no AIE2 instruction {mnemonic}.")
    reason = "its operands do not have the form of " + " or ".join(sorted({o.asm for o in forms}))
    for opcode in forms:
        if match := _pattern(opcode).fullmatch(_squeezed(text)):
            try:
                return _filled(opcode, match.groups())
            except EncodingError as error:
                reason = str(error)
    raise SyntaxFault(f"line {line}: `{text}` is no instruction: {reason}.")


def _filled(opcode: Opcode, words: Iterable[str]) -> Instruction:
    values = []
    for operand, word in zip(opcode.operands, words, strict=True):
        value = _value(operand, word)
        if not (isinstance(operand.kind, Immediate) and isinstance(value, str)):
            code_of(operand.kind, value)
        values.append(value)
    return Instruction(opcode, tuple(values))


def _value(operand: Operand, word: str) -> Any:
    if not isinstance(operand.kind, Immediate):
        return _names(operand.kind.name).get(word, word)
    if re.match(r"-?\d", word):
        return int(word, 0)
    if operand.kind.bits < LABEL_BITS:
        raise EncodingError(f"{word} is no number and the field is too short for an address")
    return word


@cache
def _names(register_class: str) -> dict[str, str]:
    """Printed name -> register, for one class (d0 is d0_3d where a 3-D modifier stands)."""
    return {printed(register): register for register in REGISTER_CLASSES[register_class].codes}


@cache
def _forms() -> dict[str, list[Opcode]]:
    forms: dict[str, list[Opcode]] = {}
    for opcode in OPCODES.values():
        forms.setdefault(opcode.mnemonic, []).append(opcode)
    return forms


@cache
def _pattern(opcode: Opcode) -> re.Pattern[str]:
    """The squeezed text of an opcode with a group for each operand."""
    pieces = [re.escape(piece) for piece in re.split(r"\$\w+", _squeezed(opcode.asm))]
    groups = [
        r"#(-?[\w.$]+)" if isinstance(operand.kind, Immediate) else r"(\w+(?::\w+)?)"
        for operand in opcode.operands
    ]
    return re.compile("".join(map("".join, zip(pieces, [*groups, ""], strict=True))))


def _squeezed(text: str) -> str:
    """Text with no more white space than the words need."""
    return re.sub(r" ?([\[\],]) ?", r"\1", " ".join(text.split()))
