"""The device: opened once for a process, with a context for each overlay that is used.

    device = open_device("emulator")
    context = device.context("vector_add_one")
    source, result = context.buffer(4096, 0), context.buffer(4096, 1)
    job = Job([context.launch(words, [source, result], outputs=[result])])
    source.array("int32")[:] = 7
    source.to_device()
    job.run()
    result.from_device()

Buffers are resident as long as somebody refers to them and may be used in all contexts. Failures
arrive as DeviceFaults, whose sentence names device, reason and mend (errors.py); after one, the
next job opens a fresh context.
"""

from __future__ import annotations

from pathlib import Path

from whisper_npu_cli.npu.backend import Backend, choose_backend
from whisper_npu_cli.npu.catalog import FOLDERS, Overlay, find_overlay
from whisper_npu_cli.npu.context import Context, Opened
from whisper_npu_cli.npu.selftest import ensure_right

PATIENCE = 10.0
"""Seconds for which a context is waited for while other processes hold all six."""


class Device:
    """An opened device. `folders` are searched for the manifest of XCLBINs.

    Raises DeviceFault when XRT does not open it.
    """

    def __init__(
        self,
        backend: Backend,
        folders: tuple[Path, ...] = FOLDERS,
        patience: float = PATIENCE,
    ) -> None:
        self.backend = backend
        self._folders = folders
        self._opened = Opened(backend.pyxrt, backend, patience)
        self._contexts: dict[str, Context] = {}

    @property
    def name(self) -> str:
        """`npu` or `emulator`."""
        return self.backend.name

    def context(self, name: str) -> Context:
        """The context of the overlay called `name`, the same one at each call.

        At its first use on a machine the overlay's known answer is computed. Raises CorruptXclbin,
        WrongAnswer, DeviceBusy and other DeviceFaults.
        """
        if name not in self._contexts:
            context = self.untested(find_overlay(name, self._folders))
            ensure_right(context)
            self._contexts[name] = context
        return self._contexts[name]

    def untested(self, overlay: Overlay) -> Context:
        """A new open context with an XCLBIN whose answers nobody has checked."""
        context = Context(self.backend.pyxrt, self._opened, overlay)
        _ = context.session
        return context

    def close(self) -> None:
        """Close all contexts; what is prepared in them is gone, buffers stay."""
        for context in self._contexts.values():
            context.drop()
        self._contexts.clear()


def open_device(name: str) -> Device:
    """Open the device `npu` or `emulator`. Raises DeviceError when it cannot be used."""
    return Device(choose_backend(name))
