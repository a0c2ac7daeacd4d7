"""From fifos and links to buffers, locks, descriptor chains and flows.

The lock protocol is that of mlir-aie's object FIFOs: at each end one lock counts free objects and
one counts filled ones. Who writes acquires free and releases filled, who reads the other way round.
A memtile shares its buffers between the arriving and the leaving side; every part of a split or a
join has a lock pair of its own, since a fast reader must not take another reader's turn. An object
that is sent `reuse` times counts `reuse` in both locks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from whisper_npu_cli.aie.array.access import Access, linear
from whisper_npu_cli.aie.array.design import (
    Bd,
    Buffer,
    Design,
    DesignError,
    End,
    Endpoint,
    Fifo,
    Flow,
    Link,
    Lock,
    LockUse,
)
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    MAX_LOCK,
    Direction,
    Port,
    Tile,
    TileKind,
    bd_pool,
)

S2MM, MM2S = Direction.S2MM, Direction.MM2S


@dataclass(frozen=True)
class CorePort:
    """A core's side of a fifo: its objects in turn, the lock to acquire and the one to release."""

    fifo: str
    tile: Tile
    buffers: tuple[Buffer, ...]
    acquire: Lock
    release: Lock


@dataclass(frozen=True)
class HostPort:
    """The host's side of a fifo: the shim channel that launches have to feed or drain."""

    fifo: str
    tile: Tile
    direction: Direction
    channel: int


@dataclass(frozen=True)
class _Part:
    """Bytes `offset` to `offset + size` of every buffer of a link, with their lock pair."""

    offset: int
    size: int
    free: Lock
    filled: Lock
    reuse: int


class _Expansion:
    """The design under construction: a copy with fifos and links replaced."""

    def __init__(self, design: Design) -> None:
        self.out = replace(
            design,
            buffers=list(design.buffers),
            locks=list(design.locks),
            dmas=list(design.dmas),
            flows=list(design.flows),
            token_tiles=list(design.token_tiles),
            fifos=[],
            links=[],
        )
        self.core_ports: dict[tuple[Tile, str], CorePort] = {}
        self.host_ports: dict[str, HostPort] = {}
        self.channels: dict[tuple[Tile, str], int] = {}
        self.load: Counter[tuple[Tile, int]] = Counter()  # descriptors by tile and start of pool
        for d in design.dmas:
            self.load[d.tile, bd_pool(d.tile.kind, d.channel).start] += len(d.bds)
        self.used = {(d.tile, d.direction, d.channel) for d in design.dmas}
        for f in design.flows:
            for end, direction in [(f.source, MM2S), *((s, S2MM) for s in f.sinks)]:
                if end.port.bundle == "DMA":
                    self.used.add((end.tile, direction, end.port.number))

    def channel(self, tile: Tile, direction: Direction, fifo: Fifo, bds: int = 0) -> int:
        """The free channel whose descriptors are least in demand; DesignError when none is free.

        `bds` is what the fifo's chain will take: a memtile's even and odd channels have 24 each.
        """
        count = FACTS[tile.kind].channels
        free = [i for i in range(count) if (tile, direction, i) not in self.used]
        if not free:
            raise DesignError(
                f"{tile}: fifo {fifo.name} needs one more {direction.name} channel; all {count} "
                "are taken."
            )
        pools = {i: (tile, bd_pool(tile.kind, i).start) for i in free}
        chosen = min(free, key=lambda i: (self.load[pools[i]], i))
        self.load[pools[chosen]] += bds
        self.used.add((tile, direction, chosen))
        self.channels[tile, fifo.name] = chosen
        return chosen

    def memtile_channels(self, links: Sequence[Link]) -> None:
        """Give memtile ends their channels, longest chains first, so that both pools fill up."""
        ends = [
            (_chain_length(k, f, d), k.tile, f, d)
            for k in links
            for fifos, d in ((k.sources, S2MM), (k.sinks, MM2S))
            for f in fifos
        ]
        for length, tile, f, direction in sorted(ends, key=lambda e: -e[0]):
            self.channel(tile, direction, f, length)

    def locks(
        self,
        name: str,
        tile: Tile,
        objects: int,
        ids: tuple[int | None, int | None] = (None, None),
    ) -> tuple[Lock, Lock]:
        """The pair (free, filled) of a ring of so many objects, all free."""
        if objects > MAX_LOCK:
            raise DesignError(
                f"{tile}: {name} counts {objects} objects (depth times reuse); "
                f"a lock holds at most {MAX_LOCK}."
            )
        free = self.out.lock(f"{name}_free", tile, objects, ids[0])
        return free, self.out.lock(f"{name}_filled", tile, 0, ids[1])

    def end(self, fifo: Fifo, end: End, direction: Direction) -> Endpoint:
        """Set up one end of a fifo and return where its stream starts or ends."""
        tile, kind = end.tile, end.tile.kind
        if end.reuse != 1 and (kind is not TileKind.MEM or direction is S2MM):
            raise DesignError(f"{tile}: fifo {fifo.name}: only a memtile sends objects again.")
        if kind is TileKind.MEM:
            if (tile, fifo.name) not in self.channels:
                raise DesignError(f"{tile}: fifo {fifo.name} ends there, but no link passes it on.")
            return Endpoint(tile, Port("DMA", self.channels[tile, fifo.name]))
        channel = self.channel(tile, direction, fifo)
        if kind is TileKind.SHIM:
            if fifo.name in self.host_ports:
                raise DesignError(
                    f"{tile}: fifo {fifo.name} has two ends at the host; one is most."
                )
            self.host_ports[fifo.name] = HostPort(fifo.name, tile, direction, channel)
            if tile not in self.out.token_tiles:
                self.out.token_tiles.append(tile)
        else:
            self.core_end(fifo, end, direction, channel)
        return Endpoint(tile, Port("DMA", channel))

    def core_end(self, fifo: Fifo, end: End, direction: Direction, channel: int) -> None:
        """Buffers, locks and the descriptor ring of a core's end."""
        tile, access = end.tile, end.access or linear(fifo.size)
        if tile not in self.out.stacks:
            raise DesignError(f"{tile}: fifo {fifo.name} ends there, but no core is declared.")
        if access.bytes != fifo.size:
            raise DesignError(
                f"{tile}: {access} moves {access.bytes} bytes of an object of {fifo.size}."
            )
        free, filled = self.locks(fifo.name, tile, end.depth, end.locks)
        places = [None if end.address is None else end.address + i * fifo.size
                  for i in range(end.depth)]  # fmt: skip
        buffers = tuple(
            self.out.buffer(f"{fifo.name}_{i}", tile, fifo.size, at, group=fifo.name)
            for i, at in enumerate(places)
        )
        ours, theirs = (free, filled) if direction is S2MM else (filled, free)
        bds = [Bd(b, access, LockUse(ours), LockUse(theirs)) for b in buffers]
        self.out.dma(tile, direction, channel, bds)
        self.core_ports[tile, fifo.name] = CorePort(fifo.name, tile, buffers, theirs, ours)

    def link(self, link: Link) -> None:
        """Shared buffers of a memtile, filled by the sources' channels, drained by the sinks'."""
        one = link.sources[0] if len(link.sources) == 1 else link.sinks[0]
        many = link.sinks if len(link.sources) == 1 else link.sources
        size = _link_size(link)
        buffers = [self.out.buffer(f"{one.name}_{i}", link.tile, size) for i in range(link.depth)]
        parts, offset = [], 0
        for f in many:
            reuse = (f if many is link.sinks else one).source.reuse
            part = size if len(many) == 1 else f.size
            locks = self.locks(f.name, link.tile, link.depth * reuse)
            parts.append(_Part(offset, part, *locks, reuse))
            offset += part
        for fifos, direction in ((link.sources, S2MM), (link.sinks, MM2S)):
            for i, f in enumerate(fifos):
                mine = parts if len(fifos) == 1 else parts[i : i + 1]
                self.chain(link, f, direction, buffers, mine)

    def chain(
        self,
        link: Link,
        fifo: Fifo,
        direction: Direction,
        buffers: Sequence[Buffer],
        parts: Sequence[_Part],
    ) -> None:
        """The descriptor ring of one memtile channel over its parts of every buffer."""
        given = _memtile_end(link, fifo, direction).access
        _check_access(link, fifo, given, parts)
        again = _chain_length(link, fifo, direction) // (len(buffers) * len(parts))
        bds = []
        for buffer in buffers:
            for part in [*parts] * again:
                access = given or linear(part.size)
                start = access.offset + part.offset // access.element_bytes
                acquire, release = LockUse(part.free, part.reuse), LockUse(part.filled, part.reuse)
                if direction is MM2S:
                    acquire, release = LockUse(part.filled), LockUse(part.free)
                bds.append(Bd(buffer, replace(access, offset=start), acquire, release))
        self.out.dma(link.tile, direction, self.channels[link.tile, fifo.name], bds)


