"""Addresses, lock numbers and descriptor numbers for a design, and what cores and hosts see of it.

Core tiles: a core loads twice and stores once in a cycle without a stall only from different 16 KiB
banks, so the groups of buffers (each fifo is one) are spread over the banks, largest first. Where
that does not fit, buffers are packed in the order of declaration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar

from whisper_npu_cli.aie.array.design import Buffer, Design, DesignError, Dma, Lock, LockUse
from whisper_npu_cli.aie.array.fifo import CorePort, HostPort, expand
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    LOCK_WINDOWS,
    MAX_LOCK,
    MEMORY_WINDOWS,
    Direction,
    Tile,
    TileKind,
    bd_pool,
)

_Thing = TypeVar("_Thing", Buffer, Lock)
ALIGNMENT = 32  # bytes; one vector load (AM020, data memory interface)


@dataclass(frozen=True)
class CoreBuffer:
    """A buffer as a core program addresses it; `size` in bytes."""

    address: int
    size: int


@dataclass(frozen=True)
class CoreFifo:
    """A fifo as a core program uses it: object addresses in turn, size in bytes, lock ids."""

    buffers: tuple[int, ...]
    size: int
    acquire: int
    release: int


@dataclass
class Placement:
    """A design with numbers: byte addresses in a tile's memory, lock ids, descriptor ids."""

    design: Design
    addresses: dict[Buffer, int]
    lock_ids: dict[Lock, int]
    bd_ids: dict[tuple[Tile, Direction, int], tuple[int, ...]]
    core_ports: dict[tuple[Tile, str], CorePort] = field(default_factory=dict)
    host_ports: dict[str, HostPort] = field(default_factory=dict)

    def buffer(self, tile: Tile, name: str) -> Buffer:
        """A buffer by name; DesignError when the tile has none such."""
        return _named("buffer", tile, name, self.design.buffers)

    def lock(self, tile: Tile, name: str) -> Lock:
        """A lock by name; DesignError when the tile has none such."""
        return _named("lock", tile, name, self.design.locks)

    def core(self, tile: Tile) -> CoreView:
        """What the program of a core tile needs to know."""
        return CoreView(self, tile)

    def host(self, fifo: str) -> HostPort:
        """The shim channel of a fifo that starts or ends in DDR."""
        if fifo not in self.host_ports:
            raise DesignError(f"{self.design.name}: fifo {fifo} does not reach the host.")
        return self.host_ports[fifo]


@dataclass(frozen=True)
class CoreView:
    """Addresses and lock ids as the core of `tile` uses them: its own tile's or a neighbour's."""

    placement: Placement
    tile: Tile

    def buffer(self, name: str, of: Tile | None = None) -> CoreBuffer:
        """A buffer of this tile, or of the neighbour `of`."""
        b = self.placement.buffer(of or self.tile, name)
        return CoreBuffer(self._address(b), b.size)

    def lock(self, name: str, of: Tile | None = None) -> int:
        """The id that lock instructions use."""
        return self._lock(self.placement.lock(of or self.tile, name))

    def fifo(self, name: str) -> CoreFifo:
        """This core's end of a fifo; DesignError when it has none such."""
        port = self.placement.core_ports.get((self.tile, name))
        if port is None:
            raise DesignError(f"{self.tile} has no end of a fifo called {name}.")
        addresses = tuple(map(self._address, port.buffers))
        return CoreFifo(
            addresses, port.buffers[0].size, self._lock(port.acquire), self._lock(port.release)
        )

    def _address(self, buffer: Buffer) -> int:
        return MEMORY_WINDOWS[self._step(buffer.tile)] + self.placement.addresses[buffer]

    def _lock(self, lock: Lock) -> int:
        return LOCK_WINDOWS[self._step(lock.tile)] + self.placement.lock_ids[lock]

    def _step(self, tile: Tile) -> tuple[int, int]:
        step = tile.column - self.tile.column, tile.row - self.tile.row
        if step not in MEMORY_WINDOWS or tile.kind is not TileKind.CORE:
            raise DesignError(
                f"the core of {self.tile} cannot reach {tile}: only itself and the core tiles "
                "south, west and north of it."
            )
        return step


