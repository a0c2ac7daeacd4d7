"""Bytes of a program back to bundles, table-driven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.fields import gather, value_of
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.isa import OPCODES, Opcode
from whisper_npu_cli.aie.facts.slots import FORMATS, SLOTS, Format, length
from whisper_npu_cli.errors import WhisperNpuError

KEY_BITS = 12
"""Bits of a slot word that choose a list of candidates; more would only make the tables larger."""


class DecodeError(WhisperNpuError):
    """Bytes that are no AIE2 program; the sentence gives the address."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A bundle at its address in bytes."""

    address: int
    size: int
    bundle: Bundle


def decode(code: bytes, origin: int = 0) -> Iterator[Decoded]:
    """The bundles of a program one after another; `origin` is the address of its first byte.

    Raises DecodeError at a bundle that is cut off or has no meaning.
    """
    offset = 0
    while offset < len(code):
        bundle, size = decode_bundle(code, offset, origin)
        yield Decoded(origin + offset, size, bundle)
        offset += size


def decode_bundle(code: bytes, offset: int = 0, origin: int = 0) -> tuple[Bundle, int]:
    """The bundle at an offset and its size in bytes."""
    size = length(code[offset])
    raw = code[offset : offset + size]
    where = f"at address {origin + offset:#x}"
    if len(raw) < size:
        raise DecodeError(f"{where} a bundle of {size} bytes is cut off after {len(raw)}.")
    word = int.from_bytes(raw, "little")
    for layout in _formats(size):
        if word & layout.mask == layout.value:
            break
    else:
        raise DecodeError(f"{where} the {size} bytes {raw.hex(' ')} fit no bundle format.")
    instructions = []
    for slot, lsb in layout.slots.items():
        bits = word >> lsb & (1 << SLOTS[slot]) - 1
        instruction = decode_slot(slot, bits)
        if instruction is None:
            raise DecodeError(
                f"{where} slot {slot} of {layout.name} holds {bits:#x}, which is no instruction."
            )
        instructions.append(instruction)
    return Bundle(tuple(instructions), layout.name), size


@lru_cache(maxsize=1 << 16)
def decode_slot(slot: str, word: int) -> Instruction | None:
    """The instruction of a slot word, None if there is none.

    Where ignored bits let a word mean two things, the one that is spelled so by the assembler.
    """
    other = None
    for opcode in _candidates(slot, word & _key_mask(slot)):
        if word & opcode.mask == opcode.value:
            values = tuple(value_of(o.kind, gather(word, o.fields)) for o in opcode.operands)
            if None not in values:
                plain = Instruction(opcode, values)
                spare = word ^ plain.encode()
                if not spare:
                    return plain
                other = other or Instruction(opcode, values, spare)
    return other


@cache
def _formats(size: int) -> tuple[Format, ...]:
    return tuple(layout for layout in FORMATS.values() if layout.size == size)


@cache
def _opcodes(slot: str) -> tuple[Opcode, ...]:
    return tuple(opcode for opcode in OPCODES.values() if opcode.slot == slot)


@cache
def _key_mask(slot: str) -> int:
    """The bits that most encodings of the slot fix."""
    masks = [opcode.mask for opcode in _opcodes(slot)]
    votes = sorted(range(SLOTS[slot]), key=lambda bit: -sum(mask >> bit & 1 for mask in masks))
    return sum(1 << bit for bit in votes[:KEY_BITS])


@cache
def _candidates(slot: str, key: int) -> tuple[Opcode, ...]:
    """The opcodes that a word with these key bits can be, the most specific first."""
    mask = _key_mask(slot)
    fits = [o for o in _opcodes(slot) if not (o.value ^ key) & o.mask & mask]
    return tuple(sorted(fits, key=lambda opcode: -opcode.mask.bit_count()))