def _memtile_end(link: Link, fifo: Fifo, direction: Direction) -> End:
    return fifo.source if direction is MM2S else next(e for e in fifo.sinks if e.tile == link.tile)


def _chain_length(link: Link, fifo: Fifo, direction: Direction) -> int:
    """Descriptors of one memtile channel: parts times buffers, as often as they are sent."""
    alone = len(link.sources if direction is S2MM else link.sinks) == 1
    parts = max(len(link.sources), len(link.sinks)) if alone else 1
    again = fifo.source.reuse if direction is MM2S and link.depth > 1 else 1
    return link.depth * parts * again


def _link_size(link: Link) -> int:
    """Bytes of each buffer of a link; see `Link`."""
    if len(link.sources) != len(link.sinks):
        return sum(f.size for f in link.sources)
    source, sink = link.sources[0], link.sinks[0]
    into, out = _memtile_end(link, source, S2MM).access, sink.source.access
    size = max(into.end if into else source.size, out.end if out else sink.size)
    return size if into else -(-size // source.size) * source.size


def _check_access(link: Link, fifo: Fifo, access: Access | None, parts: Sequence[_Part]) -> None:
    """DesignError when a memtile's pattern meets several parts, or does not move whole objects."""
    if access and len(parts) > 1:
        raise DesignError(
            f"{link.tile}: fifo {fifo.name} is split or joined part by part; give the access "
            "pattern to the parts."
        )
    moved = access.bytes if access else parts[0].size
    if len(parts) == 1 and moved % fifo.size:
        raise DesignError(
            f"{link.tile}: {access or 'a buffer'} moves {moved} bytes, no multiple of the "
            f"{fifo.size} bytes of an object of fifo {fifo.name}."
        )


def expand(design: Design) -> tuple[Design, dict[tuple[Tile, str], CorePort], dict[str, HostPort]]:
    """Replace every fifo and link; returns the design, cores' ports by tile and name, host ports.

    DesignError when channels, locks or memtile ends do not work out.
    """
    work = _Expansion(design)
    work.memtile_channels(design.links)
    for f in design.fifos:
        source = work.end(f, f.source, MM2S)
        sinks = tuple(work.end(f, e, S2MM) for e in f.sinks)
        work.out.flows.append(Flow(source, sinks))
    for link in design.links:
        work.link(link)
    return work.out, work.core_ports, work.host_ports
