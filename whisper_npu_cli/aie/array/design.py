"""Vocabulary of a dataflow design: what a kernel says about tiles, buffers, locks and streams.

Two levels share one `Design`. The lower one names every buffer, lock, descriptor chain and flow.
The upper one is the `Fifo`: objects of a fixed size that pass from one tile to others, with a lock
pair at every end; `fifo.expand` turns it into the lower one. Nothing here has an address yet:
`place` gives addresses and lock numbers, `route` the switches, `lower` the register writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from whisper_npu_cli.aie.array.access import Access
from whisper_npu_cli.aie.facts.topology import (
    COLUMNS,
    FIRST_CORE_ROW,
    MAX_LOCK,
    MAX_REPEAT,
    MEM_ROW,
    SHIM_ROW,
    STACK_BYTES,
    Direction,
    Port,
    Tile,
    TileKind,
    exists,
)
from whisper_npu_cli.errors import WhisperNpuError


class DesignError(WhisperNpuError):
    """A design that contradicts itself or does not fit the array."""


@dataclass(frozen=True)
class Buffer:
    """Named memory of a core tile or memtile: `size` bytes, at `address` if the design fixes it.

    `initial` bytes are written when the array is configured. `name` is unique within the tile.
    Buffers of one `group` are never used in the same cycle and so may share a bank.
    """

    name: str
    tile: Tile
    size: int
    address: int | None = None
    initial: bytes = b""
    group: str = ""


@dataclass(frozen=True)
class Lock:
    """A counting semaphore (0 to 63) with its value at configuration; `id` if the design fixes it.

    `initial` None leaves the register unwritten.
    """

    name: str
    tile: Tile
    initial: int | None = 0
    id: int | None = None


@dataclass(frozen=True)
class LockUse:
    """Acquire: wait until the lock holds `count`, take it. Release: add `count`."""

    lock: Lock
    count: int = 1


@dataclass(frozen=True)
class Packet:
    """Header that an MM2S channel puts before its data: id 0 to 31, type 0 to 7."""

    id: int
    type: int = 0


@dataclass(frozen=True)
class Bd:
    """One buffer descriptor: walk `buffer` as `access` says, between an acquire and a release.

    `id` is its number if the design fixes it. `iteration` (count, stride in elements) moves the
    start at every execution; unproven on silicon (docs/array.md).
    """

    buffer: Buffer
    access: Access
    acquire: LockUse | None = None
    release: LockUse | None = None
    packet: Packet | None = None
    iteration: tuple[int, int] | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        if self.access.end > self.buffer.size:
            raise DesignError(
                f"{self.buffer.tile}: {self.access} ({self.access.picture()}) ends at byte "
                f"{self.access.end} of buffer {self.buffer.name}, which has {self.buffer.size}."
            )


@dataclass(frozen=True)
class Dma:
    """What a channel does from configuration on: a chain of descriptors, started once.

    With `loop` the last descriptor continues with the first; otherwise the chain is run `repeat`
    times.
    """

    tile: Tile
    direction: Direction
    channel: int
    bds: tuple[Bd, ...]
    loop: bool = True
    repeat: int = 1


@dataclass(frozen=True)
class Endpoint:
    """Where a flow starts or ends. Port DMA n is DMA channel n, in a shim tile too."""

    tile: Tile
    port: Port

    def __str__(self) -> str:
        return f"{self.tile} {self.port}"


@dataclass(frozen=True)
class Flow:
    """A circuit-switched stream from one endpoint to one or more."""

    source: Endpoint
    sinks: tuple[Endpoint, ...]


@dataclass(frozen=True)
class End:
    """One end of a Fifo: `depth` objects on this tile, walked as `access` says (None: in order).

    `reuse`: a memtile sends every object so many times before it takes the next. `address` and
    `locks` (free, filled) fix where a core's end lies, for programs that many cores share.
    """

    tile: Tile
    depth: int = 2
    access: Access | None = None
    reuse: int = 1
    address: int | None = None
    locks: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Fifo:
    """Objects of `size` bytes from `source` to every one of `sinks` (broadcast)."""

    name: str
    size: int
    source: End
    sinks: tuple[End, ...]


@dataclass(frozen=True)
class Link:
    """A memtile passes the objects of `sources` on to `sinks` through `depth` shared buffers.

    One to one forwards, one to many splits, many to one joins: parts in the order given. In a
    forward a buffer holds the larger of both objects, or as much as an access pattern spans.
    """

    tile: Tile
    sources: tuple[Fifo, ...]
    sinks: tuple[Fifo, ...]
    depth: int


@dataclass(frozen=True)
class Program:
    """Machine code of one core (`text`, from address 0) and constants [(data address, bytes)]."""

    text: bytes
    data: tuple[tuple[int, bytes], ...] = ()


@dataclass
class Design:
    """Everything that one XCLBIN configures, in the order in which it is declared."""

    name: str
    columns: int = COLUMNS
    stacks: dict[Tile, int] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    dmas: list[Dma] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    token_tiles: list[Tile] = field(default_factory=list)
    fifos: list[Fifo] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 1 <= self.columns <= COLUMNS:
            raise DesignError(
                f"{self.name}: a Phoenix partition has 1 to {COLUMNS} columns, not {self.columns}."
            )

    def _tile(self, column: int, row: int) -> Tile:
        if not exists(Tile(column, row), self.columns):
            raise DesignError(
                f"{self.name}: there is no tile ({column},{row}) in a partition of "
                f"{self.columns} columns."
            )
        return Tile(column, row)

    def shim(self, column: int) -> Tile:
        """The interface tile to DDR of a column."""
        return self._tile(column, SHIM_ROW)

    def mem(self, column: int) -> Tile:
        """The memory tile of a column."""
        return self._tile(column, MEM_ROW)

    def core(self, column: int, row: int, stack: int = STACK_BYTES) -> Tile:
        """A compute tile that gets a program, with `stack` bytes kept free from address 0 on."""
        tile = self._tile(column, row)
        if row < FIRST_CORE_ROW:
            raise DesignError(f"{self.name}: {tile} runs no program; cores are in rows 2 to 5.")
        self.stacks.setdefault(tile, stack)
        return tile

    def buffer(
        self,
        name: str,
        tile: Tile,
        size: int,
        address: int | None = None,
        initial: bytes = b"",
        group: str = "",
    ) -> Buffer:
        """Declare a buffer; DesignError on a name given twice or where there is no memory."""
        if tile.kind is TileKind.SHIM or size < 1 or len(initial) > size or (address or 0) % 4:
            raise DesignError(
                f"{self.name}: buffer {name} of {size} bytes ({len(initial)} initial) cannot be in "
                f"{tile} at {'any address' if address is None else address}."
            )
        self._unique("buffer", name, tile, self.buffers)
        self.buffers.append(Buffer(name, tile, size, address, initial, group or name))
        return self.buffers[-1]

    def lock(self, name: str, tile: Tile, initial: int | None = 0, id: int | None = None) -> Lock:
        """Declare a lock; DesignError on a name given twice or a value beyond 0 to 63."""
        if initial is not None and not 0 <= initial <= MAX_LOCK:
            raise DesignError(
                f"{self.name}: lock {name} of {tile} cannot start at {initial}; "
                f"locks hold 0 to {MAX_LOCK}."
            )
        self._unique("lock", name, tile, self.locks)
        self.locks.append(Lock(name, tile, initial, id))
        return self.locks[-1]

    def dma(
        self,
        tile: Tile,
        direction: Direction,
        channel: int,
        bds: Sequence[Bd],
        loop: bool = True,
        repeat: int = 1,
    ) -> Dma:
        """Declare what a channel runs from configuration on; see `Dma`."""
        if not bds or not 1 <= repeat <= MAX_REPEAT:
            raise DesignError(
                f"{self.name}: {tile} {direction.name}{channel} needs descriptors and a repeat "
                f"count of 1 to {MAX_REPEAT}, not {len(bds)} and {repeat}."
            )
        self.dmas.append(Dma(tile, direction, channel, tuple(bds), loop, repeat))
        return self.dmas[-1]

    def flow(self, source: Endpoint, *sinks: Endpoint) -> Flow:
        """Declare a stream between two or more endpoints."""
        self.flows.append(Flow(source, sinks))
        return self.flows[-1]

    def fifo(self, name: str, size: int, source: End | Tile, *sinks: End | Tile) -> Fifo:
        """Declare a Fifo; a plain tile is an End of depth 2."""
        if any(f.name == name for f in self.fifos):
            raise DesignError(f"{self.name}: two fifos are called {name}.")
        if not sinks or size < 1 or size % 4:
            raise DesignError(
                f"{self.name}: fifo {name} needs a sink and objects of a multiple of 4 bytes, "
                f"not {len(sinks)} and {size}."
            )
        ends = [e if isinstance(e, End) else End(e) for e in (source, *sinks)]
        self.fifos.append(Fifo(name, size, ends[0], tuple(ends[1:])))
        return self.fifos[-1]

    def link(self, sources: Sequence[Fifo], sinks: Sequence[Fifo], depth: int = 2) -> Link:
        """Pass objects on through a memtile: forward (1 to 1), split (1 to n) or join (n to 1)."""
        tiles = {e.tile for f in sources for e in f.sinks} | {f.source.tile for f in sinks}
        names = "+".join(f.name for f in sources) + " to " + "+".join(f.name for f in sinks)
        if len(tiles) != 1 or min(tiles).kind is not TileKind.MEM:
            where = ", ".join(map(str, sorted(tiles)))
            raise DesignError(f"{self.name}: link {names} has to meet in one memtile, not {where}.")
        if not sources or not sinks or min(len(sources), len(sinks)) != 1:
            raise DesignError(f"{self.name}: link {names} is neither a split nor a join.")
        into, out = sum(f.size for f in sources), sum(f.size for f in sinks)
        if into != out and len(sources) != len(sinks):
            raise DesignError(
                f"{self.name}: link {names} takes {into} bytes in and {out} out; a split or join "
                "needs equal sums."
            )
        self.links.append(Link(min(tiles), tuple(sources), tuple(sinks), depth))
        return self.links[-1]

    def _unique(self, what: str, name: str, tile: Tile, known: Sequence[Buffer | Lock]) -> None:
        if any(k.name == name and k.tile == tile for k in known):
            raise DesignError(f"{self.name}: {tile} has two {what}s called {name}.")
