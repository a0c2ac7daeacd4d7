"""A clock per input: wall-clock seconds of each stage, and what was counted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from whisper_npu_cli.pipeline.results import Stage, Timings

STAGES = ("load", "mel", "encode", "decode", "other")  # in the order of flow


class StageClock:
    """Collects seconds per stage, and the `windows` encoded and `tokens` decoded.

    `load` is reading and decoding sound, `mel` the spectrogram, `encode` and `decode` the
    model's calls (language detection and word alignment are decoding); `other` is whatever is
    left of the running time.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.windows = 0
        self.tokens = 0
        self._now = now
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._cycles = dict.fromkeys(STAGES, 0)
        self._running = 0.0

    def add(self, stage: str, seconds: float, count: int = 0) -> None:
        """Add to a stage; `count` is windows for `encode`, tokens for `decode`."""
        self._seconds[stage] += seconds
        if stage == "encode":
            self.windows += count
        elif stage == "decode":
            self.tokens += count

    def add_cycles(self, stage: str, cycles: int) -> None:
        """Add array cycles of an emulated device to a stage."""
        self._cycles[stage] += cycles

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time spent in the block as that of a stage; stages do not nest."""
        start = self._now()
        try:
            yield
        finally:
            self.add(name, self._now() - start)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time spent in the block as running time, of which the stages are parts."""
        start = self._now()
        try:
            yield
        finally:
            self._running += self._now() - start

    def timings(self, devices: dict[str, str], audio_seconds: float) -> Timings:
        """The times so far; `devices` says where each stage ran."""
        measured = sum(self._seconds.values())
        seconds = self._seconds | {"other": max(0.0, self._running - measured)}
        stages = [Stage(name, devices[name], seconds[name], self._cycles[name]) for name in STAGES]
        return Timings(stages, audio_seconds, self.windows, self.tokens)
