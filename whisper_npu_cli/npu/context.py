"""One overlay on the device: its context, buffers for its kernel, and what can be launched."""

from __future__ import annotations

import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.errors import CorruptXclbin, DeviceBusy
from whisper_npu_cli.npu.backend import Backend
from whisper_npu_cli.npu.buffer import Buffer
from whisper_npu_cli.npu.catalog import Overlay
from whisper_npu_cli.npu.failure import OPENING, typed_failures

if TYPE_CHECKING:
    import pyxrt

MAX_CONTEXTS = 6
"""Of the firmware, for all processes together (FACTS §6.5)."""
INSTRUCTIONS, FIRST_BUFFER = 1, 3
"""Kernel arguments; 0 is the opcode, 2 the number of instruction words (FACTS §6.1)."""
_AGAIN = 0.1  # seconds until another try for a context


@dataclass(frozen=True, eq=False)
class Launch:
    """One execution of a kernel with fixed arguments.

    `instructions` holds `words` words. `outputs` are arguments, or parts of arguments, that it
    writes to the last byte without reading them; an argument without an output in it is read.
    """

    context: Context
    instructions: Buffer
    words: int
    buffers: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]

    def __post_init__(self) -> None:
        for output in self.outputs:
            holders = [b for b in self.buffers if b.overlaps(output)]
            if len(holders) != 1 or not _lies_in(output, holders[0]):
                raise ValueError("an output must lie in exactly one argument of its launch")

    @property
    def inputs(self) -> tuple[Buffer, ...]:
        """The arguments that it reads."""
        return tuple(b for b in self.buffers if not any(b.overlaps(o) for o in self.outputs))


def _lies_in(inner: Buffer, outer: Buffer) -> bool:
    end = outer.offset + outer.size
    return outer.offset <= inner.offset and inner.offset + inner.size <= end


class Session:
    """A hardware context while it lasts, with its kernel and everything prepared for it.

    Whoever drops the session closes the context: nothing else refers to what is in here.
    """

    def __init__(self, pyxrt: Any, device: pyxrt.device, image: pyxrt.xclbin) -> None:
        self.hardware: pyxrt.hw_context = pyxrt.hw_context(device, device.register_xclbin(image))
        self.kernel: pyxrt.kernel = pyxrt.kernel(self.hardware, image.get_kernels()[0].get_name())
        self.prepared: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


class Opened:
    """The device as its contexts see it.

    `patience` is for how many seconds a context is waited for that other processes hold.
    """

    def __init__(self, pyxrt: Any, backend: Backend, patience: float) -> None:
        self.backend = backend
        self.patience = patience
        self.sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        with typed_failures(backend, "being opened", OPENING):
            self.handle: pyxrt.device = pyxrt.device(0)


class Context:
    """An overlay on the device. Closed and opened again by whoever finds it broken.

    Buffers and launches outlive that; runs do not (FACTS §6.5). Raises CorruptXclbin when pyxrt
    does not accept the file.
    """

    def __init__(self, pyxrt: Any, opened: Opened, overlay: Overlay) -> None:
        self.pyxrt = pyxrt
        self.opened = opened
        self.overlay = overlay
        self._session: Session | None = None
        self._streams: weakref.WeakValueDictionary[bytes, Buffer] = weakref.WeakValueDictionary()
        try:
            self._image: pyxrt.xclbin = pyxrt.xclbin(str(overlay.path))
        except RuntimeError as error:
            raise CorruptXclbin(
                f"pyxrt does not accept {overlay.path} ({error}); install whisper-npu again.",
                str(error),
            ) from error

    @property
    def session(self) -> Session:
        """The hardware context, opened if it is not. Raises DeviceBusy and other DeviceFaults."""
        if self._session is None:
            self._session = self._open()
            self.opened.sessions.add(self._session)
        return self._session

    def drop(self) -> None:
        """Close the hardware context, with all runs; the next use opens a fresh one."""
        self._session = None

    def buffer(self, size: int, argument: int = 0) -> Buffer:
        """A buffer of `size` bytes that fits the kernel's data argument number `argument`."""
        return self._buffer(size, self.pyxrt.bo.host_only, FIRST_BUFFER + argument)

    def launch(
        self,
        words: bytes | bytearray | memoryview,
        buffers: Sequence[Buffer],
        outputs: Sequence[Buffer],
    ) -> Launch:
        """What runs the instruction stream `words` (its bytes) on `buffers`; see Launch.

        Launches with the same stream share one instruction buffer: there are 64 MiB for all.
        """
        stream = memoryview(words).cast("B").tobytes()
        held = self._streams.get(stream)
        if held is None:
            held = self._buffer(len(stream), self.pyxrt.bo.cacheable, INSTRUCTIONS)
            held.write(stream)
            self._streams[stream] = held
        return Launch(self, held, len(stream) // 4, tuple(buffers), tuple(outputs))

    def _buffer(self, size: int, flags: Any, argument: int) -> Buffer:
        opened = self.opened
        with typed_failures(opened.backend, f"making a buffer of {size} bytes"):
            kernel: pyxrt.kernel = self.session.kernel
            group = kernel.group_id(argument)
            return Buffer(self.pyxrt, self.pyxrt.bo(opened.handle, size, flags, group), size)

    def _open(self) -> Session:
        backend, mine = self.opened.backend, len(self.opened.sessions)
        doing = f"opening a context for {self.overlay.path.name}"
        deadline = time.monotonic() + (self.opened.patience if mine < MAX_CONTEXTS else 0)
        while True:
            try:
                with typed_failures(backend, doing, OPENING):
                    return Session(self.pyxrt, self.opened.handle, self._image)
            except DeviceBusy as busy:
                if time.monotonic() < deadline:
                    time.sleep(_AGAIN)
                    continue
                if mine < MAX_CONTEXTS:
                    raise
                raise DeviceBusy(
                    f"The {backend.title} has no free context for {self.overlay.path.name}: this "
                    f"process holds all {mine}; report it, this is a fault of whisper-npu.",
                    busy.reason,
                ) from busy
