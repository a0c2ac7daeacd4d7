"""Variables split into webs, so that writing a name again does not tie its uses together.

A web is a set of writes that some read cannot tell apart, with all their reads. Each becomes a
variable of its own, narrowed to the registers that every instruction using it can name. Variables
that must sit in one register keep its identity, since only one of them can live at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from whisper_npu_cli.aie.asm.blocks import Block
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.program import Operation
from whisper_npu_cli.aie.asm.select import choices
from whisper_npu_cli.aie.asm.values import KernelError, Value, Variable, physical
from whisper_npu_cli.aie.facts.isa import RegisterClass

MODES = {
    "crRnd": "rounding", "crSat": "saturation", "crSRSSign": "srs sign", "crUPSSign": "ups sign",
    "crPackSign": "pack sign", "crUnpackSign": "unpack sign", "crVaddSign": "comparison sign",
}  # fmt: skip
"""Control registers that a program has to set before an instruction depends on them."""

_Unit = tuple[Variable, int]


@dataclass(eq=False)
class _Site:
    """One operation's write of a variable, or the entry (operation None); `up` leads to the web."""

    variable: Variable
    undefined: bool = False
    up: _Site | None = None

    def root(self) -> _Site:
        site = self
        while site.up is not None:
            site = site.up
        return site

    def unite(self, other: _Site) -> None:
        first, second = self.root(), other.root()
        if first is not second:
            second.up = first


@dataclass(frozen=True)
class _Use:
    """One operand: the value, how the operation uses it, and which register names fit."""

    value: Value
    read: bool
    written: tuple[int, ...]
    registers: RegisterClass | str


def uses(operation: Operation) -> Iterator[_Use]:
    """The operands of an operation that are variables."""
    if operation.mark is not None:
        value = operation.mark[1]
        yield _Use(value, True, (), "")
        return
    instruction = operation.forms[0]
    for operand, value in zip(instruction.opcode.operands, instruction.values, strict=True):
        if isinstance(operand.kind, RegisterClass):
            written = value.unit_numbers if operand.write is not None and not operand.counts else ()
            if operand.write is not None or operand.counts:
                counts = [value.count(n) for n in range(len(operand.counts))]
                written = (*written, *(u for count in counts for u in count.unit_numbers))
            yield _Use(value, operand.read is not None, tuple(written), operand.kind)
    for item in instruction.opcode.implicit:
        value = operation.fixed.get(item.register) or Value.of(physical(item.register))
        written = value.unit_numbers if item.write is not None else ()
        yield _Use(value, item.read is not None, written, item.register)


class _Webs:
    """Reaching writes over the blocks, to a fixed point."""

    def __init__(self, blocks: Sequence[Block], inputs: Sequence[Variable], name: str) -> None:
        self.blocks, self.name = blocks, name
        self.sites: dict[tuple[int, Variable], _Site] = {}
        self.entry: dict[Variable, _Site] = {}
        self.inputs = set(inputs)
        self.out: dict[Block, dict[_Unit, frozenset[_Site]]] = {}
        changed = True
        while changed:
            changed = False
            for block in blocks:
                state = self._into(block)
                for operation in operations(block):
                    self._write(operation, state)
                if self.out.get(block) != state:
                    self.out[block], changed = state, True

    def _into(self, block: Block) -> dict[_Unit, frozenset[_Site]]:
        merged: dict[_Unit, frozenset[_Site]] = {}
        states = [self.out[p] for p in block.predecessors if p in self.out]
        if block is self.blocks[0]:
            states.append({})
        for unit in {unit for state in states for unit in state}:
            merged[unit] = frozenset().union(
                *(state.get(unit) or {self._entry(unit[0])} for state in states)
            )
        return merged

    def _entry(self, variable: Variable) -> _Site:
        if variable not in self.entry:
            known = variable in self.inputs or (
                len(variable.registers) == 1
                and variable.name not in MODES
                and variable is physical(variable.name)
            )
            self.entry[variable] = _Site(variable, undefined=not known)
        return self.entry[variable]

    def _write(self, operation: Operation, state: dict[_Unit, frozenset[_Site]]) -> None:
        for use in uses(operation):
            if use.written:
                site = self.site(operation, use.value.variable)
                for unit in use.written:
                    state[use.value.variable, unit] = frozenset({site})

    def site(self, operation: Operation, variable: Variable) -> _Site:
        """The write of a variable by an operation."""
        return self.sites.setdefault((id(operation), variable), _Site(variable))

    def unite(self) -> dict[tuple[int, int], _Site]:
        """(operation, operand) -> a site of its web; KernelError for a read before any write."""
        found: dict[tuple[int, int], _Site] = {}
        for block in self.blocks:
            state = self._into(block)
            for operation in operations(block):
                for place, use in enumerate(uses(operation)):
                    reaching = self._reaching(operation, use, state) if use.read else []
                    if use.written:
                        reaching.append(self.site(operation, use.value.variable))
                    for site in reaching[1:]:
                        reaching[0].unite(site)
                    found[id(operation), place] = reaching[0]
                self._tie(operation)
                self._write(operation, state)
        return found

    def _reaching(
        self, operation: Operation, use: _Use, state: dict[_Unit, frozenset[_Site]]
    ) -> list[_Site]:
        variable = use.value.variable
        sites = [
            site
            for unit in use.value.unit_numbers
            for site in state.get((variable, unit)) or {self._entry(variable)}
        ]
        if any(site.undefined for site in sites):
            if variable.name in MODES:
                what = f"sets no {MODES[variable.name]} mode ({variable.name}) before"
            else:
                what = f"may not have set all of {variable} before"
            raise KernelError(f"{self.name} {what} `{operation}`, which needs it.")
        return sites

    def _tie(self, operation: Operation) -> None:
        for instruction in operation.forms[:1]:
            for operand, value in zip(instruction.opcode.operands, instruction.values, strict=True):
                if operand.tied:
                    other = instruction.value(operand.tied)
                    assert other.variable is value.variable


