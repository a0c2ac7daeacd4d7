"""A core: registers, program, and the interface through which the array drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.aie.facts.core_registers import width
from whisper_npu_cli.emulator import core_state as s
from whisper_npu_cli.emulator import micro as m
from whisper_npu_cli.emulator.arena import Arena
from whisper_npu_cli.emulator.decoded import DecodedProgram
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.pipeline import FAULT, UNDECODED, run
from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.emulator.timing import LOCK_ARBITRATION

_REASONS = tuple(Reason)  # by number
_STALLS = (
    None, s.STALL_LOCK, s.STALL_LOCK, s.STALL_STREAM, s.STALL_STREAM, s.STALL_STREAM,
    s.STALL_STREAM, s.STALL_CASCADE, s.STALL_CASCADE, None, None,
)  # fmt: skip
"""The counter that a reason's waiting goes to, by its number."""

PC_OFFSET, CR_OFFSET, SR_OFFSET = 0x31100, 0x31170, 0x31180
SINGLE_OFFSETS = {"sp": 0x31120, "lr": 0x31130, "ls": 0x31140, "le": 0x31150, "lc": 0x31160}
NUMBERED_OFFSETS = (
    (0x30000, 0x80, 9, ("amll", "amlh", "amhl", "amhh")),
    (0x30800, 0x40, 12, ("wl", "wh")),
    (0x30C00, 0x10, 32, ("r",)),
    (0x30E00, 0x10, 8, ("m",)),
    (0x30E80, 0x10, 8, ("dn",)),
    (0x30F00, 0x10, 8, ("dj",)),
    (0x30F80, 0x10, 8, ("dc",)),
    (0x31000, 0x10, 8, ("p",)),
    (0x31080, 0x10, 4, ("s",)),
    (0x310C0, 0x10, 4, ("q",)),
)
"""Offset of the first register, distance, count, files that share the distance (facts 4.2)."""
CR_FIELDS = {
    "crSat": 0, "crRnd": 2, "crFPMask": 6, "crMCDEn": 11, "crSCDEn": 12, "crVaddSign": 13,
    "crUnpackSign": 14, "crPackSign": 15, "crUPSSign": 16, "crSRSSign": 17, "crF2IMask": 18,
    "crF2FMask": 23,
}  # fmt: skip
"""Control registers and their bit in CR (shared facts 8.1)."""
SR_FIELDS = {"srCarry": 0}
"""Of SR only the carry is reported; the places of the sticky flags are not in our sources."""

_SENTENCES = {
    m.UNALIGNED: "uses the address {value:#x}, which is not a multiple of the access's size",
    m.NO_SUCH_MEMORY: "uses the address {value:#x}, where this tile has no memory",
    m.UNKNOWN_REGISTER: "uses {register}, which was never written (or got unwritten memory)",
    m.BRANCH_IN_DELAY: "branches in the delay slots of another branch",
    m.LOOP_END_IN_DELAY: "stands at the loop end {value:#x} and in a branch's delay slots",
    m.LOOP_START_UNALIGNED: "ends a loop that starts at {value:#x}, no multiple of 16",
    m.LOOP_END_SHORT: "ends a loop but is not a full bundle of 16 bytes at a multiple of 16",
    m.BAD_CONTROL_WORD: "has the multiplier control word {value:#x}, whose shape is not modelled",
    m.BAD_SHUFFLE: "has the shuffle mode {value}, which does not exist",
    m.BAD_ROUNDING: "rounds with the mode {value} of crRnd, which does not exist",
    m.RELEASE_TOO_EARLY: "releases a lock while a store of this core has not reached memory",
}  # fmt: skip


