"""From instructions to micro-operations: loads, stores, vector and multiplier instructions."""

from __future__ import annotations

import re

from whisper_npu_cli.aie.facts.core_registers import width
from whisper_npu_cli.emulator import lanes, multiply
from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.core_state import word, words
from whisper_npu_cli.emulator.memory import DYNAMIC, STAGE_PART, STAGE_SRS, STAGE_UPS
from whisper_npu_cli.emulator.multiplier import STAGE
from whisper_npu_cli.emulator.operation import (
    Constant,
    MicroOperation,
    NotModelledError,
    Operation,
)

Rows = list[MicroOperation]

PLAIN_STAGE = 5
"""In which plain loads and stores touch memory; others are counted from there."""

_PARTS = {"s8": m.SIGNED_8, "u8": m.UNSIGNED_8, "s16": m.SIGNED_16, "u16": m.UNSIGNED_16}


def bits_and_sign(text: str) -> tuple[int, int]:
    """(16, 1) of "s16", (16, DYNAMIC) of "d16", (16, 0) of "u16", (16, 1) of "16"."""
    kind, bits = text.rstrip("0123456789"), text.lstrip("sdu")
    return int(bits), {"d": DYNAMIC, "u": 0}.get(kind, 1)


# ---------------------------------------------------------------------- loads and stores


def memory_access(o: Operation) -> Rows:
    """Loads and stores; none for other instructions."""
    if not (o.opcode.load or o.opcode.store) or ".tm" in o.mnemonic:
        return []
    if not (o.has("ptr") or "[sp" in o.opcode.asm):
        return []
    head, rest = o.parts[0], o.parts[1:]
    if o.opcode.store:
        return _store(o, head, rest)
    return _load(o, head, rest)


