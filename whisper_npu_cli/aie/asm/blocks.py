"""A program's tree of loops and branches as basic blocks in the order of their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from whisper_npu_cli.aie.asm.instruction import Instruction, make
from whisper_npu_cli.aie.asm.program import Branch, Loop, Node, Operation, Program, While
from whisper_npu_cli.aie.asm.select import select
from whisper_npu_cli.aie.asm.values import KINDS, KernelError, Value, Variable, physical

DELAY_SLOTS = 5


@dataclass(frozen=True)
class Placed:
    """An operation at its issue cycle, in the form (slot) chosen for it; None for a checkpoint."""

    operation: Operation
    time: int
    form: Instruction | None


@dataclass(eq=False)
class Block:
    """Operations without a way in or out in between.

    `branch` ends it, with DELAY_SLOTS bundles of the block after it. `loop` is set for the body of
    a zero-overhead loop; where its count is a value, `trip` of the block before puts that into lc.
    `head` and `tail` hold operations with a fixed place, counted in cycles
    from the start and from the end: what a pipelined loop leaves to do after it and needs before.
    """

    label: str
    operations: list[Operation] = field(default_factory=list)
    branch: Operation | None = None
    trip: Operation | None = None
    successors: list[Block] = field(default_factory=list)
    predecessors: list[Block] = field(default_factory=list)
    loop: Loop | None = None
    head: list[tuple[int, Placed]] = field(default_factory=list)
    tail: list[tuple[int, Placed]] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.label}>"


def lower(program: Program) -> list[Block]:
    """The blocks of a program; the first one is the entry, each falls through to the next."""
    builder = _Builder(program.name)
    builder.walk(program.body)
    builder.halt()
    for block, following in zip(builder.blocks, [*builder.blocks[1:], None], strict=True):
        leaves = block.branch is not None and block.branch.forms[0].opcode.mnemonic == "j"
        if following is not None and not leaves:
            block.successors.append(following)
    reached = _reached(builder.blocks[0])
    for block in reached:
        for successor in block.successors:
            successor.predecessors.append(block)
    return [block for block in builder.blocks if block in reached]


def _reached(entry: Block) -> set[Block]:
    found: set[Block] = set()
    waiting = [entry]
    while waiting:
        block = waiting.pop()
        if block not in found:
            found.add(block)
            waiting += block.successors
    return found


class _Builder:
    """Walks the tree; `current` is the block that takes the next operation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.blocks: list[Block] = []
        self.current = self._open("start")

    def _open(self, what: str) -> Block:
        block = Block(f"{self.name}.{what}{len(self.blocks) or ''}")
        self.blocks.append(block)
        self.current = block
        return block

    def _branch(self, operation: Operation, target: Block) -> None:
        self.current.branch = operation
        self.current.successors.append(target)

    def halt(self) -> None:
        """After the last operation: say so, and stay."""
        self.current.operations.append(Operation((make("DONE"),)))
        end = self._open("halt")
        self._branch(_jump("J_jump_imm", None, end), end)

    def walk(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if isinstance(node, Operation):
                self.current.operations.append(node)
            elif isinstance(node, Loop):
                self._loop(node)
            elif isinstance(node, Branch):
                self._if(node)
            else:
                self._while(node)

    def _loop(self, loop: Loop) -> None:
        if all(isinstance(node, Operation) for node in loop.body):
            if isinstance(loop.count, Value):
                found = select("add_nc", [loop.count, 0], [Value.of(physical("lc"))])
                self.current.trip = Operation(found.forms)
            body = self._open("loop")
            body.loop = loop
            body.operations = _copies(loop)
            body.successors.append(body)
            self._open("after")
            return
        if loop.unroll != 1:
            raise KernelError(f"{self.name} unrolls a loop that holds another one.")
        counter = Value.of(Variable(KINDS["r"], "counter"))
        name, start = ("const", loop.count) if isinstance(loop.count, int) else ("mov", loop.count)
        self.current.operations.append(Operation(select(name, [start], [counter]).forms))
        head = self._open("outer")
        self.walk(loop.body)
        self.current.operations.append(Operation(select("add", [counter, -1], [counter]).forms))
        self._branch(_jump("JNZ", counter, head), head)
        self._open("after")

    def _if(self, node: Branch) -> None:
        before = self.current
        self._open("then")
        self.walk(node.then)
        inner = self.current
        after = self._open("else" if node.otherwise else "endif")
        before.branch = _jump("JNZ" if node.zero else "JZ", node.condition, after)
        before.successors.append(after)
        if node.otherwise:
            self.walk(node.otherwise)
            end = self._open("endif")
            inner.branch = _jump("J_jump_imm", None, end)
            inner.successors.append(end)

    def _while(self, node: While) -> None:
        before = self.current
        head = self._open("while")
        self.walk(node.body)
        if node.condition is None:
            self._branch(_jump("J_jump_imm", None, head), head)
            self._open("never")
            return
        self._branch(_jump("JNZ", node.condition, head), head)
        after = self._open("endwhile")
        before.branch = _jump("JZ", node.condition, after)
        before.successors.append(after)


def _jump(name: str, condition: Value | None, target: Block) -> Operation:
    operands = (target.label,) if condition is None else (condition, target.label)
    return Operation((make(name, *operands),))


def _copies(loop: Loop) -> list[Operation]:
    body = [node for node in loop.body if isinstance(node, Operation)]
    return [replace(op, copy=n) for n in range(loop.unroll) for op in body]
