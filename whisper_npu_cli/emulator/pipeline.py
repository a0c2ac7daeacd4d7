"""The pipeline of one core: bundles are issued in order, results land when their latency is over.

Each cycle, in this order: (1) later stages of older instructions read their operands; (2) the
bundle reads its operands; (3) results on forwarding paths arrive; (4) instructions that may use
those read theirs; (5) the other results arrive. A result of latency 1 is written in (2) or (4), by
an order of the micro-operations in which nobody reads it any more in that cycle.
"""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.branch import issue_branch, next_address
from whisper_npu_cli.emulator.core_state import (
    ACCUMULATE,
    BANKS_EXTRA,
    BANKS_LOADS,
    BANKS_STORES,
    BUNDLES,
    CYCLE,
    DELAY,
    ERROR,
    GRANTED,
    LATER,
    LATER_COUNT,
    LATERS,
    LE,
    PC,
    PROGRAM_BYTES,
    SLOTS,
    STALL_BANK,
    STEP,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.issue import issue_scalar, issue_vector, later_vector
from whisper_npu_cli.emulator.jit import inline, inner, jit, merged
from whisper_npu_cli.emulator.landing import arrive, arrive_forwarded, check
from whisper_npu_cli.emulator.memory import issue_memory, later_memory
from whisper_npu_cli.emulator.multiplier import add_up, add_up_floating, issue_multiply
from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.emulator.request import NOTHING, answer, ask
from whisper_npu_cli.emulator.timing import BANK_CONFLICT

UNDECODED, FAULT = 100, 101
"""Answers of `run` beside those of Reason: the bundle at PC is not decoded yet; ERROR is set."""

_LIMIT = int(Reason.LIMIT)


@jit
def run(h: Handle, until: int) -> int:
    """Run until a cycle is reached or something outside the core is needed."""
    v = view(h)
    cycle, step = int(v.d[CYCLE]), int(v.d[STEP])
    started = step
    reason = _LIMIT
    address = int(v.d[PC])
    bundle = bundle_at(h, address)
    while cycle < until:
        if bundle < 0:
            reason = UNDECODED
            break
        blocking = int(v.t[bundle + m.BLOCKING])
        if blocking >= 0 and v.d[GRANTED] == 0:
            v.d[STEP] = step
            reason = ask(h, blocking)
            if reason != NOTHING or v.d[ERROR] != m.FINE:
                break
        one_cycle(h, bundle, step)
        step += 1
        cycle += 1 + v.w[BANKS_EXTRA]
        last = bundle
        if v.d[DELAY] == 0 and v.t[bundle + m.ADDRESS] != v.w[LE]:
            bundle = int(v.t[bundle + m.NEXT])
            if bundle < 0:
                address = int(v.t[last + m.ADDRESS]) + int(v.t[last + m.LENGTH])
        else:
            address = next_address(h, bundle)
            bundle = bundle_at(h, address)
        if v.d[ERROR] != m.FINE:
            address = int(v.t[last + m.ADDRESS])
            bundle = -1
            break
    v.d[BUNDLES] += step - started
    v.d[CYCLE] = cycle
    v.d[STEP] = step
    v.d[PC] = v.t[bundle + m.ADDRESS] if bundle >= 0 else address
    return FAULT if v.d[ERROR] != m.FINE else reason


@inline
def bundle_at(h: Handle, address: int) -> int:
    """Where the bundle at a program address stands, or a negative number."""
    v = view(h)
    if address < 0 or address >= PROGRAM_BYTES or address & 1 != 0:
        return -1
    return int(v.a[address >> 1])


@merged
def one_cycle(h: Handle, bundle: int, step: int) -> None:
    """Everything that happens in one cycle of the pipeline."""
    v = view(h)
    slot = step & (SLOTS - 1)
    v.w[BANKS_LOADS] = 0
    v.w[BANKS_STORES] = 0
    v.w[BANKS_EXTRA] = 0
    waiting = int(v.w[ACCUMULATE + slot]) - 1
    forwards = False
    if waiting >= 0:
        v.w[ACCUMULATE + slot] = 0
        forwards = v.u[waiting + m.KIND] == m.MULTIPLY
        if not forwards:
            add_up_floating(h, waiting, step)
    if v.w[LATER_COUNT + slot] != 0:
        later_stages(h, slot, step)
    row = int(v.t[bundle + m.FIRST])
    middle = row + int(v.t[bundle + m.BEFORE]) * m.ROW
    end = row + int(v.t[bundle + m.COUNT]) * m.ROW
    while True:
        if row == middle:
            arrive_forwarded(h, slot)
            if forwards:
                add_up(h, waiting, step)
        if row == end:
            break
        issue(h, row, step)
        row += m.ROW
    arrive(h, slot)
    if v.w[BANKS_LOADS] & v.w[BANKS_STORES]:
        v.w[BANKS_EXTRA] += BANK_CONFLICT
    v.d[STALL_BANK] += v.w[BANKS_EXTRA]
    v.d[GRANTED] = 0


@merged
def issue(h: Handle, row: int, step: int) -> None:
    """Issue one micro-operation."""
    v = view(h)
    check(h, row, int(v.u[row + m.CHECK]), int(v.u[row + m.CHECKS]))
    kind = int(v.u[row + m.KIND])
    if kind <= m.POINTER:
        issue_scalar(h, kind, row, step)
    elif kind <= m.LAST_MEMORY:
        issue_memory(h, kind, row, step)
    elif kind == m.MULTIPLY or kind == m.MULTIPLY_FLOAT:
        issue_multiply(h, kind, row, step)
    elif kind <= m.LAST_BRANCH:
        issue_branch(h, kind, row, step)
    elif kind < m.FIRST_BLOCKING:
        issue_vector(h, kind, row, step)
    else:
        answer(h, kind, row, step)


@inner
def later_stages(h: Handle, slot: int, step: int) -> None:
    """Work of older instructions that is due in this cycle."""
    v = view(h)
    count = int(v.w[LATER_COUNT + slot])
    v.w[LATER_COUNT + slot] = 0
    for i in range(count):
        row = int(v.w[LATER + (slot * LATERS + i) * 2])
        payload = int(v.w[LATER + (slot * LATERS + i) * 2 + 1])
        if v.u[row + m.KIND] <= m.LAST_MEMORY:
            later_memory(h, row, payload, step)
        else:
            later_vector(h, row, step)
