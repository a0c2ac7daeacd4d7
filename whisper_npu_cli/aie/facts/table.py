"""The generated AIE2 table as it lies in the package, and the checks that every reader shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from whisper_npu_cli.errors import WhisperNpuError


class TableError(WhisperNpuError):
    """The AIE2 table contradicts itself: a damaged installation or a slip in scripts/gen_facts."""


def _read() -> dict[str, Any]:
    text = files("whisper_npu_cli.aie.facts").joinpath("isa.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


TABLE = _read()
"""facts/isa.json: slots, formats, register_classes, units, itineraries, instructions."""


def number(text: str) -> int:
    """A hexadecimal number of the table ("0x1f")."""
    return int(text, 16)


def take(entry: Mapping[str, Any], *required: str, **optional: Any) -> tuple[Any, ...]:
    """The values of `required` and `optional` keys in that order; TableError for any other key."""
    unknown = entry.keys() - {*required, *optional}
    missing = set(required) - entry.keys()
    if unknown or missing:
        wrong = f"unknown {sorted(unknown)}" if unknown else f"missing {sorted(missing)}"
        raise TableError(f"entry {entry.get('name', '?')} of the AIE2 table has {wrong} fields.")
    return (*(entry[key] for key in required), *(entry.get(k, v) for k, v in optional.items()))
