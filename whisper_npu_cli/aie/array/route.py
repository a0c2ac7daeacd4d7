"""Flows to stream switches: a deterministic router for circuits.

Negotiated congestion (McMurchie and Ebeling, PathFinder, 1995): every flow takes its cheapest tree,
ports wanted twice become dearer, and the flows are routed again until no port is shared. Ties are
broken by tile and port number, so the same design always gives the same switches. Packet switching
is used for one thing only, the route on which a shim tile's completion tokens reach the firmware.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

from whisper_npu_cli.aie.array.design import Design, DesignError, Endpoint, Flow
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    SHIM_DMA_PORTS,
    TOKEN_PACKET,
    Direction,
    Port,
    Tile,
    TileKind,
    reachable,
    wire,
)

ROUNDS = 30  # of negotiation; dense random designs on 24 tiles settled within five
TOKEN_ARBITER, TOKEN_MSEL = 5, 3  # what aiecc takes: the highest first for control packets
Hop = tuple[Tile, Port, Port]  # in this tile, slave port to master port


@dataclass(frozen=True)
class PacketRule:
    """Packets with `id & mask` equal go to `arbiter`, and there to the masters that have `msel`."""

    id: int
    mask: int
    arbiter: int
    msel: int


@dataclass(frozen=True)
class PacketMaster:
    """A master port that takes packets of one arbiter with any of `msels`."""

    port: Port
    arbiter: int
    msels: tuple[int, ...]
    keep_header: bool


@dataclass(frozen=True)
class PacketSlave:
    """A slave port whose packets are sorted by up to four rules."""

    port: Port
    rules: tuple[PacketRule, ...]


@dataclass
class Switch:
    """What one stream switch connects, in the order in which it is written."""

    circuits: list[tuple[Port, Port]] = field(default_factory=list)
    packet_masters: list[PacketMaster] = field(default_factory=list)
    packet_slaves: list[PacketSlave] = field(default_factory=list)


@dataclass
class Routes:
    """Switches by tile, and the shim DMA channels that the multiplexers have to let through."""

    switches: dict[Tile, Switch] = field(default_factory=dict)
    shim_channels: list[tuple[Tile, Direction, int]] = field(default_factory=list)

    def switch(self, tile: Tile) -> Switch:
        """The switch of a tile, made empty when it has none yet."""
        return self.switches.setdefault(tile, Switch())


def switch_port(end: Endpoint, direction: Direction) -> Port:
    """The slave (MM2S) or master (S2MM) port of an endpoint; DesignError when there is none."""
    facts, port = FACTS[end.tile.kind], end.port
    if end.tile.kind is TileKind.SHIM and port.bundle == "DMA":
        port = SHIM_DMA_PORTS.get((direction, port.number), Port("DMA", port.number))
    passing = {"West", "North", "East"}  # wires to a neighbour, no ends; so is South but in a shim
    if end.tile.kind is not TileKind.SHIM:
        passing.add("South")
    known = facts.slaves if direction is Direction.MM2S else facts.masters
    if port not in known or port.bundle in passing:
        what = "starts" if direction is Direction.MM2S else "ends"
        raise DesignError(f"{end}: no stream {what} there.")
    return port


@dataclass
class _Net:
    """One flow: where it starts, what it has to reach, and the tree found so far."""

    flow: Flow
    start: tuple[Tile, Port]
    goals: list[tuple[Tile, Port]]
    hops: list[Hop] = field(default_factory=list)

    @property
    def masters(self) -> list[tuple[Tile, Port]]:
        """The ports that it occupies."""
        return [(tile, master) for tile, _, master in self.hops]

    def __str__(self) -> str:
        return f"{self.flow.source} to {' and '.join(map(str, self.flow.sinks))}"


class _Router:
    """Ports with their users and their price."""

    def __init__(self, columns: int, closed: Iterable[tuple[Tile, Port]]) -> None:
        self.columns = columns
        self.closed = set(closed)
        self.users: dict[tuple[Tile, Port], int] = {}
        self.history: dict[tuple[Tile, Port], int] = {}

    def price(self, master: tuple[Tile, Port], round_: int) -> int:
        """What one more user of a port costs."""
        return (1 + self.history.get(master, 0)) * (1 + 2 * round_ * self.users.get(master, 0))

    def tree(self, net: _Net, round_: int) -> list[Hop]:
        """The hops from the start to every goal, cheapest branch by branch."""
        hops: list[Hop] = []
        nodes = [net.start]
        for goal in net.goals:
            branch = self.branch(net, nodes, goal, {(t, m) for t, _, m in hops}, round_)
            hops += branch
            ends = (wire(t, m, self.columns) for t, _, m in branch)
            nodes += [e for e in ends if e]
        return hops

    def branch(
        self,
        net: _Net,
        nodes: Sequence[tuple[Tile, Port]],
        goal: tuple[Tile, Port],
        own: set[tuple[Tile, Port]],
        round_: int,
    ) -> list[Hop]:
        """The cheapest way from any node of the tree to a goal; DesignError when there is none."""
        queue = [(0, tile, FACTS[tile.kind].slaves.index(slave)) for tile, slave in nodes]
        heapq.heapify(queue)
        came: dict[tuple[Tile, Port], Hop | None] = dict.fromkeys(nodes)
        cost = dict.fromkeys(nodes, 0)
        done, closed = set(), self.closed | own
        while queue:
            so_far, tile, index = heapq.heappop(queue)
            slave = FACTS[tile.kind].slaves[index]
            if (tile, slave) in done:
                continue
            done.add((tile, slave))
            for master, after in _ways(tile, slave, self.columns):
                if (tile, master) in closed:
                    continue
                if (tile, master) == goal:
                    return [*_back(came, (tile, slave)), (tile, slave, master)]
                if after is None:
                    continue
                total = so_far + self.price((tile, master), round_)
                if total < cost.get(after, 1 << 30):
                    cost[after], came[after] = total, (tile, slave, master)
                    heapq.heappush(
                        queue, (total, after[0], FACTS[after[0].kind].slaves.index(after[1]))
                    )
        raise DesignError(f"there is no way for the flow {net}.")


@cache
def _ways(
    tile: Tile, slave: Port, columns: int
) -> tuple[tuple[Port, tuple[Tile, Port] | None], ...]:
    """The master ports that a slave port can feed, and where their wires end."""
    return tuple((m, wire(tile, m, columns)) for m in reachable(tile.kind, slave))


def _back(came: dict[tuple[Tile, Port], Hop | None], node: tuple[Tile, Port]) -> list[Hop]:
    hops: list[Hop] = []
    while (hop := came[node]) is not None:
        hops.append(hop)
        node = hop[0], hop[1]
    return hops[::-1]


def _nets(design: Design) -> list[_Net]:
    """The flows as nets; DesignError when two of them share an endpoint."""
    nets, ends = [], set()
    for flow in design.flows:
        start = flow.source.tile, switch_port(flow.source, Direction.MM2S)
        goals = [(s.tile, switch_port(s, Direction.S2MM)) for s in flow.sinks]
        for end in [("from", start), *(("to", g) for g in goals)]:
            if end in ends:
                raise DesignError(
                    f"{design.name}: two flows go {end[0]} {end[1][0]} {end[1][1]}; a broadcast is "
                    "one flow with several sinks."
                )
            ends.add(end)
        nets.append(_Net(flow, start, goals))
    return nets


def _negotiate(design: Design, nets: Sequence[_Net], router: _Router) -> None:
    """Give every net a tree of its own; DesignError naming the ports that stay wanted twice."""
    for round_ in range(ROUNDS):
        for net in nets:
            for m in net.masters:
                router.users[m] -= 1
            net.hops = router.tree(net, round_)
            for m in net.masters:
                router.users[m] = router.users.get(m, 0) + 1
        crowded = sorted(m for m, n in router.users.items() if n > 1)
        if not crowded:
            return
        for m in crowded:
            router.history[m] = router.history.get(m, 0) + 1
    tile, port = crowded[0]
    rivals = "; ".join(str(n) for n in nets if (tile, port) in n.masters)
    raise DesignError(
        f"{design.name}: the {len(nets)} flows do not fit the stream switches: {len(crowded)} "
        f"ports are wanted twice, among them {port} of {tile} by {rivals}."
    )


def route(design: Design) -> Routes:
    """Find the switches for an expanded design; DesignError when a flow cannot be routed."""
    nets = _nets(design)
    tokens = [(tile, Port("South", 0)) for tile in design.token_tiles]
    _negotiate(design, nets, _Router(design.columns, tokens))
    found = Routes()
    for net in nets:
        for tile, slave, master in net.hops:
            found.switch(tile).circuits.append((slave, master))
        ends = [(net.flow.source, Direction.MM2S), *((s, Direction.S2MM) for s in net.flow.sinks)]
        for end, direction in ends:
            if end.tile.kind is TileKind.SHIM and end.port.bundle == "DMA":
                found.shim_channels.append((end.tile, direction, end.port.number))
    for tile in design.token_tiles:
        add_token_route(found.switch(tile))
    found.switches = dict(sorted(found.switches.items()))
    found.shim_channels.sort(key=lambda c: (c[0], c[1] is Direction.S2MM, c[2]))
    return found


def add_token_route(switch: Switch) -> None:
    """Let the completion tokens of a shim tile reach the firmware through South0."""
    rule = PacketRule(TOKEN_PACKET, 31, TOKEN_ARBITER, TOKEN_MSEL)
    switch.packet_masters.append(
        PacketMaster(Port("South", 0), TOKEN_ARBITER, (TOKEN_MSEL,), keep_header=True)
    )
    switch.packet_slaves.append(PacketSlave(Port("TileCtrl", 0), (rule,)))