def _named(what: str, tile: Tile, name: str, known: Sequence[_Thing]) -> _Thing:
    for k in known:
        if k.tile == tile and k.name == name:
            return k
    raise DesignError(f"{tile} has no {what} called {name}.")


class _Memory:
    """Free and taken bytes of one tile."""

    def __init__(self, tile: Tile, stack: int) -> None:
        self.tile, self.size = tile, FACTS[tile.kind].data_bytes
        self.taken: list[tuple[int, int, str]] = []
        if stack:
            self.take(0, stack, "the stack")

    def take(self, start: int, size: int, name: str) -> int:
        """Claim a range; DesignError when it leaves the memory or is taken already."""
        end = start + size
        if start < 0 or end > self.size:
            raise DesignError(
                f"{self.tile}: {name} would end at byte {end}; the memory has {self.size}."
            )
        for low, high, other in self.taken:
            if start < high and low < end:
                raise DesignError(
                    f"{self.tile}: {name} at bytes {start} to {end} overlaps {other} at {low} to "
                    f"{high}."
                )
        self.taken = sorted([*self.taken, (start, end, name)])
        return start

    def fit(self, size: int, low: int, high: int) -> int | None:
        """The lowest aligned free address between `low` and `high`, or None."""
        start = low
        for a, b, _ in [*self.taken, (high, high, "")]:
            if start + size <= min(a, high):
                return start
            start = max(start, -(-b // ALIGNMENT) * ALIGNMENT)
        return None

    def used(self, low: int, high: int) -> int:
        """Bytes taken between `low` and `high`."""
        return sum(max(0, min(b, high) - max(a, low)) for a, b, _ in self.taken)


def _spread(memory: _Memory, buffers: Sequence[Buffer]) -> dict[Buffer, int] | None:
    """Group by group into the emptiest bank; None when something does not fit that way."""
    bank = FACTS[memory.tile.kind].bank_bytes
    banks = [(low, low + bank) for low in range(0, memory.size, bank)]
    named = sorted(buffers, key=lambda b: b.group)  # stable: keeps the order within a group
    groups = [list(g) for _, g in groupby(named, key=lambda b: b.group)]
    order = {b: i for i, b in enumerate(buffers)}
    groups.sort(key=lambda g: (-sum(b.size for b in g), order[g[0]]))
    addresses: dict[Buffer, int] = {}
    for group in sorted(groups, key=lambda g: g[0].size <= bank):
        choice = sorted(banks, key=lambda b: (memory.used(*b), b))
        for b in group:
            places = [(0, memory.size)] if b.size > bank else choice
            at = next((a for p in places if (a := memory.fit(b.size, *p)) is not None), None)
            if at is None:
                return None
            addresses[b] = memory.take(at, b.size, f"buffer {b.name}")
    return addresses


def _memory(tile: Tile, stack: int, buffers: Sequence[Buffer]) -> dict[Buffer, int]:
    """Addresses of one tile's buffers."""

    def fixed() -> tuple[_Memory, dict[Buffer, int]]:
        memory = _Memory(tile, stack)
        given = ((b, b.address) for b in buffers if b.address is not None)
        return memory, {b: memory.take(a, b.size, f"buffer {b.name}") for b, a in given}

    if tile.kind is TileKind.SHIM:
        return {}
    free = [b for b in buffers if b.address is None]
    memory, addresses = fixed()
    spread = _spread(memory, free)
    if spread is not None:
        return addresses | spread
    memory, addresses = fixed()
    for b in free:
        at = memory.fit(b.size, 0, memory.size)
        if at is None:
            asked = sum(b.size for b in buffers) + stack
            raise DesignError(
                f"{tile}: no room for buffer {b.name} of {b.size} bytes; stack and buffers ask for "
                f"{asked} of {memory.size} bytes."
            )
        addresses[b] = memory.take(at, b.size, f"buffer {b.name}")
    return addresses


def _number(tile: Tile, what: str, wanted: Sequence[int | None], pool: Iterable[int]) -> list[int]:
    """Give the lowest free number of `pool` to every None; DesignError when they run out."""
    pool = list(pool)
    given = [w for w in wanted if w is not None]
    if len(set(given)) != len(given) or not set(given) <= set(pool):
        raise DesignError(
            f"{tile}: the numbers {given} of {what} have to be different and among {pool[0]} to "
            f"{pool[-1]}."
        )
    rest = [n for n in pool if n not in given]
    if len(wanted) > len(pool):
        raise DesignError(f"{tile}: {len(wanted)} {what} are asked for; there are {len(pool)}.")
    return [rest.pop(0) if w is None else w for w in wanted]


def _bd_ids(tile: Tile, dmas: Sequence[Dma]) -> dict[tuple[Tile, Direction, int], tuple[int, ...]]:
    """Descriptor numbers of one tile's chains, pool by pool (a memtile has one for each parity)."""
    ids = {}
    by_pool = sorted(dmas, key=lambda d: bd_pool(tile.kind, d.channel).start)
    for _, group in groupby(by_pool, key=lambda d: bd_pool(tile.kind, d.channel).start):
        chains = list(group)
        pool = bd_pool(tile.kind, chains[0].channel)
        names = ", ".join(f"{d.direction.name}{d.channel}" for d in chains)
        wanted = [bd.id for d in chains for bd in d.bds]
        numbers = _number(tile, f"buffer descriptors of {names}", wanted, pool)
        for d in chains:
            ids[tile, d.direction, d.channel] = tuple(numbers[: len(d.bds)])
            del numbers[: len(d.bds)]
    return ids


def _check(design: Design, dma: Dma, seen: set[tuple[Tile, Direction, int]]) -> None:
    """DesignError when a channel is not there, is used twice or reaches for another tile."""
    name, facts = f"{dma.tile} {dma.direction.name}{dma.channel}", FACTS[dma.tile.kind]
    if dma.channel not in range(facts.channels):
        raise DesignError(f"{name}: the tile has {facts.channels} channels of that direction.")
    if (dma.tile, dma.direction, dma.channel) in seen:
        raise DesignError(f"{name}: two chains are declared for the channel.")
    seen.add((dma.tile, dma.direction, dma.channel))
    for bd in dma.bds:
        uses = [u for u in (bd.acquire, bd.release) if u]
        things: list[Buffer | Lock] = [bd.buffer, *(u.lock for u in uses)]
        for thing in things:
            if thing.tile != dma.tile or thing not in (*design.buffers, *design.locks):
                raise DesignError(f"{name}: {thing.name} is not declared in its tile.")
        if any(not 1 <= u.count <= MAX_LOCK for u in uses):
            raise DesignError(f"{name}: a lock is taken or given {_counts(uses)} times at once.")


def _counts(uses: Iterable[LockUse]) -> str:
    return " and ".join(str(u.count) for u in uses)


def place(design: Design) -> Placement:
    """Expand the fifos and give every buffer, lock and descriptor its number.

    DesignError with one sentence when memory, locks, descriptors or channels do not suffice.
    """
    flat, core_ports, host_ports = expand(design)
    seen: set[tuple[Tile, Direction, int]] = set()
    for d in flat.dmas:
        _check(flat, d, seen)
    placement = Placement(flat, {}, {}, {}, core_ports, host_ports)
    things: list[Buffer | Lock | Dma] = [*flat.buffers, *flat.locks, *flat.dmas]
    for tile in sorted({*flat.stacks, *(t.tile for t in things)}):
        buffers = [b for b in flat.buffers if b.tile == tile]
        placement.addresses |= _memory(tile, flat.stacks.get(tile, 0), buffers)
        locks = [k for k in flat.locks if k.tile == tile]
        pool = range(FACTS[tile.kind].locks)
        numbers = _number(tile, "locks", [k.id for k in locks], pool)
        placement.lock_ids |= dict(zip(locks, numbers, strict=True))
        placement.bd_ids |= _bd_ids(tile, [d for d in flat.dmas if d.tile == tile])
    return placement
