"""The array's state as flat arrays, in the form that the compiled step loop works on.

Agents are numbered: first all DMA channels (`Layout.channels`), then one per core tile.
`when[agent]` is the array cycle of an agent's next ordered action, NEVER while it is blocked. Times
are cycles of the array clock since power-up; addresses are 32-bit words of one of two memories, the
tile arena and the host's (DDR).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.experimental import structref
from numpy.typing import NDArray

from whisper_npu_cli.aie.facts.topology import (
    COLUMNS,
    FACTS,
    FIRST_CORE_ROW,
    LOCK_WINDOWS,
    MEM_ROW,
    ROWS,
    TASK_QUEUE,
    Direction,
    Tile,
    TileKind,
)
from whisper_npu_cli.emulator.handle import new_handles
from whisper_npu_cli.emulator.jit import COMPILED, inner, jit

NEVER = 1 << 52
AGENT_BITS = 10  # of an agent number
UNBOUNDED = 1 << 40  # extent of a dimension without a wrap
RING = 128  # slots of a stream FIFO, a power of two; its capacity in use is smaller
MAX_BDS = 48  # of any tile
MAX_DESTINATIONS = 64  # of one path: broadcast to every core's two channels, and then some
MAX_ARBITERS = 16  # that one packet passes
PACKET_IDS = 32
TRACE_ROWS = 1 << 16
BAD_ROUTE = -16  # `route` of a path that ends where it must not: BAD_ROUTE - fault code

# Phases of a channel. Those up to FINISH act at `when`, in the order of time; the others wait.
IDLE, START, ACQUIRE, ARBITRATE, MOVE, FINISH = range(6)
WAIT_LOCK, WAIT_ARBITER, WAIT_SPACE, WAIT_DATA = range(6, 10)

# What a core has asked for. READY: it may run on from `when`. The rest act at `when` or wait.
OFF, READY, CORE_ACQUIRE, CORE_RELEASE, CORE_GET, CORE_PUT, CORE_BLOCKED = range(7)

# Why the step loop came back
TIME, NOTHING, CORE, TOKEN, FAULT, TRACE_FULL = range(6)
GO_ON = -1  # what an action returns when the loop need not come back

# Kinds of trace rows: (cycle, agent, kind, value)
T_BD_START, T_BD_END, T_LOCK_WAIT, T_LOCK_TAKEN, T_LOCK_FREED, T_TASK_END = range(6)
T_CORE_RUN, T_CORE_STOP = 6, 7  # value: the program counter
T_CORE_WAIT, T_CORE_WAITED = 8, 9  # value: the Reason; waits for locks have kinds of their own


def _record(names: str) -> np.dtype[Any]:
    return np.dtype([(name, np.int64) for name in names.split()])


# Access pattern: steps s0 to s3 in words; extents w0 to w2 (the last used one is UNBOUNDED), with
# zeros before (b) and after (e) each of them, counted in elements of that dimension.
_PATTERN = "s0 s1 s2 s3 w0 w1 w2 b0 b1 b2 e0 e1 e2 "

CHANNEL = _record(
    "phase mm2s tile channel host clock "  # clock: cycle of the last word
    "queued first_bd bd repeat token fresh "  # the task in progress; fresh: no word of it moved yet
    "left base row inside p0 p1 p2 p3 tlast header next "  # the descriptor in progress
    + _PATTERN
    + "path heading "  # of the packet, -1 between packets; what is due: see HEADER_*
    # `slip` words cost one cycle more than there are words
    "start_latency end_latency first_latency slip slipped "
    "since words tasks stall_lock stall_stream stall_arbiter"
)
NO_HEADER, HEADER_OWN, HEADER_DATA = range(3)  # nothing due, a word of its own, the first data word

BD = _record(
    "valid fault base low high length "
    + _PATTERN
    + "i_current i_wrap i_step acquire acquire_lock acquire_value release_lock release_value next "
    "header suppress neighbour"
)
FIFO = _record("head tail capacity reader writer")  # 1: the reader waits; agent of a waiting writer
PATH = _record("count arbiters")
WAITER = _record("phase asked lock value word last cycle since path stall_lock stall_stream fault")

Array = NDArray[Any]


class State(NamedTuple):
    """All that the step loop reads and writes; see the record types above."""

    when: Array  # [agents]
    channels: Array  # CHANNEL [channels]
    queue: Array  # [channels, TASK_QUEUE, 3]: descriptor, repeats after the first, token
    bds: Array  # BD [tiles * MAX_BDS]
    locks: Array  # [locks]
    cores: Array  # WAITER [cores]
    handles: Any  # of cores, see handle.py
    core_locks: Array  # [cores, 64]: lock by the number that a core gives it, -1 none
    fifos: Array  # FIFO [agents]: what arrives at an S2MM channel or at a core
    fifo_word: Array  # uint32 [agents, RING]
    fifo_last: Array  # uint8
    fifo_time: Array  # int64, cycle from which the word can be taken
    fifo_freed: Array  # int64, cycle at which the slot was freed
    burst_word: Array  # uint32 [RING]: words on their way from one place to another
    burst_time: Array  # int64 [RING]: when they left
    route: Array  # [agents, PACKET_IDS]: path of a source by packet id, -1 none
    packets: Array  # uint8 [agents]: the source's path depends on a header word
    paths: Array  # PATH [paths]
    path_to: Array  # [paths, MAX_DESTINATIONS]: agents
    path_latency: Array  # cycles, same shape
    path_drop: Array  # uint8: the header is dropped at this destination
    path_arbiter: Array  # [paths, MAX_ARBITERS]
    arbiters: Array  # [tiles * 8]: agent that holds it, or -1
    words: Array  # uint32, tile arena
    known: Array  # uint32 view of the arena's `known` bytes
    host: Array  # uint32, host memory
    tokens: Array  # [channels]: completion tokens issued and not yet fetched
    token_time: Array  # [channels]: when the last one was issued
    info: Array  # int64 [8]: agent, fault code and its two numbers; [4] rows of trace, [5] tracing
    trace: Array  # int64 [TRACE_ROWS, 4]


_StructRef: Any = vars(types)["StructRef"]  # numba has no types


@structref.register
class StateType(_StructRef):
    """numba's type of a Handle."""


