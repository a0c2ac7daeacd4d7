"""Made-up but definite results for instructions, to compare two ways of running one program.

Every storage unit holds a number. Simple scalar instructions compute as the core does, so that
loops and branches go their way; any other result is a hash of the instruction and of all that it
read. Two runs agree on a number only if they got there from the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zlib import crc32

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.isa import Immediate

MASK = (1 << 32) - 1

SAME = {
    "vlda": "vld", "vldb": "vld", "padda": "padd", "paddb": "padd", "padds": "padd",
    "mova": "const", "movx": "const", "movxm": "const",
}  # fmt: skip
"""Instructions that do the same thing in different slots."""

MASKS = {"crFPMask", "crF2FMask", "crF2IMask"}
"""Which exceptions are reported; no influence on results."""

FLAGS = {
    "srSS0", "srMS0", "srSRS_of", "srUPS_of", "srCompr_uf", "srSparse_of", "srFPFlags",
    "srF2IFlags", "srF2FFlags",
}  # fmt: skip
"""Status that accumulates; nothing here depends on it."""


def _signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


SCALAR: dict[str, Callable[..., int]] = {
    "const": lambda a: a,
    "mov": lambda a: a,
    "add": lambda a, b: a + b,
    "add.nc": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "eqz": lambda a: int(a & MASK == 0),
    "nez": lambda a: int(a & MASK != 0),
    "eq": lambda a, b: int((a - b) & MASK == 0),
    "ne": lambda a, b: int((a - b) & MASK != 0),
    "lt": lambda a, b: int(_signed(a & MASK) < _signed(b & MASK)),
    "ge": lambda a, b: int(_signed(a & MASK) >= _signed(b & MASK)),
}


def mix(*items: Any) -> int:
    """A hash of numbers, strings and tuples of these, the same in every process."""
    return hash(_numbers(items)) & _WORD


_WORD = (1 << 62) - 1


def _numbers(item: Any) -> Any:
    if isinstance(item, str):
        return _of_text(item)
    return tuple(map(_numbers, item)) if isinstance(item, tuple) else item


@lru_cache(maxsize=1 << 12)
def _of_text(text: str) -> int:
    return crc32(text.encode())


def mnemonic(instruction: Instruction) -> str:
    """The mnemonic, the same for all slots."""
    first, dot, rest = instruction.opcode.mnemonic.partition(".")
    name = SAME.get(first, first) + dot + rest
    takes_number = any(isinstance(o.kind, Immediate) for o in instruction.opcode.operands)
    return "const" if name == "mov" and takes_number else name


ORDERED = {"acq", "rel", "acq.cond", "rel.cond", "done"}
"""Lock operations; memory accesses keep their side of them."""


class Plan:
    """What is the same for every execution of an instruction.

    `reads` and `writes` leave out flags and masks; `kind` is load, store, lock or stream, or
    empty for an instruction that stays within the registers.
    """

    def __init__(self, instruction: Instruction) -> None:
        self.instruction = instruction
        self.name = mnemonic(instruction)
        self.opcode = instruction.opcode
        self.addressed = "ptr" in {o.name for o in self.opcode.operands}
        accesses = [a for a in instruction.accesses() if a.register not in FLAGS | MASKS]
        self.reads = [a for a in accesses if not a.write]
        self.writes = [a for a in accesses if a.write]
        self.stages = instruction.stages()
        self.memory = instruction.itinerary().memory
        self.kind = self._kind()
        numbers = [
            (operand.name, value)
            for operand, value in zip(self.opcode.operands, instruction.values, strict=True)
            if isinstance(operand.kind, Immediate)
        ]
        self.numbers = dict(numbers)
        self.offset = tuple(n for n in numbers if self.is_address(n[0]))
        self.rest = tuple(n for n in numbers if not self.is_address(n[0]))
        self.order = [o.name for o in self.opcode.operands]

    def _kind(self) -> str:
        if self.opcode.load or self.opcode.store:
            return "store" if self.opcode.store else "load"
        if self.name in ORDERED:
            return "lock"
        return "stream" if any(stage.unit == "SEMAPHORE" for stage in self.stages) else ""

    def is_address(self, operand: str) -> bool:
        """Whether an operand takes part in computing an address and nothing else."""
        return self.addressed and operand in ("ptr", "mod", "dj", "imm")


class Instance:
    """One execution of an instruction: inputs come in one by one, results follow from them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.loaded = 0

    def _inputs(self, address: bool) -> tuple[tuple[str, tuple[int, ...]], ...]:
        wanted = (name for name in self.inputs if self.plan.is_address(name) is address)
        return tuple((name, self.inputs[name]) for name in sorted(wanted))

    def data(self) -> tuple[Any, ...]:
        """All that was read but for the address."""
        return self._inputs(False), self.plan.rest

    def key(self) -> tuple[str, int]:
        """What identifies this memory access, lock or stream operation in a run."""
        if self.plan.addressed:
            return self.plan.name, mix(self._inputs(True), self.plan.offset)
        return self.plan.name, mix(self.data())

    def result(self, place: int, size: int) -> tuple[int, ...]:
        """The numbers that write access `place` of the plan leaves in its units."""
        plan, operand = self.plan, self.plan.writes[place].operand
        if plan.is_address(operand):
            base = mix("address", operand, place, self._inputs(True), plan.offset)
        elif plan.opcode.load:
            base = mix("load", operand, self.loaded, self.data())
            if operand in ("mRa", "mLdaScl") and size == 1:
                base = base % 7 + 2  # a number that can count loops
        elif plan.name in SCALAR and size == 1:
            return (self._scalar() & MASK,)
        else:
            base = mix("result", plan.name, operand, self.data())
        return tuple(mix(base, n) for n in range(size)) if size > 1 else (base,)

    def _scalar(self) -> int:
        known = {name: value[0] for name, value in self.inputs.items()} | self.plan.numbers
        return SCALAR[self.plan.name](*(known[n] for n in self.plan.order if n in known))
