"""A core's turn in the step loop, compiled: it runs until it asks for something.

Locks are asked for and granted here. For all else the loop comes back with CORE, and the row's
`asked` says why: a Reason, or UNDECODED or FAULT of pipeline.py.
"""

from __future__ import annotations

from whisper_npu_cli.emulator.core_state import CYCLE, GRANTED, LOCK, PC, STALL_LOCK, VALUE
from whisper_npu_cli.emulator.handle import handle_at, view
from whisper_npu_cli.emulator.jit import inner
from whisper_npu_cli.emulator.pipeline import run
from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.emulator.state import (
    CORE,
    CORE_ACQUIRE,
    CORE_RELEASE,
    GO_ON,
    T_CORE_RUN,
    T_CORE_STOP,
    State,
    note,
)
from whisper_npu_cli.emulator.timing import LOCK_ARBITRATION

STRETCH = 20_000
"""Cycles that a core may run without asking for anything before the others get their turn."""

_NOTHING, _ACQUIRE, _RELEASE = int(Reason.LIMIT), int(Reason.ACQUIRE), int(Reason.RELEASE)


@inner
def core_turn(s: State, agent: int, until: int) -> int:
    """Run a core at most to `until`, its lock granted if it had asked for one."""
    number = agent - s.channels.shape[0]
    core, h = s.cores[number], handle_at(s.handles, number)
    v = view(h)
    if core["asked"] == _ACQUIRE or core["asked"] == _RELEASE:
        v.d[STALL_LOCK] += core["cycle"] - v.d[CYCLE] + LOCK_ARBITRATION
        v.d[CYCLE] = core["cycle"] + LOCK_ARBITRATION
        v.d[GRANTED] = 1
    elif core["asked"] != _NOTHING:
        s.info[0] = agent
        return CORE
    note(s, int(v.d[CYCLE]), agent, T_CORE_RUN, int(v.d[PC]))
    reason = run(h, min(until, int(v.d[CYCLE]) + STRETCH))
    cycle = int(v.d[CYCLE])
    note(s, cycle, agent, T_CORE_STOP, int(v.d[PC]))
    s.when[agent] = core["cycle"] = core["since"] = cycle
    core["asked"] = reason
    if reason == _NOTHING:
        return GO_ON
    if reason in (_ACQUIRE, _RELEASE) and 0 <= v.d[LOCK] < s.core_locks.shape[1]:
        core["lock"], core["value"] = s.core_locks[number, v.d[LOCK]], v.d[VALUE]
        if core["lock"] >= 0:
            core["phase"] = CORE_ACQUIRE if reason == _ACQUIRE else CORE_RELEASE
            return GO_ON
    s.info[0] = agent
    return CORE
