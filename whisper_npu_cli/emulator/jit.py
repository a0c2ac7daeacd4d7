"""Compilation of the emulator's inner functions with numba, cached in the user's cache folder.

The cache lies in a folder named after the emulator's sources, since numba looks for changes only
in the file of the function itself, not in the functions that it calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

COMPILED = os.environ.get("WHISPER_NPU_UNCOMPILED", "0") != "1"
"""False under WHISPER_NPU_UNCOMPILED=1: the functions then run as plain Python, to debug them."""


@cache
def cache_folder(base: str) -> str:
    """Where compiled functions are kept: below $NUMBA_CACHE_DIR, else among our other caches."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    if not base:
        import platformdirs

        base = os.environ.get("WHISPER_NPU_CACHE") or platformdirs.user_cache_dir("whisper-npu")
    return str(Path(base) / "emulator" / digest.hexdigest()[:16])


def jit(function: F) -> F:
    """The function compiled on first use, to be called from Python or from compiled functions."""
    return _compile(function, cache=True)


def inner(function: F) -> F:
    """The function compiled on first use, to be called from compiled functions only.

    Without a wrapper it compiles faster; Python that calls it crashes (`.py_func` may be called).
    """
    return _compile(function, cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inline(function: F) -> F:
    """The function compiled into each of the compiled functions that call it."""
    return _compile(
        function, cache=False, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True
    )


def merged(function: F) -> F:
    """The function's text put where it is called from, before anything is compiled.

    For long functions with one caller: `inline` would have them optimised on their own, too.
    """
    return _compile(function, cache=False, inline="always")


def _compile(function: F, **options: Any) -> F:
    if not COMPILED:
        return function
    import numba

    # products and sums of lanes become vector instructions; higher levels take half as long again
    # to compile and the code is no faster
    numba.config.SLP_VECTORIZE = 1
    numba.config.OPT = type(numba.config.OPT)(1)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder(before)
    try:
        compiled: F = numba.njit(error_model="numpy", **options)(function)
    finally:
        numba.config.CACHE_DIR = before
    return compiled
