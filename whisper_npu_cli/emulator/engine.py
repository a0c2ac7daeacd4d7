"""The step loop: channels and locks in the order of time, compiled.

Each agent's next action has a cycle (`State.when`). The loop always takes the earliest, the lower
agent number first. Locks, arbiters and the begin and end of descriptors are handled strictly in
that order; the words in between move in bursts (transfer.py), and cores run from one request to the
next (turn.py).
"""

from __future__ import annotations

from typing import Any

from whisper_npu_cli.aie.facts.topology import MAX_LOCK
from whisper_npu_cli.emulator import strict
from whisper_npu_cli.emulator.jit import inner, jit
from whisper_npu_cli.emulator.state import (
    ACQUIRE,
    AGENT_BITS,
    ARBITRATE,
    BAD_ROUTE,
    CORE_ACQUIRE,
    CORE_BLOCKED,
    CORE_GET,
    CORE_PUT,
    CORE_RELEASE,
    FAULT,
    FINISH,
    GO_ON,
    HEADER_DATA,
    HEADER_OWN,
    IDLE,
    MAX_BDS,
    MOVE,
    NEVER,
    NO_HEADER,
    NOTHING,
    PACKET_IDS,
    READY,
    START,
    T_BD_END,
    T_BD_START,
    T_LOCK_FREED,
    T_LOCK_TAKEN,
    T_LOCK_WAIT,
    T_TASK_END,
    TIME,
    TOKEN,
    TRACE_FULL,
    TRACE_ROWS,
    WAIT_ARBITER,
    WAIT_DATA,
    WAIT_LOCK,
    WAIT_SPACE,
    State,
    note,
)
from whisper_npu_cli.emulator.timing import BD_SETUP, LOCK_REQUEST
from whisper_npu_cli.emulator.transfer import (
    fetch,
    locate,
    push,
    receive,
    room,
    send,
    take,
    wake_writer,
)
from whisper_npu_cli.emulator.turn import core_turn

NOT_FREE = -2  # of a path


@inner
def fault(s: State, agent: int, code: int, first: int, second: int) -> int:
    """Stop with a sentence of strict.py."""
    s.info[0], s.info[1], s.info[2], s.info[3] = agent, code, first, second
    return FAULT


# Locks -------------------------------------------------------------------------------------------


@inner
def try_acquire(s: State, lock: int, value: int) -> bool:
    """AM025: -n waits for at least n and subtracts n; a value from 0 on waits for equality."""
    held = s.locks[lock]
    if value < 0 and held >= -value:
        s.locks[lock] = held + value
        return True
    if value >= 0 and held == value:
        s.locks[lock] = 0
        return True
    return False


@jit
def wake_lock(s: State, lock: int, cycle: int) -> None:
    """Let all who wait for a lock try again."""
    channels = s.channels.shape[0]
    for a in range(channels):
        channel = s.channels[a]
        if channel["phase"] == WAIT_LOCK and s.bds[bd_of(channel)]["acquire_lock"] == lock:
            channel["phase"] = ACQUIRE
            s.when[a] = max(cycle, channel["clock"])
    for k in range(s.cores.shape[0]):
        core = s.cores[k]
        if core["phase"] == CORE_BLOCKED and core["lock"] == lock:
            core["phase"] = CORE_ACQUIRE
            s.when[channels + k] = max(cycle, core["cycle"])


@inner
def release(s: State, agent: int, lock: int, value: int, cycle: int) -> int:
    """Add to a lock; beyond 0 to 63 the silicon sets a flag and the count is lost: FAULT."""
    held = s.locks[lock] + value
    if held > MAX_LOCK or held < 0:
        return fault(s, agent, strict.LOCK_OVERFLOW, lock, held)
    s.locks[lock] = held
    note(s, cycle, agent, T_LOCK_FREED, lock)
    wake_lock(s, lock, cycle)
    return GO_ON


# A channel's phases ------------------------------------------------------------------------------


@inner
def bd_of(channel: Any) -> int:
    """Row of the channel's current descriptor."""
    return int(channel["tile"] * MAX_BDS + channel["bd"])


