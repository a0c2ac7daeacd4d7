"""Array cycles that launches cost, whatever they do (shared facts 8.11)."""

from __future__ import annotations

LAUNCH = 28_500
"""From a launch to its first instruction: 25 to 32 thousand measured."""

INSTRUCTION, QUEUE_WRITE = 112, 2_500
"""An instruction of the stream, and what a start-queue write adds."""

FIRST_SYNC = 8_000
"""The first wait for a token in a stream, at least."""