def operations(block: Block) -> list[Operation]:
    """All operations of a block before scheduling, trip count and branch last."""
    return block.operations + [op for op in (block.trip, block.branch) if op is not None]


def rename(blocks: Sequence[Block], inputs: Sequence[Variable], name: str) -> dict[Variable, str]:
    """Give every web a variable of its own, in place; inputs -> the register each must be in.

    Raises KernelError for a value that is read before it is written, for a mode that is not set,
    and for a value whose uses have no register in common.
    """
    webs = _Webs(blocks, inputs, name)
    of_operand = webs.unite()
    narrowed: dict[_Site, list[str]] = {}
    for block in blocks:
        for operation in operations(block):
            for place, use in enumerate(uses(operation)):
                root = of_operand[id(operation), place].root()
                before = narrowed.setdefault(root, list(use.value.variable.registers))
                if isinstance(use.registers, RegisterClass):
                    fitting = choices(use.value, use.registers)
                else:
                    fitting = [use.registers] if use.registers else before
                narrowed[root] = [r for r in before if r in fitting]
                if not narrowed[root]:
                    raise KernelError(
                        f"No register can hold {use.value!r} for all its uses in {name} (here "
                        f"`{operation}`): copy it with mov for one of them."
                    )
    return _apply(blocks, webs, of_operand, narrowed)


def _apply(
    blocks: Sequence[Block],
    webs: _Webs,
    of_operand: dict[tuple[int, int], _Site],
    narrowed: dict[_Site, list[str]],
) -> dict[Variable, str]:
    fresh: dict[_Site, Variable] = {}
    numbers: dict[Variable, int] = {}
    for root, registers in narrowed.items():
        old = root.variable
        if len(registers) == 1:
            fresh[root] = physical(registers[0])
            continue
        numbers[old] = numbers.get(old, 0) + 1
        suffix = f"'{numbers[old]}" if numbers[old] > 1 else ""
        fresh[root] = replace(old, name=old.name + suffix, registers=tuple(registers))
    for block in blocks:
        changed = {
            id(op): _renamed(
                op, [fresh[of_operand[id(op), i].root()] for i, _ in enumerate(uses(op))]
            )
            for op in operations(block)
        }
        block.operations = [changed[id(op)] for op in block.operations]
        block.trip = changed[id(block.trip)] if block.trip else None
        block.branch = changed[id(block.branch)] if block.branch else None
    return {
        fresh[site.root()]: variable.name
        for variable, site in webs.entry.items()
        if variable in webs.inputs and site.root() in fresh
    }


def _renamed(operation: Operation, variables: Sequence[Variable]) -> Operation:
    """The operation with the variables of its operands, in the order of `uses`."""

    def moved(value: Any, variable: Variable) -> Value:
        return replace(value, variable=variable)

    if operation.mark is not None:
        name, value = operation.mark
        return replace(operation, mark=(name, moved(value, variables[0])))
    opcode = operation.forms[0].opcode
    registers = [isinstance(operand.kind, RegisterClass) for operand in opcode.operands]
    forms = []
    for form in operation.forms:
        remaining = iter(variables)
        values = [
            moved(value, next(remaining)) if register else value
            for value, register in zip(form.values, registers, strict=True)
        ]
        forms.append(Instruction(form.opcode, tuple(values)))
    rest = variables[sum(registers) :]
    fixed = {
        item.register: moved(operation.fixed[item.register], variable)
        for item, variable in zip(opcode.implicit, rest, strict=True)
        if item.register in operation.fixed
    }
    return replace(operation, forms=tuple(forms), fixed=fixed)
