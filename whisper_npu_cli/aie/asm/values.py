"""Typed values of the kernel language: virtual registers, their parts, and addresses.

A variable is a register that has no number yet. Its kind says which physical registers may stand
for it. A value is a variable or one of its parts (`x.lo` is the lower 256 bits of a 512-bit
vector), and that is what instructions take and give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from whisper_npu_cli.aie.facts.core_registers import units
from whisper_npu_cli.errors import WhisperNpuError


class KernelError(WhisperNpuError):
    """A kernel program that cannot be built; the message names the operation and the values."""


@dataclass(frozen=True)
class Kind:
    """A sort of register: its name, the physical registers, and named parts.

    `parts` maps a part's name to (first unit, number of units, kind of the part). Units are the
    smallest storage pieces of `core_registers.units`.
    """

    name: str
    registers: tuple[str, ...]
    parts: dict[str, tuple[int, int, str]] = field(default_factory=dict, hash=False)


def _numbered(pattern: str, numbers: Iterator[int] | range) -> tuple[str, ...]:
    return tuple(pattern.format(n) for n in numbers)


_DIMENSION = ("m", "dn", "dj", "dc")
_PARTS_2D = {name: (i, 1, name) for i, name in enumerate(_DIMENSION)}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("r", _numbered("r{}", range(32))),
        Kind("l", _numbered("l{}", range(8)), {"lo": (0, 1, "r"), "hi": (1, 1, "r")}),
        Kind("p", _numbered("p{}", range(8))),
        *(Kind(name, _numbered(name + "{}", range(8))) for name in _DIMENSION),
        Kind("d", _numbered("d{}", range(8)), _PARTS_2D),
        Kind(
            "d3",
            _numbered("d{}_3d", range(4)),
            _PARTS_2D | {f"{name}2": (4 + i, 1, name) for i, name in enumerate(_DIMENSION)},
        ),
        Kind("s", _numbered("s{}", range(4))),
        Kind("w", _numbered("wl{}", range(12)) + _numbered("wh{}", range(12))),
        Kind("x", _numbered("x{}", range(12)), {"lo": (0, 1, "wl"), "hi": (1, 1, "wh")}),
        Kind("y", _numbered("y{}", range(2, 6)), {"lo": (0, 2, "x"), "hi": (2, 2, "x")}),
        Kind("am", tuple(f"am{a}{b}{n}" for n in range(9) for a in "lh" for b in "lh")),
        Kind(
            "bm",
            tuple(f"bm{a}{n}" for n in range(9) for a in "lh"),
            {"lo": (0, 1, "am"), "hi": (1, 1, "am")},
        ),
        Kind("cm", _numbered("cm{}", range(9)), {"lo": (0, 2, "bm"), "hi": (2, 2, "bm")}),
        Kind("q", _numbered("q{}", range(4))),
        Kind("qx", _numbered("qx{}", range(4)), {"x": (0, 2, "x"), "q": (2, 2, "q")}),
    )
}
"""Every kind a variable may have, by the file name that llvm-aie's register classes use."""

_PART_KINDS = {
    "wl": Kind("wl", _numbered("wl{}", range(12))),
    "wh": Kind("wh", _numbered("wh{}", range(12))),
}


def kind_of(name: str) -> Kind:
    """A kind by name; `wl` and `wh` are kinds of parts only."""
    return KINDS.get(name) or _PART_KINDS[name]


_UNUSED_M = 4


