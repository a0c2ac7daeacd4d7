"""Branches with five delay slots, and the loop without overhead."""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.core_state import (
    BRANCHES,
    DELAY,
    FLAGS,
    LC,
    LE,
    LS,
    TARGET,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inner, merged
from whisper_npu_cli.emulator.landing import fail, land

DELAY_SLOTS = 5
FULL_BUNDLE = 16  # bytes of the last bundle of a loop


@merged
def issue_branch(h: Handle, kind: int, row: int, step: int) -> None:
    """Decide a branch; it takes effect after the delay slots."""
    v = view(h)
    if kind == m.LINK:
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 1, 1, 0)
        v.w[out] = v.w[v.u[row + m.A]]
        return
    value = int(v.w[v.u[row + m.A]])
    taken = True
    if kind == m.JUMP_NOT_ZERO:
        taken = value != 0
    elif kind == m.JUMP_ZERO:
        taken = value == 0
    elif kind == m.JUMP_COUNTED:
        taken = value != 1
    if v.d[DELAY] != 0:
        fail(h, m.BRANCH_IN_DELAY, row, 0)
    if taken:
        v.d[DELAY] = DELAY_SLOTS + 1
        v.d[TARGET] = int(v.w[v.u[row + m.B]]) & 0xFFFFF
        v.d[BRANCHES] += 1


@inner
def next_address(h: Handle, bundle: int) -> int:
    """The address after a bundle that ends a loop or stands in or before a delay slot."""
    v = view(h)
    after = int(v.t[bundle + m.ADDRESS]) + int(v.t[bundle + m.LENGTH])
    ends_loop = v.t[bundle + m.ADDRESS] == v.w[LE] and v.b[4 * FLAGS + LE] != 0
    if v.d[DELAY] > 0:
        v.d[DELAY] -= 1
        if ends_loop and v.w[LC] != 0:
            fail(h, m.LOOP_END_IN_DELAY, int(v.t[bundle + m.FIRST]), int(v.w[LE]))
        return int(v.d[TARGET]) if v.d[DELAY] == 0 else after
    if not ends_loop or v.w[LC] == 0:
        return after
    v.w[LC] -= 1
    if v.w[LC] == 0:
        return after
    if v.t[bundle + m.LENGTH] != FULL_BUNDLE or v.w[LE] & 15 != 0:
        fail(h, m.LOOP_END_SHORT, int(v.t[bundle + m.FIRST]), int(v.w[LE]))
    if v.w[LS] & 15 != 0:
        fail(h, m.LOOP_START_UNALIGNED, int(v.t[bundle + m.FIRST]), int(v.w[LS]))
    return int(v.w[LS])
