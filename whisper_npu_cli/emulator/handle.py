"""How compiled functions are handed a core: seven addresses instead of sixteen arrays.

An array takes seven arguments of a compiled function, so passing views would cost more than what
most functions do. Under NUMBA_DISABLE_JIT=1 the handle is the view itself.
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


if COMPILED:
    from numba import carray, types
    from numba.extending import intrinsic

    _ANY = 1 << 40  # elements; nobody asks for the length

    def _from_address(_: Any, address: Any) -> Any:
        def generate(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from llvmlite import ir

            return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

        return types.voidptr(types.int64), generate

    _pointer: Any = intrinsic(_from_address)

    @inline
    def view(handle: Any) -> Any:
        """The arrays of a handle, made where they are used at no cost."""
        state, memory, known = (
            _pointer(handle.state),
            _pointer(handle.memory),
            _pointer(handle.known),
        )
        return View(
            carray(state, _ANY, np.int32), carray(state, _ANY, np.int64),
            carray(state, _ANY, np.int8), carray(state, _ANY, np.int16),
            carray(state, _ANY, np.float32), carray(state, _ANY, np.float64),
            carray(memory, _ANY, np.int32), carray(memory, _ANY, np.int64),
            carray(memory, _ANY, np.int8), carray(memory, _ANY, np.int16),
            carray(known, _ANY, np.uint8), carray(known, _ANY, np.int64),
            carray(_pointer(handle.operations), _ANY, np.int32),
            carray(_pointer(handle.bundles), _ANY, np.int32),
            carray(_pointer(handle.checks), _ANY, np.int32),
            carray(_pointer(handle.starts), _ANY, np.int32),
        )  # fmt: skip

else:

    def view(handle: Any) -> Any:
        """The arrays of a handle."""
        return handle
