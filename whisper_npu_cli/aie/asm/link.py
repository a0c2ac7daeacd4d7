"""From a kernel program to machine code: the driver of the passes, and the layout of bundles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from whisper_npu_cli.aie.asm.allocate import PressureError, allocate
from whisper_npu_cli.aie.asm.assemble import Align, Assembly, Item, Label, assemble
from whisper_npu_cli.aie.asm.blocks import Block, Placed, lower
from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.asm.program import Operation, Program
from whisper_npu_cli.aie.asm.rename import rename
from whisper_npu_cli.aie.asm.schedule import Pipelines, Policy, Timed, schedule
from whisper_npu_cli.aie.asm.values import KernelError, Value, Variable
from whisper_npu_cli.aie.facts.slots import formats_holding

PROGRAM_MEMORY = 16 * 1024
"""Bytes of program memory of a core (AM020)."""

FETCH = 16
"""Bytes that are fetched at a time: branch targets and loop ends lie on multiples (facts 8.5)."""

SETUP_BYTES = 112
"""Bytes from the bundle that sets lc, ls or le last to the last bundle of the loop (facts 8.5)."""

POLICIES = (
    Policy(), Policy(32), Policy(12), Policy(6), Policy(12, spare=1), Policy(6, spare=2), Policy(1),
)  # fmt: skip
"""From the fastest code to the fewest registers; the first one that gets registers is taken."""


@dataclass(frozen=True)
class Checkpoint:
    """A named value: it is in `registers` when the bundle at `address` issues."""

    name: str
    address: int
    register: str


@dataclass(frozen=True)
class Code:
    """A program for one core.

    `timed` is the schedule on variables, `registers` where these sit, `inputs` where a program
    that starts with values expects them; `origins` says which operation each instruction is. Its
    repr leaves out what would fill screens.
    """

    name: str
    assembly: Assembly = field(repr=False)
    timed: tuple[Timed, ...] = field(repr=False)
    registers: dict[Variable, str] = field(repr=False)
    inputs: dict[str, str]
    checkpoints: tuple[Checkpoint, ...]
    origins: dict[tuple[int, str], Operation] = field(repr=False)

    @property
    def cycles(self) -> dict[str, int]:
        """Block label -> bundles."""
        return {item.block.label: item.length for item in self.timed}


def compile_program(
    program: Program, symbols: Mapping[str, int] | None = None, origin: int = 0
) -> Code:
    """Schedule, allocate and encode a program.

    `symbols` gives the addresses of labels that the program does not define; `name+offset` is
    understood. Raises KernelError where the program makes no sense, has no schedule, needs more
    registers than there are or more than PROGRAM_MEMORY bytes.
    """
    shortage: PressureError | None = None
    blocks, known = lower(program), Pipelines()
    inputs = rename(blocks, program.inputs, program.name)
    for policy in POLICIES:
        timed = schedule(blocks, policy, known)
        try:
            registers = allocate(timed, inputs)
        except PressureError as error:
            shortage = shortage or error
            continue
        return lay_out(program, timed, registers, inputs, symbols or {}, origin)
    assert shortage is not None
    raise shortage


def lay_out(
    program: Program,
    timed: Sequence[Timed],
    registers: dict[Variable, str],
    inputs: Mapping[Variable, str],
    symbols: Mapping[str, int],
    origin: int = 0,
) -> Code:
    """Encode a schedule with its registers; errors as of compile_program."""
    items, sources = _items(timed, registers, symbols)
    assembly = assemble(items, origin)
    if len(assembly.bundles) != len(sources):
        raise KernelError(f"{program.name} cannot be aligned without bundles that take cycles.")
    if len(assembly.code) > PROGRAM_MEMORY:
        raise KernelError(
            f"{program.name} takes {len(assembly.code)} bytes of the {PROGRAM_MEMORY} of a core's "
            "program memory: unroll less, or overlap fewer iterations (at_least=)."
        )
    origins, checkpoints = {}, []
    for (address, _), row in zip(assembly.bundles, sources, strict=True):
        for item in row:
            if item.form is not None:
                origins[address, item.form.opcode.slot] = item.operation
            elif item.operation.mark is not None:
                name, value = item.operation.mark
                place = value.on(registers[value.variable])
                checkpoints.append(Checkpoint(name, address, place))
    starts = {name: registers[variable] for variable, name in inputs.items()}
    return Code(
        program.name, assembly, tuple(timed), registers, starts, tuple(checkpoints), origins
    )


def _items(
    timed: Sequence[Timed], registers: Mapping[Variable, str], symbols: Mapping[str, int]
) -> tuple[list[Item], list[list[Placed]]]:
    """Labels, alignments and bundles in order, and what each bundle holds."""
    items: list[Item] = []
    sources: list[list[Placed]] = []
    targets = {s.label for t in timed for s in _jumped_to(t)}
    for block in timed:
        label = block.block.label
        if label in targets:
            items += [Align(FETCH)]
        items.append(Label(label))
        rows = _rows(block)
        for number, row in enumerate(rows):
            bundle = _bundle(row, registers, symbols)
            if block.block.loop is not None and number == len(rows) - 1:
                items += [Align(FETCH), Label(f"{label}.end")]
                bundle = _full(bundle)
            items.append(bundle)
            sources.append(row)
        if block.block.loop is not None:
            _keep_distance(items)
    return items, sources


def _jumped_to(timed: Timed) -> Iterator[Block]:
    block = timed.block
    if block.loop is not None:
        yield block
    elif block.branch is not None:
        yield block.successors[0]


def _rows(timed: Timed) -> list[list[Placed]]:
    rows: list[list[Placed]] = [[] for _ in range(timed.length)]
    for item in timed.placed:
        rows[item.time].append(item)
    return rows


def _bundle(
    row: Sequence[Placed], registers: Mapping[Variable, str], symbols: Mapping[str, int]
) -> Bundle:
    return Bundle(
        tuple(_physical(item.form, registers, symbols) for item in row if item.form is not None)
    )


def _physical(
    form: Instruction, registers: Mapping[Variable, str], symbols: Mapping[str, int]
) -> Instruction:
    values = []
    for value in form.values:
        if isinstance(value, Value):
            value = value.on(registers[value.variable])
        elif isinstance(value, str):
            found = re.fullmatch(r"(.*?)(?:\+(\d+))?", value)
            if found and found[1] in symbols:
                value = symbols[found[1]] + int(found[2] or 0)
        values.append(value)
    return Instruction(form.opcode, tuple(values))


def _full(bundle: Bundle) -> Bundle:
    return bundle.widened(formats_holding(frozenset(bundle.slots()))[-1])


def _keep_distance(items: list[Item]) -> None:
    """Widen bundles before a loop's end until the loop registers are set early enough."""
    end = max(i for i, item in enumerate(items) if isinstance(item, Bundle))
    places = [i for i in range(end) if isinstance(items[i], Bundle)]
    last = max(i for i in places if _sets_loop(items[i]))
    room = 0
    for place in (i for i in places if i >= last):
        bundle = items[place]
        assert isinstance(bundle, Bundle)
        room += bundle.layout().size
    for place in reversed([i for i in places if i >= last]):
        if room >= SETUP_BYTES:
            break
        bundle = items[place]
        assert isinstance(bundle, Bundle)
        room += FETCH - bundle.layout().size
        items[place] = _full(bundle)


def _sets_loop(item: Item) -> bool:
    return isinstance(item, Bundle) and any(
        access.write and access.register in ("lc", "ls", "le")
        for instruction in item.instructions
        for access in instruction.accesses()
    )
