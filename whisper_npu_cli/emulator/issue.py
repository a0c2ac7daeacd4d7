"""Issue of micro-operations: which semantic function reads which registers, where results go."""

from __future__ import annotations

from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.address import pointer_step
from whisper_npu_cli.emulator.convert import (
    bfloat16_to_float32,
    float32_to_bfloat16,
    floor_to_int32,
    pack,
    shift_round_saturate,
    shift_up,
    unpack,
)
from whisper_npu_cli.emulator.core_state import (
    CR_PACK_SIGN,
    CR_SAT,
    CR_SRS_SIGN,
    CR_UNPACK_SIGN,
    CR_UPS_SIGN,
    CR_VADD_SIGN,
    FLAGS,
    SR_CARRY,
    SR_SRS_OVERFLOW,
    SR_UPS_OVERFLOW,
    R,
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
    new_payload,
    rounding,
    set_scalar,
    units_known,
)
from whisper_npu_cli.emulator.lanes import lanewise, lanewise_bfloat16, logic
from whisper_npu_cli.emulator.memory import dynamic_sign
from whisper_npu_cli.emulator.numbers import sign_extend, wrap32
from whisper_npu_cli.emulator.permute import (
    SHUFFLES,
    UNITS,
    broadcast,
    extract,
    insert,
    push,
    shift_bytes,
    shuffle,
)
from whisper_npu_cli.emulator.scalar import alu, carry_out, divide_step

SHUFFLE_COUNT = len(SHUFFLES)
STAGE_UNPACK = 6  # cycles from issue to the stage in which vunpack reads and writes
STAGE_MOVE = 2  # cycles from issue to the stage in which vmov.d reads
UNPACK_LATENCY, MOVE_LATENCY = 1, 3  # from there to the end of the cycle of the result


@merged
def issue_scalar(h: Handle, kind: int, row: int, step: int) -> None:
    """Scalar arithmetic, moves and pointer steps."""
    v = view(h)
    a = int(v.w[v.u[row + m.A]])
    dst = int(v.u[row + m.DST])
    latency = int(v.u[row + m.LATENCY])
    known = 1
    value = a
    if kind == m.SCALAR:
        value = alu(int(v.u[row + m.N1]), a, int(v.w[v.u[row + m.B]]), int(v.w[v.u[row + m.C]]))
    elif kind == m.COPY:
        known = int(v.b[4 * FLAGS + v.u[row + m.N2]]) if v.u[row + m.N2] >= 0 else 1
    elif kind == m.POINTER:
        value = pointer_step(h, int(v.u[row + m.MODE]), dst, int(v.u[row + m.STEP]))
    elif kind == m.SCALAR_CARRY:
        b, c = int(v.w[v.u[row + m.B]]), int(v.w[SR_CARRY])
        value = alu(int(v.u[row + m.N1]), a, b, c)
        v.w[SR_CARRY] = carry_out(int(v.u[row + m.N1]), a, b, c)
    else:
        value, dividend = divide_step(a, int(v.w[R + 31]), int(v.w[v.u[row + m.B]]))
        v.w[R + 31] = wrap32(dividend)
        v.b[4 * FLAGS + R + 31] = 1
    if latency == 0:
        set_scalar(h, dst, int(v.u[row + m.SIZE]), value)
        v.b[4 * FLAGS + dst] = known
    else:
        out = land(h, step, latency, dst, 1, known, 0)
        set_scalar(h, out, int(v.u[row + m.SIZE]), value)


