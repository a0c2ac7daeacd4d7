"""What a core asks of the world around it: locks, streams, cascade, events, the end."""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.core_state import (
    CASCADE,
    EVENTS,
    LAST,
    LATER,
    LATER_COUNT,
    LATERS,
    LOCK,
    REPLY,
    REPLY_OK,
    REPORT_EVENTS,
    SLOTS,
    SR_MS,
    SR_SS,
    STEP,
    VALUE,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inner
from whisper_npu_cli.emulator.landing import ALL, check, fail, land
from whisper_npu_cli.emulator.numbers import wrap32
from whisper_npu_cli.emulator.reasons import Reason

NOTHING = int(Reason.LIMIT)
_ACQUIRE, _RELEASE = int(Reason.ACQUIRE), int(Reason.RELEASE)
_GET, _PUT = int(Reason.STREAM_READ), int(Reason.STREAM_WRITE)
_GET_NB, _PUT_NB = int(Reason.STREAM_READ_NB), int(Reason.STREAM_WRITE_NB)
_CASCADE_GET, _CASCADE_PUT = int(Reason.CASCADE_READ), int(Reason.CASCADE_WRITE)
_DONE, _EVENT = int(Reason.DONE), int(Reason.EVENT)


@inner
def ask(h: Handle, row: int) -> int:
    """The request of a blocking micro-operation, or NOTHING if it has none this time."""
    v = view(h)
    kind = v.u[row + m.KIND]
    check(h, row, int(v.u[row + m.CHECK]), int(v.u[row + m.CHECKS]))
    value = int(v.w[v.u[row + m.B]])
    if kind == m.LOCK_ACQUIRE or kind == m.LOCK_RELEASE:
        if v.w[v.u[row + m.C]] == 0:
            return NOTHING
        v.d[LOCK] = v.w[v.u[row + m.A]]
        v.d[VALUE] = value
        if kind == m.LOCK_ACQUIRE:
            return _ACQUIRE
        stores_finished(h, row)
        return _RELEASE
    if kind == m.STREAM_GET:
        return _GET_NB if v.u[row + m.N1] != 0 else _GET
    if kind == m.STREAM_PUT:
        v.d[VALUE] = value & 0xFFFFFFFF
        v.d[LAST] = 1 if v.w[v.u[row + m.C]] != 0 else 0
        return _PUT_NB if v.u[row + m.N1] != 0 else _PUT
    if kind == m.CASCADE_GET:
        return _CASCADE_GET
    if kind == m.CASCADE_PUT:
        for i in range(16):
            v.w[CASCADE + i] = v.w[v.u[row + m.A] + i]
        return _CASCADE_PUT
    v.d[VALUE] = v.u[row + m.N1]
    if kind == m.HALT:
        return _DONE
    v.d[EVENTS] += 1
    return _EVENT if v.d[REPORT_EVENTS] != 0 else NOTHING


@inner
def stores_finished(h: Handle, row: int) -> None:
    """Refuse to hand memory on while a store of this core has not reached it."""
    v = view(h)
    for slot in range(SLOTS):
        count = int(v.w[LATER_COUNT + slot])
        for i in range(count):
            if is_store(h, later_row(h, slot, i)):
                fail(h, m.RELEASE_TOO_EARLY, row, (slot - int(v.d[STEP])) & (SLOTS - 1))


@inner
def later_row(h: Handle, slot: int, number: int) -> int:
    """The micro-operation whose later stage waits in a slot."""
    v = view(h)
    return int(v.w[LATER + (slot * LATERS + number) * 2])


@inner
def is_store(h: Handle, row: int) -> bool:
    """Whether a delayed micro-operation is a store."""
    v = view(h)
    kind = v.u[row + m.KIND]
    return kind == m.STORE_PART or kind == m.STORE_SRS or kind == m.STORE_FLOAT


@inner
def answer(h: Handle, kind: int, row: int, step: int) -> None:
    """Carry out a blocking micro-operation whose request was granted."""
    v = view(h)
    if kind == m.STREAM_GET:
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 1, 1, 0)
        v.w[out] = wrap32(int(v.d[REPLY]) & 0xFFFFFFFF)
        if v.u[row + m.N1] != 0:
            out = land(h, step, int(v.u[row + m.N2]), SR_SS, 1, 1, 0)
            v.w[out] = int(v.d[REPLY_OK])
    elif kind == m.STREAM_PUT and v.u[row + m.N1] != 0:
        out = land(h, step, int(v.u[row + m.N2]), SR_MS, 1, 1, 0)
        v.w[out] = int(v.d[REPLY_OK])
    elif kind == m.CASCADE_GET:
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), 16, ALL, 0)
        for i in range(16):
            v.w[out + i] = v.w[CASCADE + i]
