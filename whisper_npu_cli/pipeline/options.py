"""The one list of transcription options; names and defaults follow openai/whisper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to transcribe. Times are in seconds, probabilities natural logarithms.

    Defaults are openai/whisper's command line's (beam 5), thresholds included.
    """

    language: str | None = None
    task: str = "transcribe"
    temperature: float = 0.0
    temperature_increment_on_fallback: float | None = 0.2
    best_of: int = 5
    beam_size: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    compression_ratio_threshold: float | None = 2.4
    logprob_threshold: float | None = -1.0
    no_speech_threshold: float | None = 0.6
    condition_on_previous_text: bool = True
    initial_prompt: str | None = None
    carry_initial_prompt: bool = False
    suppress_tokens: tuple[int, ...] = (-1,)
    hotwords: str | None = None
    without_timestamps: bool = False
    word_timestamps: bool = False
    prepend_punctuations: str = "\"'“¿([{-"
    append_punctuations: str = "\"'.。,，!！?？:：”)]}、"
    clip_timestamps: tuple[float, ...] = ()
    hallucination_silence_threshold: float | None = None
    vad_filter: bool = False
    vad_threshold: float = 0.5
    vad_min_silence_duration_ms: int = 2000
    batch_size: int = 1
