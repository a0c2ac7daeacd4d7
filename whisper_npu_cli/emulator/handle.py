"""How compiled functions are handed a core: seven addresses instead of sixteen arrays.

An array takes seven arguments of a compiled function, so passing views would cost more than what
most functions do. Under WHISPER_NPU_UNCOMPILED=1 the handle is the view itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from whisper_npu_cli.emulator.core_state import View
from whisper_npu_cli.emulator.jit import COMPILED, inline


class Handle(NamedTuple):
    """Addresses of a view's memory; valid as long as somebody holds the view."""

    state: int
    memory: int
    known: int
    operations: int
    bundles: int
    checks: int
    starts: int


def handle_of(view: View) -> Any:
    """The handle of a view."""
    if not COMPILED:
        return view
    blocks = (view.w, view.mw, view.kb, view.u, view.t, view.c, view.a)
    return Handle(*(block.ctypes.data for block in blocks))


def new_handles(count: int) -> Any:
    """Room for the handles of `count` cores: assign to its rows, take out with `handle_at`."""
    return np.zeros((count, len(Handle._fields)), np.int64) if COMPILED else [None] * count


if COMPILED:
    from numba import types
    from numba.extending import intrinsic

    def _pointer_to(element: Any) -> Any:
        """A compiled cast from an address to a pointer, which indexes without any checks."""

        def cast(_: Any, address: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                pointer = context.get_value_type(signature.return_type)
                return builder.inttoptr(arguments[0], pointer)

            return types.CPointer(element)(types.int64), generate

        return intrinsic(cast)

    _bytes, _shorts = _pointer_to(types.int8), _pointer_to(types.int16)
    _words, _longs = _pointer_to(types.int32), _pointer_to(types.int64)
    _floats, _doubles = _pointer_to(types.float32), _pointer_to(types.float64)
    _flags = _pointer_to(types.uint8)

    @inline
    def view(handle: Any) -> Any:
        """The arrays of a handle, made where they are used at no cost."""
        state, memory, known = handle.state, handle.memory, handle.known
        return View(
            _words(state), _longs(state), _bytes(state), _shorts(state), _floats(state),
            _doubles(state), _words(memory), _longs(memory), _bytes(memory), _shorts(memory),
            _flags(known), _longs(known), _words(handle.operations), _words(handle.bundles),
            _words(handle.checks), _words(handle.starts),
        )  # fmt: skip

    @inline
    def handle_at(handles: Any, number: int) -> Any:
        """One of a number of handles."""
        row = handles[number]
        return Handle(row[0], row[1], row[2], row[3], row[4], row[5], row[6])

else:

    def handle_at(handles: Any, number: int) -> Any:
        """One of a number of handles."""
        return handles[number]

    def view(handle: Any) -> Any:
        """The arrays of a handle."""
        return handle
