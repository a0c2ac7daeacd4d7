"""Inputs of any length through faster-whisper, which needs the whole sound in memory.

The sound is read in pieces of 20 minutes and what upstream would see as one long input is put
together again: a window that the end of a piece would cut short is not decoded, the next piece
begins with it. So an input of up to one piece is faster-whisper's own result, and a longer one
differs only in that the spectrogram's 80 dB range counts from the loudest point of a piece.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from faster_whisper import BatchedInferencePipeline
from faster_whisper.transcribe import restore_speech_timestamps
from faster_whisper.vad import (
    SpeechTimestampsMap,
    VadOptions,
    get_speech_timestamps,
)

from whisper_npu_cli.engines.cpu import LongForm
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.pipeline.audio import SAMPLE_RATE, AudioReader
from whisper_npu_cli.pipeline.options import Options
from whisper_npu_cli.pipeline.results import Segment, Word
from whisper_npu_cli.pipeline.timings import StageClock

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.audio import Samples

PIECE_SECONDS = 1200  # 77 MB of samples and 38 MB of spectrogram (80 mels)
FRAME = 160  # samples; windows start at multiples of a frame (10 ms)
WINDOW_FRAMES = 3000  # 30 s, what the encoder takes
HOT = 0.5  # temperature above which upstream forgets the text before (prompt_reset_on_temperature)


class PieceEnd(Exception):
    """The window at frame `seek` would be cut short by the end of its piece."""

    def __init__(self, seek: int) -> None:
        super().__init__(seek)
        self.seek = seek


class Windows:
    """A spectrogram [n_mels, frames] as upstream uses it, noting which window it took last."""

    def __init__(self, features: Samples) -> None:
        self.shape = features.shape
        self.start = 0
        self.stop = 0
        self._features = features

    def __getitem__(self, index: tuple[slice, slice]) -> Samples:
        self.start, self.stop = index[1].start, index[1].stop
        return self._features[index]

    @property
    def cut(self) -> bool:
        """Whether the last window is short because the spectrogram ends."""
        content = self.shape[-1] - 1  # one frame comes from the padding
        return self.stop == content and self.stop - self.start < WINDOW_FRAMES


class PieceModel(LongForm):
    """LongForm with an open end and with prompts that stay. One copy for each input."""

    def __init__(self, core: Core, folder: Path, clock: Any = None) -> None:
        super().__init__(core, folder, clock)
        self.open_end = False
        self.kept_prompt: list[int] = []
        self._windows: Windows | None = None

    def begin(self, open_end: bool) -> None:
        """Prepare for a piece; `open_end` says that the sound goes on behind it."""
        self.open_end = open_end
        self._windows = None

    def generate_segments(self, features: Samples, *args: Any, **options: Any) -> Iterator[Any]:
        """As upstream. Raises PieceEnd at the first window that an open end cuts short."""
        self._windows = Windows(features)
        return super().generate_segments(self._windows, *args, **options)

    def encode(self, features: Samples) -> Any:
        """As upstream, for whole windows only."""
        if self.open_end and self._windows and self._windows.cut:
            raise PieceEnd(self._windows.start)
        return super().encode(features)

    def get_prompt(
        self, tokenizer: Any, previous_tokens: list[int], *args: Any, **options: Any
    ) -> list[int]:
        """As upstream, with the kept prompt before the text that came last."""
        room = self.max_length // 2 - 1 - len(self.kept_prompt)
        recent = previous_tokens[-room:] if room > 0 else []
        return super().get_prompt(tokenizer, self.kept_prompt + recent, *args, **options)


@dataclass(frozen=True)
class Plan:
    """What to transcribe of a piece.

    `sound` float32 [n]; `done` says how many samples of the piece that finishes, and `open_end`
    that the last window may have to wait for the next piece. `clips` are start, end, ... in
    seconds of `sound`; `speech` the places in the piece, in samples, that `sound` is made of.
    """

    sound: Samples
    done: int
    open_end: bool = False
    clips: list[float] = field(default_factory=lambda: [0.0])
    speech: list[dict[str, int]] = field(default_factory=list)


class LongRun:
    """One input on its way through the model; iterate once for its segments.

    `options.language` is a code or None; `language` is that or, after the first segment, the
    detected one ("" while there was no speech); `position` the seconds of input done.
    """

    def __init__(
        self,
        model: PieceModel,
        reader: AudioReader,
        options: Options,
        clock: StageClock,
        piece_seconds: int = PIECE_SECONDS,
    ) -> None:
        self.language = options.language or ""
        self.language_probability = 1.0
        self.position = 0.0
        self._model = copy.copy(model)
        self._reader = reader
        self._options = options
        self._clock = clock
        self._buffer = np.empty(piece_seconds * SAMPLE_RATE, np.float32)
        self._offset = 0  # samples of the input before the piece
        self._count = 0
        self._prompt = self._initial_prompt()

    def _initial_prompt(self) -> list[int]:
        """Token ids before the first window; none with carry_initial_prompt, where they stay."""
        if not self._options.initial_prompt:
            return []
        text = " " + self._options.initial_prompt.strip()
        tokens: list[int] = self._model.hf_tokenizer.encode(text, add_special_tokens=False).ids
        if self._options.carry_initial_prompt:
            self._model.kept_prompt = tokens[-(self._model.max_length // 2 - 1) :]
            return []
        return tokens

    def __iter__(self) -> Iterator[Segment]:
        carried = 0
        while True:
            with self._clock.stage("load"):
                filled = carried + self._reader.read_into(self._buffer[carried:])
            last = filled < len(self._buffer)
            done = yield from self._piece(self._buffer[:filled], last)
            self._offset += done
            self.position = self._offset / SAMPLE_RATE
            if last:
                return
            carried = filled - done
            self._buffer[:carried] = self._buffer[done:filled]

    def _piece(self, samples: Samples, last: bool) -> Generator[Segment, None, int]:
        """Segments of one piece; returns how many of its samples are finished."""
        plan = self._plan(samples, last)
        if len(plan.sound):
            try:
                for segment in self._segments(plan):
                    yield self._finished(segment, len(samples))
            except PieceEnd as cut:
                return len(samples) - (len(plan.sound) - cut.seek * FRAME)
        return plan.done

    def _plan(self, samples: Samples, last: bool) -> Plan:
        options = self._options
        if (options.vad_filter or options.batch_size > 1) and not options.clip_timestamps:
            return speech_plan(samples, last, self._vad_options())
        return clip_plan(samples, last, options.clip_timestamps, self._offset)

    def _vad_options(self) -> VadOptions:
        return VadOptions(
            threshold=self._options.vad_threshold,
            min_silence_duration_ms=self._options.vad_min_silence_duration_ms,
            # a batch has one window for each stretch of speech
            max_speech_duration_s=30 if self._options.batch_size > 1 else float("inf"),
        )

    def _segments(self, plan: Plan) -> Iterator[Any]:
        """Upstream's segments, times and seeks counted from the start of the piece."""
        start = self._start_batch if self._options.batch_size > 1 else self._start
        segments, info = start(plan)
        if not self.language:
            self.language = info.language
            self.language_probability = info.language_probability
        return restored(segments, plan.speech) if plan.speech else segments

    def _start(self, plan: Plan) -> tuple[Iterator[Any], Any]:
        self._model.begin(plan.open_end)
        return self._model.transcribe(
            plan.sound,
            clip_timestamps=plan.clips,
            initial_prompt=self._prompt or None,
            language=self.language or None,
            **upstream_options(self._options),
        )

    def _start_batch(self, plan: Plan) -> tuple[Iterator[Any], Any]:
        self._model.begin(open_end=False)
        return BatchedInferencePipeline(self._model).transcribe(
            plan.sound,
            clip_timestamps=batch_clips(plan),
            initial_prompt=self._options.initial_prompt,
            language=self.language or None,
            vad_filter=False,
            batch_size=self._options.batch_size,
            **upstream_options(self._options),
        )

    def _finished(self, segment: Any, piece_length: int) -> Segment:
        """Upstream's segment as ours, numbered and timed from the start of the input."""
        self._remember(segment)
        at = self._offset / SAMPLE_RATE
        self.position = max(self.position, at + min(segment.end, piece_length / SAMPLE_RATE))
        self._count += 1
        return Segment(
            id=self._count - 1,
            seek=self._offset // FRAME + segment.seek,
            start=round(at + float(segment.start), 3),
            end=round(at + float(segment.end), 3),
            text=segment.text,
            tokens=list(segment.tokens),
            temperature=float(segment.temperature),
            avg_logprob=float(segment.avg_logprob),
            compression_ratio=float(segment.compression_ratio),
            no_speech_prob=float(segment.no_speech_prob),
            words=None if segment.words is None else [_word(word, at) for word in segment.words],
        )

    def _remember(self, segment: Any) -> None:
        """Keep the prompt that upstream would have for the next window."""
        if not self._options.condition_on_previous_text or segment.temperature > HOT:
            self._prompt = []
        else:
            self._prompt = (self._prompt + segment.tokens)[-self._model.max_length :]