@inner
def set_phase(s: State, agent: int, phase: int, cycle: int) -> None:
    """Go to a phase that acts at `cycle`, or NEVER."""
    s.channels[agent]["phase"] = phase
    s.when[agent] = cycle


@inner
def farthest(count: int, bd: Any) -> int:
    """Largest word offset that the first `count` data words of a pattern reach. Steps are > 0."""
    most = 0
    rows = (count - 1) // bd["w0"]
    for row in (rows - 1, rows):
        if row < 0:
            continue
        words = bd["w0"] if row < rows else (count - 1) % bd["w0"] + 1
        plane = row // bd["w1"]
        for q in (plane - 1, plane):
            if q < 0:
                continue
            r = bd["w1"] - 1 if q < plane else row % bd["w1"]
            cube = q // bd["w2"]
            for c in (cube - 1, cube):
                if c >= 0:
                    p = bd["w2"] - 1 if c < cube else q % bd["w2"]
                    at = (words - 1) * bd["s0"] + r * bd["s1"] + p * bd["s2"] + c * bd["s3"]
                    most = max(most, at)
    return int(most)


@inner
def data_words(bd: Any) -> int:
    """How many of a descriptor's words come from memory and are not padding, at most."""
    if bd["b0"] + bd["e0"] + bd["b1"] + bd["e1"] + bd["b2"] + bd["e2"] == 0:
        return int(bd["length"])
    row = bd["b0"] + bd["w0"] + bd["e0"]
    if bd["w1"] >= 1 << 39:  # one dimension: every row is data
        return int(-(-bd["length"] // row) * bd["w0"])
    plane = row * (bd["b1"] + bd["w1"] + bd["e1"])
    if bd["w2"] >= 1 << 39:
        return int(-(-bd["length"] // plane) * bd["w0"] * bd["w1"])
    cube = plane * (bd["b2"] + bd["w2"] + bd["e2"])
    return int(-(-bd["length"] // cube) * bd["w0"] * bd["w1"] * bd["w2"])


@inner
def latch(channel: Any, bd: Any) -> None:
    """Copy what a descriptor says into its channel, counters at the start."""
    channel["left"] = bd["length"]
    channel["base"] = bd["base"] + bd["i_current"] * bd["i_step"]
    channel["s0"], channel["s1"], channel["s2"], channel["s3"] = (
        bd["s0"],
        bd["s1"],
        bd["s2"],
        bd["s3"],
    )
    channel["w0"], channel["w1"], channel["w2"] = bd["w0"], bd["w1"], bd["w2"]
    channel["b0"], channel["b1"], channel["b2"] = bd["b0"], bd["b1"], bd["b2"]
    channel["e0"], channel["e1"], channel["e2"] = bd["e0"], bd["e1"], bd["e2"]
    channel["p0"], channel["p1"], channel["p2"], channel["p3"] = 0, 0, 0, 0
    channel["header"], channel["next"] = bd["header"], bd["next"]
    channel["tlast"] = 1 - bd["suppress"]
    locate(channel)


@inner
def start(s: State, agent: int, cycle: int) -> int:
    """Load a descriptor and check it."""
    channel = s.channels[agent]
    bd = s.bds[bd_of(channel)]
    if not bd["valid"]:
        return fault(s, agent, strict.BD_NOT_VALID, channel["bd"], 0)
    if bd["fault"]:
        return fault(s, agent, bd["fault"], channel["bd"], 0)
    if bd["neighbour"] and channel["channel"] > 3:
        return fault(s, agent, strict.BD_NEIGHBOUR, channel["bd"], channel["channel"])
    latch(channel, bd)
    if channel["base"] + farthest(data_words(bd), bd) >= bd["high"]:
        return fault(s, agent, strict.BD_BOUNDS, channel["bd"], (bd["high"] - bd["low"]) * 4)
    note(s, cycle, agent, T_BD_START, channel["bd"])
    channel["clock"] = channel["since"] = cycle + BD_SETUP
    set_phase(s, agent, ACQUIRE, cycle + BD_SETUP)
    return GO_ON


@inner
def acquire(s: State, agent: int, cycle: int) -> int:
    """Take the descriptor's lock, or wait for it."""
    channel = s.channels[agent]
    bd = s.bds[bd_of(channel)]
    if bd["acquire"]:
        if not try_acquire(s, bd["acquire_lock"], bd["acquire_value"]):
            note(s, cycle, agent, T_LOCK_WAIT, bd["acquire_lock"])
            set_phase(s, agent, WAIT_LOCK, NEVER)
            return GO_ON
        channel["stall_lock"] += cycle - channel["since"]
        note(s, cycle, agent, T_LOCK_TAKEN, bd["acquire_lock"])
        cycle += LOCK_REQUEST
    if channel["mm2s"] and channel["fresh"]:
        cycle += channel["start_latency"]
        if channel["tasks"] == 0:
            cycle += channel["first_latency"]
    channel["fresh"] = 0
    channel["clock"] = channel["since"] = cycle
    set_phase(s, agent, ARBITRATE if channel["mm2s"] else MOVE, cycle)
    return GO_ON


@inner
def seize(s: State, agent: int, word: int) -> int:
    """The path of the packet that begins with `word`, its arbiters taken.

    -1 when there is none, -2 when an arbiter is not free, BAD_ROUTE - fault where it must not go.
    """
    path = s.route[agent, word & (PACKET_IDS - 1)]
    if path < 0:
        return int(path)
    for i in range(s.paths[path]["arbiters"]):
        if s.arbiters[s.path_arbiter[path, i]] not in (-1, agent):
            return NOT_FREE
    for i in range(s.paths[path]["arbiters"]):
        s.arbiters[s.path_arbiter[path, i]] = agent
    return int(path)


@inner
def let_go(s: State, path: int, cycle: int) -> None:
    """Free a packet's arbiters and let those who wait for one try again."""
    for i in range(s.paths[path]["arbiters"]):
        s.arbiters[s.path_arbiter[path, i]] = -1
    channels = s.channels.shape[0]
    for a in range(channels):
        if s.channels[a]["phase"] == WAIT_ARBITER:
            set_phase(s, a, ARBITRATE, max(cycle, s.channels[a]["clock"]))
    for k in range(s.cores.shape[0]):
        if s.cores[k]["phase"] == CORE_BLOCKED and s.cores[k]["lock"] == WAITS_ARBITER:
            s.cores[k]["phase"] = CORE_PUT
            s.when[channels + k] = max(cycle, s.cores[k]["cycle"])


@inner
def no_way(s: State, agent: int, path: int, word: int) -> int:
    """The fault for a packet without a path."""
    code = BAD_ROUTE - path if path <= BAD_ROUTE else strict.NO_ROUTE
    return fault(s, agent, code, 0, word & (PACKET_IDS - 1) if s.packets[agent] else -1)


@inner
def arbitrate(s: State, agent: int, cycle: int) -> int:
    """Find the path of an outgoing channel; a packet's first word decides it."""
    channel = s.channels[agent]
    own = channel["header"] >= 0
    if channel["path"] < 0:
        word = channel["header"]
        if not own:
            peeked, written = fetch(s, channel)
            word = peeked if s.packets[agent] else 0
            if not written:
                return unwritten(s, agent, channel["row"] + channel["p0"] * channel["s0"])
        path = seize(s, agent, word)
        if path < 0 and path != NOT_FREE:
            return no_way(s, agent, path, word)
        if path == NOT_FREE:
            set_phase(s, agent, WAIT_ARBITER, NEVER)
            return GO_ON
        channel["stall_arbiter"] += cycle - channel["since"]
        channel["path"] = path
        channel["heading"] = HEADER_OWN if own else HEADER_DATA if s.packets[agent] else NO_HEADER
    elif own:  # a descriptor with a header inside a packet that was not ended
        channel["heading"] = HEADER_OWN
    channel["clock"] = cycle
    set_phase(s, agent, MOVE, cycle)
    return GO_ON


@inner
def unwritten(s: State, agent: int, at: int) -> int:
    """The fault for reading a word of tile memory that nothing has written."""
    bd = s.bds[bd_of(s.channels[agent])]
    return fault(s, agent, strict.UNWRITTEN, s.channels[agent]["bd"], (at - bd["low"]) * 4)


@inner
def move(s: State, agent: int) -> int:
    """Move words until the descriptor ends or the stream stalls."""
    channel = s.channels[agent]
    if channel["mm2s"]:
        bad = send(s, agent)
        if bad:
            return unwritten(s, agent, bad - 1)
        if channel["left"]:
            more = room(s, agent, channel["path"]) > 0
            set_phase(s, agent, MOVE if more else WAIT_SPACE, channel["clock"] if more else NEVER)
    else:
        receive(s, agent)
        if channel["left"]:
            set_phase(s, agent, WAIT_DATA, NEVER)
            s.fifos[agent]["reader"] = 1
    if channel["left"] == 0:
        set_phase(s, agent, FINISH, channel["clock"])
    return GO_ON


@inner
def finish(s: State, agent: int, cycle: int) -> int:
    """Release the lock, then go on with the chain, the repetition or the next task."""
    channel = s.channels[agent]
    bd = s.bds[bd_of(channel)]
    note(s, cycle, agent, T_BD_END, channel["bd"])
    if channel["path"] >= 0 and channel["tlast"] and channel["mm2s"]:
        path = channel["path"]
        channel["path"] = -1
        let_go(s, path, cycle)
    bd["i_current"] += 1
    if bd["i_current"] >= bd["i_wrap"]:
        bd["i_current"] = 0
    if bd["release_value"]:
        reason = release(s, agent, bd["release_lock"], bd["release_value"], cycle)
        if reason != GO_ON:
            return reason
    if channel["next"] >= 0:
        channel["bd"] = channel["next"]
        set_phase(s, agent, START, cycle)
        return GO_ON
    if channel["repeat"] > 0:
        channel["repeat"] -= 1
        channel["bd"] = channel["first_bd"]
        set_phase(s, agent, START, cycle)
        return GO_ON
    late = channel["end_latency"]
    if channel["tasks"] == 0 and not channel["mm2s"]:
        late += channel["first_latency"]
    return end_task(s, agent, cycle + late)


@inner
def end_task(s: State, agent: int, cycle: int) -> int:
    """Issue the token, if one was asked for, and take up the next task."""
    channel = s.channels[agent]
    channel["tasks"] += 1
    note(s, cycle, agent, T_TASK_END, channel["tasks"])
    token = channel["token"]
    channel["phase"] = IDLE
    s.when[agent] = NEVER
    next_task(s, agent, cycle)
    if token:
        s.tokens[agent] += 1
        s.token_time[agent] = cycle
        s.info[0] = agent
        return TOKEN
    return GO_ON


@jit
def next_task(s: State, agent: int, cycle: int) -> None:
    """Begin the first task of the queue if the channel is idle."""
    channel = s.channels[agent]
    if channel["phase"] != IDLE or channel["queued"] == 0:
        return
    channel["first_bd"] = channel["bd"] = s.queue[agent, 0, 0]
    channel["repeat"], channel["token"] = s.queue[agent, 0, 1], s.queue[agent, 0, 2]
    channel["queued"] -= 1
    for i in range(channel["queued"]):
        for j in range(3):
            s.queue[agent, i, j] = s.queue[agent, i + 1, j]
    channel["fresh"] = 1
    set_phase(s, agent, START, cycle)


@inner
def act(s: State, agent: int, cycle: int) -> int:
    """The next action of a channel."""
    phase = s.channels[agent]["phase"]
    if phase == MOVE:
        return move(s, agent)
    if phase == START:
        return start(s, agent, cycle)
    if phase == ACQUIRE:
        return acquire(s, agent, cycle)
    if phase == ARBITRATE:
        return arbitrate(s, agent, cycle)
    return finish(s, agent, cycle)


# A core's requests -------------------------------------------------------------------------------

WAITS_ARBITER, WAITS_STREAM = -1, -2  # in a blocked core's `lock`


@inner
def core_ready(s: State, agent: int, cycle: int) -> None:
    """The core's request is done; it runs on from `cycle`."""
    core = s.cores[agent - s.channels.shape[0]]
    core["phase"] = READY
    core["cycle"] = cycle
    s.when[agent] = cycle


@inner
def core_block(s: State, agent: int, reason: int) -> int:
    """The core waits: for the lock it named, or for WAITS_..."""
    core = s.cores[agent - s.channels.shape[0]]
    core["phase"] = CORE_BLOCKED
    if reason < 0:
        core["lock"] = reason
    s.when[agent] = NEVER
    return GO_ON


@inner
def core_act(s: State, agent: int, cycle: int, until: int) -> int:
    """Let a core run, or answer its request for a lock or a stream word."""
    core = s.cores[agent - s.channels.shape[0]]
    phase = core["phase"]
    if phase == READY:
        return core_turn(s, agent, until)
    if phase == CORE_ACQUIRE:
        if not try_acquire(s, core["lock"], core["value"]):
            note(s, cycle, agent, T_LOCK_WAIT, core["lock"])
            return core_block(s, agent, 0)
        core["stall_lock"] += cycle - core["since"]
        note(s, cycle, agent, T_LOCK_TAKEN, core["lock"])
        core_ready(s, agent, cycle)
        return GO_ON
    if phase == CORE_RELEASE:
        core_ready(s, agent, cycle)
        return release(s, agent, core["lock"], core["value"], cycle)
    if phase == CORE_GET:
        return core_get(s, agent, cycle)
    return core_put(s, agent, cycle)


@inner
def core_get(s: State, agent: int, cycle: int) -> int:
    """Hand a core the next word of its input stream."""
    core, fifo = s.cores[agent - s.channels.shape[0]], s.fifos[agent]
    if fifo["head"] == fifo["tail"]:
        fifo["reader"] = 1
        return core_block(s, agent, WAITS_STREAM)
    word, last, taken = take(s, agent, cycle)
    core["word"], core["last"] = word, last
    core["stall_stream"] += taken - core["since"]
    if fifo["writer"] >= 0:
        wake_writer(s, agent, taken)
    core_ready(s, agent, taken)
    return GO_ON


@inner
def core_put(s: State, agent: int, cycle: int) -> int:
    """Take a word that a core sends."""
    core = s.cores[agent - s.channels.shape[0]]
    header = False
    if core["path"] < 0:
        path = seize(s, agent, core["word"] if s.packets[agent] else 0)
        if path < 0 and path != NOT_FREE:
            return no_way(s, agent, path, core["word"])
        if path == NOT_FREE:
            return core_block(s, agent, WAITS_ARBITER)
        core["path"] = path
        header = s.packets[agent] > 0
    if room(s, agent, core["path"]) == 0:
        return core_block(s, agent, WAITS_STREAM)
    sent = push(s, core["path"], core["word"], cycle, core["last"], header)
    core["stall_stream"] += sent - core["since"]
    if core["last"]:
        path = core["path"]
        core["path"] = -1
        let_go(s, path, sent)
    core_ready(s, agent, sent)
    return GO_ON


# The loop ----------------------------------------------------------------------------------------


@jit
def run(s: State, until: int) -> int:
    """Step until `until` (TIME) or until the caller is needed; see the reasons in state.py."""
    channels, agents = s.channels.shape[0], s.when.shape[0]
    while True:
        earliest = NEVER << AGENT_BITS
        for a in range(agents):  # one number for cycle and agent: no branches, vector instructions
            earliest = min(earliest, s.when[a] << AGENT_BITS | a)
        agent, cycle = earliest & ((1 << AGENT_BITS) - 1), earliest >> AGENT_BITS
        if cycle >= NEVER:
            return NOTHING
        if cycle >= until:
            return TIME
        if s.info[4] > TRACE_ROWS - 8:
            return TRACE_FULL
        reason = act(s, agent, cycle) if agent < channels else core_act(s, agent, cycle, until)
        if reason != GO_ON:
            return reason
