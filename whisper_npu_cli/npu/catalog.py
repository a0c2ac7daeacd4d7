"""The shipped XCLBINs: `manifest.json` beside them, each file checked against its hash.

The manifest is `{"xclbins": [{"file": NAME, "sha256": HEX, "golden": GOLDEN or absent}, ...]}`;
further keys are left to those who need them. GOLDEN is one run with a known answer, see selftest.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.errors import DeviceError

PACKAGE = Path(__file__).parent.parent
FOLDERS = (PACKAGE / "xclbins", PACKAGE.parent / "xclbins")
"""Where a wheel and where a checkout keeps them."""


@dataclass(frozen=True)
class Argument:
    """One buffer of a known-answer run: a file to fill it with, or the file that it must hold."""

    file: Path
    expected: bool


@dataclass(frozen=True)
class Golden:
    """A run with a known answer: the instruction words and the buffers, in kernel order."""

    sequence: Path
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Overlay:
    """One XCLBIN of the manifest."""

    path: Path
    sha256: str
    golden: Golden | None

    def fault(self) -> str:
        """What is wrong with the file; empty when it is the one that the manifest names."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            return f"{self.path} cannot be read ({error.strerror})"
        if hashlib.sha256(content).hexdigest() != self.sha256:
            return f"{self.path} is not the file that the manifest names (sha256)"
        return ""


def find_folder(folders: tuple[Path, ...] = FOLDERS) -> Path | None:
    """The folder with a manifest; None in a version that ships no XCLBINs."""
    return next((folder for folder in folders if (folder / "manifest.json").is_file()), None)


def read_catalog(folder: Path) -> list[Overlay]:
    """The XCLBINs that the manifest of `folder` names.

    Raises DeviceError when the manifest is damaged.
    """
    manifest = folder / "manifest.json"
    try:
        entries = json.loads(manifest.read_text())["xclbins"]
        return [_overlay(folder, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(
            f"The XCLBIN manifest {manifest} is damaged ({type(error).__name__}: {error}); "
            "install whisper-npu again."
        ) from error


def _overlay(folder: Path, entry: dict[str, Any]) -> Overlay:
    golden = entry.get("golden")
    return Overlay(
        folder / entry["file"], entry["sha256"], _golden(folder, golden) if golden else None
    )


def _golden(folder: Path, golden: dict[str, Any]) -> Golden:
    arguments = tuple(
        Argument(folder / (argument.get("expect") or argument["input"]), "expect" in argument)
        for argument in golden["arguments"]
    )
    if not any(argument.expected for argument in arguments):
        raise ValueError("a golden vector without an expected buffer proves nothing")
    return Golden(folder / golden["sequence"], arguments)
