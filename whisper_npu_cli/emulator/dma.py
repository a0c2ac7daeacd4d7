"""Buffer descriptors and task queues: from register words to rows of the array's state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whisper_npu_cli.aie.facts.tile_registers import bd_layout
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    MEM_ROW,
    TASK_QUEUE,
    Direction,
    Tile,
    TileKind,
    bd_pool,
)
from whisper_npu_cli.emulator import engine, strict
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.locks import lock_of_dma
from whisper_npu_cli.emulator.state import (
    IDLE,
    MAX_BDS,
    NEVER,
    UNBOUNDED,
    Layout,
    State,
    refer,
)

FIRST_COLUMN = 1  # physical number of a partition's first column, as the driver places it (4.1)


class Dma:
    """The DMA registers of all tiles."""

    def __init__(self, layout: Layout, state: State, host: HostMemory) -> None:
        self._layout = layout
        self._state = state
        self._handle = refer(state)
        self._host = host
        # controller id by channel, for tokens
        self.controller: dict[int, int] = {}

    def rebind(self, state: State, handle: Any) -> None:
        """Work on another state of the same layout; `handle` is `refer(state)`."""
        self._state, self._handle = state, handle

    # Descriptors ---------------------------------------------------------------------------------

    def decode(self, tile: Tile, number: int, words: Sequence[int]) -> None:
        """Set descriptor `number` from its words. A fault in it counts when it is started."""
        fields = {
            name: field.extract(words[word]) for name, (word, field) in bd_layout(tile.kind).items()
        }
        row = self._state.bds[self._layout.tile_index[tile] * MAX_BDS + number]
        row["valid"], row["fault"], row["neighbour"] = fields["Valid_BD"], 0, 0
        row["length"] = fields["Buffer_Length"]
        self._pattern(tile, row, fields)
        self._place(tile, row, fields)
        self._locks(tile, row, fields)
        row["next"] = fields["Next_BD"] if fields["Use_Next_BD"] else -1
        row["suppress"] = fields["TLAST_Suppress"]
        row["header"] = packet_header(tile, fields) if fields["Enable_Packet"] else -1
        if fields.get("Enable_Compression"):
            row["fault"] = strict.BD_COMPRESSED
        if not row["length"]:
            row["fault"] = strict.BD_EMPTY

    def _pattern(self, tile: Tile, row: Any, fields: dict[str, int]) -> None:
        for d in range(4):
            row[f"s{d}"] = fields.get(f"D{d}_Stepsize", 0) + 1
        for d in range(3):
            row[f"w{d}"] = fields.get(f"D{d}_Wrap", 0) or UNBOUNDED
            row[f"b{d}"] = fields.get(f"D{d}_Zero_Before", 0)
            row[f"e{d}"] = fields.get(f"D{d}_Zero_After", 0)
        row["i_current"] = fields["Iteration_Current"]
        row["i_wrap"] = fields["Iteration_Wrap"] + 1
        row["i_step"] = fields["Iteration_Stepsize"] + 1
        if row["i_wrap"] == 1:
            row["i_step"] = 0
        above = False  # of a dimension without a wrap
        for d in range(3):
            unbounded = row[f"w{d}"] == UNBOUNDED
            if (above and row[f"b{d}"]) or ((above or unbounded) and row[f"e{d}"]):
                row["fault"] = strict.PADDING
            above = above or unbounded

    def _place(self, tile: Tile, row: Any, fields: dict[str, int]) -> None:
        facts, bases = FACTS[tile.kind], self._layout.memory_base
        if tile.kind is TileKind.SHIM:
            address = fields["Base_Address_Low"] << 2 | fields["Base_Address_High"] << 32
            region = self._host.find(address)
            if region is None:
                row["fault"] = strict.BD_NO_BUFFER
                return
            low, high = region.offset, region.offset + region.size
            base = address - region.address + low
        else:
            address = fields["Base_Address"] * 4
            owner = tile
            if tile.kind is TileKind.MEM:
                column = tile.column + (address - facts.dma_base) // facts.data_bytes
                owner = Tile(column, MEM_ROW)
                row["neighbour"] = owner != tile
                address %= facts.data_bytes
            if owner not in bases:
                row["fault"], row["high"] = strict.BD_BOUNDS, 0
                return
            low = bases[owner]
            high, base = low + facts.data_bytes, low + address
        row["base"], row["low"], row["high"] = base // 4, low // 4, high // 4

    def _locks(self, tile: Tile, row: Any, fields: dict[str, int]) -> None:
        row["acquire"] = fields["Lock_Acq_Enable"]
        row["acquire_value"], row["release_value"] = (
            fields["Lock_Acq_Value"],
            fields["Lock_Rel_Value"],
        )
        for name, field, used in (
            ("acquire_lock", "Lock_Acq_ID", row["acquire"]),
            ("release_lock", "Lock_Rel_ID", row["release_value"]),
        ):
            lock = lock_of_dma(self._layout, tile, fields[field])
            if used and lock is None:
                row["fault"] = strict.BD_LOCK
            row[name] = -1 if lock is None else lock
            if used and tile.kind is TileKind.MEM and fields[field] // FACTS[tile.kind].locks != 1:
                row["neighbour"] = 1

    # Channels ------------------------------------------------------------------------------------

    def user_of(self, tile: Tile, bd: int) -> str | None:
        """The channel that has a task with this descriptor, or None."""
        state, layout = self._state, self._layout
        for direction in Direction:
            for number in range(FACTS[tile.kind].channels):
                agent = layout.channel_index[tile, direction, number]
                channel = state.channels[agent]
                heads = [int(state.queue[agent, i, 0]) for i in range(channel["queued"])]
                if channel["phase"] != IDLE:
                    heads += [int(channel["bd"]), int(channel["first_bd"])]
                if bd in self.chains(tile, heads):
                    return channel_name(direction, number)
        return None

    def chains(self, tile: Tile, heads: list[int]) -> set[int]:
        """All descriptors that are reached from `heads`."""
        heads = list(heads)
        first = self._layout.tile_index[tile] * MAX_BDS
        found: set[int] = set()
        while heads:
            bd = heads.pop()
            if bd not in found:
                found.add(bd)
                if self._state.bds[first + bd]["next"] >= 0:
                    heads.append(int(self._state.bds[first + bd]["next"]))
        return found

    def push(
        self, tile: Tile, direction: Direction, number: int, fields: dict[str, int], cycle: int
    ) -> None:
        """Queue a task. Raises EmulationError when the queue is full or the BD out of reach."""
        agent = self._layout.channel_index[tile, direction, number]
        channel = self._state.channels[agent]
        bd, name = fields["Start_BD_ID"], channel_name(direction, number)
        pool = bd_pool(tile.kind, number)
        if bd not in pool:
            raise strict.refuse(
                "no bd", tile=tile, channel=name, bd=bd, first=pool[0], last=pool[-1]
            )
        queued = int(channel["queued"])
        if queued == TASK_QUEUE:
            raise strict.refuse("queue full", tile=tile, channel=name, depth=TASK_QUEUE)
        self._state.queue[agent, queued] = (
            bd, fields["Repeat_Count"], fields["Enable_Token_Issue"],
        )  # fmt: skip
        channel["queued"] = queued + 1
        engine.next_task(self._handle, agent, cycle)

    def reset(self, tile: Tile, direction: Direction, number: int) -> None:
        """Drop a channel's tasks."""
        agent = self._layout.channel_index[tile, direction, number]
        channel = self._state.channels[agent]
        channel["phase"], channel["queued"], channel["path"] = IDLE, 0, -1
        self._state.when[agent] = NEVER


def packet_header(tile: Tile, fields: dict[str, int]) -> int:
    """The header word of a descriptor's packets (AM020): odd parity, source, type, id."""
    word = (
        (tile.column + FIRST_COLUMN) << 21
        | tile.row << 16
        | fields["Packet_Type"] << 12
        | fields["Packet_ID"]
    )
    return word | (1 - word.bit_count() % 2) << 31


def channel_name(direction: Direction, number: int) -> str:
    """As in sentences."""
    return f"{direction.name} channel {number}"
