"""The Python API: a loaded model that turns sound into text, whole or segment by segment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from whisper_npu_cli.engines import models, select
from whisper_npu_cli.engines.select import NPU_COMPUTE_TYPE, Choice
from whisper_npu_cli.errors import DeviceFault, UsageError
from whisper_npu_cli.pipeline.audio import AudioReader, open_audio
from whisper_npu_cli.pipeline.languages import language_code
from whisper_npu_cli.pipeline.options import Options
from whisper_npu_cli.pipeline.results import Engine, Result, Segment
from whisper_npu_cli.pipeline.timings import STAGES, StageClock

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.audio import Source
    from whisper_npu_cli.pipeline.longform import PieceModel
    from whisper_npu_cli.pipeline.rawpcm import RawFormat


class Transcriber:
    """A model on a device, loaded once when this is made, for any number of inputs.

    `model` is a name (`base`, `demo`, `owner/name`) or a folder, `device` one of auto, npu, cpu
    and emulator, `model_dir` the root of the model cache, `threads` 0 for the engine's own
    choice. `compute_type` is that of the CPU; the NPU computes in bfloat16. `progress` hears how
    many launches of a window are done, of how many. `choice` says which device was chosen and why,
    and what went wrong with it since, `load_seconds` what loading took.

    Raises DeviceError, ModelError or UsageError.
    """

    def __init__(
        self,
        model: str = "base",
        device: str = "auto",
        *,
        compute_type: str = "default",
        threads: int = 0,
        model_dir: str | Path | None = None,
        local_files_only: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        start = time.perf_counter()
        self.model = model
        self._compute_type = compute_type
        self.choice, opened = select.open_chosen(select.choose(device))
        cache_root = Path(model_dir) if model_dir is not None else None
        folder = models.resolve(model, cache_root=cache_root, local_files_only=local_files_only)
        # these import the engine's libraries, which a wrong name or device does not need
        from whisper_npu_cli.engines.cpu import load_core
        from whisper_npu_cli.pipeline.longform import PieceModel

        self._shared_clock = _SharedClock()
        core = load_core(folder, compute_type, threads)
        if opened is not None:
            from whisper_npu_cli.engines.attach import attach

            subject = self._subject(threads)
            core, self.choice = attach(
                core, folder, opened, self.choice, subject, self._failed, progress
            )
        self._model = PieceModel(core, folder, self._shared_clock)
        self.load_seconds = time.perf_counter() - start

    def _subject(self, threads: int) -> str:
        """What `auto` times: the model, and the options that change its speed on the CPU."""
        precision = "" if self._compute_type == "default" else f" in {self._compute_type}"
        return self.model + precision + (f" with {threads} threads" if threads else "")

    def _failed(self, fault: DeviceFault, for_good: bool) -> None:
        """Note a failure of the device that does not stop the work."""
        if for_good:
            why = f"the NPU failed ({fault.reason})"
            self.choice = Choice("cpu", f"cpu: {why}", why, trouble=f"{fault} The CPU goes on.")
        elif not self.choice.trouble:
            self.choice = replace(self.choice, trouble=f"{fault} A second attempt went well.")

    @property
    def device(self) -> str:
        """The device in use for the encoder: npu, cpu or emulator."""
        return self.choice.device

    @property
    def compute_types(self) -> dict[str, str]:
        """What the stages `encode` and `decode` compute in; `default` is docs/cli.md's."""
        encode = self._compute_type if self.device == "cpu" else NPU_COMPUTE_TYPE
        return {"encode": encode, "decode": self._compute_type}

    @property
    def is_multilingual(self) -> bool:
        """Whether the model knows other languages than English."""
        return bool(self._model.model.is_multilingual)

    def stream(
        self,
        source: Source,
        options: Options | None = None,
        *,
        raw: RawFormat | None = None,
        name: str | None = None,
    ) -> Transcription:
        """Open a path, binary stream or float array (16 kHz mono); segments come by iterating.

        `raw` describes samples without a header, `name` stands for the source in messages.
        Raises AudioError for what is not sound, UsageError for options that do not fit the model.
        """
        checked = check(options or Options(), self)
        clock = StageClock()
        with clock.running(), clock.stage("load"):
            reader = open_audio(source, raw, name)
        return Transcription(self, self._model, reader, checked, clock, self._shared_clock)

    def transcribe(
        self,
        source: Source,
        options: Options | None = None,
        *,
        raw: RawFormat | None = None,
        name: str | None = None,
    ) -> Result:
        """The whole transcript; arguments and errors are those of `stream`."""
        with self.stream(source, options, raw=raw, name=name) as transcription:
            for _ in transcription:
                pass
            return transcription.result()

    def knows_language(self, code: str) -> bool:
        """Whether the model has a token for the language (`yue` came with large-v3)."""
        if not self.is_multilingual:
            return code == "en"
        return self._model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None


