"""Streams followed through written switch registers: what really reaches what.

Independent of the router: it starts from the outcome that `explain` reads, and knows of the design
nothing. A flow is traced from a DMA, core, trace or control port to every port where data leave the
switches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from whisper_npu_cli.aie.array.design import Endpoint
from whisper_npu_cli.aie.array.explain import TileState
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    SHIM_DMA_PORTS,
    Direction,
    Port,
    Tile,
    TileKind,
    wire,
)

SOURCES = ("DMA", "Core", "TileCtrl", "Trace")


@dataclass(frozen=True)
class Traced:
    """A stream from `source` to `sinks`, sorted; `packet` is its id when it is packet-switched."""

    source: Endpoint
    sinks: tuple[Endpoint, ...]
    packet: int | None = None


def trace(tiles: Mapping[Tile, TileState]) -> list[Traced]:
    """Every stream that the switches carry, sorted; ports that lead nowhere are no streams."""
    found = []
    for tile in sorted(tiles):
        for port in FACTS[tile.kind].slaves:
            source = _source(tiles[tile], port)
            if source is None:
                continue
            circuit = set(_follow(tiles, tile, port, None, set()))
            if circuit:
                found.append(Traced(source, tuple(sorted(circuit, key=_order))))
            for packet in _packets(tiles[tile], port):
                ends = set(_follow(tiles, tile, port, packet, set()))
                found.append(Traced(source, tuple(sorted(ends, key=_order)), packet))
    return found


def _order(end: Endpoint) -> tuple[Tile, Port]:
    return end.tile, end.port


def _source(state: TileState, port: Port) -> Endpoint | None:
    """The endpoint behind a slave port at which streams begin."""
    if state.tile.kind is TileKind.SHIM:
        for (direction, channel), shim_port in SHIM_DMA_PORTS.items():
            if direction is Direction.MM2S and port == shim_port:
                open_ = (direction, channel) in state.shim_channels
                return Endpoint(state.tile, Port("DMA", channel)) if open_ else None
    return Endpoint(state.tile, port) if port.bundle in SOURCES else None


def _sink(state: TileState | None, tile: Tile, master: Port) -> Endpoint:
    """The endpoint at which a stream leaves the switches."""
    if tile.kind is TileKind.SHIM and state:
        for direction, channel in state.shim_channels:
            if direction is Direction.S2MM and SHIM_DMA_PORTS[direction, channel] == master:
                return Endpoint(tile, Port("DMA", channel))
    return Endpoint(tile, master)


def _packets(state: TileState, port: Port) -> list[int]:
    """Packet ids that a slave port sorts, one for each of its rules."""
    return [rule.id for s in state.packet_slaves if s.port == port for rule in s.rules]


def _masters(state: TileState, slave: Port, packet: int | None) -> list[Port]:
    """The master ports that a slave port feeds, for a circuit or for packets of an id."""
    if packet is None:
        return [m for s, m in state.circuits if s == slave]
    rules = [r for s in state.packet_slaves if s.port == slave for r in s.rules]
    taken = [r for r in rules if packet & r.mask == r.id][:1]
    return [
        m.port
        for r in taken
        for m in state.packet_masters
        if m.arbiter == r.arbiter and r.msel in m.msels
    ]


def _follow(
    tiles: Mapping[Tile, TileState],
    tile: Tile,
    slave: Port,
    packet: int | None,
    seen: set[tuple[Tile, Port]],
) -> Iterator[Endpoint]:
    """Every endpoint that a slave port's data reach; no port is visited twice."""
    if tile not in tiles or (tile, slave) in seen:
        return
    seen.add((tile, slave))
    for master in _masters(tiles[tile], slave, packet):
        after = wire(tile, master)
        if after is None:
            yield _sink(tiles[tile], tile, master)
        else:
            yield from _follow(tiles, *after, packet, seen)
