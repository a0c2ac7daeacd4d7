"""Why nothing moves: who waits, where, for which lock or stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whisper_npu_cli.emulator.state import (
    CORE_BLOCKED,
    IDLE,
    MAX_BDS,
    OFF,
    WAIT_ARBITER,
    WAIT_DATA,
    WAIT_LOCK,
    WAIT_SPACE,
)

if TYPE_CHECKING:
    from whisper_npu_cli.emulator.machine import Machine


def report(machine: Machine, agent: int) -> str:
    """The chain of waits that begins at `agent`, then everybody else who waits."""
    chain = [agent]
    while (following := cause(machine, chain[-1])) is not None and following not in chain:
        chain.append(following)
    lines = [("" if n == 0 else "  because ") + waits(machine, a) for n, a in enumerate(chain)]
    others = [a for a in range(machine.layout.agents) if a not in chain and is_waiting(machine, a)]
    if others:
        lines += ["Also waiting:", *(f"  {waits(machine, a)}" for a in others)]
    return "\n".join(lines)


def is_waiting(machine: Machine, agent: int) -> bool:
    """Whether an agent has work and cannot go on."""
    channels = len(machine.layout.channels)
    if agent < channels:
        return int(machine.state.channels[agent]["phase"]) != IDLE
    return int(machine.state.cores[agent - channels]["phase"]) != OFF


def waits(machine: Machine, agent: int) -> str:
    """One line: what an agent waits for."""
    layout, state = machine.layout, machine.state
    name = layout.agent_name(agent)
    if agent >= len(layout.channels):
        return f"{name} {core_waits(machine, agent)}"
    channel = state.channels[agent]
    phase = channel["phase"]
    if phase == IDLE:
        return f"{name} has no task ({channel['tasks']} done)"
    bd = state.bds[channel["tile"] * MAX_BDS + channel["bd"]]
    place = f"{name} at BD {channel['bd']}"
    if phase == WAIT_LOCK:
        lock = int(bd["acquire_lock"])
        wanted = condition(int(bd["acquire_value"]))
        return f"{place} waits for {layout.lock_name(lock)} {wanted}; it is {state.locks[lock]}"
    moved = f"{bd['length'] - channel['left']} of {bd['length']} words moved"
    if phase == WAIT_DATA:
        return f"{place} waits for words from the stream, {moved}"
    if phase == WAIT_SPACE:
        return f"{place} waits for room in the stream, {moved}"
    if phase == WAIT_ARBITER:
        return f"{place} waits for its turn at a stream arbiter"
    return f"{place} is at work, {moved}"


def condition(value: int) -> str:
    """What a lock request waits for."""
    return f"to reach {-value}" if value < 0 else f"to be {value}"


def core_waits(machine: Machine, agent: int) -> str:
    """What a core waits for, and where it is."""
    tile = machine.layout.cores[agent - len(machine.layout.channels)]
    row = machine.state.cores[machine.layout.core_index[tile]]
    core = machine.cores.cores.get(tile)
    if core is None or row["phase"] == OFF:
        return "has halted" if core is not None and core.state == "done" else "does not run"
    where = core.where()
    if row["phase"] == CORE_BLOCKED and row["lock"] >= 0:
        lock = int(row["lock"])
        held = machine.state.locks[lock]
        wanted = condition(int(row["value"]))
        return f"waits at {where} for {machine.layout.lock_name(lock)} {wanted}; it is {held}"
    if row["phase"] == CORE_BLOCKED:
        reason = {-1: "its turn at a stream arbiter", -2: "its stream", -3: "its cascade"}
        return f"waits at {where} for {reason[int(row['lock'])]}"
    return f"runs at {where}"


def cause(machine: Machine, agent: int) -> int | None:
    """The agent that a waiting agent depends on, as far as it can be told."""
    layout, state = machine.layout, machine.state
    channels = len(layout.channels)
    if agent < channels:
        channel = state.channels[agent]
        if channel["phase"] == WAIT_LOCK:
            bd = state.bds[channel["tile"] * MAX_BDS + channel["bd"]]
            return releaser(machine, int(bd["acquire_lock"]), agent)
        if channel["phase"] in (WAIT_DATA, IDLE) and not channel["mm2s"]:
            return source(machine, agent)
        if channel["phase"] == WAIT_SPACE:
            to = (int(a) for a in state.path_to[channel["path"]][: state.paths[channel["path"]][0]])
            return next((a for a in to if int(state.fifos[a]["writer"]) == agent), None)
        return None
    row = state.cores[agent - channels]
    if row["phase"] == CORE_BLOCKED and row["lock"] >= 0:
        return releaser(machine, int(row["lock"]), agent)
    return None


def source(machine: Machine, agent: int) -> int | None:
    """The first agent whose words arrive at `agent`."""
    state = machine.state
    for sender in range(machine.layout.agents):
        for path in {int(p) for p in state.route[sender] if p >= 0}:
            if agent in state.path_to[path][: state.paths[path]["count"]]:
                return sender
    return None


def releaser(machine: Machine, lock: int, waiting: int) -> int | None:
    """Who would release a lock: a channel with a task that does, else the core of the tile."""
    layout, state = machine.layout, machine.state
    for agent in range(len(layout.channels)):
        channel = state.channels[agent]
        if agent == waiting or channel["phase"] == IDLE:
            continue
        tile = layout.channels[agent][0]
        heads = [int(channel["bd"]), int(channel["first_bd"])]
        for bd in machine.dma.chains(tile, heads):
            row = state.bds[layout.tile_index[tile] * MAX_BDS + bd]
            if row["release_value"] and row["release_lock"] == lock:
                return agent
    for tile in layout.cores:
        base = layout.lock_base[tile]
        if tile in machine.cores.cores and base <= lock < base + 16:
            agent = layout.core_agent(tile)
            return None if agent == waiting else agent
    return None
