"""The second overlay: int8 products and softmax of rows, with the streams of the first one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import Tile as ArrayTile
from whisper_npu_cli.kernels import gemm_int8, gemm_wide, softmax, transformer
from whisper_npu_cli.kernels.tile import endless

NAME = "transformer_int8"


class Operation(IntEnum):
    """Word 0 of a header."""

    GEMM = 1
    SOFTMAX = 2
    GEMM_WIDE = 3


def design() -> Design:
    """All tiles and streams."""
    return transformer.design(NAME)


def tile_program() -> Program:
    """What every core runs."""
    return endless(
        NAME,
        {
            Operation.GEMM: gemm_int8.gemm_int8,
            Operation.SOFTMAX: softmax.softmax,
            Operation.GEMM_WIDE: gemm_wide.gemm_wide,
        },
    )


def programs(placed: Placement) -> Mapping[ArrayTile, Program]:
    """The same for all cores."""
    program = tile_program()
    return dict.fromkeys(placed.design.stacks, program)
