"""Loads and stores: addresses at issue, data in the stage that the timing table gives.

Plain accesses touch memory in stage 5. All of them are that much later than their issue, so they
are carried out at issue, and only what happens still later (stores of 8 and 16 bits, of rounded and
of converted results) waits: the order in memory is the same.
"""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.address import (
    NO_MEMORY,
    OFFSET,
    POINTER,
    banks,
    effective,
    place,
    pointer_step,
)
from whisper_npu_cli.emulator.convert import (
    bfloat16_to_float32,
    float32_to_bfloat16,
    pack,
    shift_round_saturate,
    shift_up,
    unpack,
)
from whisper_npu_cli.emulator.core_state import (
    BANKS_EXTRA,
    BANKS_LOADS,
    BANKS_STORES,
    CR_PACK_SIGN,
    CR_SAT,
    CR_SRS_SIGN,
    CR_UNPACK_SIGN,
    CR_UPS_SIGN,
    SR_SRS_OVERFLOW,
    SR_UPS_OVERFLOW,
)
from whisper_npu_cli.emulator.handle import Handle, view
from whisper_npu_cli.emulator.jit import inline, inner, merged
from whisper_npu_cli.emulator.landing import (
    ALL,
    DATA,
    converted_known,
    fail,
    flag_of,
    land,
    later,
    need,
    new_payload,
    rounding,
    set_scalar,
)
from whisper_npu_cli.emulator.numbers import wrap8, wrap16
from whisper_npu_cli.emulator.timing import BANK_CONFLICT
from whisper_npu_cli.emulator.vectors import load_unit, store_unit

DYNAMIC = 2  # a sign that a control register decides
STAGE_PART = 6  # cycles by which a byte store comes later; then it reads its data, too
STAGE_SRS = 2  # cycles by which stores of rounded or converted results come later
STAGE_UPS = 6  # cycles from issue to the read of the shift of a load with up-shift


@inline
def locate(h: Handle, row: int, size: int) -> int:
    """The byte of the arena that an access begins at; NO_MEMORY after noting what is wrong."""
    v = view(h)
    mode = int(v.u[row + m.MODE])
    address = effective(h, mode, int(v.u[row + m.BASE]), int(v.u[row + m.STEP]))
    if mode != OFFSET and mode != POINTER:
        base = int(v.u[row + m.BASE])
        v.w[base] = pointer_step(h, mode, base, int(v.u[row + m.STEP]))
    if address & (size - 1) != 0:
        fail(h, m.UNALIGNED, row, address)
        return NO_MEMORY
    at = place(h, address)
    if at == NO_MEMORY:
        fail(h, m.NO_SUCH_MEMORY, row, address)
        return NO_MEMORY
    taken = banks(address, size)
    if row_is_store(h, row):
        v.w[BANKS_STORES] |= taken
    else:
        if v.w[BANKS_LOADS] & taken != 0:
            v.w[BANKS_EXTRA] += BANK_CONFLICT
        v.w[BANKS_LOADS] |= taken
    return at


@inline
def row_is_store(h: Handle, row: int) -> bool:
    """Whether an access uses the store port in stage 5."""
    v = view(h)
    kind = v.u[row + m.KIND]
    return kind == m.STORE or kind == m.STORE_PACK


@inner
def all_known(h: Handle, at: int, size: int) -> int:
    """1 if all bytes of the arena from `at` on were written, else 0."""
    v = view(h)
    for i in range(at, at + size):
        if v.kb[i] == 0:
            return 0
    return 1


@inline
def known_32(h: Handle, at: int) -> int:
    """all_known for 32 bytes at a multiple of 8."""
    v = view(h)
    ones = 0x0101010101010101
    k = at // 8
    both = v.kd[k] & v.kd[k + 1] & v.kd[k + 2] & v.kd[k + 3]
    return 1 if both == ones else 0


@merged
def issue_memory(h: Handle, kind: int, row: int, step: int) -> None:
    """Issue a load or store."""
    if kind == m.LOAD:
        load(h, row, step)
    elif kind == m.STORE:
        store(h, row)
    else:
        issue_rare(h, kind, row, step)


