"""The cores as agents of the array: when they run, and what becomes of their requests."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.aie.facts.tile_registers import register
from whisper_npu_cli.aie.facts.topology import MEMORY_WINDOWS, Tile, TileKind
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.pipeline import FAULT, UNDECODED
from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.emulator.state import (
    CORE_BLOCKED,
    CORE_GET,
    CORE_PUT,
    NEVER,
    OFF,
    READY,
    RING,
    T_CORE_WAIT,
    T_CORE_WAITED,
    Layout,
    State,
)
from whisper_npu_cli.emulator.strict import refuse

if TYPE_CHECKING:
    from whisper_npu_cli.emulator.core import Core

CASCADE_WORDS = 2
"""512-bit words that a cascade link holds (AM020 chapter 4: a two-deep FIFO)."""

WAITS_CASCADE = -3


class Cores:
    """One Core for each tile that the configuration gives a program or enables."""

    def __init__(self, layout: Layout, state: State, arena: Arena) -> None:
        self._layout = layout
        self.tiles = layout.cores
        self._state = state
        self._arena = arena
        self.cores: dict[Tile, Core] = {}
        self._enabled: dict[Tile, tuple[bool, bool]] = {}  # enable, reset
        self._pending: dict[Tile, Reason] = {}  # a request that awaits its answer
        self._cascade: dict[Tile, deque[Any]] = {}  # words on their way to a core
        self.cascade_to: dict[Tile, Tile | None] = {}  # set when routes are made
        self.cascade_from: dict[Tile, Tile | None] = {}

    def rebind(self, state: State) -> None:
        """Work on another state of the same layout."""
        self._state = state

    def core(self, tile: Tile) -> Core:
        """The core of a tile, made on first use."""
        if tile not in self.cores:
            from whisper_npu_cli.emulator.core import Core

            self.cores[tile] = Core(
                f"core ({tile.column},{tile.row})", self._arena, self._windows(tile)
            )
            self._state.handles[self._layout.core_index[tile]] = self.cores[tile].handle
        return self.cores[tile]

    def _windows(self, tile: Tile) -> tuple[int, ...]:
        # in the order of the windows' addresses: south, west, north, own
        steps = sorted(MEMORY_WINDOWS, key=MEMORY_WINDOWS.__getitem__)
        tiles = [Tile(tile.column + east, tile.row + north) for east, north in steps]
        return tuple(
            self._layout.memory_base[t]
            if t in self._layout.memory_base and t.kind is TileKind.CORE
            else -1
            for t in tiles
        )

    # Configuration -------------------------------------------------------------------------------

    def write_program(self, tile: Tile, offset: int, data: bytes, cycle: int) -> None:
        """Put bytes into program memory; the core must not run."""
        if self.state(tile) not in (OFF, None):
            raise refuse("running program", tile=tile)
        core = self.core(tile)
        core.program[offset : offset + len(data)] = memoryview(data)
        core.forget()

    def control(self, tile: Tile, enable: bool, reset: bool, cycle: int) -> None:
        """Core_Control: a core runs while it is enabled and not in reset."""
        core = self.core(tile)
        row = self._state.cores[self._layout.core_index[tile]]
        agent = self._layout.core_agent(tile)
        self._enabled[tile] = enable, reset
        if reset:
            core.reset(cycle=cycle)
            self._pending.pop(tile, None)
            row["phase"], row["path"], row["asked"] = OFF, -1, Reason.LIMIT
        if enable and not reset and row["phase"] == OFF and core.state != "done":
            core.reset(cycle=cycle)
            row["phase"], row["cycle"], row["asked"] = READY, cycle, Reason.LIMIT
            self._state.when[agent] = cycle
        elif not enable or reset:
            row["phase"] = OFF
            self._state.when[agent] = NEVER

    def state(self, tile: Tile) -> int | None:
        """The phase of a core, None for one that does not exist yet."""
        if tile not in self.cores:
            return None
        return int(self._state.cores[self._layout.core_index[tile]]["phase"])

    def status(self, tile: Tile) -> int:
        """Core_Status: enabled, in reset, lock stall (one bit for all), done."""
        enable, reset = self._enabled.get(tile, (False, True))
        done = tile in self.cores and self.cores[tile].state == "done"
        return enable | reset << 1 | done << 20

    # Running -------------------------------------------------------------------------------------

    def step(self, agent: int) -> None:
        """Go on with a core that has asked for something, or answer it when its turn has come."""
        tile = self._layout.cores[agent - len(self._layout.channels)]
        core, row = self.cores[tile], self._state.cores[self._layout.core_index[tile]]
        pending, since = self._pending.pop(tile, None), core.cycle
        if pending is None:
            self._ask(tile, core, row, agent)
        elif self._answer(tile, core, row, agent, pending):
            row["asked"] = Reason.LIMIT
            if core.cycle > since:
                self._note(since, agent, T_CORE_WAIT, pending)
                self._note(core.cycle, agent, T_CORE_WAITED, pending)

    def _ask(self, tile: Tile, core: Core, row: Any, agent: int) -> None:
        """Take up what a core has stopped for."""
        asked = int(row["asked"])
        if asked == FAULT:
            raise core.fault()
        if asked == UNDECODED:
            core.decode()
            self._state.handles[self._layout.core_index[tile]] = core.handle
            row["asked"] = Reason.LIMIT
            return
        reason = core.stopped(Reason(asked))
        if reason is Reason.DONE:
            row["phase"] = OFF
            self._state.when[agent] = NEVER
            return
        if reason in (Reason.ACQUIRE, Reason.RELEASE):
            raise EmulationError(
                f"{core.where()}: core ({tile.column},{tile.row}) names lock {core.lock} of a "
                "neighbour that does not exist."
            )
        self._pending[tile] = reason
        if reason is Reason.STREAM_READ:
            row["phase"] = CORE_GET
        elif reason is Reason.STREAM_WRITE:
            row["phase"], row["word"], row["last"] = CORE_PUT, core.value, core.last

    def _note(self, cycle: int, agent: int, kind: int, value: int) -> None:
        if self._state.info[5]:
            row = int(self._state.info[4])
            self._state.trace[row] = cycle, agent, kind, value
            self._state.info[4] = row + 1

    def _answer(self, tile: Tile, core: Core, row: Any, agent: int, pending: Reason) -> bool:
        """Resume a core whose request is done; False when it has to wait on."""
        cycle = int(row["cycle"])
        if pending is Reason.STREAM_WRITE:
            core.resume(cycle)
        elif pending is Reason.STREAM_READ:
            core.resume(cycle, int(row["word"]) | int(row["last"]) << 32)
        elif pending is Reason.STREAM_READ_NB:
            self._read_now(core, agent, cycle)
        elif pending in (Reason.CASCADE_READ, Reason.CASCADE_WRITE):
            return self._cascade_step(tile, core, row, agent, pending)
        elif pending is Reason.EVENT:
            core.resume(cycle)
        else:
            raise EmulationError(
                f"{core.where()}: a stream write that does not wait is not modelled."
            )
        return True

    def _read_now(self, core: Core, agent: int, cycle: int) -> None:
        fifo, slot = self._state.fifos[agent], int(self._state.fifos[agent]["tail"]) % RING
        there = fifo["head"] != fifo["tail"] and int(self._state.fifo_time[agent, slot]) <= cycle
        if not there:
            core.resume(cycle, 0, ok=False)
            return
        word = int(self._state.fifo_word[agent, slot])
        last = int(self._state.fifo_last[agent, slot])
        self._state.fifo_freed[agent, slot] = cycle
        fifo["tail"] += 1
        core.resume(cycle, word | last << 32)

    def _cascade_step(self, tile: Tile, core: Core, row: Any, agent: int, pending: Reason) -> bool:
        """Move a cascade word, or let the core wait for its neighbour."""
        cycle = int(row["cycle"])
        reading = pending is Reason.CASCADE_READ
        other = (self.cascade_from if reading else self.cascade_to).get(tile)
        if other is None:
            raise EmulationError(f"{core.where()}: the cascade of {tile} leads nowhere.")
        link = self._cascade.setdefault(tile if reading else other, deque())
        if (reading and not link) or (not reading and len(link) == CASCADE_WORDS):
            self._pending[tile] = pending
            row["phase"], row["lock"] = CORE_BLOCKED, WAITS_CASCADE
            self._state.when[agent] = NEVER
            return False
        if reading:
            core.resume(cycle, link.popleft())
        else:
            link.append(core.cascade.copy())
            core.resume(cycle)
        self._wake_cascade(other, cycle)
        return True

    def _wake_cascade(self, tile: Tile, cycle: int) -> None:
        row = self._state.cores[self._layout.core_index[tile]]
        if row["phase"] == CORE_BLOCKED and row["lock"] == WAITS_CASCADE:
            row["phase"], row["cycle"] = READY, max(cycle + 1, int(row["cycle"]))
            self._state.when[self._layout.core_agent(tile)] = row["cycle"]


def cascades(cores: Cores, values: dict[Tile, dict[int, int]]) -> None:
    """Set who a core's cascade leads to and comes from: both ends must say so (register 36060)."""
    line = register(TileKind.CORE, "Accumulator_Control")
    for tile in cores.tiles:
        value = values[tile].get(line.at(), 0)
        east, west = line.field("Output").extract(value), line.field("Input").extract(value)
        target = Tile(tile.column + 1, tile.row) if east else Tile(tile.column, tile.row - 1)
        origin = Tile(tile.column - 1, tile.row) if west else Tile(tile.column, tile.row + 1)
        cores.cascade_to[tile] = target if target in cores.tiles else None
        cores.cascade_from[tile] = origin if origin in cores.tiles else None
    for tile in cores.tiles:
        to, sender = cores.cascade_to[tile], cores.cascade_from[tile]
        if to is not None and cores.cascade_from[to] != tile:
            cores.cascade_to[tile] = None
        if sender is not None and cores.cascade_to[sender] != tile:
            cores.cascade_from[tile] = None
