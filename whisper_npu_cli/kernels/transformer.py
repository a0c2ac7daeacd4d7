"""The overlay that runs a transformer: 16 cores with one program, eight broadcast nets, joins.

    DDR ─ shim c ─ memtile c ─┬─ net A c: to the four cores of core row c
                              └─ net B c: to the four cores of column c
    core (c, 0) ┐
    core (c, 1) ┴ memtile c ─ shim c, channel 0 ─ DDR     pieces alternately
    core (c, 2) ┐
    core (c, 3) ┴ memtile c ─ shim c, channel 1 ─ DDR

Nothing here depends on a size: operations describe themselves in the first chunk of net B.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from whisper_npu_cli.aie.array.design import Design, End
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.facts.topology import COLUMNS, CORE_ROWS
from whisper_npu_cli.aie.facts.topology import Tile as ArrayTile
from whisper_npu_cli.kernels import attention, gemm, layer_norm
from whisper_npu_cli.kernels.tile import (
    CHUNK,
    LOCKS,
    OUT,
    OWN,
    PIECE,
    PLACE,
    WORK,
    A,
    B,
    endless,
    place,
)

STAGED = 4
"""Chunks that a memtile holds of each net: how far DDR may run ahead of the cores."""


class Operation(IntEnum):
    """Word 0 of a header."""

    GEMM = 1
    LAYER_NORM = 2
    ATTENTION = 3


def design(name: str = "transformer") -> Design:
    """All tiles and streams; transformer_int8 has the same."""
    d = Design(name)
    for row in CORE_ROWS:
        for column in range(COLUMNS):
            core = d.core(column, row, stack=0)
            at = row - CORE_ROWS[0]
            about = place(column, at)
            d.buffer("place", core, len(about), PLACE - OWN, about)
            tables = gemm.tables()
            d.buffer("tables", core, len(tables), WORK - OWN, tables)
    for i in range(COLUMNS):
        _nets(d, i)
    return d


def _nets(d: Design, i: int) -> None:
    """What starts and ends at memtile i."""
    shim, mem = d.shim(i), d.mem(i)
    for name, address, cores in (
        ("a", A, [ArrayTile(c, CORE_ROWS[i]) for c in range(COLUMNS)]),
        ("b", B, [ArrayTile(i, r) for r in CORE_ROWS]),
    ):
        locks = (LOCKS[f"{name}_free"], LOCKS[f"{name}_full"])
        ends = [End(core, address=address - OWN, locks=locks) for core in cores]
        arriving = d.fifo(f"{name}{i}", CHUNK, shim, mem)
        net = d.fifo(f"net_{name}{i}", CHUNK, mem, *ends)
        d.link([arriving], [net], depth=STAGED)
    for j in range(2):
        parts = []
        for row in CORE_ROWS[2 * j : 2 * j + 2]:
            locks = (LOCKS["out_free"], LOCKS["out_full"])
            end = End(ArrayTile(i, row), address=OUT - OWN, locks=locks)
            parts.append(d.fifo(f"part{i}{row}", PIECE, end, mem))
        d.link(parts, [d.fifo(f"out{i}{j}", 2 * PIECE, mem, shim)])


def tile_program() -> Program:
    """What every core runs."""
    return endless(
        "transformer",
        {
            Operation.GEMM: gemm.gemm,
            Operation.LAYER_NORM: layer_norm.layer_norm,
            Operation.ATTENTION: attention.attention,
        },
    )


def programs(placed: Placement) -> Mapping[ArrayTile, Program]:
    """The same for all cores."""
    program = tile_program()
    return dict.fromkeys(placed.design.stacks, program)