@inner
def issue_vector(h: Handle, kind: int, row: int, step: int) -> None:
    """Vector instructions other than multiplications, loads and stores."""
    v = view(h)
    if kind == m.LANES or kind == m.LANES_FLOAT or kind == m.LOGIC:
        issue_lanes(h, kind, row, step)
    elif kind == m.UNPACK or kind == m.MOVE_LATE:
        later(h, step, STAGE_UNPACK if kind == m.UNPACK else STAGE_MOVE, row, 0)
    elif kind >= m.UPS:
        issue_conversion(h, kind, row, step)
    elif kind == m.MOVE:
        move(h, row, step, int(v.u[row + m.LATENCY]))
    elif kind == m.EXTRACT:
        bits = int(v.u[row + m.N1])
        signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_VADD_SIGN)
        size = 2 if bits == 64 else 1
        a, lane = int(v.u[row + m.A]), int(v.w[v.u[row + m.B]]) % (512 // bits)
        known = int(v.b[flag_of(a + lane * bits // 32)])
        out = land(h, step, int(v.u[row + m.LATENCY]), int(v.u[row + m.DST]), size, known, 0)
        extract(h, bits, signed, a, lane, out)
        if v.u[row + m.SIZE] != 32:
            set_scalar(h, out, int(v.u[row + m.SIZE]), int(v.w[out]))
    else:
        issue_permutation(h, kind, row, step)


@inner
def move(h: Handle, row: int, step: int, latency: int) -> None:
    """Copy a vector, accumulator or mask register; what is unknown stays so."""
    v = view(h)
    size, source = int(v.u[row + m.SIZE]), int(v.u[row + m.A])
    dst = int(v.u[row + m.DST])
    known = units_known(h, source, size)
    out = land(h, step, latency, dst, size, known, int(v.u[row + m.FORWARDED]))
    for i in range(size // 2):  # a mask register is half a unit
        v.d[out // 2 + i] = v.d[source // 2 + i]


@inline
def both_known(h: Handle, a: int, b: int) -> int:
    """A bit for each half of two vectors that is known of both."""
    return units_known(h, a, 16) & units_known(h, b, 16)


@inner
def issue_lanes(h: Handle, kind: int, row: int, step: int) -> None:
    """Lane-by-lane arithmetic; comparisons go to scalar registers without forwarding."""
    v = view(h)
    latency, dst = int(v.u[row + m.LATENCY]), int(v.u[row + m.DST])
    a, b = int(v.u[row + m.A]), int(v.u[row + m.B])
    known = both_known(h, a, b)
    if dst >= 0:
        out = land(h, step, latency, dst, 16, known, int(v.u[row + m.FORWARDED]))
    else:
        out = new_payload(h) + DATA
    if kind == m.LOGIC:
        logic(h, v.u[row + m.N1] != 0, a, b, out)
        return
    bits, operation = int(v.u[row + m.N2]), int(v.u[row + m.N1])
    if kind == m.LANES_FLOAT:
        found = lanewise_bfloat16(h, operation, a, b, out)
    else:
        signed = dynamic_sign(h, int(v.u[row + m.N3]), CR_VADD_SIGN)
        found = lanewise(h, operation, bits, signed, a, b, chosen_lanes(h, row, bits), out)
    dst2, size = int(v.u[row + m.DST2]), int(v.u[row + m.SIZE2])
    if dst2 >= 0:
        out = land(h, step, latency, dst2, size, known | known >> 1, 0)
        v.w[out] = wrap32(found & 0xFFFFFFFF)
        if size == 2:
            v.w[out + 1] = wrap32((found >> 32) & 0xFFFFFFFF)


@inner
def chosen_lanes(h: Handle, row: int, bits: int) -> int:
    """The bits of vsel and vaddsub: 64 of a register pair, else 32."""
    v = view(h)
    at = int(v.u[row + m.C])
    low = int(v.w[at]) & 0xFFFFFFFF
    return low | int(v.w[at + 1]) << 32 if bits == 8 else low


@inner
def issue_permutation(h: Handle, kind: int, row: int, step: int) -> None:
    """Shuffles, shifts and their like."""
    v = view(h)
    latency, a, b = int(v.u[row + m.LATENCY]), int(v.u[row + m.A]), int(v.u[row + m.B])
    bits, dst = int(v.u[row + m.N1]), int(v.u[row + m.DST])
    control = int(v.w[v.u[row + m.C]])
    known = permuted_known(h, kind, a, b, bits, control)
    out = land(h, step, latency, dst, 16, known, int(v.u[row + m.FORWARDED]))
    if kind == m.SHUFFLE or kind == m.BROADCAST_SHUFFLE:
        if control < 0 or control >= SHUFFLE_COUNT:
            fail(h, m.BAD_SHUFFLE, row, control)
            return
        if kind == m.SHUFFLE:
            shuffle(h, control, a, b, out)
        else:
            copies = new_payload(h) + DATA
            broadcast(h, bits, 4 * a, copies)
            shuffle(h, control, copies, copies, out)
    elif kind == m.SHIFT:
        shift_bytes(h, a, b, control & 63, out)
    elif kind == m.PUSH:
        push(h, bits, v.u[row + m.N2] != 0, a, b, out)
    elif kind == m.INSERT:
        insert(h, bits, a, b, control, out)
    elif kind == m.BROADCAST:
        broadcast(h, bits, 4 * a, out)
    else:
        lane = control % (512 // bits)
        broadcast(h, bits, 4 * a + lane * (bits // 8), out)


@inner
def permuted_known(h: Handle, kind: int, a: int, b: int, bits: int, control: int) -> int:
    """Which halves of a permutation's result take from known halves only.

    A vector into which a known scalar was put counts as known: programs fill it lane by lane.
    """
    v = view(h)
    if kind == m.EXTRACT_BROADCAST:
        return ALL * v.b[flag_of(a + control % (512 // bits) * bits // 32)]
    if kind == m.PUSH or kind == m.INSERT:
        return ALL * scalar_known(h, b, bits)
    if kind == m.BROADCAST or kind == m.BROADCAST_SHUFFLE:
        return ALL * scalar_known(h, a, bits)
    unknown = 15 & ~(units_known(h, a, 16) | units_known(h, b, 16) << 2)
    found = 0
    for half in range(2):
        if kind == m.SHUFFLE:
            needed = int(UNITS[(2 * control + half) % (2 * SHUFFLE_COUNT)])
        else:
            first = (32 * half + (control & 63)) // 32
            needed = 3 << first if control & 31 else 1 << first
        if needed & unknown == 0:
            found |= 1 << half
    return found


@inner
def scalar_known(h: Handle, at: int, bits: int) -> int:
    """1 if the scalar register or pair at a word was written, else 0."""
    v = view(h)
    known = int(v.b[flag_of(at)])
    return known & v.b[flag_of(at + 1)] if bits == 64 else known


@inner
def issue_conversion(h: Handle, kind: int, row: int, step: int) -> None:
    """SRS, UPS, pack and floating-point conversions."""
    v = view(h)
    latency, source = int(v.u[row + m.LATENCY]), int(v.u[row + m.A])
    size = int(v.u[row + m.SIZE])
    known = converted_known(h, source, int(v.u[row + m.SIZE2]), size)
    out = land(h, step, latency, int(v.u[row + m.DST]), size, known, 0)
    bits, sign, wide = int(v.u[row + m.N1]), int(v.u[row + m.N2]), int(v.u[row + m.N3])
    if kind == m.SRS:
        signed = dynamic_sign(h, sign, CR_SRS_SIGN)
        overflow = shift_round_saturate(
            h, source, wide, size * 32 // bits, int(v.w[v.u[row + m.B]]), rounding(h, row),
            bits, signed, int(v.w[CR_SAT]), out,
        )  # fmt: skip
        if overflow:
            v.w[SR_SRS_OVERFLOW] = 1
    elif kind == m.UPS:
        signed = dynamic_sign(h, sign, CR_UPS_SIGN)
        overflow = shift_up(
            h, source, bits, size * 32 // wide, int(v.w[v.u[row + m.B]]), signed, wide,
            int(v.w[CR_SAT]), out,
        )  # fmt: skip
        if overflow:
            v.w[SR_UPS_OVERFLOW] = 1
    elif kind == m.PACK:
        pack(h, source, bits, dynamic_sign(h, sign, CR_PACK_SIGN), int(v.w[CR_SAT]), out)
    elif kind == m.FLOAT_UP:
        bfloat16_to_float32(h, source, out)
    elif kind == m.FLOAT_DOWN:
        float32_to_bfloat16(h, source, rounding(h, row), out)
    else:
        floor_to_int32(h, source, sign_extend(int(v.w[v.u[row + m.B]]), 6), out)


@inner
def later_vector(h: Handle, row: int, step: int) -> None:
    """The stage in which vunpack and vmov.d read."""
    v = view(h)
    if v.u[row + m.KIND] == m.MOVE_LATE:
        move(h, row, step, MOVE_LATENCY)
        return
    signed = dynamic_sign(h, int(v.u[row + m.N2]), CR_UNPACK_SIGN)
    source = int(v.u[row + m.A])
    known = ALL * v.b[flag_of(source)]
    out = land(h, step, UNPACK_LATENCY, int(v.u[row + m.DST]), 16, known, 0)
    unpack(h, source, int(v.u[row + m.N1]), signed, out)