def _load(o: Operation, head: str, rest: list[str]) -> Rows:
    result = o.results()[0]
    address = o.address()
    o.expect_memory(PLAIN_STAGE)
    if rest and rest[0] in _PARTS:
        columns = o.scalar_result(result) | {m.N2: _PARTS[rest[0]]}
        return [o.make(m.LOAD_PART, columns | address)]
    if head == "lda" and not rest and width(result) <= 32:
        return [o.make(m.LOAD, o.scalar_result(result) | {m.N1: 4} | address)]
    columns = o.vector_result(result)
    if not rest and head in ("lda", "vlda", "vldb"):
        return [o.make(m.LOAD, columns | {m.N1: min(32, width(result) // 8)} | address)]
    if rest == ["128"]:
        return [o.make(m.LOAD, columns | {m.N1: 16} | address)]
    if rest[0] == "conv":
        return [o.make(m.LOAD_FLOAT, columns | address)]
    if rest[0] == "unpack":
        bits, sign = bits_and_sign(rest[2])
        o.expect(STAGE_UPS + 1, result, write=True)
        return [o.make(m.LOAD_UNPACK, columns | {m.N1: bits, m.N2: sign} | address)]
    if rest[0] == "ups":
        o.expect(STAGE_UPS + 1, o.value("shft"), write=False)
        o.expect(STAGE_UPS + 3, result, write=True)
        bits, sign = bits_and_sign(rest[2])
        converted = {m.N1: bits, m.N2: sign, m.N3: int(rest[1][1:]), m.B: o.operand("shft")}
        return [o.make(m.LOAD_UPS, columns | converted | address)]
    return []


def _store(o: Operation, head: str, rest: list[str]) -> Rows:
    address = o.address()
    source = next(n for n in ("src", "mSclSt", "mRv") if o.has(n))
    columns = address | {m.A: o.operand(source)}
    if head == "st" and rest:
        o.expect_memory(PLAIN_STAGE + STAGE_PART)
        o.expect(STAGE_PART + 1, o.value(source), write=False)
        return [o.make(m.STORE_PART, columns | {m.SIZE: int(rest[0][1:])}, (source,))]
    if not rest or rest == ["128"]:
        o.expect_memory(PLAIN_STAGE)
        size = 16 if rest else max(4, min(32, width(o.value(source)) // 8))
        return [o.make(m.STORE, columns | {m.N1: size}, (source,))]
    if rest[0] == "pack":
        o.expect_memory(PLAIN_STAGE)
        bits, sign = bits_and_sign(rest[1])
        return [o.make(m.STORE_PACK, columns | {m.N1: bits, m.N2: sign}, (source,))]
    o.expect_memory(PLAIN_STAGE + STAGE_SRS)
    if rest[0] == "conv":
        return [o.make(m.STORE_FLOAT, columns | {m.N1: 16, m.N3: 32}, (source,))]
    if rest[0] == "srs":
        bits, sign = bits_and_sign(rest[1])
        converted = {m.N1: bits, m.N2: sign, m.N3: int(rest[2][1:]), m.B: o.operand("shft")}
        return [o.make(m.STORE_SRS, columns | converted, (source,))]
    return []


# ---------------------------------------------------------------------- vectors


def vector_operation(o: Operation) -> Rows:
    """Vector and multiplier instructions; none for others."""
    if o.opcode.slot == "vec":
        return _move_late(o) if o.mnemonic == "vmov.d" else _multiplication(o)
    for choose in (_lanewise, _permutation, _conversion):
        rows = choose(o)
        if rows:
            return rows
    if o.mnemonic == "vmov":
        dst, src = o.value("dst"), o.value("src")
        if width(dst) != width(src):
            raise NotModelledError(f"{dst} and {src} differ in width")
        return [o.make(m.MOVE, o.vector_result(dst) | {m.A: word(src)}, ("src",))]
    return []


def _move_late(o: Operation) -> Rows:
    dst, src = o.value("cdst"), o.value("csrc")
    o.expect(STAGE + 1, src, write=False)
    o.expect(STAGE + 3, dst, write=True)
    return [o.make(m.MOVE_LATE, o.vector_result(dst) | {m.A: word(src)})]


def _multiplication(o: Operation) -> Rows:
    name = o.parts[0]
    if name not in multiply.FORMS or "sparse" in o.opcode.name:
        return []
    form = multiply.FORMS[name]
    dst = o.value("dst")
    columns = o.vector_result(dst) | {m.N1: form, m.C: Constant(0)}
    columns[m.LATENCY] = o.cycle(dst, write=True) - STAGE
    for name, column in (("acc1", m.N2), ("acc2", m.N3)):
        if o.has(name):
            o.expect(STAGE + 1, o.value(name), write=False)
            columns[column] = o.operand(name)
    for name, column in (("s1", m.A), ("s2", m.B), ("c", m.C)):
        if o.has(name):
            columns[column] = o.operand(name)
    kind = m.MULTIPLY_FLOAT if o.parts[-1] == "f" or "BF" in o.opcode.name else m.MULTIPLY
    return [o.make(kind, columns, ("s1", "s2"))]


_LANEWISE = re.compile(r"(v[a-z_]+?)\.?([sd]?\d+|bf16)")


def _lanewise(o: Operation) -> Rows:
    if o.mnemonic in ("vband", "vbor"):
        columns = o.vector_result(o.value("d")) | {m.A: o.operand("s1"), m.B: o.operand("s2")}
        columns |= {m.N1: int(o.mnemonic == "vband"), m.DST2: -1}
        return [o.make(m.LOGIC, columns, ("s1", "s2"))]
    match = _LANEWISE.fullmatch(o.mnemonic)
    if not match or match[1] not in lanes.OPERATIONS:
        return []
    columns = {m.N1: lanes.OPERATIONS[match[1]], m.DST: -1, m.DST2: -1, m.C: Constant(0)}
    if o.has("d"):
        columns |= o.vector_result(o.value("d"))
    if o.has("cmp"):
        columns |= {m.DST2: o.operand("cmp"), m.SIZE2: words(o.value("cmp"))}
        columns[m.LATENCY] = o.latency(o.value("cmp"))
    first = "s1" if o.has("s1") else "s2"
    columns[m.A] = o.operand(first)
    columns[m.B] = o.operand("s2") if o.has("s2") else columns[m.A]
    if o.has("sel"):
        columns[m.C] = o.operand("sel")
    if match[2] == "bf16":
        return [o.make(m.LANES_FLOAT, columns, ("s1", "s2"))]
    bits, sign = bits_and_sign(match[2])
    return [o.make(m.LANES, columns | {m.N2: bits, m.N3: sign}, ("s1", "s2"))]


def _permutation(o: Operation) -> Rows:
    if o.mnemonic in ("vshuffle", "vshift"):
        kind = m.SHUFFLE if o.mnemonic == "vshuffle" else m.SHIFT
        control = o.operand("mod" if kind == m.SHUFFLE else "shift")
        columns = o.vector_result(o.results()[0])
        columns |= {m.A: o.operand("s1"), m.B: o.operand("s2"), m.C: control}
        return [o.make(kind, columns, ("s1", "s2"))]
    head, bits = o.parts[0], o.parts[-1]
    if head == "vpush":
        high = o.parts[1] == "hi"
        vector, scalar = ("s1", "s2") if high else ("s2", "s1")
        columns = {m.A: o.operand(vector), m.B: o.operand(scalar), m.N2: int(high)}
        return [_permuted(o, m.PUSH, bits, columns, (vector, scalar))]
    if head == "vinsert":
        columns = {m.A: o.operand("s1"), m.B: o.operand("s0"), m.C: word("r29")}
        return [_permuted(o, m.INSERT, bits, columns, ("s1", "s0"))]
    if head == "vbcst":
        return [_permuted(o, m.BROADCAST, bits, {m.A: o.operand("s0")}, ("s0",))]
    if head == "vbcstshfl":
        columns = {m.A: o.operand("s0"), m.C: word("r29")}
        return [_permuted(o, m.BROADCAST_SHUFFLE, bits, columns, ("s0",))]
    if head == "vextbcst":
        columns = {m.A: o.operand("src"), m.C: o.operand("idx")}
        return [_permuted(o, m.EXTRACT_BROADCAST, bits, columns, ("src",))]
    if head == "vextract":
        size, sign = bits_and_sign(bits)
        columns = o.scalar_result(o.value("dst"))
        columns |= {m.A: o.operand("s1"), m.B: o.operand("idx"), m.N1: size, m.N2: sign}
        return [o.make(m.EXTRACT, columns, ("s1",))]
    return []


def _permuted(
    o: Operation, kind: int, bits: str, columns: dict[int, int], unchecked: tuple[str, ...] = ()
) -> MicroOperation:
    result = o.vector_result(o.results()[0])
    return o.make(kind, result | columns | {m.N1: int(bits)}, unchecked)


def _conversion(o: Operation) -> Rows:
    head, rest = o.parts[0], o.parts[1:]
    if head not in ("vsrs", "vsrsm", "vups", "vpack", "vunpack", "vconv", "vfloor"):
        return []
    columns = o.vector_result(o.value("dst"))
    columns |= {m.A: o.operand("src"), m.SIZE2: words(o.value("src"))}
    if o.has("shft"):
        columns[m.B] = o.operand("shft")
    if head == "vconv":
        return [o.make(m.FLOAT_UP if rest[0] == "fp32" else m.FLOAT_DOWN, columns, ("src",))]
    if head == "vfloor":
        return [o.make(m.FLOOR, columns, ("src",))]
    out, source = rest
    bits, sign = bits_and_sign(source if head in ("vups", "vunpack") else out)
    columns |= {m.N1: bits, m.N2: sign}
    if head == "vpack":
        return [o.make(m.PACK, columns, ("src",))]
    if head == "vunpack":
        o.expect(STAGE_UPS + 1, o.value("src"), write=False)
        return [o.make(m.UNPACK, columns)]
    columns[m.N3] = int((out if head == "vups" else source)[1:])
    return [o.make(m.UPS if head == "vups" else m.SRS, columns, ("src",))]
