"""Micro-operations: what a bundle becomes before it runs, as rows of numbers.

Kinds in the order in which `pipeline.issue` tells them apart; columns of a row; columns of a
bundle. `translate.py` makes them.
"""

from __future__ import annotations

# ---------------------------------------------------------------- kinds
(
    COPY, SCALAR, SCALAR_CARRY, DIVIDE, POINTER,
    LOAD, STORE, LOAD_PART, STORE_PART, LOAD_UPS, LOAD_UNPACK, LOAD_FLOAT,
    STORE_SRS, STORE_FLOAT, STORE_PACK, LOAD_TABLE,
    JUMP, JUMP_NOT_ZERO, JUMP_ZERO, JUMP_COUNTED, LINK,
    MULTIPLY, MULTIPLY_FLOAT, MOVE, MOVE_LATE, UNPACK,
    LANES, LANES_FLOAT, LOGIC, SHUFFLE, SHIFT, PUSH, INSERT, EXTRACT, BROADCAST, EXTRACT_BROADCAST,
    BROADCAST_SHUFFLE, UPS, SRS, PACK, FLOAT_UP, FLOAT_DOWN, FLOOR,
    LOCK_ACQUIRE, LOCK_RELEASE, STREAM_GET, STREAM_PUT, CASCADE_GET, CASCADE_PUT, HALT, SIGNAL,
) = range(51)  # fmt: skip

LAST_MEMORY, LAST_BRANCH, LAST_MULTIPLY, LAST_LANE = LOAD_TABLE, LINK, UNPACK, BROADCAST_SHUFFLE
FIRST_BLOCKING = LOCK_ACQUIRE

# ---------------------------------------------------------------- columns of a micro-operation
(
    KIND, DST, A, B, C, N1, N2, N3, LATENCY, SIZE, MODE, BASE, STEP, CHECK, CHECKS, FORWARDED, DST2,
    SIZE2,
) = range(18)  # fmt: skip
ROW = 18
"""Columns of a row.

DST, A, B, C, DST2: words, or -1 for no result. SIZE: words of the result, or bits of a scalar one.
LATENCY: cycles until the result is seen, 0 for the next bundle without a detour. MODE, BASE, STEP:
address.
CHECK: where the registers that must be known stand in the list, CHECKS: how many. FORWARDED: 1 for
results on a forwarding path.
"""

# ---------------------------------------------------------------- columns of a bundle
ADDRESS, FIRST, BEFORE, COUNT, NEXT, LENGTH, BLOCKING, RETURN = range(8)
BUNDLE = 8
"""FIRST row, how many run BEFORE forwarded results arrive, COUNT in all, NEXT bundle or -1, LENGTH
in bytes, row of the BLOCKING micro-operation or -1, address behind the delay slots for RETURN."""

# ---------------------------------------------------------------- what goes wrong
(
    FINE, UNKNOWN_REGISTER, UNALIGNED, NO_SUCH_MEMORY, BRANCH_IN_DELAY, LOOP_END_IN_DELAY,
    LOOP_START_UNALIGNED, LOOP_END_SHORT, BAD_CONTROL_WORD, BAD_SHUFFLE, BAD_ROUNDING,
    RELEASE_TOO_EARLY,
) = range(12)  # fmt: skip

# ---------------------------------------------------------------- sub-words
SIGNED_8, UNSIGNED_8, SIGNED_16, UNSIGNED_16 = 0, 1, 2, 3