def _word(word: Any, at: float) -> Word:
    start, end = round(at + float(word.start), 3), round(at + float(word.end), 3)
    return Word(word.word, start, end, float(word.probability))


def clip_plan(samples: Samples, last: bool, clips: tuple[float, ...], offset: int) -> Plan:
    """All of the piece, or the windows inside `clips`: start, end, ... in seconds of the input.

    The last end may be missing. `offset` is the number of samples before the piece.
    """
    frames, before = len(samples) // FRAME, offset // FRAME
    bounds = [round(second * 100) - before for second in clips or (0.0,)]
    bounds += [frames] * (len(bounds) % 2)
    inside = [
        (max(start, 0), min(end, frames))
        for start, end in zip(bounds[::2], bounds[1::2], strict=True)
        if start < frames and end > 0
    ]
    if not inside:
        return Plan(samples[:0], len(samples))
    seconds = [bound / 100 for clip in inside for bound in clip]
    return Plan(samples, len(samples), not last, seconds)


def speech_plan(samples: Samples, last: bool, vad: VadOptions) -> Plan:
    """The speech in a piece. Speech that its end may cut is left to the next piece.

    Only the last window of it waits when it is longer than a window.
    """
    speech = get_speech_timestamps(samples, vad)
    done, open_end = len(samples), False
    if not last and speech and speech[-1]["end"] >= len(samples):
        open_end = speech[-1]["end"] - speech[-1]["start"] > (WINDOW_FRAMES + 1) * FRAME
        if not open_end:
            done = speech.pop()["start"]
    sound = [samples[place["start"] : place["end"]] for place in speech]
    return Plan(np.concatenate([samples[:0], *sound]), done, open_end, speech=speech)


