"""Stream routes: from the switches' registers to a table of paths for the step loop.

A path starts where words enter the switches (a channel to stream, a core's output) and ends at one
or more places where they leave (broadcast). Where a packet-switched port lies on the way, the path
depends on the id in the packet's header, and the arbiters on it are held until the packet's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from whisper_npu_cli.aie.facts.tile_registers import Field, register
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    MUX_DMA,
    SHIM_DMA_PORTS,
    Direction,
    Port,
    Tile,
    TileKind,
    connects,
    wire,
)
from whisper_npu_cli.emulator import strict
from whisper_npu_cli.emulator.state import (
    BAD_ROUTE,
    MAX_ARBITERS,
    MAX_DESTINATIONS,
    PACKET_IDS,
    PATH,
    Layout,
    State,
)
from whisper_npu_cli.emulator.strict import refuse
from whisper_npu_cli.emulator.timing import (
    CROSSING_WORDS,
    EGRESS_WORDS,
    INGRESS_WORDS,
    SWITCH_EXTERNAL,
    SWITCH_LOCAL,
)

SLOTS = 4
ARBITERS = 8
TOKEN_PORT = Port("South", 0)  # of a shim tile: the firmware's queue of tokens
INSIDE = ("DMA", "Core", "TileCtrl", "FIFO")  # bundles of ports that stay in the tile


@dataclass(frozen=True)
class End:
    """Where a path leaves the switches: a port of a tile, and what it passed on the way."""

    tile: Tile
    port: Port
    latency: int = 0
    switches: int = 0
    drop: bool = False
    arbiters: tuple[int, ...] = ()
    packets: bool = False  # a packet-switched port lies on the way


@dataclass(frozen=True)
class Master:
    """An enabled master port: in circuit mode the slave's index, else arbiter and msel mask."""

    port: Port
    packet: bool
    slave: int
    arbiter: int
    msels: int
    drop: bool


class Switches:
    """The switches of a partition, read from the registers' values."""

    def __init__(self, layout: Layout, values: dict[Tile, dict[int, int]]) -> None:
        self._layout = layout
        self._values = values
        self._masters = {tile: list(self._enabled_masters(tile)) for tile in layout.tiles}

    def _register(self, tile: Tile, name: str, *numbers: int) -> int:
        line = register(tile.kind, name)
        return self._values[tile].get(line.at(*numbers), 0)

    def _enabled_masters(self, tile: Tile) -> Iterator[Master]:
        name = "Stream_Switch_Master_Config_{}"
        field = {f.name: f for f in register(tile.kind, name).fields}
        for n, port in enumerate(FACTS[tile.kind].masters):
            value = self._register(tile, name, n)
            if not field["Master_Enable"].extract(value):
                continue
            setting = field["Configuration"].extract(value)
            packet = bool(field["Packet_Enable"].extract(value))
            drop = bool(field["Drop_Header"].extract(value))
            yield Master(port, packet, setting, setting & 7, setting >> 3 & 15, drop)
            if not packet:
                self._check(tile, port, setting)

    def _check(self, tile: Tile, port: Port, index: int) -> None:
        slaves = FACTS[tile.kind].slaves
        if index >= len(slaves):
            raise refuse("no slave", tile=tile, master=port, index=index)
        if not self._slave(tile, index)[0]:
            raise refuse("slave off", tile=tile, master=port, slave=slaves[index])
        if not connects(tile.kind, slaves[index], port):
            raise refuse("connection", tile=tile, slave=slaves[index], master=port)

    def _slave(self, tile: Tile, index: int) -> tuple[bool, bool]:
        """Enabled, packet mode."""
        value = self._register(tile, "Stream_Switch_Slave_Config_{}", index)
        return bool(value >> 31), bool(value >> 30 & 1)

    def is_enabled(self, tile: Tile, slave: Port) -> bool:
        """Whether a slave port takes words at all."""
        return self._slave(tile, FACTS[tile.kind].slaves.index(slave))[0]

    # Paths ---------------------------------------------------------------------------------------

    def follow(self, start: End, packet: int, seen: frozenset[tuple[Tile, Port]]) -> Iterator[End]:
        """Where words that enter at a slave port (`start`) leave again; `packet` is their id."""
        tile, slave = start.tile, start.port
        if (tile, slave) in seen:
            raise refuse("loop", tile=tile, slave=slave)
        seen |= {(tile, slave)}
        index = FACTS[tile.kind].slaves.index(slave)
        enabled, packets = self._slave(tile, index)
        if not enabled:
            return
        if packets:
            masters, arbiters = self._matching(tile, slave, index, packet)
        else:
            arbiters = ()
            masters = [m for m in self._masters[tile] if not m.packet and m.slave == index]
        for master in masters:
            inside = slave.bundle in INSIDE and master.port.bundle in INSIDE
            end = replace(
                start,
                port=master.port,
                latency=start.latency + (SWITCH_LOCAL if inside else SWITCH_EXTERNAL),
                switches=start.switches + 1,
                drop=start.drop or (packets and master.drop),
                arbiters=start.arbiters + arbiters,
                packets=start.packets or packets,
            )
            if master.port.bundle == "FIFO":
                yield from self.follow(end, packet, seen)
                continue
            beyond = wire(tile, master.port, self._layout.columns)
            if beyond is None:
                yield end
            else:
                yield from self.follow(replace(end, tile=beyond[0], port=beyond[1]), packet, seen)

    def _matching(
        self, tile: Tile, slave: Port, index: int, packet: int
    ) -> tuple[list[Master], tuple[int, ...]]:
        field = slot_fields(tile.kind)
        found = []
        for slot in range(SLOTS):
            value = self._register(tile, "Stream_Switch_Slave_{}_Slot{}", index, slot)
            mask = field["mask"].extract(value)
            if field["enable"].extract(value) and packet & mask == field["id"].extract(value):
                found.append((field["arbit"].extract(value), field["msel"].extract(value)))
        if not found:
            return [], ()
        if len(set(found)) > 1:
            raise refuse("two slots", tile=tile, packet=packet, slave=slave)
        arbiter, msel = found[0]
        masters = [
            m
            for m in self._masters[tile]
            if m.packet and m.arbiter == arbiter and m.msels >> msel & 1
        ]
        return masters, (self._layout.tile_index[tile] * ARBITERS + arbiter,)

    def ends(self, tile: Tile, slave: Port, packet: int) -> list[End]:
        """Where words that enter at a slave port of `tile` leave the switches."""
        return list(self.follow(End(tile, slave), packet, frozenset()))

    def token_arrives(self, tile: Tile, controller: int) -> bool:
        """Whether a completion token of `tile` with this id reaches the firmware."""
        ends = self.ends(tile, Port("TileCtrl", 0), controller % PACKET_IDS)
        return any(e.tile.kind is TileKind.SHIM and e.port == TOKEN_PORT for e in ends)

    # Ends as agents ------------------------------------------------------------------------------

    def sources(self) -> Iterator[tuple[int, Tile, Port]]:
        """Agents that send, and the slave port where their words enter."""
        for agent, (tile, direction, number) in enumerate(self._layout.channels):
            if direction is Direction.MM2S:
                port = Port("DMA", number)
                if tile.kind is TileKind.SHIM:
                    port = SHIM_DMA_PORTS[direction, number]
                    if not self._muxed(tile, port, "Mux_Config"):
                        continue
                yield agent, tile, port
        for tile in self._layout.cores:
            yield self._layout.core_agent(tile), tile, Port("Core", 0)

    def _muxed(self, tile: Tile, port: Port, name: str) -> bool:
        line = register(TileKind.SHIM, name)
        value = self._values[tile].get(line.at(), 0)
        return line.field(str(port)).extract(value) == MUX_DMA

    def agent_at(self, end: End) -> int:
        """The agent that receives at an end, or BAD_ROUTE - the fault of sending there."""
        tile, port = end.tile, end.port
        if port.bundle == "Core":
            return self._layout.core_agent(tile)
        if port.bundle == "TileCtrl":
            return BAD_ROUTE - strict.CONTROL_PACKET
        if tile.kind is not TileKind.SHIM and port.bundle == "DMA":
            return self._layout.channel_index[tile, Direction.S2MM, port.number]
        for (direction, number), shim_port in SHIM_DMA_PORTS.items():
            there = direction is Direction.S2MM and shim_port == port
            if there and self._muxed(tile, port, "Demux_Config"):
                return self._layout.channel_index[tile, direction, number]
        return BAD_ROUTE - strict.TO_LOGIC


