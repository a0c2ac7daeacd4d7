"""What a register write does to the array, by kind of tile. Unknown registers are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from whisper_npu_cli.aie.facts.tile_registers import Register, find, register
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    Direction,
    Tile,
    TileKind,
    exists,
)
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, RegisterOp, Write, tile_of
from whisper_npu_cli.emulator import engine
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.cores import Cores
from whisper_npu_cli.emulator.dma import Dma, channel_name
from whisper_npu_cli.emulator.state import Layout, State, refer
from whisper_npu_cli.emulator.strict import refuse

PROGRAM_BASE = 0x20000
# plain storage: read when routes are made, or of no effect on what is modelled
STORED = ("Stream_Switch_", "Mux_Config", "Demux_Config", "Accumulator_Control")
CHANNEL_MODES = {  # fields of a channel's control register that must stay 0
    "FoT_Mode": "finish on TLAST",
    "Decompression_Enable": "decompression",
    "Compression_Enable": "compression",
    "Enable_Out_of_Order": "out-of-order reception",
    "Pause_Stream": "pausing",
    "Pause_Mem": "pausing",
}


class Configuration:
    """The registers of a partition; writes take effect at once, at the cycle given."""

    def __init__(self, layout: Layout, state: State, arena: Arena, dma: Dma, cores: Cores) -> None:
        self._layout = layout
        self._state = state
        self._handle = refer(state)
        self._arena = arena
        self._dma = dma
        self._cores = cores
        self.values: dict[Tile, dict[int, int]] = {tile: {} for tile in layout.tiles}
        self.rerouted = True  # a switch was written since `rerouted` was last cleared

    def rebind(self, state: State, handle: Any) -> None:
        """Work on another state of the same layout; `handle` is `refer(state)`."""
        self._state, self._handle = state, handle

    # Addresses -----------------------------------------------------------------------------------

    def apply(self, op: RegisterOp, cycle: int) -> None:
        """Execute one operation. Raises EmulationError."""
        tile, offset = self.tile_at(op.address)
        if isinstance(op, BlockWrite):
            self._block(tile, offset, op.words, cycle)
        elif isinstance(op, MaskWrite):
            old = self.read(tile, offset)
            self._block(tile, offset, (old & ~op.mask | op.value & op.mask,), cycle)
        elif isinstance(op, Write):
            self._block(tile, offset, (op.value,), cycle)

    def tile_at(self, address: int) -> tuple[Tile, int]:
        """The tile and the offset of an address. Raises EmulationError."""
        column, row, offset = tile_of(address)
        tile = Tile(column, row)
        if not exists(tile, self._layout.columns):
            raise refuse(
                "no tile", address=address, column=column, row=row, columns=self._layout.columns
            )
        return tile, offset

    def read(self, tile: Tile, offset: int) -> int:
        """The value of a register or a word of memory."""
        facts = FACTS[tile.kind]
        if offset < facts.data_bytes:
            at = self._layout.memory_base[tile] + offset
            return int(self._arena.bytes[at : at + 4].view(np.uint32)[0])
        found = find(tile.kind, offset)
        if found is None:
            raise refuse("unknown register", tile=tile, offset=offset)
        name, numbers = found[0].name, found[1]
        if name == "Lock{}_value":
            return int(self._state.locks[self._layout.lock_base[tile] + numbers[0]])
        if name == "Core_Status":
            return self._cores.status(tile)
        return self.values[tile].get(offset, 0)

    def _block(self, tile: Tile, offset: int, words: tuple[int, ...], cycle: int) -> None:
        facts = FACTS[tile.kind]
        data = np.array(words, np.uint32)
        if offset + data.nbytes <= facts.data_bytes:
            self._arena.write(self._layout.memory_base[tile] + offset, data.tobytes())
        elif tile.kind is TileKind.CORE and 0 <= offset - PROGRAM_BASE < facts.program_bytes:
            if offset - PROGRAM_BASE + data.nbytes > facts.program_bytes:
                raise refuse("program end", tile=tile, offset=offset + data.nbytes - 4)
            self._cores.write_program(tile, offset - PROGRAM_BASE, data.tobytes(), cycle)
        else:
            touched = {self._write(tile, offset + 4 * i, w, cycle) for i, w in enumerate(words)}
            for bd in sorted(bd for bd in touched if bd is not None):
                self._decode(tile, bd)

    # Registers -----------------------------------------------------------------------------------

    def _write(self, tile: Tile, offset: int, value: int, cycle: int) -> int | None:
        """One register; the number of the descriptor that it belongs to, if it does."""
        found = find(tile.kind, offset)
        if found is None:
            raise refuse("unknown register", tile=tile, offset=offset)
        line, numbers = found
        if line.fields and value & ~reduce(or_, (field.mask for field in line.fields)):
            raise refuse("reserved bits", tile=tile, value=value, name=line.label(*numbers))
        if line.name.startswith("DMA_BD"):
            user = self._dma.user_of(tile, numbers[0])
            if user is not None:
                raise refuse("bd in flight", tile=tile, bd=numbers[0], channel=user)
            self.values[tile][offset] = value
            return numbers[0]
        self._handler(tile, line, offset, numbers)(tile, line, numbers, value, cycle)
        self.values[tile][offset] = value
        return None

    def _handler(
        self, tile: Tile, line: Register, offset: int, numbers: tuple[int, ...]
    ) -> Callable[[Tile, Register, tuple[int, ...], int, int], None]:
        name = line.name
        if name.startswith(STORED):
            self.rerouted = True
            return lambda *_: None
        if name == "Lock{}_value":
            return self._lock
        if name.endswith(("_Start_Queue", "_Task_Queue")):
            return self._queue
        if name.startswith("DMA_") and name.endswith("_Ctrl"):
            return self._channel
        if name == "Core_Control":
            return self._core
        if name == "Core_Processor_Bus":
            return lambda *_: None  # lets the core reach its registers; it refuses to, itself
        if "Status" in name:
            raise refuse("read only", tile=tile, name=line.label(*numbers), offset=offset)
        raise refuse("not modelled", tile=tile, name=line.label(*numbers), offset=offset)

    def _lock(self, tile: Tile, _: Register, numbers: tuple[int, ...], v: int, cycle: int) -> None:
        lock = self._layout.lock_base[tile] + numbers[0]
        self._state.locks[lock] = v
        engine.wake_lock(self._handle, lock, cycle)

    def _queue(
        self, tile: Tile, line: Register, numbers: tuple[int, ...], value: int, cycle: int
    ) -> None:
        fields = {field.name: field.extract(value) for field in line.fields}
        self._dma.push(tile, direction_of(line), numbers[0], fields, cycle)

    def _channel(
        self, tile: Tile, line: Register, numbers: tuple[int, ...], value: int, _: int
    ) -> None:
        direction = direction_of(line)
        for field in line.fields:
            if field.name in CHANNEL_MODES and field.extract(value):
                mode, name = CHANNEL_MODES[field.name], channel_name(direction, numbers[0])
                raise refuse("mode", tile=tile, name=mode, channel=name)
        agent = self._layout.channel_index[tile, direction, numbers[0]]
        self._dma.controller[agent] = line.field("Controller_ID").extract(value)
        if tile.kind is not TileKind.SHIM and line.field("Reset").extract(value):
            self._dma.reset(tile, direction, numbers[0])

    def _core(
        self, tile: Tile, line: Register, numbers: tuple[int, ...], value: int, cycle: int
    ) -> None:
        enable, reset = line.field("Enable").extract(value), line.field("Reset").extract(value)
        self._cores.control(tile, bool(enable), bool(reset), cycle)

    def _decode(self, tile: Tile, number: int) -> None:
        words = [
            self.values[tile].get(register(tile.kind, f"DMA_BD{{}}_{w}").at(number), 0)
            for w in range(FACTS[tile.kind].bd_words)
        ]
        self._dma.decode(tile, number, words)


def direction_of(line: Register) -> Direction:
    """The direction of a channel's register, by its name."""
    return Direction.S2MM if "S2MM" in line.name else Direction.MM2S
