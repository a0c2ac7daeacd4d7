"""What an operation reads and writes, when, and which units it keeps busy.

One place turns the instruction tables into effects on variables; the dependence graph and the
register allocator build on it. (The verifier does not: it reads the tables itself.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.program import Operation
from whisper_npu_cli.aie.asm.values import Value, Variable, physical
from whisper_npu_cli.aie.facts.timing import Access, Stage

STICKY = {
    "srSS0", "srMS0", "srSRS_of", "srUPS_of", "srCompr_uf", "srSparse_of", "srFPFlags",
    "srF2IFlags", "srF2FFlags",
}  # fmt: skip
"""Flags that instructions only add to, so that their order does not matter; kernels do not read
them."""

LOCKS = {"acq", "rel", "acq.cond", "rel.cond", "done"}
"""Mnemonics before which memory accesses must have ended and after which they must begin."""

LOCK_STALL, LOCK_RESUME = 2, 8
"""Stages in which a lock operation stops the core and lets it go on.

Source: Xilinx/llvm-aie, AIEBaseInstrInfo.cpp (Apache-2.0 WITH LLVM-exception), which calls them
conservative.
"""


@dataclass(frozen=True)
class Effect:
    """One variable read or written in pipeline stage `cycle` (1 = issue).

    `bypass` is the forwarding path; `unsure` where only the register's number will tell whether
    the operand is on it, so that both cases have to be right.
    """

    variable: Variable
    units: tuple[int, ...]
    write: bool
    cycle: int
    bypass: str | None
    unsure: bool = False


@dataclass(frozen=True)
class Memory:
    """The stages in which an operation touches data memory, and what it touches."""

    store: bool
    first: int
    last: int
    buffer: str
    copy: int


@dataclass(frozen=True)
class Effects:
    """All that the scheduler has to know about an operation."""

    registers: tuple[Effect, ...]
    memory: Memory | None
    lock: bool
    stream: bool

    @property
    def reach(self) -> int:
        """The last stage in which anything happens."""
        stages = [e.cycle for e in self.registers]
        stages += [self.memory.last] if self.memory else []
        return max([*stages, LOCK_RESUME if self.lock else 1])


@lru_cache(maxsize=1 << 16)
def effects(operation: Operation) -> Effects:
    """The effects of an operation; the same in every slot that it may take."""
    if operation.mark is not None:
        value = operation.mark[1]
        read = Effect(value.variable, value.unit_numbers, False, 1, None)
        return Effects((read,), None, False, False)
    instruction = operation.forms[0]
    open_class = bool(instruction.itinerary().finer)  # the registers' numbers will decide
    registers = tuple(
        _effect(operation, access, open_class)
        for access in instruction.accesses()
        if access.register not in STICKY
    )
    opcode, span = instruction.opcode, instruction.itinerary().memory
    memory = None
    if span is not None and (opcode.load or opcode.store):
        memory = Memory(opcode.store, *span, operation.buffer, operation.copy)
    return Effects(registers, memory, opcode.mnemonic in LOCKS, _on_stream(instruction))


def _effect(operation: Operation, access: Access, open_class: bool) -> Effect:
    register = access.register
    if isinstance(register, str):
        value = operation.fixed.get(register) or Value.of(physical(register))
    else:
        value = register
    unsure = open_class and value.file in ("w", "wl", "wh")
    return Effect(
        value.variable, value.unit_numbers, access.write, access.cycle, access.bypass, unsure
    )


def _on_stream(instruction: Instruction) -> bool:
    return any(use.unit == "SEMAPHORE" and use.reserved for use in instruction.stages())


def busy(operation: Operation, form: Instruction | None) -> tuple[Stage, ...]:
    """The units that an operation keeps busy in one of its forms (None: a checkpoint, nothing).

    An instruction takes its slot in the issue cycle; the long slot shares the bundle's bits with
    alu and mv (no format of slots.py holds both). Where the program says in which bank a buffer
    lies, an access takes the bank: two in one cycle would stall the core (shared facts 8.4).
    """
    if form is None:
        return ()
    slot = form.opcode.slot
    taken = ("lng", "alu", "mv") if slot == "lng" else (slot,)
    uses = tuple(Stage(f"slot {name}", 1, 1) for name in taken) + form.stages()
    memory = effects(operation).memory
    if memory is None or operation.bank is None:
        return uses
    touched = sorted({memory.first, memory.last})
    return uses + tuple(Stage(f"bank {operation.bank}", cycle, 1) for cycle in touched)
