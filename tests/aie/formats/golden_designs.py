"""The twelve public designs beside the checkout (`../shared/aie2/golden`), as operations."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, RegisterOp, Write

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "aie2" / "golden"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
CORE_CONTROL = 0x32000

needs_golden = pytest.mark.skipif(not NAMES, reason=f"no golden designs in {FOLDER}")


@cache
def design(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def operation(kind: str, address: str, *rest: Any) -> RegisterOp:
    """One entry of `config_writes`; a program, which the data leaves out, becomes a ramp."""
    where = int(address, 16)
    if kind == "write":
        return Write(where, int(rest[0], 16))
    if kind == "mask_write":
        return MaskWrite(where, int(rest[0], 16), int(rest[1], 16))
    if kind == "block":
        return BlockWrite(where, tuple(int(word, 16) for word in rest[0]))
    return BlockWrite(where, tuple(range(rest[0])))


def is_reset_pulse(op: RegisterOp) -> bool:
    core = op.address & 0xFFFFF == CORE_CONTROL
    return isinstance(op, MaskWrite) and core and (op.mask, op.value) == (2, 2)


def is_enable(op: RegisterOp) -> bool:
    core = op.address & 0xFFFFF == CORE_CONTROL
    return isinstance(op, MaskWrite) and core and (op.mask, op.value) == (1, 1)


def phases(
    ops: list[RegisterOp],
) -> tuple[list[RegisterOp], list[RegisterOp], list[RegisterOp]]:
    """Split a flat list where aiecc's three files meet: first reset pulse, first core enable."""
    init = next(index for index, op in enumerate(ops) if is_reset_pulse(op))
    enable = next(index for index, op in enumerate(ops) if is_enable(op))
    return ops[:init], ops[init:enable], ops[enable:]


def config(name: str) -> list[RegisterOp]:
    return [operation(*entry) for entry in design(name)["config_writes"]]


def stream_words(name: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in design(name)["sequence"]["words"])