class Transcription:
    """One input being transcribed: an iterator of segments, each decoded when it is asked for.

    What is done stays available in `result()`, also after an error or an interruption. Closes
    its source at the end, on an error and as a context manager.
    """

    def __init__(
        self,
        transcriber: Transcriber,
        model: PieceModel,
        reader: AudioReader,
        options: Options,
        clock: StageClock,
        shared_clock: _SharedClock,
    ) -> None:
        from whisper_npu_cli.pipeline.longform import LongRun

        self.name = reader.name
        self._transcriber = transcriber
        self._reader = reader
        self._clock = clock
        self._shared_clock = shared_clock
        self._done: list[Segment] = []
        self._run = LongRun(model, reader, options, clock)
        self._segments = iter(self._run)

    @property
    def duration(self) -> float | None:
        """Length of the input in seconds, None while unknown (a pipe)."""
        return self._reader.duration

    @property
    def position(self) -> float:
        """Seconds of the input that are done."""
        return self._run.position

    @property
    def warnings(self) -> list[str]:
        """Sentences about an input that is cut short or damaged; complete at its end."""
        return list(self._reader.warnings)

    def __iter__(self) -> Iterator[Segment]:
        return self

    def __next__(self) -> Segment:
        self._shared_clock.current = self._clock
        with self._clock.running():
            try:
                segment = next(self._segments)
            except BaseException:  # the end, an error or an interruption
                self.close()
                raise
        self._done.append(segment)
        return segment

    def result(self) -> Result:
        """The transcript of what is done so far."""
        transcriber = self._transcriber
        devices = dict.fromkeys(STAGES, "cpu") | {"encode": transcriber.device}
        return Result(
            text="".join(segment.text for segment in self._done),
            segments=list(self._done),
            language=self._run.language,
            timings=self._clock.timings(devices, self.position),
            engine=Engine(
                model=transcriber.model,
                device=transcriber.device,
                stage_devices=devices,
                compute_types=transcriber.compute_types,
                reason=transcriber.choice.reason,
                fallback_reason=transcriber.choice.fallback_reason,
                trouble=transcriber.choice.trouble,
            ),
            language_probability=self._run.language_probability,
            warnings=self.warnings,
        )

    def close(self) -> None:
        """Release the source."""
        self._reader.close()

    def __enter__(self) -> Transcription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _SharedClock:
    """The model's only clock; passes times on to that of the transcription which is running."""

    def __init__(self) -> None:
        self.current = StageClock()

    def add(self, stage: str, seconds: float, count: int = 0) -> None:
        """See StageClock."""
        self.current.add(stage, seconds, count)

    def add_cycles(self, stage: str, cycles: int) -> None:
        """See StageClock."""
        self.current.add_cycles(stage, cycles)


# field -> smallest value allowed
_MINIMUM = {
    "temperature": 0.0, "best_of": 1, "beam_size": 1, "batch_size": 1,
    "vad_min_silence_duration_ms": 0,
}  # fmt: skip


def check(options: Options, transcriber: Transcriber) -> Options:
    """The options with their language as a code; UsageError when they make no sense here."""
    for field, smallest in _MINIMUM.items():
        if getattr(options, field) < smallest:
            raise UsageError(
                f"{field} is {getattr(options, field)}; it must be at least {smallest}."
            )
    step = options.temperature_increment_on_fallback
    if step is not None and step <= 0:
        raise UsageError(
            f"temperature_increment_on_fallback is {step}; it must be positive, or None for no"
            " fallback."
        )
    if not 0 < options.vad_threshold < 1:
        raise UsageError(f"vad_threshold is {options.vad_threshold}; it must lie between 0 and 1.")
    if options.patience <= 0:
        raise UsageError(f"patience is {options.patience}; it must be positive.")
    _check_clips(options)
    _check_task(options, transcriber)
    return replace(options, language=_checked_language(options.language, transcriber))


def _check_clips(options: Options) -> None:
    clips = options.clip_timestamps
    if any(second < 0 for second in clips) or list(clips) != sorted(clips):
        raise UsageError(
            "clip_timestamps must rise: start,end,start,end,... in seconds from the start."
        )
    if clips and options.batch_size > 1:
        raise UsageError("clip_timestamps do not go with batch_size above 1; leave one of them.")


def _check_task(options: Options, transcriber: Transcriber) -> None:
    if options.task not in ("transcribe", "translate"):
        raise UsageError(f"There is no task {options.task}; choose transcribe or translate.")
    if options.task == "translate" and not transcriber.is_multilingual:
        raise UsageError(
            f"The model {transcriber.model} is English-only and cannot translate; choose a"
            " multilingual one such as base."
        )


def _checked_language(language: str | None, transcriber: Transcriber) -> str | None:
    if language is None:
        return None if transcriber.is_multilingual else "en"
    code = language_code(language)
    if code is None:
        raise UsageError(
            f"{language} is not a language that Whisper knows; give a code such as en or a name"
            " such as English."
        )
    if not transcriber.knows_language(code):
        raise UsageError(
            f"The model {transcriber.model} does not know the language {language}; choose"
            + (" another model." if transcriber.is_multilingual else " a multilingual model.")
        )
    return code
