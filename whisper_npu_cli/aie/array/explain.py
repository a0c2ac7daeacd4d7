"""Register writes back to names, and to what they make of each tile.

Works on any configuration for this device, not only on ours. `explain` plays the writes and reads
the outcome; `name` and `fields` speak of a single register. Flows: `trace`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from whisper_npu_cli.aie.array.dma import Fields, decode
from whisper_npu_cli.aie.array.route import PacketMaster, PacketRule, PacketSlave
from whisper_npu_cli.aie.facts.tile_registers import Register, find, queue, register
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    MUX_DMA,
    PROGRAM_MEMORY,
    SHIM_DMA_PORTS,
    Direction,
    Port,
    Tile,
    TileKind,
)
from whisper_npu_cli.aie.formats.registers import (
    BlockWrite,
    MaskWrite,
    RegisterOp,
    tile_of,
)


@dataclass(frozen=True)
class BdState:
    """A descriptor as written. `base`: byte offset in the tile's own memory (negative: in the west
    neighbour's; shim: in the buffer). `dims`: (size, step in words), outermost first. `acquire` and
    `release`: (lock of this tile, signed value). `fields`: every field that is not zero.
    """

    id: int
    base: int
    length_bytes: int
    dims: tuple[tuple[int, int], ...]
    acquire: tuple[int, int] | None
    release: tuple[int, int] | None
    next: int | None
    packet: int | None
    valid: bool
    fields: Fields


@dataclass(frozen=True)
class ChannelStart:
    """One task put into a channel's queue."""

    direction: Direction
    channel: int
    first_bd: int
    repeat: int
    token: bool


@dataclass
class TileState:
    """What a configuration makes of one tile; byte offsets, locks and circuits as written."""

    tile: Tile
    program_bytes: int = 0
    data: list[tuple[int, bytes]] = field(default_factory=list)
    locks: dict[int, int] = field(default_factory=dict)
    bds: list[BdState] = field(default_factory=list)
    channels: list[ChannelStart] = field(default_factory=list)
    circuits: list[tuple[Port, Port]] = field(default_factory=list)
    packet_masters: list[PacketMaster] = field(default_factory=list)
    packet_slaves: list[PacketSlave] = field(default_factory=list)
    shim_channels: list[tuple[Direction, int]] = field(default_factory=list)
    enabled: bool = False
    unknown: list[tuple[int, int]] = field(default_factory=list)
    registers: dict[int, int] = field(default_factory=dict)

    def value(self, r: Register, *indices: int) -> int:
        """The last value written to a register, 0 if none was."""
        return self.registers.get(r.at(*indices), 0)


def name(address: int) -> str:
    """Tile and register name of an address: `core tile (0,2) DMA_BD0_5`."""
    tile, offset = _split(address)
    if (memory := _memory(tile, offset)) is not None:
        return f"{tile} {memory[0]} + {memory[1]:#x}"
    found = find(tile.kind, offset)
    return f"{tile} {found[0].label(*found[1])}" if found else f"{tile} + {offset:#x}"


def fields(address: int, value: int) -> Fields:
    """The fields of a register's value by name; empty for memories and unknown registers."""
    tile, offset = _split(address)
    found = find(tile.kind, offset)
    return {f.name: f.extract(value) for f in found[0].fields} if found else {}


def explain(ops: Iterable[RegisterOp]) -> dict[Tile, TileState]:
    """Play register writes and read back every tile that they touch, by tile, sorted."""
    tiles: dict[Tile, TileState] = {}
    for op in ops:
        tile, offset = _split(op.address)
        state = tiles.setdefault(tile, TileState(tile))
        if isinstance(op, BlockWrite) and (memory := _memory(tile, offset)) is not None:
            _store(state, memory, b"".join(w.to_bytes(4, "little") for w in op.words))
        elif isinstance(op, BlockWrite):
            for i, word in enumerate(op.words):
                _set(state, offset + 4 * i, word)
        elif isinstance(op, MaskWrite):
            old = state.registers.get(offset, 0)
            _set(state, offset, old & ~op.mask | op.value & op.mask, play=bool(op.mask))
        elif (memory := _memory(tile, offset)) is not None:
            _store(state, memory, op.value.to_bytes(4, "little"))
        else:
            _set(state, offset, op.value)
    for state in tiles.values():
        _read_dma(state)
        _read_switch(state)
    return dict(sorted(tiles.items()))


def _split(address: int) -> tuple[Tile, int]:
    column, row, offset = tile_of(address)
    return Tile(column, row), offset


def _memory(tile: Tile, offset: int) -> tuple[str, int] | None:
    """Which memory of the tile an offset lies in, and where in it."""
    facts = FACTS[tile.kind]
    if offset < facts.data_bytes:
        return "DataMemory", offset
    if 0 <= offset - PROGRAM_MEMORY < facts.program_bytes:
        return "Program_Memory", offset - PROGRAM_MEMORY
    return None


