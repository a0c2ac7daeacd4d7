"""Random instructions and bundles, for property tests."""

from __future__ import annotations

import random

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.isa import OPCODES, RegisterClass
from whisper_npu_cli.aie.facts.slots import Format

BY_SLOT = {}
for _opcode in OPCODES.values():
    BY_SLOT.setdefault(_opcode.slot, []).append(_opcode)


def operand(kind, source: random.Random):
    """A value that fits, with the extremes more often than chance would have them."""
    if isinstance(kind, RegisterClass):
        return source.choice(list(kind.codes))
    steps = (kind.high - kind.low) // kind.step
    return kind.low + kind.step * source.choice((0, steps, source.randint(0, steps)))


def instruction(opcode, source: random.Random) -> Instruction:
    values = [operand(o.kind, source) for o in opcode.operands]
    for place, o in enumerate(opcode.operands):
        if o.tied is not None:
            values[place] = values[opcode.operand(o.tied)]
    return Instruction(opcode, tuple(values))


def bundle(layout: Format, source: random.Random) -> Bundle:
    """Every slot of the format taken by some instruction."""
    taken = [instruction(source.choice(BY_SLOT[slot]), source) for slot in layout.slots]
    return Bundle(tuple(taken), layout.name)
