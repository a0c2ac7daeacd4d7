"""The shipped XCLBINs: `manifest.json` beside them, each file checked against its hash.

The manifest is `{"xclbins": [ENTRY, ...]}`, an ENTRY `{"file": NAME, "sha256": HEX,
"source_sha256": HEX or absent, "golden": GOLDEN or absent}`; further keys are for people. GOLDEN is
one run with a known answer (see selftest):
`{"sequence": NAME, "sequence_sha256": HEX, "arguments": [...]}`, where an argument is
`{"random": LABEL, "size": BYTES}`, `{"file": NAME, "sha256": HEX, "size": BYTES}`,
`{"expect_sha256": HEX, "size": BYTES}` or, for room to work in, `{"size": BYTES}`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.errors import CorruptXclbin, DeviceError

PACKAGE = Path(__file__).parent.parent
FOLDERS = (PACKAGE / "xclbins", PACKAGE.parent / "xclbins")
"""Where a wheel and where a checkout keeps them."""


@dataclass(frozen=True)
class Argument:
    """One buffer of a known-answer run, of `size` bytes.

    An input holds the pseudorandom bytes that belong to `label`, or the content of the file `path`
    with hash `path_sha256`; a result must have the hash `sha256`, which is empty for all others.
    """

    size: int
    label: str = ""
    path: Path | None = None
    path_sha256: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Golden:
    """A run with a known answer: the instruction words and the buffers, in kernel order."""

    sequence: Path
    sequence_sha256: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Overlay:
    """One XCLBIN of the manifest; `source_sha256` stands for what it was made from."""

    path: Path
    sha256: str
    golden: Golden | None
    source_sha256: str = ""

    @property
    def name(self) -> str:
        """What the runtime asks for, the file's name without its ending."""
        return self.path.stem

    def fault(self) -> str:
        """What is wrong with its files; empty when they are those that the manifest names."""
        files = [(self.path, self.sha256)]
        if self.golden:
            files.append((self.golden.sequence, self.golden.sequence_sha256))
            files += [(a.path, a.path_sha256) for a in self.golden.arguments if a.path]
        for path, sha256 in files:
            try:
                content = path.read_bytes()
            except OSError as error:
                return f"{path} cannot be read ({error.strerror})"
            if hashlib.sha256(content).hexdigest() != sha256:
                return f"{path} is not the file that the manifest names (sha256)"
        return ""


def find_folder(folders: tuple[Path, ...] = FOLDERS) -> Path | None:
    """The folder with a manifest; None in a version that ships no XCLBINs."""
    return next((folder for folder in folders if (folder / "manifest.json").is_file()), None)


def read_catalog(folder: Path) -> list[Overlay]:
    """The XCLBINs that the manifest of `folder` names.

    Raises CorruptXclbin when the manifest is damaged.
    """
    manifest = folder / "manifest.json"
    try:
        entries = json.loads(manifest.read_text())["xclbins"]
        return [_overlay(folder, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptXclbin(
            f"The XCLBIN manifest {manifest} is damaged ({type(error).__name__}: {error}); "
            "install whisper-npu again."
        ) from error


def find_overlay(name: str, folders: tuple[Path, ...] = FOLDERS) -> Overlay:
    """The XCLBIN called `name`, checked against its hash.

    Raises CorruptXclbin when its files or the manifest are not those that were shipped, DeviceError
    when this version has none of that name.
    """
    folder = find_folder(folders)
    overlays = read_catalog(folder) if folder else []
    found = next((overlay for overlay in overlays if overlay.name == name), None)
    if found is None:
        raise DeviceError(f"This version ships no XCLBIN called {name}: install a later one.")
    fault = found.fault()
    if fault:
        raise CorruptXclbin(f"{fault}; install whisper-npu again.", fault)
    return found


def _overlay(folder: Path, entry: dict[str, Any]) -> Overlay:
    golden = entry.get("golden")
    return Overlay(
        folder / entry["file"],
        entry["sha256"],
        _golden(folder, golden) if golden else None,
        entry.get("source_sha256", ""),
    )


def _golden(folder: Path, golden: dict[str, Any]) -> Golden:
    arguments = tuple(_argument(folder, a) for a in golden["arguments"])
    if not any(argument.sha256 for argument in arguments):
        raise ValueError("a golden vector without an expected buffer proves nothing")
    return Golden(folder / golden["sequence"], golden["sequence_sha256"], arguments)


def _argument(folder: Path, argument: dict[str, Any]) -> Argument:
    size = argument["size"]
    if "expect_sha256" in argument:
        return Argument(size, sha256=argument["expect_sha256"])
    if "file" in argument:
        return Argument(size, path=folder / argument["file"], path_sha256=argument["sha256"])
    return Argument(size, label=argument.get("random", ""))
