"""Cycles that things cost, each with its source. Instruction latencies: aie/facts/timing.py."""

from __future__ import annotations

# ------------------------------------------------------------------------------------ core

LOCK_ARBITRATION = 1
"""Cycles that each lock instruction of a core costs even when the lock is free.

Shared facts 8.11, measured on a Phoenix by the xdna-emu project.
"""

BANK_CONFLICT = 1
"""Cycles that the whole core stalls for each access that loses a memory bank.

AM020 chapter 2 (round robin, the loser waits one cycle); shared facts 8.4.
"""

BANK_BYTES = 16
"""Width of a physical bank; two of them alternate within a logical bank (shared facts 4.9)."""

LOGICAL_BANK_BYTES = 0x4000
"""Size of a logical bank (shared facts 4.9)."""

# ------------------------------------------------------------------------------------ array

BD_SETUP = 4
"""Cycles from the end of one descriptor to the lock request of the next. Assumed: not published."""

LOCK_REQUEST = 1
"""Cycles that a DMA channel's lock request takes when the lock is free. Assumed, as for cores."""

SWITCH_LOCAL, SWITCH_EXTERNAL = 3, 4
"""Cycles through a stream switch: between ports of the tile itself, or else (AM020 chapter 2)."""

EGRESS_WORDS, CROSSING_WORDS, INGRESS_WORDS = 12, 6, 16
"""Words that a stream holds: at its source, in each switch, at its end (shared facts 8.11)."""

SHIM_MM2S_START, SHIM_MM2S_SLIP = 747, 20
"""Cycles before the first word from host memory; then one cycle more each so many words.

Shared facts 8.9, measured: 747 cycles and 1.05 cycles a word.
"""

SHIM_S2MM_END = 171
"""Cycles from the last word to the end of a task that writes host memory (shared facts 8.9)."""

SHIM_FIRST_MM2S, SHIM_FIRST_S2MM = 1330 - SHIM_MM2S_START, 341 - SHIM_S2MM_END
"""What a channel's first task costs more than later ones (shared facts 8.9)."""

TOKEN = 50
"""Cycles from the end of a task to its token at the firmware. Assumed: not published."""

CONTEXT_SWITCH = 1_400_000
"""Cycles of a change to another XCLBIN: 2.8 ms a pair at 1 GHz (shared facts 6.5)."""

CLOCK_HZ = 1_028_000_000
"""Clock of the array as seen in practice (shared facts 8.10)."""
