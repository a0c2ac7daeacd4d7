"""A bundle: the instructions of one cycle, in one of the 78 formats."""

from __future__ import annotations

from dataclasses import dataclass, replace

from whisper_npu_cli.aie.asm.fields import EncodingError
from whisper_npu_cli.aie.asm.instruction import Instruction, make
from whisper_npu_cli.aie.facts.slots import FORMATS, NOPS, SLOTS, Format, formats_holding, slot_set


@dataclass(frozen=True, slots=True)
class Bundle:
    """Instructions of different slots, and the format's name or None for the shortest one.

    Slots of the format that no instruction takes are filled with nops.
    """

    instructions: tuple[Instruction, ...] = ()
    format: str | None = None

    def __str__(self) -> str:
        return self.text()

    def slots(self) -> dict[str, Instruction]:
        """Slot -> instruction; EncodingError where two take the same."""
        taken: dict[str, Instruction] = {}
        for instruction in self.instructions:
            slot = instruction.opcode.slot
            if slot in taken:
                raise EncodingError(
                    f"`{taken[slot]}` and `{instruction}` both need the slot {slot} of a bundle."
                )
            taken[slot] = instruction
        return taken

    def layout(self) -> Format:
        """The format: the one that is named, or the shortest that fits."""
        slots = self.slots()
        if self.format is None:
            fits = formats_holding(slots)
            if not fits:
                raise EncodingError(f"no bundle holds {slot_set(slots)}: `{self}`.")
            return fits[0]
        found = FORMATS.get(self.format)
        if found is None or not slots.keys() <= found.slots.keys():
            raise EncodingError(f"format {self.format} does not hold {slot_set(slots)}: `{self}`.")
        return found

    def encode(self) -> bytes:
        """The bytes of the bundle, little end first."""
        layout, slots = self.layout(), self.slots()
        word = layout.value
        for slot, lsb in layout.slots.items():
            instruction = slots.get(slot)
            word |= (instruction.encode() if instruction else _nop_word(slot)) << lsb
        return word.to_bytes(layout.size, "little")

    def text(self) -> str:
        """The bundle as the assembler writes it, in the order of the format's slots.

        The nops of empty slots stand in the text only where a format is named, so that text of a
        decoded program assembles to the same bytes.
        """
        slots = {instruction.opcode.slot: instruction for instruction in self.instructions}
        if self.format in FORMATS:
            parts = [slots.get(slot) or make(NOPS[slot]) for slot in FORMATS[self.format].slots]
        else:
            parts = [slots[slot] for slot in SLOTS if slot in slots] or [make("NOP")]
        return "; ".join(f"{part}{'' if part.values else ' '}" for part in parts).rstrip()

    def widened(self, layout: Format) -> Bundle:
        """The same bundle in another format."""
        return replace(self, format=layout.name)


def _nop_word(slot: str) -> int:
    return make(NOPS[slot]).encode()