class Handle(structref.StructRefProxy):
    """A State by reference: what compiled functions hand on costs one pointer."""


_structref: Any = structref  # numba has no types
_structref.define_proxy(Handle, StateType, list(State._fields))
_handle: Any = Handle


@jit
def _refer(*arrays: Any) -> Any:
    return _handle(*arrays)


def refer(state: State) -> Any:
    """What the step loop takes: the state by reference, or itself where nothing is compiled."""
    return _refer(*state) if COMPILED else state


@inner
def note(s: State, cycle: int, agent: int, kind: int, value: int) -> None:
    """Add a row to the trace, if there is one."""
    if s.info[5]:
        row = s.trace[s.info[4]]
        row[0], row[1], row[2], row[3] = cycle, agent, kind, value
        s.info[4] += 1


class Layout:
    """Numbers of tiles, channels, cores, locks, and places in the arena, for `columns` columns."""

    def __init__(self, columns: int = COLUMNS) -> None:
        self.columns = columns
        self.tiles = [Tile(c, r) for c in range(columns) for r in range(ROWS)]
        self.tile_index = {tile: n for n, tile in enumerate(self.tiles)}
        self.cores = [t for t in self.tiles if t.kind is TileKind.CORE]
        self.channels = [
            (tile, direction, channel)
            for tile in self.tiles
            for direction in Direction
            for channel in range(FACTS[tile.kind].channels)
        ]
        self.channel_index = {key: n for n, key in enumerate(self.channels)}
        self.core_index = {t: n for n, t in enumerate(self.cores)}
        self.lock_base: dict[Tile, int] = {}
        count = 0
        for tile in self.tiles:
            self.lock_base[tile] = count
            count += FACTS[tile.kind].locks
        self.lock_count = count
        core_bytes = FACTS[TileKind.CORE].data_bytes
        mem_bytes = FACTS[TileKind.MEM].data_bytes
        self.memory_base = {t: n * core_bytes for n, t in enumerate(self.cores)}
        start = len(self.cores) * core_bytes
        for c in range(columns):
            self.memory_base[Tile(c, MEM_ROW)] = start + c * mem_bytes
        self.arena_bytes = start + columns * mem_bytes

    def core_locks(self, tile: Tile) -> list[int]:
        """Index of the lock for each number that a core may use; -1 where there is no neighbour."""
        locks = []
        for east, north in sorted(LOCK_WINDOWS, key=LOCK_WINDOWS.__getitem__):
            base = self.lock_base.get(Tile(tile.column + east, tile.row + north), -1)
            there = base >= 0 and tile.row + north >= FIRST_CORE_ROW
            locks += [base + n if there else -1 for n in range(FACTS[TileKind.CORE].locks)]
        return locks

    @property
    def agents(self) -> int:
        """Number of agents: channels, then cores."""
        return len(self.channels) + len(self.cores)

    def core_agent(self, tile: Tile) -> int:
        """Agent number of a core."""
        return len(self.channels) + self.core_index[tile]

    def agent_name(self, agent: int) -> str:
        """What to call an agent in a sentence."""
        if agent < len(self.channels):
            tile, direction, channel = self.channels[agent]
            return f"{tile} {direction.name} channel {channel}"
        tile = self.cores[agent - len(self.channels)]
        return f"core ({tile.column},{tile.row})"

    def lock_name(self, lock: int) -> str:
        """What to call a lock in a sentence."""
        tile = max(
            (t for t in self.tiles if self.lock_base[t] <= lock), key=self.lock_base.__getitem__
        )
        return f"lock {lock - self.lock_base[tile]} of {tile}"


