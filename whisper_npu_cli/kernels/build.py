"""From an overlay to its XCLBIN, its instruction stream and its entry in the manifest.

`configure` needs nothing but Python and gives everything that decides what the files hold; `build`
has the containers made by bootgen and xclbinutil.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from whisper_npu_cli.aie.array import design
from whisper_npu_cli.aie.array.lower import Configuration, lower
from whisper_npu_cli.aie.array.place import Placement, place
from whisper_npu_cli.aie.array.route import route
from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.aie.formats import cdo, sequence
from whisper_npu_cli.aie.formats.tools import Tools, build_xclbin
from whisper_npu_cli.kernels.golden import Expected, Given, Golden, Input, Scratch
from whisper_npu_cli.kernels.overlays import Overlay

MANIFEST = "manifest.json"
RUNG = 5
"""Of the ladder of evidence (docs/fidelity.md): right on our emulator, never run on an NPU."""


@dataclass(frozen=True)
class Configured:
    """An overlay as register writes: programs compiled, everything placed and routed."""

    overlay: Overlay
    placement: Placement
    code: dict[Tile, Code]
    config: Configuration

    @cached_property
    def golden(self) -> Golden:
        """The run with a known answer."""
        return self.overlay.golden(self.placement)

    @cached_property
    def stream(self) -> bytes:
        """The instruction stream of that run."""
        return sequence.to_bytes(sequence.encode(self.golden.ops, self.config.columns))

    @property
    def source(self) -> str:
        """SHA-256 of all that bootgen and xclbinutil are given, and of the golden run."""
        identity = [self.overlay.name, self.config.columns, self.overlay.buffers]
        hashed = hashlib.sha256(json.dumps(identity).encode())
        for ops in self.config.phases:
            hashed.update(cdo.encode(cdo.phase(ops)))
        hashed.update(json.dumps(golden_entry(self)).encode())
        return hashed.hexdigest()


def configure(overlay: Overlay) -> Configured:
    """Compile, place, route and lower. Raises KernelError or DesignError."""
    placed = place(overlay.design())
    done: dict[Program, Code] = {}
    code = {}
    for tile, program in overlay.programs(placed).items():
        if program not in done:
            done[program] = compile_program(program)
        code[tile] = done[program]
    machine_code = {tile: design.Program(c.assembly.code) for tile, c in code.items()}
    return Configured(overlay, placed, code, lower(placed, route(placed.design), machine_code))


def golden_entry(made: Configured) -> dict[str, Any]:
    """The manifest's description of the run with a known answer."""
    return {
        "sequence": f"{made.overlay.name}.insts",
        "sequence_sha256": hashlib.sha256(made.stream).hexdigest(),
        "arguments": [_argument(made, n) for n in range(len(made.golden.arguments))],
    }


def _argument(made: Configured, number: int) -> dict[str, Any]:
    argument = made.golden.arguments[number]
    if isinstance(argument, Input):
        return {"random": argument.label, "size": argument.size}
    if isinstance(argument, Scratch):
        return {"size": argument.size}
    digest, size = hashlib.sha256(argument.content).hexdigest(), len(argument.content)
    if isinstance(argument, Expected):
        return {"expect_sha256": digest, "size": size}
    return {"file": _file(made, number), "sha256": digest, "size": size}


def _file(made: Configured, number: int) -> str:
    return f"{made.overlay.name}.bo{number}"


def given_files(made: Configured) -> dict[str, bytes]:
    """The files with inputs of the golden run, by name."""
    arguments = enumerate(made.golden.arguments)
    return {_file(made, n): a.content for n, a in arguments if isinstance(a, Given)}


def build(overlay: Overlay, tools: Tools) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of an overlay by name, and its entry of the manifest.

    Raises KernelError, DesignError or ToolError.
    """
    made = configure(overlay)
    name, columns = overlay.name, made.config.columns
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.xclbin"
        box = build_xclbin(name, columns, made.config.phases, overlay.buffers, path, tools)
        content = path.read_bytes()
    entry = {
        "file": f"{name}.xclbin",
        "sha256": hashlib.sha256(content).hexdigest(),
        "uuid": str(box.uuid),
        "source_sha256": made.source,
        "kernel": name,
        "columns": columns,
        "buffers": overlay.buffers,
        "bytes": len(content),
        "program_bytes": {str(t): len(c.assembly.code) for t, c in sorted(made.code.items())},
        "evidence_rung": RUNG,
        "golden": golden_entry(made),
    }
    files = {f"{name}.xclbin": content, f"{name}.insts": made.stream}
    return files | given_files(made), entry


def build_all(overlays: Iterable[Overlay], tools: Tools) -> dict[str, bytes]:
    """All files of the folder `xclbins`, the manifest included, by name."""
    files: dict[str, bytes] = {}
    entries = []
    for overlay in overlays:
        made, entry = build(overlay, tools)
        files |= made
        entries.append(entry)
    manifest = {"tools": tools.versions(), "xclbins": entries}
    return files | {MANIFEST: (json.dumps(manifest, indent=1) + "\n").encode()}
