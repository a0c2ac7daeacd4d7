"""Operand values to the bits of an instruction word and back, with every value checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from whisper_npu_cli.aie.facts.isa import Field, Immediate, RegisterClass
from whisper_npu_cli.errors import WhisperNpuError


class EncodingError(WhisperNpuError):
    """An operand, an instruction or a bundle that has no encoding."""


def scatter(code: int, fields: Iterable[Field]) -> int:
    """The word bits of an operand's number."""
    return sum(((code >> f.at) & ((1 << f.width) - 1)) << f.lsb for f in fields)


def gather(word: int, fields: Iterable[Field]) -> int:
    """An operand's number from the word bits."""
    return sum(((word >> f.lsb) & ((1 << f.width) - 1)) << f.at for f in fields)


def code_of(kind: RegisterClass | Immediate, value: Any) -> int:
    """The number that stands for a register name or an immediate; EncodingError if none does."""
    if isinstance(kind, RegisterClass):
        code = kind.codes.get(value) if isinstance(value, str) else None
        if code is None:
            names = list(kind.codes)
            raise EncodingError(f"{value} is none of {names[0]}, {names[1]} ... {names[-1]}")
        return code
    if not isinstance(value, int):
        raise EncodingError(f"{value!r} is no number; a label needs an assembler run")
    if value % kind.step or not kind.low <= value <= kind.high:
        unit = f" in steps of {kind.step}" if kind.step > 1 else ""
        raise EncodingError(f"{value} is not within {kind.low} to {kind.high}{unit}")
    return (value // kind.step) & ((1 << kind.bits) - 1)


def value_of(kind: RegisterClass | Immediate, code: int) -> str | int | None:
    """The register name or immediate that a number stands for; None for no register."""
    if isinstance(kind, RegisterClass):
        return kind.registers.get(code)
    if kind.negative:
        return (code - (1 << kind.bits)) * kind.step
    if kind.signed and code >> kind.bits - 1:
        code -= 1 << kind.bits
    return code * kind.step
