"""The pretend NPU: a partition that was configured by a CDO, and its step loop.

The clock counts cycles of the array since power-up and runs on between launches, as on silicon.
"""

from __future__ import annotations

from collections.abc import Iterable

from whisper_npu_cli.aie.facts.topology import Direction, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import RegisterOp
from whisper_npu_cli.emulator import engine, strict
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.configuration import Configuration
from whisper_npu_cli.emulator.cores import Cores, cascades
from whisper_npu_cli.emulator.dma import Dma, channel_name
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.state import (
    CORE,
    FAULT,
    NOTHING,
    TIME,
    TOKEN,
    TRACE_FULL,
    Layout,
    allocate,
    refer,
)
from whisper_npu_cli.emulator.switch import Switches, build
from whisper_npu_cli.emulator.timing import (
    SHIM_FIRST_MM2S,
    SHIM_FIRST_S2MM,
    SHIM_MM2S_SLIP,
    SHIM_MM2S_START,
    SHIM_S2MM_END,
)
from whisper_npu_cli.emulator.trace import Trace


class Machine:
    """A partition of `columns` columns, set up by the register writes of a CDO.

    `host` is shared with everybody who allocates buffers. Raises EmulationError for a write that
    silicon would not take.
    """

    def __init__(
        self,
        columns: int,
        setup: Iterable[RegisterOp],
        host: HostMemory,
        trace: Trace | None = None,
    ) -> None:
        self.layout = Layout(columns)
        self.host = host
        self.trace = trace
        self._setup = tuple(setup)
        self.reset()

    def reset(self) -> None:
        """Power-up and configuration, as when firmware loads the PDI."""
        self.now = 0
        self.arena = Arena(self.layout.arena_bytes)
        self.state = allocate(
            self.layout,
            self.arena.bytes.view("uint32"),
            self.arena.known.view("uint32"),
            self.host.words,
        )
        for agent, (tile, direction, _) in enumerate(self.layout.channels):
            if tile.kind is TileKind.SHIM:
                channel = self.state.channels[agent]
                if direction is Direction.MM2S:
                    channel["start_latency"], channel["slip"] = SHIM_MM2S_START, SHIM_MM2S_SLIP
                    channel["first_latency"] = SHIM_FIRST_MM2S
                else:
                    channel["end_latency"] = SHIM_S2MM_END
                    channel["first_latency"] = SHIM_FIRST_S2MM
        self.state.info[5] = self.trace is not None
        self.dma = Dma(self.layout, self.state, self.host)
        self.cores = Cores(self.layout, self.state, self.arena)
        self.configuration = Configuration(
            self.layout, self.state, self.arena, self.dma, self.cores
        )
        for op in self._setup:
            self.configuration.apply(op, 0)
        self._reroute()

    # Running -------------------------------------------------------------------------------------

    def run(self, until: int, token: int | None = None) -> bool:
        """Step all to cycle `until`, or until the channel `token` has a token to fetch.

        True when that token is there, False when `until` is reached or nothing can move any more;
        `self.stuck` tells which. Raises EmulationError.
        """
        self.stuck = False
        self._reroute()
        if self.state.host is not self.host.words:
            self.state = self.state._replace(host=self.host.words)
            self._rebind()
        while token is None or not self.state.tokens[token]:
            reason = engine.run(self._handle, until)
            if reason == CORE:
                self.cores.step(int(self.state.info[0]))
            elif reason == TOKEN:
                self._check_token(int(self.state.info[0]))
            elif reason == FAULT:
                raise self._fault()
            elif reason == TRACE_FULL:
                self.drain_trace()
            elif reason in (TIME, NOTHING):
                self.stuck = reason == NOTHING
                return False
        return True

    def apply(self, op: RegisterOp, cycle: int) -> None:
        """A register write of the host at `cycle`, which has been reached."""
        self.configuration.apply(op, cycle)

    def drain_trace(self) -> None:
        """Move the trace's rows out of the loop's buffer."""
        if self.trace is not None:
            count = int(self.state.info[4])
            self.trace.add(self.layout, self.state.trace[:count].copy())
        self.state.info[4] = 0

    def _reroute(self) -> None:
        if not self.configuration.rerouted:
            return
        held = [int(n) for n in (self.state.channels["path"] >= 0).nonzero()[0]]
        if held:
            raise strict.refuse("switch in use", agent=self.layout.agent_name(held[0]))
        self.switches = Switches(self.layout, self.configuration.values)
        self.state = build(self.switches, self.state)
        self._rebind()
        cascades(self.cores, self.configuration.values)
        self.configuration.rerouted = False

    def _rebind(self) -> None:
        self._handle = refer(self.state)
        self.dma.rebind(self.state, self._handle)
        self.configuration.rebind(self.state, self._handle)
        self.cores.rebind(self.state)

    def _check_token(self, agent: int) -> None:
        tile, direction, number = self.layout.channels[agent]
        controller = self.dma.controller.get(agent, 0)
        if not self.switches.token_arrives(tile, controller):
            raise strict.refuse(
                "token", tile=tile, channel=channel_name(direction, number), packet=controller
            )

    def _fault(self) -> EmulationError:
        agent, code, a, b = (int(v) for v in self.state.info[:4])
        lock = self.layout.lock_name(a) if code == strict.LOCK_OVERFLOW else ""
        return EmulationError(strict.sentence(code, self.layout.agent_name(agent), a, b, lock))

    def channel(self, tile: Tile, direction: Direction, number: int) -> int | None:
        """Agent number of a channel, None if there is no such channel."""
        return self.layout.channel_index.get((tile, direction, number))
