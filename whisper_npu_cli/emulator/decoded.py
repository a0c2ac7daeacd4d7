"""A core's program as tables of micro-operations, decoded where and when it is first reached."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.aie.asm.decode import DecodeError, decode_bundle
from whisper_npu_cli.aie.facts.slots import length
from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.address import POINTER
from whisper_npu_cli.emulator.branch import DELAY_SLOTS
from whisper_npu_cli.emulator.core_state import (
    CONSTANT_COUNT,
    CONSTANTS,
    PROGRAM_BYTES,
    VECTORS,
    View,
)
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.handle import handle_of
from whisper_npu_cli.emulator.operation import Constant, MicroOperation, NotModelledError
from whisper_npu_cli.emulator.translate import translate

ENDS_LINE = {m.JUMP, m.HALT}
"""Micro-operations after which the next address may never be reached."""

DEFERRABLE = {m.SCALAR, m.COPY, m.POINTER}


class Translated(NamedTuple):
    """A bundle as text and micro-operations: `before` those that results are forwarded to, `after`.

    blocking: the number of the one that may have to wait, or -1.
    """

    text: str
    before: list[MicroOperation]
    after: list[MicroOperation]
    blocking: int


@lru_cache(maxsize=1 << 14)
def _translated(code: bytes, returns: int) -> Translated:
    """A bundle's meaning, kept since cores of an array often run one program.

    Raises DecodeError, and NotModelledError without place and full stop.
    """
    bundle, _ = decode_bundle(code, 0)
    operations = []
    for instruction in bundle.instructions:
        try:
            operations += translate(instruction, returns)
        except NotModelledError as error:
            reason = f" ({error})" if str(error) else ""
            raise NotModelledError(f"`{instruction}` is not modelled{reason}") from None
    blocking = [o for o in operations if o.columns[m.KIND] >= m.FIRST_BLOCKING]
    if len(blocking) > 1:
        raise NotModelledError(f"`{bundle}` waits for two things at once")
    before, after = order(operations)
    where = (before + after).index(blocking[0]) if blocking else -1
    return Translated(str(bundle), before, after, where)


class DecodedProgram:
    """Tables of a view, filled bundle by bundle; `memory` uint8[16384] is the program memory."""

    def __init__(self, view: View, memory: npt.NDArray[np.uint8]) -> None:
        self.memory = memory
        self.texts: dict[int, str] = {}
        self._row_count = self._bundle_count = self._check_count = 0
        self._constants: dict[int, int] = {}
        self._ends: dict[int, list[int]] = {}  # address behind a bundle -> bundles
        self.view = view._replace(
            u=np.zeros(1024 * m.ROW, np.int32), t=np.zeros(512 * m.BUNDLE, np.int32),
            c=np.zeros(1024, np.int32),
        )  # fmt: skip
        self.handle = handle_of(self.view)
        self.forget()

    def forget(self) -> None:
        """Start anew because the program memory has changed."""
        self.view.a[:] = -1
        self.texts.clear()
        self._constants.clear()
        self._ends.clear()
        self._row_count = self._bundle_count = self._check_count = 0

    def decode_from(self, address: int) -> None:
        """Decode from an address to the end of the straight line that begins there.

        Raises EmulationError for what cannot be decoded or is not modelled at this address itself;
        behind it the line just ends.
        """
        first, left = address, -1
        while 0 <= address < PROGRAM_BYTES and self.view.a[address >> 1] < 0 and left != 0:
            try:
                size, ends = self._decode(address)
            except (DecodeError, NotModelledError) as error:
                if address == first:
                    raise EmulationError(str(error)) from None
                break
            left = DELAY_SLOTS + 1 if ends else left
            left -= left > 0
            address += size
        if not 0 <= first < PROGRAM_BYTES or first % 2:
            raise EmulationError(
                f"the program counter is {first:#x}, outside the {PROGRAM_BYTES:#x} bytes of "
                "program memory or odd."
            )

    # ------------------------------------------------------------------ one bundle

    def _decode(self, address: int) -> tuple[int, bool]:
        size = length(int(self.memory[address]))
        code = self.memory[address : address + size].tobytes()
        try:
            found = _translated(code, self._return_address(address, size))
        except DecodeError:
            decode_bundle(self.memory.tobytes(), address)  # the same again, with its address
            raise
        except NotModelledError as error:
            raise NotModelledError(f"at {address:#x} {error}.") from None
        operations = found.before + found.after
        row = self._add_rows(operations)
        number = self._add_bundle()
        line = self.view.t[number : number + m.BUNDLE]
        line[m.ADDRESS], line[m.FIRST], line[m.LENGTH] = address, row, size
        line[m.BEFORE], line[m.COUNT] = len(found.before), len(operations)
        line[m.BLOCKING] = row + found.blocking * m.ROW if found.blocking >= 0 else -1
        self._link(address, size, number)
        self.texts[address] = found.text
        return size, any(o.columns[m.KIND] in ENDS_LINE for o in operations)

    def _return_address(self, address: int, size: int) -> int:
        """The address behind the delay slots of a branch at an address."""
        address += size
        for _ in range(DELAY_SLOTS):
            if address >= PROGRAM_BYTES:
                break
            address += length(int(self.memory[address]))
        return address

    def _constant(self, value: int) -> int:
        value = (value + (1 << 31)) % (1 << 32) - (1 << 31)
        if value not in self._constants:
            if len(self._constants) == CONSTANT_COUNT:
                raise EmulationError("the program has too many constants.")
            self._constants[value] = CONSTANTS + len(self._constants)
            self.view.w[self._constants[value]] = value
        return self._constants[value]

    def _link(self, address: int, size: int, number: int) -> None:
        """Let the bundle before and the new one find what follows them."""
        table, starts = self.view.t, self.view.a
        following = address + size
        table[number + m.NEXT] = starts[following >> 1] if following < PROGRAM_BYTES else -1
        starts[address >> 1] = number
        self._ends.setdefault(following, []).append(number)
        for other in self._ends.get(address, ()):
            table[other + m.NEXT] = number

    # ------------------------------------------------------------------ growing tables

    def _add_rows(self, operations: list[MicroOperation]) -> int:
        first = self._row_count
        self._row_count += len(operations)
        self._grow(u=self._row_count * m.ROW)
        for number, operation in enumerate(operations, first):
            row = self.view.u[number * m.ROW : (number + 1) * m.ROW]
            row[:] = 0
            for column, value in operation.columns.items():
                is_constant = isinstance(value, Constant)
                row[column] = self._constant(value) if is_constant else value
            row[m.CHECK] = self._add_checks(operation.checked)
            row[m.CHECKS] = len(operation.checked)
        return first * m.ROW

    def _add_checks(self, flags: tuple[int, ...]) -> int:
        first = self._check_count
        self._check_count += len(flags)
        self._grow(c=self._check_count)
        self.view.c[first : self._check_count] = flags
        return first

    def _add_bundle(self) -> int:
        number = self._bundle_count * m.BUNDLE
        self._bundle_count += 1
        self._grow(t=self._bundle_count * m.BUNDLE)
        return number

    def _grow(self, **sizes: int) -> None:
        """Make tables of the view as long as they have to be at least."""
        for name, size in sizes.items():
            table = getattr(self.view, name)
            if size > len(table):
                longer = np.concatenate([table, np.zeros_like(table)])
                self.view = self.view._replace(**{name: longer})
                self.handle = handle_of(self.view)


def order(
    operations: list[MicroOperation],
) -> tuple[list[MicroOperation], list[MicroOperation]]:
    """Micro-operations in an order in which none reads what an earlier one has written.

    Those of the first list run before forwarded results arrive, those of the second after. One that
    reads vectors without forwarding stands in the first. Where everybody reads what another writes,
    one result is written at the end of the cycle instead.
    """
    placed: list[MicroOperation] = []
    waiting, split = list(operations), None
    while waiting:
        free = [o for o in waiting if not any(o.writes & p.reads for p in waiting if p is not o)]
        chosen = next((o for o in free if not o.forwarded), None)
        if chosen is None and free and _may_split(waiting):
            chosen, split = free[0], len(placed)
        if chosen is None:
            waiting = _deferred(waiting)
        else:
            waiting.remove(chosen)
            placed.append(chosen)
    split = len(placed) if split is None else split
    return placed[:split], placed[split:]


def _may_split(waiting: list[MicroOperation]) -> bool:
    """Whether forwarded results may arrive before what still waits."""
    return not any(_reads_vectors(o) for o in waiting if not o.forwarded)


def _reads_vectors(operation: MicroOperation) -> bool:
    return any(flag >= VECTORS for flag in operation.reads)


def _deferred(waiting: list[MicroOperation]) -> list[MicroOperation]:
    """The same with one result landing at the end of the cycle."""
    for number, operation in enumerate(waiting):
        kind = operation.columns[m.KIND]
        if not operation.writes or operation.forwarded:
            continue
        others = waiting[:number] + waiting[number + 1 :]
        if kind in DEFERRABLE and operation.columns.get(m.LATENCY, 0) == 0:
            late = operation.with_columns({m.LATENCY: 1})
            return [*others, MicroOperation(late.columns, late.reads, checked=late.checked)]
        if m.MODE in operation.columns:
            return [*others, *_without_step(operation)]
    raise NotModelledError("its results and operands depend on each other in a circle")


def _without_step(access: MicroOperation) -> list[MicroOperation]:
    """A load or store whose pointer steps on at the end of the cycle."""
    columns = access.columns
    base = columns[m.BASE]
    step = {
        m.KIND: m.POINTER, m.DST: base, m.A: base, m.SIZE: 20, m.LATENCY: 1,
        m.MODE: columns[m.MODE], m.BASE: base, m.STEP: columns[m.STEP],
    }  # fmt: skip
    plain = MicroOperation(
        columns | {m.MODE: POINTER}, access.reads, frozenset(), access.checked,
        access.forwarded,
    )  # fmt: skip
    return [plain, MicroOperation(step, access.reads)]