@merged
def load(h: Handle, row: int, step: int) -> None:
    """32 bits, 128 or 256 bits, as they are."""
    v = view(h)
    size = int(v.u[row + m.N1])
    at = locate(h, row, size)
    if at == NO_MEMORY:
        return
    dst, latency = int(v.u[row + m.DST]), int(v.u[row + m.LATENCY])
    if size == 32:
        load_unit(h, at, land(h, step, latency, dst, 8, known_32(h, at), 0))
    elif size == 4:
        out = land(h, step, latency, dst, 1, all_known(h, at, 4), 0)
        set_scalar(h, out, int(v.u[row + m.SIZE]), int(v.mw[at // 4]))
    else:
        out = land(h, step, latency, dst, int(v.u[row + m.SIZE]), ALL * all_known(h, at, 16), 0)
        for i in range(4):
            v.w[out + i] = v.mw[at // 4 + i]
        for i in range(4, int(v.u[row + m.SIZE])):
            v.w[out + i] = 0


@merged
def store(h: Handle, row: int) -> None:
    """32 bits, 128 or 256 bits, as they are; what is unknown makes memory unknown."""
    v = view(h)
    size = int(v.u[row + m.N1])
    at = locate(h, row, size)
    if at == NO_MEMORY:
        return
    source = int(v.u[row + m.A])
    if size == 32:
        store_unit(h, source, at)
        mark(h, at, 32, int(v.b[flag_of(source)]))
    else:
        for i in range(size // 4):
            v.mw[at // 4 + i] = v.w[source + i]
            mark(h, at + 4 * i, 4, int(v.b[flag_of(source + i)]))


@inline
def mark(h: Handle, at: int, size: int, known: int) -> None:
    """Note of bytes of the arena whether their contents are known."""
    v = view(h)
    if size == 32:
        for i in range(4):
            v.kd[at // 8 + i] = known * 0x0101010101010101
    else:
        for i in range(size):
            v.kb[at + i] = known


@inner
def issue_rare(h: Handle, kind: int, row: int, step: int) -> None:
    """Loads and stores that convert, or that are narrower than a word."""
    v = view(h)
    if kind == m.LOAD_PART:
        load_part(h, row, step)
    elif kind == m.LOAD_FLOAT:
        at = locate(h, row, 32)
        if at != NO_MEMORY:
            payload = fetch(h, at)
            known = int(v.w[payload])
            latency = int(v.u[row + m.LATENCY])
            out = land(h, step, latency, int(v.u[row + m.DST]), 16, known, 0)
            bfloat16_to_float32(h, payload + DATA, out)
    elif kind == m.LOAD_UPS or kind == m.LOAD_UNPACK:
        at = locate(h, row, 32)
        if at != NO_MEMORY:
            later(h, step, STAGE_UPS, row, fetch(h, at))
    elif kind == m.STORE_PART:
        at = locate(h, row, int(v.u[row + m.SIZE]) // 8)
        if at != NO_MEMORY:
            payload = new_payload(h)
            v.w[payload + 1] = at
            later(h, step, STAGE_PART, row, payload)
    elif kind == m.STORE_PACK:
        store_pack(h, row)
    elif kind == m.STORE_SRS or kind == m.STORE_FLOAT:
        store_converted(h, kind, row, step)


@inner
def fetch(h: Handle, at: int) -> int:
    """32 bytes of memory in a payload, and whether they are known in its first word."""
    v = view(h)
    payload = new_payload(h)
    v.w[payload] = ALL * known_32(h, at)
    load_unit(h, at, payload + DATA)
    return payload


@inner
def load_part(h: Handle, row: int, step: int) -> None:
    """8 or 16 bits, extended."""
    v = view(h)
    part = int(v.u[row + m.N2])
    size = 1 if part <= m.UNSIGNED_8 else 2
    at = locate(h, row, size)
    if at == NO_MEMORY:
        return
    value = int(v.mb[at]) if size == 1 else int(v.mh[at // 2])
    if part == m.UNSIGNED_8:
        value &= 0xFF
    elif part == m.UNSIGNED_16:
        value &= 0xFFFF
    latency, known = int(v.u[row + m.LATENCY]), all_known(h, at, size)
    out = land(h, step, latency, int(v.u[row + m.DST]), 1, known, 0)
    v.w[out] = value


@inline
def dynamic_sign(h: Handle, sign: int, control: int) -> bool:
    """The sign of an operand: fixed, or by a control register."""
    v = view(h)
    return (v.w[control] if sign == DYNAMIC else sign) != 0


@inner
def store_pack(h: Handle, row: int) -> None:
    """Pack 512 bits to 256 and store them."""
    v = view(h)
    at = locate(h, row, 32)
    if at == NO_MEMORY:
        return
    payload = new_payload(h)
    signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_PACK_SIGN)
    source = int(v.u[row + m.A])
    v.w[payload] = converted_known(h, source, 16, 8)
    pack(h, source, int(v.u[row + m.N1]), signed, int(v.w[CR_SAT]), payload + DATA)
    write_back(h, at, payload)


@inner
def write_back(h: Handle, at: int, payload: int) -> None:
    """Store the 32 bytes of a payload; its first word says whether they are known."""
    v = view(h)
    store_unit(h, payload + DATA, at)
    mark(h, at, 32, int(v.w[payload]))


@inner
def store_converted(h: Handle, kind: int, row: int, step: int) -> None:
    """Round an accumulator at issue; memory is written later."""
    v = view(h)
    at = locate(h, row, 32)
    if at == NO_MEMORY:
        return
    payload = new_payload(h)
    v.w[payload + 1] = at
    source = int(v.u[row + m.A])
    bits, wide = int(v.u[row + m.N1]), int(v.u[row + m.N3])
    v.w[payload] = converted_known(h, source, 8 * wide // bits, 8)
    if kind == m.STORE_FLOAT:
        float32_to_bfloat16(h, source, rounding(h, row), payload + DATA)
    else:
        signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_SRS_SIGN)
        overflow = shift_round_saturate(
            h, source, wide, 256 // bits, int(v.w[v.u[row + m.B]]),
            rounding(h, row), bits, signed, int(v.w[CR_SAT]), payload + DATA,
        )  # fmt: skip
        if overflow:
            v.w[SR_SRS_OVERFLOW] = 1
    later(h, step, STAGE_SRS, row, payload)


@inner
def later_memory(h: Handle, row: int, payload: int, step: int) -> None:
    """The stage in which a delayed access reads its data or writes memory."""
    v = view(h)
    kind = v.u[row + m.KIND]
    if kind == m.STORE_PART:
        store_part(h, row, payload)
    elif kind == m.STORE_SRS or kind == m.STORE_FLOAT:
        at = int(v.w[payload + 1])
        v.w[BANKS_STORES] |= banks_of_arena(h, row, at)
        write_back(h, at, payload)
    elif kind == m.LOAD_UNPACK:
        signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_UNPACK_SIGN)
        out = land(h, step, 1, int(v.u[row + m.DST]), 16, int(v.w[payload]), 0)
        unpack(h, payload + DATA, int(v.u[row + m.N1]), signed, out)
    elif v.w[payload + 1] == 0:  # a load with up-shift reads shift and sign, then the saturation
        need(h, row, int(v.u[row + m.B]))
        signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_UPS_SIGN)
        v.w[payload + 1] = 1
        v.w[payload + 2] = v.w[v.u[row + m.B]]
        v.w[payload + 3] = 1 if signed else 0
        later(h, step, 1, row, payload)
    else:
        load_shifted(h, row, payload, step)


@inline
def banks_of_arena(h: Handle, row: int, at: int) -> int:
    """The banks of a delayed store; its address is no longer at hand, the arena's will do."""
    return banks(0x70000 + (at & 0xFFFF), 32)


@inner
def load_shifted(h: Handle, row: int, payload: int, step: int) -> None:
    """The last stage of a load with up-shift."""
    v = view(h)
    bits, wide = int(v.u[row + m.N1]), int(v.u[row + m.N3])
    lanes = 256 // bits
    out = land(h, step, 2, int(v.u[row + m.DST]), lanes * wide // 32, int(v.w[payload]), 0)
    overflow = shift_up(
        h, payload + DATA, bits, lanes, int(v.w[payload + 2]), v.w[payload + 3] != 0, wide,
        int(v.w[CR_SAT]), out,
    )  # fmt: skip
    if overflow:
        v.w[SR_UPS_OVERFLOW] = 1


@inner
def store_part(h: Handle, row: int, payload: int) -> None:
    """A byte or half-word: its data is read now, and it is written as other stores are."""
    v = view(h)
    at = int(v.w[payload + 1])
    size = int(v.u[row + m.SIZE]) // 8
    source = int(v.u[row + m.A])
    value = int(v.w[source])
    if size == 1:
        v.mb[at] = wrap8(value)
    else:
        v.mh[at // 2] = wrap16(value)
    mark(h, at, size, int(v.b[flag_of(source)]))
