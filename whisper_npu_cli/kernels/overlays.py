"""Which kernels make up which XCLBIN."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.kernels import (
    passthrough,
    transformer,
    transformer_golden,
    transformer_int8,
    transformer_int8_golden,
    vector_add_one,
)
from whisper_npu_cli.kernels.golden import Golden


@dataclass(frozen=True)
class Overlay:
    """One XCLBIN: `name` is the kernel's in it too, `buffers` how many a launch has.

    `programs` says what each core of the placed design runs; cores that are to run the same code
    get the same object, which is then compiled once.
    """

    name: str
    buffers: int
    design: Callable[[], Design]
    programs: Callable[[Placement], Mapping[Tile, Program]]
    golden: Callable[[Placement], Golden]


OVERLAYS = (
    Overlay(
        "passthrough", 2, passthrough.design, passthrough.programs, passthrough.golden,
    ),
    Overlay(
        "vector_add_one", 2, vector_add_one.design, vector_add_one.programs, vector_add_one.golden,
    ),
    Overlay(
        "transformer", 4, transformer.design, transformer.programs, transformer_golden.golden,
    ),
    Overlay(
        "transformer_int8", 3, transformer_int8.design, transformer_int8.programs,
        transformer_int8_golden.golden,
    ),
)  # fmt: skip
"""All that are shipped, the one that proves most with least first."""