@dataclass(eq=False)
class Variable:
    """One virtual register: `registers` may be fewer than the kind's, `buffer` is its target."""

    kind: Kind
    name: str
    registers: tuple[str, ...] = ()
    buffer: str = ""

    def __post_init__(self) -> None:
        self.registers = self.registers or self.kind.registers

    @property
    def size(self) -> int:
        """Number of units."""
        return len(units(self.registers[0]))

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Value:
    """A variable, or a part of it: `size` units from unit `first` on. `file` is its kind's name.

    `used` is how many of the units an instruction really looks at (see `lower`); 0 stands for all.
    """

    variable: Variable
    first: int
    size: int
    file: str
    used: int = 0

    @classmethod
    def of(cls, variable: Variable) -> Value:
        """The whole of a variable."""
        return cls(variable, 0, variable.size, variable.kind.name)

    def __getattr__(self, name: str) -> Value:
        parts = kind_of(self.file).parts
        if name not in parts:
            raise AttributeError(f"{self!r} of kind {self.file} has no part '{name}'")
        first, size, file = parts[name]
        return Value(self.variable, self.first + first, size, file)

    def __repr__(self) -> str:
        return self.variable.name if self.whole else f"{self.variable.name}.{self._part()}"

    def _part(self) -> str:
        top, found = self.variable.kind, []
        first, last = 0, self.variable.size
        while (first, last) != (self.first, self.first + self.size):
            for name, (start, count, file) in top.parts.items():
                inside = first + start <= self.first
                if inside and self.first + self.size <= first + start + count:
                    found.append(name)
                    first, last, top = first + start, first + start + count, kind_of(file)
                    break
        return ".".join(found)

    @property
    def whole(self) -> bool:
        """Whether this is all of its variable."""
        return self.size == self.variable.size

    @property
    def lower(self) -> Value:
        """This value for an instruction that looks at its lower half only.

        The 4x8x8 matrix multiply of int8 does so with its first operand: 256 bits in a 512-bit
        register, whose upper half may then hold anything.
        """
        return Value(self.variable, self.first, self.size, self.file, self.size // 2)

    @property
    def unit_numbers(self) -> tuple[int, ...]:
        """The units of the variable that an instruction reads or writes through this value.

        A 3-D modifier has two m registers, of which the upper one plays no part.
        """
        numbers = range(self.first, self.first + (self.used or self.size))
        return tuple(n for n in numbers if self.file != "d3" or n != _UNUSED_M)

    def on(self, register: str) -> str:
        """The physical name of this value when its variable sits in `register`."""
        return part_name(register, self.first, self.size)

    def count(self, dimension: int) -> Value:
        """The count (dc) of a 2-D or 3-D modifier; 3-D has two."""
        return self.dc2 if dimension else self.dc

    def __getitem__(self, offset: int | Value) -> Address:
        """The address pointer + offset; the offset is in bytes, or a dj value."""
        return Address(self, "offset", offset)

    def post(self, step: int | Value) -> Address:
        """The address in this pointer, which moves on afterwards.

        `step`: bytes, an m value, or a d (2-D) or d3 (3-D) value.
        """
        return Address(self, "post", step)


@cache
def physical(register: str) -> Variable:
    """The variable that always sits in one physical register, such as crRnd, lc or r27."""
    return Variable(Kind(register, (register,)), register)


@dataclass(frozen=True)
class Address:
    """Where a load or store goes, and how the pointer moves."""

    pointer: Value
    mode: Literal["offset", "post"]
    step: int | Value

    def __post_init__(self) -> None:
        if self.pointer.file != "p":
            raise KernelError(
                f"{self.pointer!r} is a value of kind {self.pointer.file}, not a pointer"
            )


@cache
def _names_by_units() -> dict[tuple[str, ...], str]:
    names = (r for kind in (*KINDS.values(), *_PART_KINDS.values()) for r in kind.registers)
    return {units(name): name for name in names}


@cache
def part_name(register: str, first: int, count: int) -> str:
    """The name of `count` units of a register from unit `first` on, such as wh3 of x3."""
    pieces = units(register)
    if first == 0 and count == len(pieces):
        return register
    return _names_by_units()[pieces[first : first + count]]


def plain_name(text: str) -> str:
    """A mnemonic as a Python name: `vlda.2d.ups.s32.d16` is `vlda_ups_s32_d16`."""
    return re.sub(r"\.(2d|3d)(?=\.|$)", "", text).replace(".", "_")