def batch_clips(plan: Plan) -> list[dict[str, float]]:
    """Windows of up to 30 s, each whole stretches of speech, in seconds of `plan.sound`."""
    lengths = [place["end"] - place["start"] for place in plan.speech]
    ends = np.cumsum(lengths)
    windows: list[list[int]] = []
    for length, end in zip(lengths, ends.tolist(), strict=True):
        if windows and end - windows[-1][0] <= WINDOW_FRAMES * FRAME:
            windows[-1][1] = end
        else:
            windows.append([end - length, end])
    # upstream rounds down to samples
    return [
        {"start": (start + 0.5) / SAMPLE_RATE, "end": (end + 0.5) / SAMPLE_RATE}
        for start, end in windows
    ]


def restored(segments: Iterator[Any], speech: list[dict[str, int]]) -> Iterator[Any]:
    """Segments of joined speech with times, and seeks, of the piece that it was cut from."""
    times = SpeechTimestampsMap(speech, SAMPLE_RATE)
    for segment in restore_speech_timestamps(segments, speech, SAMPLE_RATE):
        segment.seek = round(times.get_original_time(segment.seek / 100) * 100)
        yield segment


def upstream_options(options: Options) -> dict[str, Any]:
    """faster-whisper's arguments for our options, less those that change from piece to piece."""
    return {
        "task": options.task,
        "beam_size": options.beam_size,
        "best_of": options.best_of,
        "patience": options.patience,
        "length_penalty": options.length_penalty,
        "temperature": temperatures(options),
        "compression_ratio_threshold": options.compression_ratio_threshold,
        "log_prob_threshold": options.logprob_threshold,
        "no_speech_threshold": options.no_speech_threshold,
        "condition_on_previous_text": options.condition_on_previous_text,
        "suppress_tokens": list(options.suppress_tokens),
        "without_timestamps": options.without_timestamps,
        "word_timestamps": options.word_timestamps,
        "prepend_punctuations": options.prepend_punctuations,
        "append_punctuations": options.append_punctuations,
        "hallucination_silence_threshold": options.hallucination_silence_threshold,
        "hotwords": options.hotwords,
    }


def temperatures(options: Options) -> tuple[float, ...]:
    """The temperatures to try one after another, up to 1, as openai/whisper's command line."""
    step = options.temperature_increment_on_fallback
    if step is None:
        return (options.temperature,)
    count = math.floor((1.0 - options.temperature) / step + 1e-6) + 1
    return tuple(round(options.temperature + step * i, 6) for i in range(max(1, count)))
