"""The limit on locked memory, within which XRT has to pin every buffer."""

from __future__ import annotations

import contextlib
import resource

HEAP = 64 << 20
"""Bytes that the driver locks for any context at all (FACTS §6.3, §7.3: the device heap)."""
COMFORT = 1 << 30
"""Bytes with which the buffers of whisper's base and small fit as well."""


def raise_limit() -> None:
    """Raise this process's own soft limit to the hard one, which needs no rights."""
    _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
