"""Phoenix (npu1): which tiles exist, what each kind holds, and how their streams are wired.

Sources: AMD AM020 (AIE-ML architecture manual) and AM025 (registers); mlir-aie
`lib/Dialect/AIE/IR/AIETargetModel.cpp` at 9f977440 for the legal connections inside a switch
(Apache-2.0 WITH LLVM-exception). Columns are counted from the first one of the partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import NamedTuple

COLUMNS, ROWS = 4, 6
SHIM_ROW, MEM_ROW, FIRST_CORE_ROW = 0, 1, 2
CORE_ROWS = range(FIRST_CORE_ROW, ROWS)


class TileKind(Enum):
    """Interface tile to DDR (row 0), memory tile (row 1), compute tile (rows 2 to 5)."""

    SHIM = "shim"
    MEM = "mem"
    CORE = "core"


class Direction(Enum):
    """Direction of a DMA channel; the value is the one that a SYNC instruction carries."""

    S2MM = 0
    MM2S = 1


class Tile(NamedTuple):
    """A tile by partition-relative column and by row; sorts by column first."""

    column: int
    row: int

    @property
    def kind(self) -> TileKind:
        """The kind that follows from the row."""
        return {SHIM_ROW: TileKind.SHIM, MEM_ROW: TileKind.MEM}.get(self.row, TileKind.CORE)

    def __str__(self) -> str:
        name = {TileKind.SHIM: "shim tile", TileKind.MEM: "memtile", TileKind.CORE: "core tile"}
        return f"{name[self.kind]} ({self.column},{self.row})"


class Port(NamedTuple):
    """A port of a stream switch: its bundle (DMA, South, ...) and the number within it."""

    bundle: str
    number: int

    def __str__(self) -> str:
        return f"{self.bundle}{self.number}"


def ports(text: str) -> tuple[Port, ...]:
    """Expand `"DMA2 South4"` to DMA0, DMA1, South0 ... South3: register order of a switch."""
    return tuple(
        Port(word.rstrip("0123456789"), i)
        for word in text.split()
        for i in range(int(word.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")))
    )


@dataclass(frozen=True)
class TileFacts:
    """What one kind of tile holds; sizes in bytes, `channels` of each direction."""

    data_bytes: int
    bank_bytes: int  # unit of conflicts between a core's load and store streams
    program_bytes: int
    locks: int
    bds: int
    bd_words: int
    dimensions: int  # of an access pattern, without the iteration
    channels: int
    masters: tuple[Port, ...]
    slaves: tuple[Port, ...]
    dma_base: int  # where the tile's own DMA sees its own memory
    dma_lock_base: int  # and its own locks


FACTS = {
    TileKind.CORE: TileFacts(
        data_bytes=0x10000,
        bank_bytes=0x4000,  # a logical bank is a pair of 8 KiB banks, alternating every 16 bytes
        program_bytes=0x4000,
        locks=16,
        bds=16,
        bd_words=6,
        dimensions=3,
        channels=2,
        masters=ports("Core1 DMA2 TileCtrl1 FIFO1 South4 West4 North6 East4"),
        slaves=ports("Core1 DMA2 TileCtrl1 FIFO1 South6 West4 North4 East4 Trace2"),
        dma_base=0,
        dma_lock_base=0,
    ),
    TileKind.MEM: TileFacts(
        data_bytes=0x80000,
        bank_bytes=0x80000,  # 16 banks, interleaved after reset: no placement needed
        program_bytes=0,
        locks=64,
        bds=48,
        bd_words=8,
        dimensions=4,
        channels=6,
        masters=ports("DMA6 TileCtrl1 South4 North6"),
        slaves=ports("DMA6 TileCtrl1 South6 North4 Trace1"),
        dma_base=0x80000,  # the west neighbour's memory and locks come first
        dma_lock_base=64,
    ),
    TileKind.SHIM: TileFacts(
        data_bytes=0,
        bank_bytes=0,
        program_bytes=0,
        locks=16,
        bds=16,
        bd_words=8,
        dimensions=3,
        channels=2,
        masters=ports("TileCtrl1 FIFO1 South6 West4 North6 East4"),
        slaves=ports("TileCtrl1 FIFO1 South8 West4 North4 East4 Trace1"),
        dma_base=0,
        dma_lock_base=0,
    ),
}

PROGRAM_MEMORY = 0x20000  # byte offset in a core tile; data memory is at 0
TASK_QUEUE = 4  # tasks a channel can hold; one more is lost silently (AM025, status bit 18)
MAX_REPEAT = 256  # of one task
MAX_LOCK = 63
STACK_BYTES = 0x400  # what Peano's start-up code reserves at data address 0
TOKEN_PACKET = 15  # packet id, and controller id of a shim channel that issues tokens
ITERATIONS = 64
# Values of shim descriptors in published streams: 256-byte bursts, cacheable; and the bits of a
# channel's control register that aiecc writes to set the controller id.
BURST_256, AX_CACHE, CONTROLLER_MASK = 2, 2, 0x1F00

# Slave bundles -> master bundles that they may feed inside one switch. A suffix narrows it:
# "=" the same index when the bundle is the same, "==" always the same index, ":n" index n only.
_CROSSBAR = {
    TileKind.CORE: {
        "DMA FIFO South West North East": ("Core DMA= TileCtrl FIFO= South= West= North= East="),
        "Core": "DMA TileCtrl FIFO South West North East",
        "TileCtrl": "Core FIFO South West North East",
        "Trace": "DMA:0 FIFO South",
    },
    TileKind.MEM: {
        "DMA": "DMA== TileCtrl South North",
        "South North": "DMA TileCtrl South== North==",
        "TileCtrl": "DMA:5 South North",
        "Trace": "DMA:5 South",
    },
    TileKind.SHIM: {
        "South FIFO": "TileCtrl FIFO South West North East",
        "West North East": "TileCtrl FIFO South West= North= East=",
        "TileCtrl": "FIFO South West North East",
        "Trace": "FIFO South West:0 East:0",
    },
}

# bundle of a master -> step to the neighbour, bundle of the slave where the wire ends
_WIRES = {
    "North": (0, 1, "South"),
    "South": (0, -1, "North"),
    "East": (1, 0, "West"),
    "West": (-1, 0, "East"),
}

# DMA channel of a shim tile -> port of its switch. The mux or demux field of that name selects it.
SHIM_DMA_PORTS = {
    (Direction.MM2S, 0): Port("South", 3),
    (Direction.MM2S, 1): Port("South", 7),
    (Direction.S2MM, 0): Port("South", 2),
    (Direction.S2MM, 1): Port("South", 3),
}
MUX_DMA = 1  # value of such a field: 0 PL, 1 DMA, 2 NoC

# Where a core sees the memory (byte address) and the locks (first id) of a tile: step to the tile.
MEMORY_WINDOWS = {(0, -1): 0x40000, (-1, 0): 0x50000, (0, 1): 0x60000, (0, 0): 0x70000}
LOCK_WINDOWS = {(0, -1): 0, (-1, 0): 16, (0, 1): 32, (0, 0): 48}


def exists(tile: Tile, columns: int = COLUMNS) -> bool:
    """Whether a partition of so many columns has this tile."""
    return 0 <= tile.column < columns and 0 <= tile.row < ROWS


def bd_pool(kind: TileKind, channel: int) -> range:
    """The BD numbers that a channel may use: memtile channels by parity, all others any."""
    if kind is TileKind.MEM:
        return range(24, 48) if channel % 2 else range(24)
    return range(FACTS[kind].bds)


@cache
def _legal(kind: TileKind) -> frozenset[tuple[Port, Port]]:
    pairs = set()
    for slaves, masters in _CROSSBAR[kind].items():
        for word in masters.split():
            bundle = word.rstrip("=0123456789").rstrip(":")
            for s in (p for p in FACTS[kind].slaves if p.bundle in slaves.split()):
                for m in (p for p in FACTS[kind].masters if p.bundle == bundle):
                    same = word.endswith("==") or (word.endswith("=") and s.bundle == m.bundle)
                    wanted = s.number if same else m.number
                    if ":" in word:
                        wanted = int(word.split(":")[1])
                    if m.number == wanted:
                        pairs.add((s, m))
    return frozenset(pairs)


def connects(kind: TileKind, slave: Port, master: Port) -> bool:
    """Whether a switch of this kind can connect a slave (arriving) to a master (leaving) port."""
    return (slave, master) in _legal(kind)


@cache
def reachable(kind: TileKind, slave: Port) -> tuple[Port, ...]:
    """The master ports that a slave port can feed, in register order."""
    return tuple(m for m in FACTS[kind].masters if connects(kind, slave, m))


def wire(tile: Tile, master: Port, columns: int = COLUMNS) -> tuple[Tile, Port] | None:
    """Where the wire of a master port ends: tile and slave port; None if it leaves the array."""
    if master.bundle not in _WIRES:
        return None
    east, north, bundle = _WIRES[master.bundle]
    to, port = Tile(tile.column + east, tile.row + north), Port(bundle, master.number)
    return (to, port) if exists(to, columns) and port in FACTS[to.kind].slaves else None
