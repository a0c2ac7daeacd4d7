"""Machine code of other compilers, where this machine has some.

WHISPER_NPU_PUBLIC_BUILDS names a checkout of github.com/Unicorn-Commander/Unicorn-Amanuensis (48
ELF files called main_core_*.elf, and one more), WHISPER_NPU_PUBLIC_XCLBINS a folder of XCLBINs
(github.com/tibrezus/xdna-npu-toolkit has five in iron/builds). Development used commits 6eb47b82
and ef0ef97. Nothing of either is in this repository.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from whisper_npu_cli.aie.facts.topology import PROGRAM_MEMORY
from whisper_npu_cli.aie.formats import cdo, elf, xclbin
from whisper_npu_cli.aie.formats.elf import Code
from whisper_npu_cli.aie.formats.registers import BlockWrite, tile_of


def public_programs() -> list[Code]:
    """The code of every core, each as often as it occurs; empty without the variables."""
    builds = os.environ.get("WHISPER_NPU_PUBLIC_BUILDS")
    boxes = os.environ.get("WHISPER_NPU_PUBLIC_XCLBINS")
    found: list[Code] = []
    for path in sorted(Path(builds).rglob("*.elf")) if builds else ():
        found += elf.read(path.read_bytes())
    for path in sorted(Path(boxes).rglob("*.xclbin")) if boxes else ():
        found += _in_xclbin(path)
    return found


def _in_xclbin(path: Path) -> Iterator[Code]:
    box = xclbin.read(path)
    for kernel in box.kernels:
        for op in cdo.register_ops(box.pdi(kernel).decode().ops, path.name):
            if isinstance(op, BlockWrite) and tile_of(op.address)[2] == PROGRAM_MEMORY:
                data = b"".join(word.to_bytes(4, "little") for word in op.words)
                yield Code(0, data, {})
