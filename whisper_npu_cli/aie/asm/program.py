"""The kernel language: what a tile program is written in.

A `Program` records operations on typed values in the order of their meaning. Nothing here knows
about cycles: whoever writes a kernel states what happens, the scheduler when.

    p = Program("scale")
    source, target = p.pointer("in", 0x70400), p.pointer("out", 0x74400)
    with p.loop(64):
        p.vst(p.vadd_16(p.load_x(source), shift), target.post(32))

Every instruction of the core is a method named like its mnemonic: `p.vmac_f(acc, a, b, mode)`
returns a new value, `to=` names the value to write instead. Values may be written again and again;
each use sees the latest write before it, as in Python. Rounding, saturation and sign modes have no
default: a program that needs one and does not set it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation, Shape, product_mode
from whisper_npu_cli.aie.asm.select import FAMILIES, SHAPES, Argument, select
from whisper_npu_cli.aie.asm.values import KINDS, Address, KernelError, Value, Variable, physical


@dataclass(eq=False)
class Operation:
    """One instruction of the program, in all the slots that can do it.

    `buffer` is what a memory access touches ("" for anything), `bank` where that lies if known;
    `copy` numbers the copies that unrolling made; `fixed` binds registers without a field; `mark`
    makes this a checkpoint.
    """

    forms: tuple[Instruction, ...]
    buffer: str = ""
    bank: int | None = None
    copy: int = 0
    fixed: dict[str, Value] = field(default_factory=dict)
    mark: tuple[str, Value] | None = None

    def __str__(self) -> str:
        return self.forms[0].text() if self.forms else f"checkpoint {self.mark}"


@dataclass(eq=False)
class Loop:
    """A body that runs `count` times, at least `at_least` times.

    `independent` buffers carry nothing from one iteration to the next. `unroll` copies of the
    body make one; `pipelined` overlaps iterations.
    """

    body: list[Node]
    count: int | Value
    at_least: int
    independent: frozenset[str]
    unroll: int
    pipelined: bool


@dataclass(eq=False)
class Branch:
    """`then` where the condition holds (not zero, or zero for `zero`), else `otherwise`."""

    condition: Value
    zero: bool
    then: list[Node]
    otherwise: list[Node]


@dataclass(eq=False)
class While:
    """A body that runs while the condition is not zero; forever where there is no condition."""

    condition: Value | None
    body: list[Node]


Node = Operation | Loop | Branch | While


class Program:
    """A tile program under construction.

    `banks` may say in which 16 KB quarter of the memory a buffer lies: then the scheduler keeps
    accesses to one quarter out of each other's cycle.
    """

    def __init__(self, name: str, banks: Mapping[str, int] | None = None) -> None:
        self.name, self.banks = name, dict(banks or {})
        self.body: list[Node] = []
        self.inputs: list[Variable] = []
        self._open: list[list[Node]] = [self.body]
        self._names: set[str] = set()
        self._stepped: dict[Variable, Variable] = {}
        """The pointer that each 2-D or 3-D modifier steps: it counts in the modifier itself."""

    # ------------------------------------------------------------------ values

    def new(
        self, kind: str, name: str = "", registers: Sequence[str] = (), buffer: str = ""
    ) -> Value:
        """A value without content. `kind` is a key of KINDS; `registers` narrows where it may sit.

        `buffer` says what a pointer points into: accesses to different buffers keep no order.
        """
        if kind not in KINDS:
            raise KernelError(f"There is no kind of value '{kind}', only {', '.join(KINDS)}.")
        stray = set(registers) - set(KINDS[kind].registers)
        if stray:
            raise KernelError(f"{', '.join(sorted(stray))} cannot hold a value of kind {kind}.")
        variable = Variable(KINDS[kind], self._name(name or kind), tuple(registers), buffer)
        return Value.of(variable)

    def _name(self, wish: str) -> str:
        name, n = wish, 1
        while name in self._names:
            n += 1
            name = f"{wish}_{n}"
        self._names.add(name)
        return name

    def scalar(self, name: str = "") -> Value:
        """A 32-bit scalar (r)."""
        return self.new("r", name)

    def vector(self, bits: int, name: str = "") -> Value:
        """A vector of 256 (w), 512 (x) or 1024 (y) bits; `x.lo` and `x.hi` are its halves."""
        return self.new(_by_width({256: "w", 512: "x", 1024: "y"}, bits), name)

    def accumulator(self, bits: int, name: str = "") -> Value:
        """An accumulator of 256 (am), 512 (bm) or 1024 (cm) bits; `.lo` and `.hi` are halves."""
        return self.new(_by_width({256: "am", 512: "bm", 1024: "cm"}, bits), name)

    def input(
        self, kind: str, name: str = "", registers: Sequence[str] = (), buffer: str = ""
    ) -> Value:
        """A value that is in its register before the program starts."""
        value = self.new(kind, name, registers, buffer)
        self.inputs.append(value.variable)
        return value

    def const(self, number: int | str, to: Value | None = None, name: str = "") -> Value:
        """A number or the address of a label in a scalar, or in `to`, by the cheapest way."""
        target = to if to is not None else self.scalar(name or "const")
        return self.emit("const", [number], [target])[0]

    def pointer(self, buffer: str, address: int | str | Value | None = None) -> Value:
        """A pointer into a buffer: at an address, a label, what a scalar holds, or not yet set."""
        value = self.new("p", buffer, buffer=buffer)
        if isinstance(address, Value):
            self.emit("mov", [address], [value])
        elif address is not None:
            self.const(address, value)
        return value

    def dimensions(self, *, step: int, inner: int, count: int, **outer: int) -> Value:
        """A modifier for `pointer.post(...)` over a 2-D or 3-D pattern of bytes.

        After each access the pointer moves by `inner`; every `count` accesses by `step` instead.
        With `middle=` and `middle_count=` there is a third dimension: every `count` accesses by
        `middle`, every `count * middle_count` by `step`.
        """
        value = self.new("d3" if outer else "d", "dims")
        self.const(step, value.m)
        self.const(inner, value.dj)
        self.const(count - 1, value.dn)
        self.const(0, value.dc)
        if outer:
            self.const(outer["middle"], value.dj2)
            self.const(outer["middle_count"] - 1, value.dn2)
            self.const(0, value.dc2)
        return value

    # -------------------------------------------------------------- operations

    def emit(
        self, name: str, arguments: Sequence[Argument], results: Sequence[Value] | None = None
    ) -> tuple[Value, ...]:
        """Add an instruction; the results are `results` or new values of the natural kind."""
        selected = select(name, arguments, results)
        for value in selected.results:
            if not value.variable.name:
                value.variable.name = self._name(name)
        for address in arguments:
            if isinstance(address, Address):
                self._check_step(address)
        targets = [a.pointer.variable.buffer for a in arguments if isinstance(a, Address)]
        buffer = targets[0] if targets else ""
        bank = self.banks.get(buffer)
        self._add(Operation(selected.forms, buffer, bank, fixed=dict(selected.fixed)))
        return selected.results

    def _check_step(self, address: Address) -> None:
        """KernelError where a modifier that counts for one pointer would step another one."""
        step = address.step
        if not isinstance(step, Value) or step.file not in ("d", "d3"):
            return
        pointer = address.pointer.variable
        first = self._stepped.setdefault(step.variable, pointer)
        if first is not pointer:
            raise KernelError(
                f"{step!r} of {self.name} counts the steps of the pointer {first!r}, so it cannot "
                f"step {pointer!r}, too; make dimensions for each."
            )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        mnemonic = name.rstrip("_")
        if mnemonic not in SHAPES and mnemonic not in FAMILIES:
            raise AttributeError(f"there is no AIE2 instruction '{mnemonic}'")

        def call(*arguments: Argument, to: Value | Sequence[Value] | None = None) -> Any:
            into = None if to is None else [to] if isinstance(to, Value) else list(to)
            results = self.emit(mnemonic, arguments, into)
            return results[0] if len(results) == 1 else results or None

        return call

    def load_x(self, pointer: Value, step: int | Value = 64, to: Value | None = None) -> Value:
        """A 512-bit vector from memory; the pointer moves on by `step`.

        The halves are two loads that can go in one cycle: both read the pointer before it moves.
        """
        value = to if to is not None else self.vector(512, "load")
        self.emit("vld", [pointer[32]], [value.hi])
        self.emit("vld", [pointer.post(step)], [value.lo])
        return value

    def set_mode(self, control: str, number: int) -> None:
        """Write a control register (crRnd, crSat, crSRSSign, ...)."""
        self.emit("mov", [int(number)], [Value.of(physical(control))])

    def rounding(self, mode: Rounding) -> None:
        """How srs and conversions to bf16 round."""
        self.set_mode("crRnd", mode)

    def saturation(self, mode: Saturation) -> None:
        """What ups, srs and pack do with numbers out of range."""
        self.set_mode("crSat", mode)

    def product_mode(self, shape: Shape, **options: bool) -> Value:
        """The scalar that tells vmul, vmac and their like what to multiply; modes.product_mode."""
        return self.const(product_mode(shape, **options), name=shape.name.lower())

    def checkpoint(self, name: str, value: Value) -> None:
        """A named point where a value is ready: costs nothing, tools find the register by name."""
        self._add(Operation((), mark=(name, value)))

    # ----------------------------------------------------------------- control

    def _add(self, node: Node) -> None:
        self._open[-1].append(node)

    @contextmanager
    def _into(self, body: list[Node]) -> Iterator[None]:
        self._open.append(body)
        try:
            yield
        finally:
            self._open.pop()

    @contextmanager
    def loop(
        self,
        count: int | Value,
        *,
        at_least: int = 1,
        independent: Sequence[str] = (),
        unroll: int = 1,
        pipelined: bool = True,
    ) -> Iterator[None]:
        """Run the body `count` times.

        `count` in a scalar must be `at_least` or more when the program runs: that many iterations
        are what the scheduler may overlap. `independent` names buffers through which no iteration
        gives anything to another. `unroll` bodies become one; the count must be a multiple.
        """
        at_least = count if isinstance(count, int) else at_least
        if at_least < 1 or unroll < 1 or at_least % unroll:
            raise KernelError(
                f"A loop of {self.name} needs a count of 1 or more that its unrolling divides, "
                f"not {at_least} in steps of {unroll}."
            )
        node = Loop([], count, at_least, frozenset(independent), unroll, pipelined)
        self._add(node)
        with self._into(node.body):
            yield

    @contextmanager
    def if_nonzero(self, condition: Value) -> Iterator[None]:
        """Run the body where the scalar is not zero."""
        node = Branch(condition, False, [], [])
        self._add(node)
        with self._into(node.then):
            yield

    @contextmanager
    def if_zero(self, condition: Value) -> Iterator[None]:
        """Run the body where the scalar is zero."""
        node = Branch(condition, True, [], [])
        self._add(node)
        with self._into(node.then):
            yield

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Run the body where the condition of the `if` just before does not hold."""
        last = self._open[-1][-1] if self._open[-1] else None
        if not isinstance(last, Branch) or last.otherwise:
            raise KernelError(f"otherwise() in {self.name} does not follow an if.")
        with self._into(last.otherwise):
            yield

    @contextmanager
    def while_nonzero(self, condition: Value) -> Iterator[None]:
        """Run the body as long as the scalar is not zero; the body has to change it."""
        node = While(condition, [])
        self._add(node)
        with self._into(node.body):
            yield

    @contextmanager
    def forever(self) -> Iterator[None]:
        """Run the body again and again."""
        node = While(None, [])
        self._add(node)
        with self._into(node.body):
            yield


def _by_width(kinds: dict[int, str], bits: int) -> str:
    if bits not in kinds:
        raise KernelError(f"There is no value of {bits} bits here, only {list(kinds)}.")
    return kinds[bits]
