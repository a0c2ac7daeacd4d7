"""Work for the device: launches in order, prepared once, run many times, repeated once on failure.

A launch that fails, hangs, or is said to be done without having written anything costs the
contexts of its job; the whole job runs once more on fresh ones. That gives the same result because
a job whose launches overwrite what the job reads is refused when it is made.
"""

from __future__ import annotations

import fcntl
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.errors import DeviceFault
from whisper_npu_cli.npu.buffer import Buffer
from whisper_npu_cli.npu.context import FIRST_BUFFER, INSTRUCTIONS, Context, Launch, Session
from whisper_npu_cli.npu.failure import RUNNING, typed, typed_failures, wrong
from whisper_npu_cli.pseudorandom import pseudorandom

if TYPE_CHECKING:
    import pyxrt

OPCODE_TRANSACTION = 3
"""Kernel argument 0: run an instruction stream (FACTS §6.1)."""
LIMIT_MS = 1900
"""For a single launch. Just below the driver's own 2000 ms (tdr_timeout_ms), because a response
that the firmware dropped may look like completion once the driver has given up (FACTS §7.4)."""
WITNESS = pseudorandom("a command that was lost", 64)
"""Stands at the end of a group's output until the device has written there."""


@dataclass(frozen=True)
class Ran:
    """How a job went: wall seconds, and the array cycles of each launch where the device tells.

    `retried` is the failure after which the job was run once more, None when there was none.
    """

    seconds: float
    cycles: tuple[int | None, ...]
    retried: DeviceFault | None = None


