"""Wall-clock times at the seam: a Core that reports how long its calls took."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

from whisper_npu_cli.engines.interface import Around, Core


class Clock(Protocol):
    """What collects stage times."""

    def add(self, stage: str, seconds: float, count: int = 0) -> None:
        """Add wall `seconds` to `mel`, `encode` or `decode`.

        `count` is windows (encode calls times batch) for `encode`, tokens for `decode`.
        """

    def add_cycles(self, stage: str, cycles: int) -> None:
        """Add array cycles of an emulated device to a stage."""


@runtime_checkable
class Emulated(Protocol):
    """A Core that may run on a device which tells how many cycles it takes."""

    def take_cycles(self) -> int | None:
        """Array cycles since the last call, None where the device does not tell."""


class Timed(Around):
    """A Core around another Core; reports `encode`, and everything of the decoder as `decode`."""

    def __init__(self, core: Core, clock: Clock) -> None:
        super().__init__(core)
        self._clock = clock

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """See Core."""
        with timing(self._clock, "encode", features.shape[0]):
            encoded = super().encode(features, to_cpu=to_cpu)
        cycles = self._core.take_cycles() if isinstance(self._core, Emulated) else None
        if cycles is not None:
            self._clock.add_cycles("encode", cycles)
        return encoded

    def generate(self, features: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        """See Core."""
        start = perf_counter()
        results = super().generate(features, prompts, **options)
        tokens = sum(len(sequence) for result in results for sequence in result.sequences_ids)
        self._clock.add("decode", perf_counter() - start, tokens)
        return results

    def detect_language(self, features: Any) -> list[list[tuple[str, float]]]:
        """See Core."""
        with timing(self._clock, "decode"):
            return super().detect_language(features)

    def align(self, *operands: Any, **options: Any) -> list[Any]:
        """See Core."""
        with timing(self._clock, "decode"):
            return super().align(*operands, **options)


@contextmanager
def timing(clock: Clock, stage: str, count: int = 0) -> Iterator[None]:
    """Report the time spent inside the block, also when it ends with an exception."""
    start = perf_counter()
    try:
        yield
    finally:
        clock.add(stage, perf_counter() - start, count)
