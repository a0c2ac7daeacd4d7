"""Results on their way to registers, and the flags that say which registers are known."""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.core_state import (
    CR_RND,
    ENTRY,
    ERROR,
    ERROR_AT,
    ERROR_VALUE,
    FLAGS,
    FORWARD,
    FORWARD_COUNT,
    FORWARDS,
    LANDINGS,
    LATER,
    LATER_COUNT,
    LATERS,
    NEXT_PAYLOAD,
    PAYLOAD,
    PAYLOADS,
    RING,
    RING_COUNT,
    SCALARS,
    SLOTS,
    UNIT,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner
from whisper_npu_cli.emulator.numbers import (
    FLOOR,
    HALF_DOWN,
    HALF_TO_ODD,
    SYMMETRIC_CEIL,
    wrap32,
)
from whisper_npu_cli.emulator.vectors import copy_unit

DATA = 8  # word of an entry at which the result begins
ALL = 15  # every unit of a register is known


@inline
def flag_of(at: int) -> int:
    """The byte of the state that holds the flag of the register at a word."""
    return 4 * FLAGS + (at if at < SCALARS else SCALARS + (at - SCALARS) // UNIT)


@inner
def fail(h: Handle, error: int, row: int, value: int) -> None:
    """Note the first thing that goes wrong in a bundle."""
    v = view(h)
    if v.d[ERROR] == m.FINE:
        v.d[ERROR] = error
        v.d[ERROR_AT] = row
        v.d[ERROR_VALUE] = value


@inline
def check(h: Handle, row: int, first: int, count: int) -> None:
    """Stop where a register that a micro-operation uses was never written."""
    v = view(h)
    for i in range(first, first + count):
        if v.b[4 * FLAGS + v.c[i]] == 0:
            fail(h, m.UNKNOWN_REGISTER, row, int(v.c[i]))


@inner
def need(h: Handle, row: int, at: int) -> None:
    """Stop where the scalar register at a word was never written."""
    v = view(h)
    if v.b[flag_of(at)] == 0:
        fail(h, m.UNKNOWN_REGISTER, row, at)


@inner
def rounding(h: Handle, row: int) -> int:
    """crRnd; stops where it holds none of the modes."""
    mode = int(view(h).w[CR_RND])
    if not (FLOOR <= mode <= SYMMETRIC_CEIL or HALF_DOWN <= mode <= HALF_TO_ODD):
        fail(h, m.BAD_ROUNDING, row, mode)
    return mode


@inline
def land(
    h: Handle, step: int, latency: int, dst: int, size: int, known: int, forwarded: int
) -> int:
    """Reserve room for a result of `size` words that arrives at the end of a cycle.

    A latency of 1 is this cycle's end. known: a bit for each unit of 256 bits, ALL for all of them.
    Returns the word at which the result has to be put.
    """
    v = view(h)
    slot = (step + latency - 1) & (SLOTS - 1)
    if forwarded != 0:
        number = v.w[FORWARD_COUNT + slot]
        v.w[FORWARD_COUNT + slot] = number + 1
        entry = FORWARD + (slot * FORWARDS + int(number)) * ENTRY
    else:
        number = v.w[RING_COUNT + slot]
        v.w[RING_COUNT + slot] = number + 1
        entry = RING + (slot * LANDINGS + int(number)) * ENTRY
    v.w[entry] = dst
    v.w[entry + 1] = size
    v.w[entry + 2] = known
    return entry + DATA


@inline
def put(h: Handle, entry: int) -> None:
    """Write one result to its register."""
    v = view(h)
    dst, size = int(v.w[entry]), int(v.w[entry + 1])
    known = int(v.w[entry + 2])
    if dst >= SCALARS:
        flag = flag_of(dst)
        for unit in range(size // UNIT):
            copy_unit(h, entry + DATA, dst, unit)
            v.b[flag + unit] = (known >> unit) & 1
    else:
        for i in range(size):
            v.w[dst + i] = v.w[entry + DATA + i]
            v.b[4 * FLAGS + dst + i] = known & 1


@inline
def arrive(h: Handle, slot: int) -> None:
    """Write the results of this cycle that take no forwarding path."""
    v = view(h)
    count = int(v.w[RING_COUNT + slot])
    for i in range(count):
        put(h, RING + (slot * LANDINGS + i) * ENTRY)
    v.w[RING_COUNT + slot] = 0


@inline
def arrive_forwarded(h: Handle, slot: int) -> None:
    """Write the results of this cycle that are forwarded."""
    v = view(h)
    count = int(v.w[FORWARD_COUNT + slot])
    for i in range(count):
        put(h, FORWARD + (slot * FORWARDS + i) * ENTRY)
    v.w[FORWARD_COUNT + slot] = 0


@inner
def later(h: Handle, step: int, cycles: int, row: int, payload: int) -> None:
    """Ask for the later stage of a micro-operation some cycles on."""
    v = view(h)
    slot = (step + cycles) & (SLOTS - 1)
    number = int(v.w[LATER_COUNT + slot])
    v.w[LATER_COUNT + slot] = number + 1
    v.w[LATER + (slot * LATERS + number) * 2] = row
    v.w[LATER + (slot * LATERS + number) * 2 + 1] = payload


@inner
def new_payload(h: Handle) -> int:
    """A word from which ENTRY words are free until PAYLOADS more were taken."""
    v = view(h)
    number = int(v.d[NEXT_PAYLOAD])
    v.d[NEXT_PAYLOAD] = (number + 1) & (PAYLOADS - 1)
    return PAYLOAD + number * ENTRY


@inline
def units_known(h: Handle, at: int, size: int) -> int:
    """A bit for each unit of the register of `size` words at a word."""
    v = view(h)
    flag = flag_of(at)
    found = int(v.b[flag])
    if size > UNIT:
        found |= v.b[flag + 1] << 1
    if size > 2 * UNIT:
        found |= v.b[flag + 2] << 2 | v.b[flag + 3] << 3
    return found


@inner
def converted_known(h: Handle, source: int, size: int, out_size: int) -> int:
    """A bit for each unit of a result whose lanes come, in order, from `size` words."""
    v = view(h)
    units, out_units = size // UNIT, out_size // UNIT
    found = (1 << out_units) - 1
    for i in range(max(units, out_units)):
        if v.b[flag_of(source + i * units // max(units, out_units) * UNIT)] == 0:
            found &= ~(1 << i * out_units // max(units, out_units))
    return found


@inline
def set_scalar(h: Handle, dst: int, bits: int, value: int) -> None:
    """Put the low bits of a value into a word; fewer than 32 are kept without sign."""
    v = view(h)
    if bits == 32:
        v.w[dst] = wrap32(value)
    else:
        v.w[dst] = value & ((1 << bits) - 1)
