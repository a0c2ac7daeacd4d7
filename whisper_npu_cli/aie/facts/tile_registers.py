"""Registers of a tile: `tile_registers.txt` as objects, with look-up by name and by offset.

The table's own header names its source. Loading refuses overlapping registers and fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, reduce
from importlib.resources import files
from itertools import product
from operator import or_

from whisper_npu_cli.aie.facts.topology import FACTS, Direction, TileKind

_FIELD = re.compile(r"(\w+)\[(\d+)(?::(\d+))?\](s?)")


@dataclass(frozen=True)
class Field:
    """Bits `high` to `low` of a 32-bit word, two's complement if `signed`."""

    name: str
    high: int
    low: int
    signed: bool

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value."""
        width = self.high - self.low + 1
        return (-(1 << width - 1), (1 << width - 1) - 1) if self.signed else (0, (1 << width) - 1)

    def insert(self, value: int) -> int:
        """The value at its place in the word; ValueError when it does not fit."""
        least, most = self.range
        if not least <= value <= most:
            raise ValueError(f"{self.name} takes {least} to {most}, not {value}")
        return (value & (1 << self.high - self.low + 1) - 1) << self.low

    def extract(self, word: int) -> int:
        """The field's value in a word."""
        value = word >> self.low & (1 << self.high - self.low + 1) - 1
        return value - (1 << self.high - self.low + 1) if value > self.range[1] else value

    @property
    def mask(self) -> int:
        """The bits of the field in the word."""
        return (1 << self.high + 1) - (1 << self.low)


@dataclass(frozen=True)
class Register:
    """One line of the table: byte `offset` of the first of `repeats` (count, stride) registers."""

    kind: TileKind
    offset: int
    repeats: tuple[tuple[int, int], ...]
    name: str
    fields: tuple[Field, ...]

    def at(self, *indices: int) -> int:
        """Byte offset of the register of these numbers; ValueError when there is none such."""
        if len(indices) != len(self.repeats) or any(
            not 0 <= i < count for i, (count, _) in zip(indices, self.repeats, strict=True)
        ):
            raise ValueError(f"{self.kind.value} tile: no register {self.name} {indices}")
        steps = zip(indices, self.repeats, strict=True)
        return self.offset + sum(i * stride for i, (_, stride) in steps)

    def label(self, *indices: int) -> str:
        """The name with its numbers filled in."""
        return self.name.format(*indices)

    def field(self, name: str) -> Field:
        """A field by name; KeyError when there is none such."""
        return {f.name: f for f in self.fields}[name]


def _parse(line: str) -> Register:
    kind, offset, repeats, name, *fields = line.split()
    pairs = [r.split("x") for r in repeats.split(",") if r != "-"]
    parsed = [_FIELD.fullmatch(f) for f in fields]
    if not all(parsed):
        raise ValueError(f"tile_registers.txt: {line.strip()} has a field that is none")
    return Register(
        TileKind(kind),
        int(offset, 16),
        tuple((int(count), int(stride, 16)) for count, stride in pairs),
        name,
        tuple(Field(m[1], int(m[2]), int(m[3] or m[2]), bool(m[4])) for m in parsed if m),
    )


def parse(text: str) -> dict[TileKind, dict[str, Register]]:
    """A table's text to registers by kind and name; ValueError when a name or a bit comes twice."""
    tables: dict[TileKind, dict[str, Register]] = {kind: {} for kind in TileKind}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            r = _parse(line)
            bits = [f.mask for f in r.fields]
            if r.name in tables[r.kind] or sum(bits) != reduce(or_, bits, 0):
                raise ValueError(f"tile_registers.txt: {line.strip()} repeats a name or a bit")
            tables[r.kind][r.name] = r
    return tables


@cache
def _tables() -> dict[TileKind, dict[str, Register]]:
    return parse((files(__package__) / "tile_registers.txt").read_text(encoding="utf-8"))


@cache
def _offsets(kind: TileKind) -> dict[int, tuple[Register, tuple[int, ...]]]:
    found: dict[int, tuple[Register, tuple[int, ...]]] = {}
    for r in _tables()[kind].values():
        if r.name.startswith(("DataMemory", "Program_Memory")):
            continue
        for indices in product(*(range(count) for count, _ in r.repeats)):
            if r.at(*indices) in found:
                raise ValueError(f"tile_registers.txt: two registers at {r.at(*indices):#x}")
            found[r.at(*indices)] = (r, indices)
    return found


def register(kind: TileKind, name: str) -> Register:
    """A line of the table by its name, braces included; KeyError when there is none such."""
    return _tables()[kind][name]


def find(kind: TileKind, offset: int) -> tuple[Register, tuple[int, ...]] | None:
    """The register at a byte offset and its numbers; None for memories and what is not listed."""
    return _offsets(kind).get(offset)


@cache
def bd_layout(kind: TileKind) -> dict[str, tuple[int, Field]]:
    """Fields of a buffer descriptor: name to (word number, field)."""
    return {
        f.name: (word, f)
        for word in range(FACTS[kind].bd_words)
        for f in register(kind, f"DMA_BD{{}}_{word}").fields
    }


def queue(kind: TileKind, direction: Direction) -> Register:
    """Start-queue registers of a direction's channels (named task queue in a shim tile)."""
    name = "Task_Queue" if kind is TileKind.SHIM else "Start_Queue"
    return register(kind, f"DMA_{direction.name}_{{}}_{name}")


def control(kind: TileKind, direction: Direction) -> Register:
    """Control registers of a direction's channels."""
    return register(kind, f"DMA_{direction.name}_{{}}_Ctrl")
