"""The second overlay: int8 products and softmax of rows, with the streams of the first one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from whisper_npu_cli.aie.array.design import Design
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import Tile as Place
from whisper_npu_cli.kernels import gemm_int8, gemm_wide, softmax, transformer
from whisper_npu_cli.kernels.tile import BANKS, Tile, clear_accumulators

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
    """What every core runs: operation after operation, as the headers say."""
    p = Program(NAME, BANKS)
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    t = Tile.of(p)
    clear_accumulators(p)
    with p.forever():
        t.read_header()
        other = p.add(t.parameter(0), -Operation.GEMM)
        with p.if_zero(other):
            gemm_int8.gemm_int8(p, t)
        with p.otherwise():
            with p.if_zero(p.add(other, Operation.GEMM - Operation.SOFTMAX)):
                softmax.softmax(p, t)
            with p.otherwise():
                gemm_wide.gemm_wide(p, t)
    return p


def programs(placed: Placement) -> Mapping[Place, Program]:
    """The same for all cores."""
    program = tile_program()
    return dict.fromkeys(placed.design.stacks, program)
