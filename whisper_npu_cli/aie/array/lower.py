"""A placed and routed design to register writes, in the order in which aiecc emits them.

Three phases: programs into the halted cores; locks, initial data, descriptors, channel starts and
switches; then the cores are let go. Order and no-effect writes are those of 33 published mlir-aie
builds, which a word for word comparison confirmed (docs/array.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.array.design import DesignError, Dma, Program
from whisper_npu_cli.aie.array.dma import words_of
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.array.route import Routes, Switch
from whisper_npu_cli.aie.facts.tile_registers import control, queue, register
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    MUX_DMA,
    PROGRAM_MEMORY,
    SHIM_DMA_PORTS,
    Direction,
    Tile,
    TileKind,
)
from whisper_npu_cli.aie.formats.registers import (
    COLUMN_SHIFT,
    ROW_SHIFT,
    BlockWrite,
    MaskWrite,
    RegisterOp,
    Write,
)

MEMORY_MODULE_CHANNELS = [(d, c) for d in (Direction.MM2S, Direction.S2MM) for c in (0, 1)]


Phase = tuple[RegisterOp, ...]


@dataclass(frozen=True)
class Configuration:
    """The writes that load a design, by phase; `columns` is the width of its partition."""

    columns: int
    programs: Phase
    init: Phase
    enable: Phase

    @property
    def phases(self) -> tuple[Phase, Phase, Phase]:
        """The three phases in order."""
        return self.programs, self.init, self.enable


def address(tile: Tile, offset: int) -> int:
    """The address of a byte offset in a tile's 1 MiB."""
    return tile.column << COLUMN_SHIFT | tile.row << ROW_SHIFT | offset


def to_words(data: bytes) -> tuple[int, ...]:
    """Bytes as little-endian words, the last one filled up with zeros."""
    padded = data + bytes(-len(data) % 4)
    return tuple(int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4))


def _field(tile: Tile, name: str, field: str, value: int) -> MaskWrite:
    """Set one field of a register, leaving the others."""
    r = register(tile.kind, name)
    f = r.field(field)
    return MaskWrite(address(tile, r.at()), f.mask, f.insert(value))


def _load(tile: Tile, program: Program, placement: Placement) -> Iterator[RegisterOp]:
    """Halt a core, hold its DMA in reset, write program and constants, let the DMA go."""
    facts = FACTS[tile.kind]
    if len(program.text) > facts.program_bytes:
        raise DesignError(
            f"{tile}: the program has {len(program.text)} bytes; the program memory holds "
            f"{facts.program_bytes}."
        )
    _check_data(tile, program, placement)
    yield _field(tile, "Core_Control", "Enable", 0)
    resets = [
        (address(tile, r.at(c)), r.field("Reset"))
        for d, c in MEMORY_MODULE_CHANNELS
        for r in [control(tile.kind, d)]
    ]
    yield from (MaskWrite(at, f.mask, f.insert(1)) for at, f in resets)
    if program.text:
        yield BlockWrite(address(tile, PROGRAM_MEMORY), to_words(program.text))
    for at, data in program.data:
        yield BlockWrite(address(tile, at), to_words(data))
    yield from (MaskWrite(at, f.mask, 0) for at, f in resets)


def _check_data(tile: Tile, program: Program, placement: Placement) -> None:
    """DesignError when a program's constants leave the memory or overlap stack or buffers."""
    taken = [(0, placement.design.stacks[tile], "the stack")]
    taken += [(a, a + b.size, b.name) for b, a in placement.addresses.items() if b.tile == tile]
    for at, data in program.data:
        end = at + len(data)
        if at % 4 or end > FACTS[tile.kind].data_bytes:
            raise DesignError(
                f"{tile}: the program's constants at {at} to {end} have to start at a multiple of "
                f"4 and end within {FACTS[tile.kind].data_bytes} bytes."
            )
        for low, high, name in taken:
            if at < high and low < end:
                raise DesignError(
                    f"{tile}: the program's constants at {at} to {end} overlap {name} at {low} to "
                    f"{high}."
                )


def _reset(tile: Tile) -> Iterator[RegisterOp]:
    """Pulse a core's reset and clear its locks."""
    yield _field(tile, "Core_Control", "Reset", 1)
    yield _field(tile, "Core_Control", "Reset", 0)
    locks = register(tile.kind, "Lock{}_value")
    yield from (Write(address(tile, locks.at(i)), 0) for i in range(FACTS[tile.kind].locks))


def _locks(placement: Placement) -> Iterator[RegisterOp]:
    for k in placement.design.locks:
        if k.initial is not None:
            yield Write(lock_address(placement, k.tile, k.name), k.initial)


def lock_address(placement: Placement, tile: Tile, name: str) -> int:
    """The address of a lock's value register."""
    number = placement.lock_ids[placement.lock(tile, name)]
    return address(tile, register(tile.kind, "Lock{}_value").at(number))


