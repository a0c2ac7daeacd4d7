"""The firmware's side of a launch: the instruction stream, host buffers, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.facts import launch
from whisper_npu_cli.aie.facts.tile_registers import find
from whisper_npu_cli.aie.facts.topology import Direction, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.aie.formats.sequence import (
    AddressPatch,
    MaskPoll,
    Noop,
    SequenceOp,
    Stream,
    Sync,
)
from whisper_npu_cli.emulator import timing
from whisper_npu_cli.emulator.buffers import Region
from whisper_npu_cli.emulator.deadlock import report
from whisper_npu_cli.emulator.dma import channel_name
from whisper_npu_cli.emulator.machine import Machine
from whisper_npu_cli.emulator.strict import refuse

JOB_CYCLES = 2 * timing.CLOCK_HZ
"""The driver stops a job after 2 s (shared facts 6.5)."""

POLL = 100
"""Cycles between two looks of a poll instruction. Assumed: not published."""


@dataclass(frozen=True)
class Outcome:
    """How a launch ended: its cycles from the call to the last instruction, and the hang if any."""

    cycles: int
    hang: str = ""


class Hang(Exception):
    """The launch cannot end; the text says who waits for what."""


class Launch:
    """One execution of an instruction stream on a machine, with buffers as its arguments."""

    def __init__(
        self, machine: Machine, buffers: Sequence[Region | None], limit: int = JOB_CYCLES
    ) -> None:
        self._machine = machine
        self._buffers = buffers
        self._begun = machine.now
        self._end = machine.now + limit
        self._synced = False
        self._cycle = machine.now + launch.LAUNCH

    def run(self, stream: Stream) -> Outcome:
        """Execute all instructions. Raises EmulationError; a hang is an Outcome."""
        columns = self._machine.layout.columns
        if stream.columns > columns:
            raise refuse("columns", columns=stream.columns, partition=columns)
        hang = ""
        try:
            for op in stream.ops:
                self._step(op)
        except Hang as error:
            hang = str(error)
        self._machine.drain_trace()
        self._machine.now = max(self._cycle, self._begun)
        return Outcome(self._machine.now - self._begun, hang)

    def _step(self, op: SequenceOp) -> None:
        self._cycle += launch.INSTRUCTION
        if self._cycle > self._end:
            raise Hang(f"the launch takes longer than {self._end - self._begun} cycles")
        if isinstance(op, Sync):
            self._sync(op)
        elif isinstance(op, MaskPoll):
            self._poll(op)
        elif isinstance(op, AddressPatch):
            self._machine.run(self._cycle)
            self._patch(op)
        elif not isinstance(op, Noop):
            self._machine.run(self._cycle)
            self._machine.apply(op, self._cycle)
            if isinstance(op, Write) and self._is_queue(op.address):
                self._cycle += launch.QUEUE_WRITE

    def _is_queue(self, address: int) -> bool:
        tile, offset = self._machine.configuration.tile_at(address)
        found = find(tile.kind, offset)
        return found is not None and found[0].name.endswith("_Queue")

    def _patch(self, op: AddressPatch) -> None:
        tile, offset = self._machine.configuration.tile_at(op.address)
        found = find(tile.kind, offset)
        if tile.kind is not TileKind.SHIM or found is None or found[0].name != "DMA_BD{}_1":
            raise refuse("patch", tile=tile, offset=offset)
        buffer = self._buffers[op.argument] if op.argument < len(self._buffers) else None
        if buffer is None:
            raise refuse("argument", argument=op.argument)
        if op.offset >= buffer.size:
            raise refuse("patch range", offset=op.offset, argument=op.argument, size=buffer.size)
        address = buffer.address + op.offset
        high = self._machine.configuration.read(tile, offset + 4) & ~0xFFFF | address >> 32
        self._machine.apply(Write(op.address, address & 0xFFFF_FFFF), self._cycle)
        self._machine.apply(Write(op.address + 4, high), self._cycle)

    def _sync(self, op: Sync) -> None:
        if not self._synced:
            self._synced = True
            self._cycle += launch.FIRST_SYNC
        for column in range(op.column, op.column + op.columns):
            for row in range(op.row, op.row + op.rows):
                self._wait(Tile(column, row), Direction(op.direction), op.channel)

    def _wait(self, tile: Tile, direction: Direction, number: int) -> None:
        machine, name = self._machine, channel_name(direction, number)
        agent = machine.channel(tile, direction, number)
        if agent is None:
            raise refuse("sync", channel=name, tile=tile)
        if not machine.run(self._end, token=agent):
            why = "nothing moves any more" if machine.stuck else "its time is over"
            raise Hang(
                f"the host waits for a token of {name} of {tile}, and {why}.\n"
                + report(machine, agent)
            )
        machine.state.tokens[agent] -= 1
        arrived = int(machine.state.token_time[agent]) + timing.TOKEN
        self._cycle = max(self._cycle, arrived)

    def _poll(self, op: MaskPoll) -> None:
        tile, offset = self._machine.configuration.tile_at(op.address)
        while True:
            self._machine.run(self._cycle)
            value = self._machine.configuration.read(tile, offset)
            if value & op.mask == op.value:
                return
            self._cycle += POLL
            if self._machine.stuck or self._cycle > self._end:
                raise Hang(f"the poll of {tile} {offset:#x} never comes true (it is {value:#x})")