class Job:
    """Groups of launches, run in order; each group is one command to the driver.

    A group's launches share a context, and the last one must have an output that no other launch of
    the group touches: it proves that the group was run. Raises ValueError for groups that cannot be
    proved or not be repeated, DeviceFault when a context is lost while the runs are prepared.
    """

    def __init__(self, *groups: Sequence[Launch]) -> None:
        self._groups = [_Group(group) for group in groups]
        _check_repeatable([launch for group in groups for launch in group])
        for group in self._groups:
            group.prepared()

    def run(self, after: Callable[[int, int], None] | None = None) -> Ran:
        """Run everything, and once more if need be; `after(done, groups)` hears of each group.

        Raises the second DeviceFault. Anything else that stops it, an interruption say, leaves the
        job as it was: it can be run again.
        """
        start = time.perf_counter()
        failure: DeviceFault | None = None
        try:
            cycles = self.attempt(after)
        except DeviceFault as error:
            failure = error.with_traceback(None)  # which leads back to this very frame
        if failure is not None:
            try:
                cycles = self.attempt(after)
            except DeviceFault as error:
                raise error from failure
        return Ran(time.perf_counter() - start, cycles, failure)

    def attempt(self, after: Callable[[int, int], None] | None = None) -> tuple[int | None, ...]:
        """Run everything once; cycles of each launch. Raises DeviceFault."""
        cycles: list[int | None] = []
        try:
            for number, group in enumerate(self._groups, 1):
                cycles += group.run()
                if after:
                    after(number, len(self._groups))
        except BaseException as error:
            _forget_frames(error)
            for group in self._groups:
                group.context.drop()
            raise
        return tuple(cycles)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the failed calls held: their runs would keep the broken context open."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class _Group:
    """Launches that are one command to the driver: a run, or a runlist where pyxrt has them."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self.launches = tuple(launches)
        contexts = {id(launch.context): launch.context for launch in launches}
        if len(contexts) != 1:
            raise ValueError("the launches of a group share one context")
        self.context: Context = self.launches[0].context
        self._witnesses = _witnesses(self.launches)

    def prepared(self) -> _Prepared:
        session = self.context.session
        if self not in session.prepared:
            with typed_failures(self.context.opened.backend, "preparing a launch"):
                session.prepared[self] = _Prepared(self.context.pyxrt, session, self.launches)
        return session.prepared[self]

    def run(self) -> list[int | None]:
        """Cycles of each launch. Raises DeviceFault."""
        backend, doing = self.context.opened.backend, f"running {self.context.overlay.name}"
        prepared = self.prepared()
        with _turn(backend.turn), typed_failures(backend, doing):
            for output, offset, size in self._witnesses:
                output.view[offset : offset + size] = WITNESS[:size]
                output.to_device(offset, size)
            failure = prepared.go()
            if failure:
                why = " ".join(filter(None, map(backend.hang, prepared.runs)))
                told = f"{failure}: {why}" if why else failure
                raise typed(told, backend, doing, RUNNING)
            for output, offset, size in self._witnesses:
                output.from_device(offset, size)
                if output.view[offset : offset + size] == WITNESS[:size]:
                    raise wrong(backend, doing, "it says that it is done, and wrote nothing")
        return [backend.cycles(run) for run in prepared.runs]


class _Prepared:
    """The runs of a group in one session, and the list that they are in."""

    def __init__(self, pyxrt: Any, session: Session, launches: Sequence[Launch]) -> None:
        self.pyxrt = pyxrt
        self.runs = [_make_run(pyxrt, session.kernel, launch) for launch in launches]
        self.list: pyxrt.runlist | None = None
        if len(launches) > 1 and hasattr(pyxrt, "runlist"):
            self.list = pyxrt.runlist(session.hardware)
            for run in self.runs:
                self.list.add(run)

    def go(self) -> str:
        """Run everything and wait; empty, or how it ended. Raises what pyxrt raises."""
        if self.list is not None:
            self.list.execute()
            # no number can be given: pyxrt 2.20 to 2.26 declares wait(timeout) with a type of C++
            # that it does not convert; the driver's limit, 2 s for 24 runs, ends it
            self.list.wait()
            return ""
        for run in self.runs:
            failure = _run_one(self.pyxrt, run)
            if failure:
                return failure
        return ""


def _make_run(pyxrt: Any, kernel: pyxrt.kernel, launch: Launch) -> pyxrt.run:
    run = pyxrt.run(kernel)
    run.set_arg(0, OPCODE_TRANSACTION)
    run.set_arg(INSTRUCTIONS, launch.instructions.bo)
    run.set_arg(INSTRUCTIONS + 1, launch.words)
    for index, buffer in enumerate(launch.buffers, FIRST_BUFFER):
        run.set_arg(index, buffer.bo)
    return run


def _run_one(pyxrt: Any, run: pyxrt.run) -> str:
    run.start()
    state = run.wait(LIMIT_MS)
    if state == pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED:
        return ""
    return f"the command ended in state {state.name}"


# Proofs ------------------------------------------------------------------------------------------

Place = tuple[Buffer, int, int]  # a buffer, and offset and size in it


def _witnesses(launches: Sequence[Launch]) -> list[Place]:
    """Ends of the last launch's outputs, of those that no earlier launch touches."""
    *earlier, last = launches
    touched = [buffer for launch in earlier for buffer in launch.buffers]
    free = [o for o in last.outputs if not any(o.overlaps(buffer) for buffer in touched)]
    if not free:
        raise ValueError(
            "the last launch of a group needs an output that no other launch of it touches"
        )
    sizes = [min(len(WITNESS), output.size) for output in free]
    return [(o, o.size - size, size) for o, size in zip(free, sizes, strict=True)]


def _check_repeatable(launches: Sequence[Launch]) -> None:
    """Refuse launches that overwrite what was there before the first one and is read."""
    written: list[Buffer] = []
    needed: list[Buffer] = []
    for launch in launches:
        needed += [b for b in launch.inputs if not _covered(b, written)]
        written += launch.outputs
    for output in written:
        if any(output.overlaps(buffer) for buffer in needed):
            raise ValueError(
                "a job must not write where it reads what was there before: it could not be "
                "repeated after a failure"
            )


def _covered(buffer: Buffer, written: Sequence[Buffer]) -> bool:
    """Whether every byte of a buffer lies in one of those that were written."""
    reached, end = buffer.offset, buffer.offset + buffer.size
    parts = sorted((w.offset, w.offset + w.size) for w in written if w.overlaps(buffer))
    for first, behind in parts:
        if first > reached:
            break
        reached = max(reached, behind)
    return reached >= end


@contextmanager
def _turn(path: Path | None) -> Iterator[None]:
    """Use the device alone among the processes that ask for `path`, so that limits mean something.

    Where the file cannot be written everybody goes at once, as other programs do anyway.
    """
    if path is None:
        yield
        return
    file = None
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            file.close()