@cache
def slot_fields(kind: TileKind) -> dict[str, Field]:
    """Fields of a packet slot."""
    return {f.name: f for f in register(kind, "Stream_Switch_Slave_{}_Slot{}").fields}


def build(switches: Switches, state: State) -> State:
    """The state with the table of paths for what the switches say. Raises EmulationError."""
    paths: dict[tuple[End, ...], int] = {}
    state.route[:] = -1
    state.packets[:] = 0
    state.fifos["capacity"] = EGRESS_WORDS + INGRESS_WORDS + CROSSING_WORDS
    for agent, tile, slave in switches.sources():
        if not switches.is_enabled(tile, slave):
            continue
        for packet in range(PACKET_IDS):
            ends = tuple(switches.ends(tile, slave, packet))
            if ends:
                state.route[agent, packet] = paths.setdefault(ends, len(paths))
            if any(end.packets for end in ends):
                state.packets[agent] = 1
            elif packet == 0 and ends:
                state.route[agent] = state.route[agent, 0]
                break
    state = state._replace(
        paths=np.zeros(len(paths) + 1, PATH),
        path_to=np.zeros((len(paths) + 1, MAX_DESTINATIONS), np.int64),
        path_latency=np.zeros((len(paths) + 1, MAX_DESTINATIONS), np.int64),
        path_drop=np.zeros((len(paths) + 1, MAX_DESTINATIONS), np.uint8),
        path_arbiter=np.zeros((len(paths) + 1, MAX_ARBITERS), np.int64),
    )
    for ends, number in paths.items():
        _fill(switches, state, ends, number)
    return state


def _fill(switches: Switches, state: State, ends: tuple[End, ...], number: int) -> None:
    agents = [switches.agent_at(end) for end in ends]
    bad = min(agents)
    if bad <= BAD_ROUTE:
        state.route[state.route == number] = bad
        return
    arbiters = sorted({arbiter for end in ends for arbiter in end.arbiters})
    state.paths[number] = (len(ends), len(arbiters))
    state.path_arbiter[number, : len(arbiters)] = arbiters
    for i, (end, agent) in enumerate(zip(ends, agents, strict=True)):
        state.path_to[number, i] = agent
        state.path_latency[number, i] = end.latency
        state.path_drop[number, i] = end.drop
        capacity = EGRESS_WORDS + CROSSING_WORDS * end.switches + INGRESS_WORDS
        state.fifos[agent]["capacity"] = max(int(state.fifos[agent]["capacity"]), capacity)