class Core:
    """One core with its program memory; `windows` are arena offsets of the four data memories.

    The order is that of the windows from 0x40000 on: south, west, north, own; -1 where there is
    none."""

    def __init__(self, name: str, arena: Arena, windows: Sequence[int]) -> None:
        self.name = name
        self.program: npt.NDArray[np.uint8] = np.zeros(s.PROGRAM_BYTES, np.uint8)
        self.report_events = False
        self.state = "reset"
        self.symbols: Mapping[int, str] = {}
        self._decoded = DecodedProgram(s.new_view(arena), self.program)
        self._windows = tuple(windows)
        self._pending: Reason | None = None
        self.reset()

    # ------------------------------------------------------------------ running

    def reset(self, cycle: int = 0, pc: int = 0) -> None:
        """All registers unknown, nothing in flight, ready to run from `pc` at an array cycle."""
        view = self._view
        constants = view.w[s.CONSTANTS : s.CONSTANTS + s.CONSTANT_COUNT].copy()
        view.w[:] = 0
        view.w[s.CONSTANTS : s.CONSTANTS + s.CONSTANT_COUNT] = constants
        known = view.b[4 * s.FLAGS : 4 * s.FLAGS + s.FLAG_COUNT]
        known[s.CONTROL : s.CONTROL + s.CONTROL_COUNT] = 1
        view.w[[s.CR_SCD_ENABLE, s.CR_MCD_ENABLE]] = 1
        view.w[s.LE] = -1
        view.d[s.SOUTH : s.SOUTH + 4] = self._windows
        view.d[s.CYCLE], view.d[s.PC] = cycle, pc
        self._pending, self.state = None, "running"

    def forget(self) -> None:
        """Decode the program memory anew; call after changing `program`."""
        self._decoded.forget()

    def run(self, until: int) -> Reason:
        """Run until array cycle `until` or until something outside is needed (see Reason).

        Raises EmulationError for what silicon would punish or what is not modelled.
        """
        if self._pending is not None or self.state != "running":
            raise EmulationError(f"{self.name} is {self.state} and cannot run.")
        self._view.d[s.REPORT_EVENTS] = self.report_events
        while True:
            code = run(self._decoded.handle, until)
            if code == UNDECODED:
                self.decode()
            elif code == FAULT:
                raise self.fault()
            else:
                return self.stopped(_REASONS[code])

    def resume(self, cycle: int, value: int | npt.NDArray[np.uint32] = 0, ok: bool = True) -> None:
        """Grant the pending request at an array cycle, not before `self.cycle`.

        value: the word of a stream (TLAST in bit 32 is ignored) or uint32[16] of the cascade.
        """
        reason = self._pending
        view = self._view
        if reason is None or cycle < self.cycle:
            raise EmulationError(f"{self.name} cannot go on at cycle {cycle}: it is {self.state}.")
        if reason is Reason.CASCADE_READ:
            words = np.asarray(value, np.uint32).view(np.int32)
            view.w[s.CASCADE : s.CASCADE + 16] = words
        elif not isinstance(value, np.ndarray):
            view.d[s.REPLY] = value
        view.d[s.REPLY_OK] = ok
        stall = _STALLS[reason]
        if stall is not None:
            view.d[stall] += cycle - self.cycle
        if stall == s.STALL_LOCK:
            view.d[s.STALL_LOCK] += LOCK_ARBITRATION
            cycle += LOCK_ARBITRATION
        view.d[s.CYCLE] = cycle
        view.d[s.GRANTED] = 1
        self._pending, self.state = None, "running"

    def stopped(self, reason: Reason) -> Reason:
        """Note why the core stands still."""
        if reason is not Reason.LIMIT:
            self._pending = None if reason is Reason.DONE else reason
            self.state = "done" if reason is Reason.DONE else "waiting"
        return reason

    def decode(self) -> None:
        """Decode from the next bundle on. Raises EmulationError where that is not possible."""
        try:
            self._decoded.decode_from(self.pc)
        except EmulationError as error:
            raise EmulationError(f"{self.name}: {error}") from None

    # ------------------------------------------------------------------ looking

    @property
    def _view(self) -> s.View:
        return self._decoded.view

    @property
    def handle(self) -> Any:
        """The core for compiled functions; it changes when more of the program is decoded."""
        return self._decoded.handle

    @property
    def cycle(self) -> int:
        """The array cycle that the core has reached."""
        return int(self._view.d[s.CYCLE])

    @property
    def pc(self) -> int:
        """Address of the next bundle."""
        return int(self._view.d[s.PC])

    @property
    def lock(self) -> int:
        """The lock of a request, as the core numbers them: south 0, west 16, north 32, own 48."""
        return int(self._view.d[s.LOCK])

    @property
    def value(self) -> int:
        """The value of a lock request, the word of a stream write, the number of an event."""
        return int(self._view.d[s.VALUE])

    @property
    def last(self) -> bool:
        """Whether a stream write carries TLAST."""
        return bool(self._view.d[s.LAST])

    @property
    def cascade(self) -> npt.NDArray[np.uint32]:
        """The 512 bits of a cascade write, uint32[16]."""
        return self._view.w[s.CASCADE : s.CASCADE + 16].view(np.uint32).copy()

    @property
    def stats(self) -> dict[str, int]:
        """Bundles, multiplications, branches taken, events, and stall cycles by cause."""
        names = {
            "bundles": s.BUNDLES, "macs": s.MACS, "branches": s.BRANCHES, "events": s.EVENTS,
            "lock": s.STALL_LOCK, "stream": s.STALL_STREAM, "cascade": s.STALL_CASCADE,
            "bank": s.STALL_BANK,
        }  # fmt: skip
        return {name: int(self._view.d[at]) for name, at in names.items()}

    def where(self) -> str:
        """The next bundle for people: "pc 0x1a0 `acq #48, r0` in main+0x40"."""
        bundle = self._decoded.texts.get(self.pc)
        text = f" `{bundle}`" if bundle else ""
        before = [address for address in self.symbols if address <= self.pc]
        if not before:
            return f"pc {self.pc:#x}{text}"
        start = max(before)
        return f"pc {self.pc:#x}{text} in {self.symbols[start]}+{self.pc - start:#x}"

    def read(self, register: str) -> int:
        """The bits of a register as a number that is not negative; of what is unknown, zeros."""
        start = s.word(register)
        raw = self._view.w[start : start + s.words(register)].view(np.uint32)
        return int.from_bytes(raw.tobytes(), "little")

    def write(self, register: str, value: int) -> None:
        """Set a register from outside, as a debugger would; the low bits of `value` are kept."""
        start, count = s.word(register), s.words(register)
        raw = (value & ((1 << (32 * count)) - 1)).to_bytes(4 * count, "little")
        self._view.w[start : start + count] = np.frombuffer(raw, np.int32)
        for flag in s.flags(register):
            self._view.b[4 * s.FLAGS + flag] = 1

    def register(self, offset: int) -> int:
        """The 32 bits of a core register at its offset in the tile's registers (30000 to 3118f).

        Raises EmulationError for an offset that names none.
        """
        if offset == PC_OFFSET:
            return self.pc
        if offset in (CR_OFFSET, SR_OFFSET):
            fields = CR_FIELDS if offset == CR_OFFSET else SR_FIELDS
            return sum(self.read(name) << at for name, at in fields.items())
        for name, start in SINGLE_OFFSETS.items():
            if offset == start:
                return self.read(name)
        for start, distance, count, files in NUMBERED_OFFSETS:
            number, at = divmod(offset - start, distance)
            part, byte = divmod(at, distance // len(files))
            if 0 <= number < count and byte < width(f"{files[part]}{number}") // 8 + 3:
                return self.read(f"{files[part]}{number}") >> (8 * byte) & 0xFFFFFFFF
        raise EmulationError(f"{self.name} has no core register at {offset:#x}.")

    def is_known(self, register: str) -> bool:
        """Whether all of a register was written."""
        return all(self._view.b[4 * s.FLAGS + flag] for flag in s.flags(register))

    def fault(self) -> EmulationError:
        """What went wrong in the last bundle; the core cannot run on."""
        view = self._view
        value, error = int(view.d[s.ERROR_VALUE]), int(view.d[s.ERROR])
        register = s.name_of_flag(value) if error == m.UNKNOWN_REGISTER else ""
        sentence = _SENTENCES[error].format(value=value, register=register)
        self.state = "fault"
        return EmulationError(f"{self.name} at {self._place_of_fault()} {sentence}.")

    def _place_of_fault(self) -> str:
        row = int(self._view.d[s.ERROR_AT])
        table = self._view.t.reshape(-1, m.BUNDLE)
        for line in table:
            if line[m.FIRST] <= row < line[m.FIRST] + line[m.COUNT] * m.ROW:
                address = int(line[m.ADDRESS])
                return f"{address:#x} `{self._decoded.texts[address]}`"
        return self.where()