def allocate(layout: Layout, words: Array, known: Array, host: Array) -> State:
    """The state after power-up: locks 0, nothing running, no routes."""
    channels, agents, tiles = len(layout.channels), layout.agents, len(layout.tiles)
    state = State(
        when=np.full(agents, NEVER, np.int64),
        channels=np.zeros(channels, CHANNEL),
        queue=np.zeros((channels, TASK_QUEUE, 3), np.int64),
        bds=np.zeros(tiles * MAX_BDS, BD),
        locks=np.zeros(layout.lock_count, np.int64),
        cores=np.zeros(len(layout.cores), WAITER),
        handles=new_handles(len(layout.cores)),
        core_locks=np.array([layout.core_locks(tile) for tile in layout.cores]),
        fifos=np.zeros(agents, FIFO),
        fifo_word=np.zeros((agents, RING), np.uint32),
        fifo_last=np.zeros((agents, RING), np.uint8),
        fifo_time=np.zeros((agents, RING), np.int64),
        fifo_freed=np.zeros((agents, RING), np.int64),
        burst_word=np.zeros(RING, np.uint32),
        burst_time=np.zeros(RING, np.int64),
        route=np.full((agents, PACKET_IDS), -1, np.int64),
        packets=np.zeros(agents, np.uint8),
        paths=np.zeros(1, PATH),
        path_to=np.zeros((1, MAX_DESTINATIONS), np.int64),
        path_latency=np.zeros((1, MAX_DESTINATIONS), np.int64),
        path_drop=np.zeros((1, MAX_DESTINATIONS), np.uint8),
        path_arbiter=np.zeros((1, MAX_ARBITERS), np.int64),
        arbiters=np.full(tiles * 8, -1, np.int64),
        words=words,
        known=known,
        host=host,
        tokens=np.zeros(channels, np.int64),
        token_time=np.zeros(channels, np.int64),
        info=np.zeros(8, np.int64),
        trace=np.zeros((TRACE_ROWS, 4), np.int64),
    )
    for n, (tile, direction, number) in enumerate(layout.channels):
        channel = state.channels[n]
        channel["mm2s"] = direction is Direction.MM2S
        channel["tile"] = layout.tile_index[tile]
        channel["channel"] = number
        channel["host"] = tile.kind is TileKind.SHIM
        channel["path"] = -1
    state.cores["path"] = -1
    state.fifos["writer"] = -1
    return state


# FIRST_CORE_ROW is what makes `Layout.cores` the rows 2 to 5
assert FIRST_CORE_ROW == MEM_ROW + 1