def _descriptors(placement: Placement, dmas: Sequence[Dma]) -> Iterator[RegisterOp]:
    """One tile's descriptors: the first of every chain, then the rest, last chain first."""
    later = [(d, i) for d in reversed(dmas) for i in range(1, len(d.bds))]
    for d, i in [*((d, 0) for d in dmas), *later]:
        ids = placement.bd_ids[d.tile, d.direction, d.channel]
        last = i == len(ids) - 1
        following = ids[(i + 1) % len(ids)] if d.loop or not last else None
        at = address(d.tile, register(d.tile.kind, "DMA_BD{}_0").at(ids[i]))
        yield BlockWrite(at, words_of(placement, d.bds[i], d.direction, following))


def _starts(placement: Placement, dmas: Sequence[Dma]) -> Iterator[RegisterOp]:
    """One tile's channel starts, each with the no-effect control write that aiecc adds."""
    for d in dmas:
        first = placement.bd_ids[d.tile, d.direction, d.channel][0]
        yield start(d.tile, d.direction, d.channel, first, d.repeat)
        yield MaskWrite(address(d.tile, control(d.tile.kind, d.direction).at(d.channel)), 0, 1)


def start(
    tile: Tile, direction: Direction, channel: int, bd: int, repeat: int = 1, token: bool = False
) -> Write:
    """Put a task into a channel's queue; DesignError when a number does not fit."""
    r = queue(tile.kind, direction)
    try:
        value = r.field("Start_BD_ID").insert(bd) | r.field("Repeat_Count").insert(repeat - 1)
    except ValueError as error:
        raise DesignError(f"{tile} {direction.name}{channel}: {error}.") from None
    value |= r.field("Enable_Token_Issue").insert(int(token))
    return Write(address(tile, r.at(channel)), value)


def _switch(tile: Tile, switch: Switch) -> Iterator[RegisterOp]:
    """The registers of one stream switch: circuits, then packet masters, then packet slaves."""
    slaves, masters = FACTS[tile.kind].slaves, FACTS[tile.kind].masters
    master = register(tile.kind, "Stream_Switch_Master_Config_{}")
    slave = register(tile.kind, "Stream_Switch_Slave_Config_{}")
    slot = register(tile.kind, "Stream_Switch_Slave_{}_Slot{}")
    on, packet = master.field("Master_Enable").mask, master.field("Packet_Enable").mask
    for s, m in switch.circuits:
        yield Write(address(tile, master.at(masters.index(m))), on | slaves.index(s))
        yield Write(address(tile, slave.at(slaves.index(s))), on)
    for pm in switch.packet_masters:
        choice = sum(1 << msel for msel in pm.msels) << 3 | pm.arbiter
        value = on | packet | master.field("Configuration").insert(choice)
        value |= master.field("Drop_Header").insert(int(not pm.keep_header))
        yield Write(address(tile, master.at(masters.index(pm.port))), value)
    for ps in switch.packet_slaves:
        index = slaves.index(ps.port)
        yield Write(address(tile, slave.at(index)), on | packet)
        for n, rule in enumerate(ps.rules):
            parts = {
                "id": rule.id,
                "mask": rule.mask,
                "enable": 1,
                "msel": rule.msel,
                "arbit": rule.arbiter,
            }
            value = sum(slot.field(name).insert(v) for name, v in parts.items())
            yield Write(address(tile, slot.at(index, n)), value)


def _multiplexers(channels: Iterable[tuple[Tile, Direction, int]]) -> Iterator[RegisterOp]:
    for tile, direction, channel in channels:
        name = "Mux_Config" if direction is Direction.MM2S else "Demux_Config"
        yield _field(tile, name, str(SHIM_DMA_PORTS[direction, channel]), MUX_DMA)


def _init(placement: Placement, routes: Routes) -> Iterator[RegisterOp]:
    design = placement.design
    for tile in design.stacks:
        yield from _reset(tile)
    yield from _locks(placement)
    for b in design.buffers:
        if b.initial:
            yield BlockWrite(address(b.tile, placement.addresses[b]), to_words(b.initial))
    tiles = dict.fromkeys(d.tile for d in design.dmas)
    for tile in sorted(tiles, key=lambda t: t.kind is not TileKind.CORE):  # then memtiles
        dmas = [d for d in design.dmas if d.tile == tile]
        yield from _descriptors(placement, dmas)
        yield from _starts(placement, dmas)
    for tile, switch in routes.switches.items():
        yield from _switch(tile, switch)
    yield from _multiplexers(routes.shim_channels)


def lower(placement: Placement, routes: Routes, programs: Mapping[Tile, Program]) -> Configuration:
    """All register writes of a design; `programs` has one for every declared core.

    DesignError when a core has no program or one that does not fit.
    """
    cores = placement.design.stacks
    if missing := [t for t in cores if t not in programs]:
        raise DesignError(f"{placement.design.name}: {missing[0]} has no program.")
    if extra := [t for t in programs if t not in cores]:
        raise DesignError(f"{placement.design.name}: {extra[0]} is no declared core.")
    load = [op for tile in cores for op in _load(tile, programs[tile], placement)]
    enable = [_field(tile, "Core_Control", "Enable", 1) for tile in cores]
    return Configuration(
        placement.design.columns, tuple(load), tuple(_init(placement, routes)), tuple(enable)
    )
