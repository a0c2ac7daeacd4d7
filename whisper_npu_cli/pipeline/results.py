"""What a transcription returns; segments and words have openai/whisper's JSON keys for names."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Word:
    """One word; `start` and `end` in seconds from the start of the input."""

    word: str
    start: float
    end: float
    probability: float


@dataclass(frozen=True)
class Segment:
    """One segment; `seek` is the frame (10 ms) at which its window starts in the input."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline: `load`, `mel`, `encode`, `decode` or `other`.

    `seconds` of wall-clock time, `cycles` of the array where an emulated device counted them: no
    measurement of an NPU.
    """

    name: str
    device: str
    seconds: float
    cycles: int = 0

    @property
    def seconds_at_1_ghz(self) -> float:
        """Seconds that the cycles would take at the array clock that Phoenix laptops have."""
        return self.cycles / 1e9

    @property
    def emulated(self) -> dict[str, float]:
        """For JSON, where there are cycles: what an array would take, never a measurement."""
        return {"cycles": self.cycles, "ms_at_1_ghz": round(self.seconds_at_1_ghz * 1000, 3)}


@dataclass(frozen=True)
class Timings:
    """Where the time went for one input; `stages` in the order of flow, all wall-clock seconds."""

    stages: list[Stage]
    audio_seconds: float
    windows: int
    tokens: int

    @property
    def emulated(self) -> dict[str, dict[str, float]]:
        """Of each stage on an emulated device what an array would take; see Stage."""
        return {stage.name: stage.emulated for stage in self.stages if stage.cycles}

    @property
    def total(self) -> float:
        """Seconds in all stages."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def rtf(self) -> float:
        """Real-time factor: processing seconds for one second of audio (smaller is faster)."""
        return self.total / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def speed(self) -> float:
        """Seconds of audio for one second of processing (larger is faster)."""
        return self.audio_seconds / self.total if self.total else 0.0


@dataclass(frozen=True)
class Engine:
    """Which model ran where: the `engine` object of the JSON output, less the timings.

    compute_types: of the stages `encode` and `decode`.
    trouble: a failure of the device that did not stop the work, empty without.
    """

    model: str
    device: str
    stage_devices: dict[str, str]
    compute_types: dict[str, str]
    reason: str
    fallback_reason: str | None = None
    trouble: str = ""


@dataclass
class Result:
    """A whole transcript."""

    text: str
    segments: list[Segment]
    language: str
    timings: Timings
    engine: Engine
    language_probability: float = 1.0
    warnings: list[str] = field(default_factory=list)

    @property
    def device(self) -> str:
        """The device that ran the encoder."""
        return self.engine.device
