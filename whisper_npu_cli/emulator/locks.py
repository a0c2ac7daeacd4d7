"""Which lock a number means, by who says it."""

from __future__ import annotations

from whisper_npu_cli.aie.facts.topology import FACTS, Tile, TileKind
from whisper_npu_cli.emulator.state import Layout


def lock_of_dma(layout: Layout, tile: Tile, number: int) -> int | None:
    """Index of the lock that a tile's descriptors call `number`; None where there is none.

    A memtile counts its west neighbour's locks first, then its own, then the east neighbour's.
    """
    count = FACTS[tile.kind].locks
    if tile.kind is not TileKind.MEM:
        return layout.lock_base[tile] + number if number < count else None
    other = Tile(tile.column + number // count - 1, tile.row)
    if number >= 3 * count or other not in layout.lock_base:
        return None
    return layout.lock_base[other] + number % count