def _store(state: TileState, memory: tuple[str, int], data: bytes) -> None:
    kind, at = memory
    if kind == "Program_Memory":
        state.program_bytes = max(state.program_bytes, at + len(data))
    else:
        state.data.append((at, data))


def _set(state: TileState, offset: int, value: int, play: bool = True) -> None:
    """One register takes a value; a write to a start queue is a task."""
    state.registers[offset] = value
    kind = state.tile.kind
    found = find(kind, offset)
    if found is None:
        state.unknown.append((offset, value))
        return
    r, indices = found
    if r.name == "Lock{}_value":
        state.locks[indices[0]] = value
    elif r.name == "Core_Control":
        state.enabled = bool(r.field("Enable").extract(value))
    for direction in Direction:
        if play and r is queue(kind, direction):
            bd, repeat, token = (
                r.field(f).extract(value)
                for f in ("Start_BD_ID", "Repeat_Count", "Enable_Token_Issue")
            )
            state.channels.append(ChannelStart(direction, indices[0], bd, repeat + 1, bool(token)))


def _read_dma(state: TileState) -> None:
    kind, facts = state.tile.kind, FACTS[state.tile.kind]
    first = register(kind, "DMA_BD{}_0")
    for i in range(facts.bds):
        offsets = [first.at(i) + 4 * w for w in range(facts.bd_words)]
        if any(o in state.registers for o in offsets):
            words = [state.registers.get(o, 0) for o in offsets]
            state.bds.append(_bd(kind, i, decode(kind, words)))


def _bd(kind: TileKind, number: int, f: Fields) -> BdState:
    facts = FACTS[kind]
    base = 4 * f.get("Base_Address", 0) - facts.dma_base
    if kind is TileKind.SHIM:
        base = 4 * f["Base_Address_Low"] | f["Base_Address_High"] << 32
    locks = facts.dma_lock_base
    return BdState(
        id=number,
        base=base,
        length_bytes=4 * f["Buffer_Length"],
        dims=_dims(facts.dimensions, f),
        acquire=(f["Lock_Acq_ID"] - locks, f["Lock_Acq_Value"]) if f["Lock_Acq_Enable"] else None,
        release=(f["Lock_Rel_ID"] - locks, f["Lock_Rel_Value"]) if f["Lock_Rel_Value"] else None,
        next=f["Next_BD"] if f["Use_Next_BD"] else None,
        packet=f["Packet_ID"] if f["Enable_Packet"] else None,
        valid=bool(f["Valid_BD"]),
        fields={name: value for name, value in f.items() if value},
    )


def _dims(dimensions: int, f: Fields) -> tuple[tuple[int, int], ...]:
    """(size, step) outermost first; the size without a counter follows from the length."""
    dims: list[tuple[int, int]] = []
    left = f["Buffer_Length"]
    for d in range(dimensions):
        zeros = f.get(f"D{d}_Zero_Before", 0) + f.get(f"D{d}_Zero_After", 0)
        size = f.get(f"D{d}_Wrap", 0) or max(left - zeros, 1)
        dims.append((size, f[f"D{d}_Stepsize"] + 1))
        left //= size + zeros
        if left <= 1:
            break
    return tuple(reversed(dims))


def _read_switch(state: TileState) -> None:
    kind, facts = state.tile.kind, FACTS[state.tile.kind]
    master = register(kind, "Stream_Switch_Master_Config_{}")
    slave = register(kind, "Stream_Switch_Slave_Config_{}")
    slot = register(kind, "Stream_Switch_Slave_{}_Slot{}")
    for i, port in enumerate(facts.masters):
        m = {f.name: f.extract(state.value(master, i)) for f in master.fields}
        choice = m["Configuration"]
        if m["Master_Enable"] and m["Packet_Enable"]:
            msels = tuple(b for b in range(4) if choice >> 3 + b & 1)
            state.packet_masters.append(PacketMaster(port, choice & 7, msels, not m["Drop_Header"]))
        elif m["Master_Enable"] and choice & 31 < len(facts.slaves):
            state.circuits.append((facts.slaves[choice & 31], port))
    for i, port in enumerate(facts.slaves):
        value = state.value(slave, i)
        if slave.field("Slave_Enable").extract(value) and slave.field("Packet_Enable").extract(
            value
        ):
            rules = []
            for n in range(4):
                s = {f.name: f.extract(state.value(slot, i, n)) for f in slot.fields}
                if s["enable"]:
                    rules.append(PacketRule(s["id"], s["mask"], s["arbit"], s["msel"]))
            state.packet_slaves.append(PacketSlave(port, tuple(rules)))
    if kind is TileKind.SHIM:
        for (direction, channel), port in SHIM_DMA_PORTS.items():
            r = register(kind, "Mux_Config" if direction is Direction.MM2S else "Demux_Config")
            if r.field(str(port)).extract(state.value(r)) == MUX_DMA:
                state.shim_channels.append((direction, channel))
