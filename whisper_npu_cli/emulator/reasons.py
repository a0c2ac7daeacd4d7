"""Why a core stopped running, as `Core.run` returns it."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """LIMIT and DONE apart, each is a request that `Core.resume` answers."""

    LIMIT = 0  # the cycle that was asked for is reached
    ACQUIRE = 1  # core.lock, core.value
    RELEASE = 2  # core.lock, core.value
    STREAM_READ = 3
    STREAM_WRITE = 4  # core.value, core.last
    STREAM_READ_NB = 5  # to be answered at once
    STREAM_WRITE_NB = 6  # to be answered at once
    CASCADE_READ = 7
    CASCADE_WRITE = 8  # core.cascade
    DONE = 9  # the core has halted
    EVENT = 10  # core.value; reported only where core.report_events is set
