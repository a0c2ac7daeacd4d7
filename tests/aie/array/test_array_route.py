"""The router: every flow reaches exactly its destinations, no port is used twice."""

from __future__ import annotations

from collections import Counter

import pytest
import recorded_arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded_arrays import every_golden

from whisper_npu_cli.aie.array.design import Design, DesignError, Endpoint
from whisper_npu_cli.aie.array.explain import explain
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.array.route import Routes, route
from whisper_npu_cli.aie.array.trace import Traced, trace
from whisper_npu_cli.aie.facts.topology import FACTS, Port, Tile, TileKind, connects
from whisper_npu_cli.aie.formats.registers import Write


def traced(design: Design, routes: Routes) -> list[Traced]:
    """What the written registers connect."""
    config = lower(place(design), routes, {})
    return trace(explain(op for phase in config.phases for op in phase))


def end(column: int, row: int, number: int, bundle: str = "DMA") -> Endpoint:
    return Endpoint(Tile(column, row), Port(bundle, number))


def as_sets(flows: list[Traced]) -> set:
    return {(f.source, f.sinks) for f in flows if f.packet is None}


def wanted(design: Design) -> set:
    order = sorted
    return {(f.source, tuple(order(f.sinks, key=lambda e: (e.tile, e.port)))) for f in design.flows}


def check_ports(routes: Routes) -> None:
    """Connections are legal and every master has one slave."""
    for tile, switch in routes.switches.items():
        masters = Counter(m for _, m in switch.circuits)
        masters.update(m.port for m in switch.packet_masters)
        assert max(masters.values()) == 1
        for slave, master in switch.circuits:
            assert connects(tile.kind, slave, master)


@st.composite
def designs(draw) -> Design:
    """Broadcasts and single flows between random free DMA channels of a partition."""
    columns = draw(st.integers(1, 4))
    d = Design("random", columns)
    tiles = [Tile(c, r) for c in range(columns) for r in range(6)]
    sources = [(t, i) for t in tiles for i in range(FACTS[t.kind].channels)]
    sinks = list(sources)
    for _ in range(draw(st.integers(1, 3 * columns))):
        source = sources.pop(draw(st.integers(0, len(sources) - 1)))
        chosen = [
            sinks.pop(draw(st.integers(0, len(sinks) - 1)))
            for _ in range(min(draw(st.integers(1, 3)), len(sinks)))
        ]
        d.flow(end(*source[0], source[1]), *(end(*t, i) for t, i in chosen))
    d.token_tiles += [Tile(c, 0) for c in range(columns)]
    return d


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(designs())
def test_random_designs(design: Design) -> None:
    try:
        routes = route(design)
    except DesignError as refused:  # a memtile passes links straight, so some designs have no way
        assert "ports are wanted twice" in str(refused) or "no way" in str(refused)
        return
    check_ports(routes)
    found = traced(design, routes)
    assert as_sets(found) == wanted(design)
    tokens = {f.source.tile: f for f in found if f.packet == 15}
    assert set(tokens) == set(design.token_tiles)
    assert all(f.sinks == (end(*t, 0, "South"),) for t, f in tokens.items())
    assert route(design) == routes


@every_golden
def test_recorded_flows(name: str) -> None:
    """Traced from the recorded switches, and from our own router's, they are the design's."""
    design = recorded_arrays.design(name)
    assert as_sets(trace(explain(recorded_arrays.recorded(name)))) == wanted(design)
    placed = place(design)
    routes = route(placed.design)
    check_ports(routes)
    config = lower(placed, routes, recorded_arrays.programs(name))
    ours = trace(explain(op for phase in config.phases for op in phase))
    assert ours == trace(explain(recorded_arrays.recorded(name)))


def test_every_link_of_a_column_can_be_in_use() -> None:
    """Four streams down and six up through one memtile row, to and from four cores."""
    d = Design("full", 4)
    for row in range(2, 6):
        d.flow(end(0, row, 0), end(0, 1, row - 2))
        d.flow(end(0, 1, row - 2), end(0, row, 0))
    d.flow(end(0, 1, 4), end(0, 2, 1))
    d.flow(end(0, 1, 5), end(0, 3, 1))
    routes = route(d)
    check_ports(routes)
    assert as_sets(traced(d, routes)) == wanted(d)


def test_five_streams_down_one_column_are_refused() -> None:
    d = Design("crowded", 1)
    for row in range(2, 6):
        d.flow(end(0, row, 0), end(0, 1, row - 2))
    d.flow(end(0, 2, 1), end(0, 1, 4))
    with pytest.raises(DesignError, match=r"crowded: .*wanted twice.*South\d of core tile \(0,2\)"):
        route(d)


def test_token_port_is_kept_free() -> None:
    d = Design("tokens", 1)
    d.token_tiles.append(Tile(0, 0))
    d.flow(end(0, 2, 0), end(0, 0, 0, "South"))
    with pytest.raises(DesignError, match="no way for the flow"):
        route(d)


@pytest.mark.parametrize(
    ("flows", "says"),
    [
        ([(end(0, 2, 0), end(0, 3, 0)), (end(0, 2, 0), end(0, 4, 0))], "two flows go from"),
        ([(end(0, 2, 0), end(0, 3, 0)), (end(0, 4, 0), end(0, 3, 0))], "two flows go to"),
        ([(end(0, 2, 2), end(0, 3, 0))], r"core tile \(0,2\) DMA2: no stream starts"),
        ([(end(0, 2, 0), end(0, 0, 2))], r"shim tile \(0,0\) DMA2: no stream ends"),
        ([(end(0, 2, 0), end(0, 0, 3, "West"))], r"shim tile \(0,0\) West3: no stream ends"),
        ([(end(0, 2, 0, "South"), end(0, 2, 0))], "South0: no stream starts"),
    ],
)
def test_impossible_flows_are_refused(flows, says: str) -> None:
    d = Design("wrong", 1)
    for source, sink in flows:
        d.flow(source, sink)
    with pytest.raises(DesignError, match=says):
        route(d)


def test_core_streams_are_routed_too() -> None:
    d = Design("streams", 2)
    d.flow(end(0, 2, 0, "Core"), end(1, 4, 0, "Core"), end(1, 5, 1))
    assert as_sets(traced(d, route(d))) == wanted(d)


def test_memtile_rows_have_no_way_east() -> None:
    assert not any(p.bundle in ("East", "West") for p in FACTS[TileKind.MEM].masters)


def test_rings_of_switches_do_not_hold_the_tracer_up() -> None:
    """A crafted file may broadcast every stream everywhere: each port is followed once."""
    ops = []
    for tile in (Tile(c, r) for c in range(4) for r in range(2, 6)):
        at = tile.column << 25 | tile.row << 20 | 0x3F000
        slaves = FACTS[TileKind.CORE].slaves
        for i, master in enumerate(FACTS[TileKind.CORE].masters):
            feeds = {"North": "South", "South": "North", "East": "West", "West": "East"}
            slave = Port(feeds.get(master.bundle, "DMA"), 0)
            if master.number == 0:
                ops.append(Write(at + 4 * i, 1 << 31 | slaves.index(slave)))
    for column in range(4):
        at = column << 25 | 2 << 20 | 0x3F000
        for bundle in ("North", "East"):
            i = FACTS[TileKind.CORE].masters.index(Port(bundle, 0))
            ops.append(Write(at + 4 * i, 1 << 31 | slaves.index(Port("DMA", 0))))
    found = trace(explain(ops))
    assert found
    assert all(len(set(f.sinks)) == len(f.sinks) for f in found)
