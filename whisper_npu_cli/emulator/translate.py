"""From instructions to micro-operations: scalar instructions, branches, locks, streams."""

from __future__ import annotations

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.slots import NOPS
from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator import scalar
from whisper_npu_cli.emulator.core_state import (
    CONTROL,
    CONTROL_COUNT,
    LC,
    LE,
    LR,
    LS,
    SP,
    flags,
    word,
)
from whisper_npu_cli.emulator.operation import (
    Constant,
    MicroOperation,
    NotModelledError,
    Operation,
)
from whisper_npu_cli.emulator.translate_vector import memory_access, vector_operation

Rows = list[MicroOperation]

DECIDING = {LC, LS, LE, *range(CONTROL, CONTROL + CONTROL_COUNT)}
"""Registers that act by what they hold, without an instruction that names them."""


def translate(instruction: Instruction, returns: int) -> Rows:
    """The micro-operations of an instruction, none for a nop.

    `returns` is the address behind the delay slots. Raises NotModelledError.
    """
    if instruction.opcode.name in NOPS.values():
        return []
    o = Operation(instruction, returns)
    for choose in (_stream, _scalar, _branch, _blocking, memory_access, vector_operation):
        rows = choose(o)
        if rows:
            return rows
    raise NotModelledError("its meaning is not in the emulator")


def _scalar(o: Operation) -> Rows:
    if o.mnemonic in ("padda", "paddb", "padds"):
        return [_pointer(o)]
    if o.mnemonic == "divs":
        a, b = o.operand("s0"), o.operand("s1")
        columns = o.scalar_result(o.value("d0")) | {m.A: a, m.B: b}
        return [o.make(m.DIVIDE, columns)]
    if o.mnemonic not in scalar.OPERATIONS or o.opcode.slot == "vec" or "cntr" in o.opcode.asm:
        return []
    operation = scalar.OPERATIONS[o.mnemonic]
    result, sources = o.results()[0], o.sources()
    columns = o.scalar_result(result) | {m.N1: operation, m.A: o.at(sources[0])}
    if operation == scalar.MOVE:
        source = sources[0]
        columns[m.N2] = flags(source)[0] if isinstance(source, str) else -1
        names = tuple(p.name for p in o.opcode.operands)
        decides = word(result) in DECIDING
        return [o.make(m.COPY, columns, unchecked=() if decides else names)]
    if len(sources) > 1:
        columns[m.B] = o.at(sources[1])
    if o.mnemonic.startswith("sel."):
        columns[m.C] = word("r27")
    kind = m.SCALAR_CARRY if o.mnemonic in scalar.WITH_CARRY else m.SCALAR
    return [o.make(kind, columns)]


def _pointer(o: Operation) -> MicroOperation:
    if "[sp]" in o.opcode.asm:
        columns = {m.DST: SP, m.SIZE: 20, m.A: SP, m.B: o.operand("imm"), m.N1: scalar.ADD}
        return o.make(m.SCALAR, columns)
    address = o.address()
    columns = {m.DST: address[m.BASE], m.SIZE: 20, m.A: address[m.BASE]}
    return o.make(m.POINTER, address | columns)


_JUMPS = {"j": m.JUMP, "jl": m.JUMP, "ret": m.JUMP, "jnz": m.JUMP_NOT_ZERO, "jz": m.JUMP_ZERO,
          "jnzd": m.JUMP_COUNTED}  # fmt: skip


def _branch(o: Operation) -> Rows:
    if o.mnemonic not in _JUMPS:
        return []
    if o.mnemonic == "ret":
        target = LR
    else:
        target = o.operand("cpmaddr") if o.has("cpmaddr") else o.operand("mPm")
    tested = o.operand("mRx0" if o.mnemonic == "jnzd" else "mRx") if o.has("mRx") else 0
    rows = [o.make(_JUMPS[o.mnemonic], {m.A: tested, m.B: target})]
    if o.mnemonic == "jl":
        latency = o.cycle("lr", write=True)
        columns = {m.A: Constant(o.returns), m.DST: LR, m.SIZE: 20, m.LATENCY: latency}
        rows.append(MicroOperation({m.KIND: m.LINK} | columns))
    if o.mnemonic == "jnzd":
        columns = o.scalar_result(o.value("mRx"))
        columns |= {m.N1: scalar.SUB, m.A: tested, m.B: Constant(1)}
        counted = o.make(m.SCALAR, columns)
        rows = [MicroOperation(rows[0].columns, counted.reads, checked=counted.checked), counted]
    return rows


def _blocking(o: Operation) -> Rows:
    if o.mnemonic in ("acq", "rel", "acq.cond", "rel.cond"):
        kind = m.LOCK_ACQUIRE if o.mnemonic.startswith("acq") else m.LOCK_RELEASE
        always = Constant(1)
        condition = word("r26") if o.mnemonic.endswith("cond") else always
        lock, value = o.sources()[:2]
        return [o.make(kind, {m.A: o.at(lock), m.B: o.at(value), m.C: condition})]
    if o.mnemonic == "done":
        return [o.make(m.HALT, {})]
    if o.mnemonic == "event":
        return [o.make(m.SIGNAL, {m.N1: o.value("val")})]
    return []


def _stream(o: Operation) -> Rows:
    """Streams and cascade; the mnemonic of many of them is a plain mov."""
    name, waits = o.opcode.name, ".nb" not in o.mnemonic
    if name.endswith("mv_ss2scl"):
        status = 0 if waits else o.cycle("srSS0", write=True)
        columns = o.scalar_result(o.results()[0]) | {m.N1: int(not waits), m.N2: status}
        return [o.make(m.STREAM_GET, columns)]
    if "mv_scl2ms" in name:
        last: int = Constant("TLAST" in name)
        if name.endswith("doTlast_reg"):
            last = word("r28")
        status = 0 if waits else o.cycle("srMS0", write=True)
        columns = {m.B: o.operand("src"), m.C: last, m.N1: int(not waits), m.N2: status}
        return [o.make(m.STREAM_PUT, columns)]
    if name == "VMOV_mv_scd":
        return [o.make(m.CASCADE_GET, o.vector_result(o.value("dst")))]
    if name == "VMOV_mv_mcd":
        return [o.make(m.CASCADE_PUT, {m.A: o.operand("src")})]
    return []
