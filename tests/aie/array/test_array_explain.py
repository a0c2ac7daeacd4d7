"""Register writes back to names, fields and tile states; the tables of facts behind them."""

from __future__ import annotations

import pytest
import recorded_arrays
from recorded_arrays import every_golden

from whisper_npu_cli.aie.array.explain import ChannelStart, explain, fields, name
from whisper_npu_cli.aie.array.route import PacketMaster, PacketRule, PacketSlave
from whisper_npu_cli.aie.facts import tile_registers
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    Direction,
    Port,
    Tile,
    TileKind,
    connects,
    wire,
)
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write


@every_golden
def test_recorded_designs_are_read_back(name: str) -> None:
    """Descriptors, locks, channels, programs and constants of the recording, from its writes."""
    g = recorded_arrays.read(name)["design"]
    tiles = explain(recorded_arrays.recorded(name))
    offsets = {(Tile(*b["tile"]), b["name"]): b["address"] for b in g["buffers"]}
    for b in g["bds"]:
        tile = Tile(*b["tile"])
        bd = next(x for x in tiles[tile].bds if x.id == b["id"])
        assert bd.base == offsets[tile, b["buffer"]] + b["offset_bytes"]
        assert bd.length_bytes == b["length_bytes"]
        assert bd.dims == ((b["length_bytes"] // 4, 1),)
        assert (bd.acquire, bd.release) == (tuple(b["acquire"]), tuple(b["release"]))
        assert (bd.next, bd.packet, bd.valid) == (b["next"], None, True)
    for k in g["locks"]:
        assert tiles[Tile(*k["tile"])].locks[k["id"]] == k["init"]
    for c in g["channels"]:
        direction = Direction[c["direction"]]
        expected = ChannelStart(direction, c["channel"], c["first_bd"], 1, False)
        assert expected in tiles[Tile(*c["tile"])].channels
    for key, core in g["core_elf"].items():
        state = tiles[Tile(*map(int, key.split("_")))]
        assert state.program_bytes == -(-core["text_bytes"] // 4) * 4
        assert sum(len(d) for _, d in state.data) == -(-core["data_bytes"] // 4) * 4
        assert state.enabled
    assert not any(state.unknown for state in tiles.values())
    shims = {(Tile(*a["tile"]), a["direction"], a["channel"]) for a in g["shim_allocations"]}
    opened = {(t, d.name, c) for t, s in tiles.items() for d, c in s.shim_channels}
    assert opened == shims


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (0x0021D014, "core tile (0,2) DMA_BD0_5"),
        (0x0021DE04, "core tile (0,2) DMA_S2MM_0_Start_Queue"),
        (0x061A00C4, "memtile (3,1) DMA_BD6_1"),
        (0x02014030, "shim tile (1,0) Lock3_value"),
        (0x0001D20C, "shim tile (0,0) DMA_S2MM_1_Task_Queue"),
        (0x00232000, "core tile (0,2) Core_Control"),
        (0x00221000, "core tile (0,2) Program_Memory + 0x1000"),
        (0x00100400, "memtile (0,1) DataMemory + 0x400"),
        (0x002340D0, "core tile (0,2) + 0x340d0"),
    ],
)
def test_names(address: int, says: str) -> None:
    assert name(address) == says


def test_fields() -> None:
    """The first descriptor of the worked example in shared facts 3.6."""
    got = fields(0x0021D014, 0x0E043FE0)
    assert (got["Next_BD"], got["Use_Next_BD"], got["Valid_BD"]) == (1, 1, 1)
    assert (got["Lock_Acq_ID"], got["Lock_Acq_Value"], got["Lock_Acq_Enable"]) == (0, -1, 1)
    assert (got["Lock_Rel_ID"], got["Lock_Rel_Value"]) == (1, 1)
    assert fields(0x00200000, 7) == {}


def test_masked_writes_keep_the_other_bits_and_queues_count_every_write() -> None:
    core = 2 << 20
    tiles = explain(
        [
            Write(core | 0x32000, 3),
            MaskWrite(core | 0x32000, 2, 0),
            Write(core | 0x1DE14, 0x80020005),
            Write(core | 0x1DE14, 0x00000006),
            MaskWrite(core | 0x1DE10, 0, 1),
            Write(core | 0x400, 0x01020304),
            BlockWrite(core | 0x340D0, (1, 2)),
        ]
    )
    state = tiles[Tile(0, 2)]
    assert state.enabled
    assert state.registers[0x32000] == 1
    assert state.channels == [
        ChannelStart(Direction.MM2S, 0, 5, 3, True),
        ChannelStart(Direction.MM2S, 0, 6, 1, False),
    ]
    assert state.data == [(0x400, b"\4\3\2\1")]
    assert state.unknown == [(0x340D0, 1), (0x340D4, 2)]


def test_token_route_is_read_back() -> None:
    """The three words that every published design has (shared facts 4.8)."""
    state = explain(
        [Write(0x3F008, 0xC0000045), Write(0x3F100, 0xC0000000), Write(0x3F200, 0x0F1F0135)]
    )[Tile(0, 0)]
    assert state.packet_masters == [PacketMaster(Port("South", 0), 5, (3,), True)]
    rule = PacketRule(15, 31, 5, 3)
    assert state.packet_slaves == [PacketSlave(Port("TileCtrl", 0), (rule,))]


def test_port_numbers() -> None:
    """Positions quoted one by one in shared facts 3.6, 4.5 and 4.6."""
    core, mem, shim = (FACTS[k] for k in (TileKind.CORE, TileKind.MEM, TileKind.SHIM))
    assert (len(core.masters), len(core.slaves)) == (23, 25)
    assert (len(mem.masters), len(mem.slaves)) == (17, 18)
    assert (len(shim.masters), len(shim.slaves)) == (22, 23)
    assert core.slaves.index(Port("South", 1)) == 6
    assert core.slaves.index(Port("Trace", 1)) == 24
    assert mem.slaves.index(Port("South", 1)) == 8
    assert shim.slaves.index(Port("South", 3)) == 5
    assert shim.masters.index(Port("North", 1)) == 13


def test_crossbars_follow_the_prose() -> None:
    """Shared facts 4.5, sentence by sentence."""
    sides = ("South", "West", "North", "East")
    for kind in TileKind:
        for s in FACTS[kind].slaves:
            for m in FACTS[kind].masters:
                assert connects(kind, s, m) == _allowed(kind, s, m, sides), (kind, s, m)


def _allowed(kind: TileKind, s: Port, m: Port, sides: tuple[str, ...]) -> bool:
    same = s.number == m.number
    if kind is TileKind.CORE:
        if s.bundle in ("DMA", "FIFO", *sides):
            return same if s.bundle == m.bundle else True
        if s.bundle == "Core":
            return m.bundle != "Core"
        if s.bundle == "TileCtrl":
            return m.bundle not in ("TileCtrl", "DMA")
        return m == Port("DMA", 0) or m.bundle in ("FIFO", "South")
    if kind is TileKind.MEM:
        if s.bundle == "DMA":
            return same if m.bundle == "DMA" else True
        if s.bundle in sides:
            return same if m.bundle in sides else True
        if s.bundle == "TileCtrl":
            return m == Port("DMA", 5) or m.bundle in sides
        return m == Port("DMA", 5) or m.bundle == "South"
    if s.bundle == "TileCtrl":
        return m.bundle != "TileCtrl"
    if s.bundle in ("FIFO", "South"):
        return True
    if s.bundle in sides:
        return same if s.bundle == m.bundle else True
    return m.bundle in ("FIFO", "South") or m in (Port("West", 0), Port("East", 0))


def test_wires_lead_back() -> None:
    back = {"North": "South", "South": "North", "East": "West", "West": "East"}
    count = 0
    for column in range(4):
        for row in range(6):
            tile = Tile(column, row)
            for m in FACTS[tile.kind].masters:
                after = wire(tile, m)
                if after:
                    other, slave = after
                    assert abs(other.column - column) + abs(other.row - row) == 1
                    assert (slave.bundle, slave.number) == (back[m.bundle], m.number)
                    count += 1
    assert count == 4 * 5 * (6 + 4) + 5 * 3 * (4 + 4)


def test_fields_and_registers_know_their_range() -> None:
    with pytest.raises(ValueError, match="no register"):
        tile_registers.register(TileKind.CORE, "Lock{}_value").at(16)
    field = tile_registers.register(TileKind.CORE, "DMA_BD{}_5").field("Lock_Acq_Value")
    assert field.range == (-64, 63)
    assert field.extract(field.insert(-64)) == -64
    with pytest.raises(ValueError, match="takes -64 to 63, not 64"):
        field.insert(64)


@pytest.mark.parametrize(
    "text",
    [
        "core 00000 - A X[3:0]\ncore 00004 - A X[3:0]",
        "core 00000 - A X[3:0] Y[3]",
        "core 00000 - A X[3:0",
        "core 00000 - A X[3:0] X[5:0]",
        "pl   00000 - A X[3:0]",
    ],
)
def test_damaged_register_tables_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tile_registers\.txt|TileKind"):
        tile_registers.parse(text)
