"""`whisper-npu transcribe`: turns the options into one run, refusing what contradicts itself."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from whisper_npu_cli.cli import flags
from whisper_npu_cli.errors import ModelError, UsageError
from whisper_npu_cli.pipeline.options import Options

if TYPE_CHECKING:
    from whisper_npu_cli.cli.jobs import Run
    from whisper_npu_cli.pipeline.rawpcm import RawFormat

_DEFAULT = Options()


def transcribe(
    ctx: typer.Context,
    audio: flags.Audio,
    raw: flags.Raw = None,
    clip_timestamps: flags.ClipTimestamps = "0",
    model: flags.Model = "base",
    model_dir: flags.ModelDir = None,
    model_directory: flags.ModelDirectory = None,
    local_files_only: flags.LocalFilesOnly = False,
    device: flags.Device = "auto",
    compute_type: flags.ComputeType = "default",
    threads: flags.Threads = 0,
    batch_size: flags.BatchSize = _DEFAULT.batch_size,
    output_dir: flags.OutputDir = ".",
    output_format: flags.OutputFormat = None,
    skip_existing: flags.SkipExisting = False,
    json: flags.Json = False,
    pretty_json: flags.PrettyJson = False,
    verbose: flags.Verbose = False,
    timings: flags.ShowTimings = False,
    quiet: flags.Quiet = False,
    task: flags.Task = _DEFAULT.task,
    language: flags.Language = _DEFAULT.language,
    temperature: flags.Temperature = _DEFAULT.temperature,
    temperature_increment_on_fallback: flags.TemperatureIncrement = (
        _DEFAULT.temperature_increment_on_fallback
    ),
    best_of: flags.BestOf = _DEFAULT.best_of,
    beam_size: flags.BeamSize = _DEFAULT.beam_size,
    patience: flags.Patience = _DEFAULT.patience,
    length_penalty: flags.LengthPenalty = _DEFAULT.length_penalty,
    suppress_tokens: flags.SuppressTokens = "-1",
    initial_prompt: flags.InitialPrompt = _DEFAULT.initial_prompt,
    carry_initial_prompt: flags.CarryInitialPrompt = _DEFAULT.carry_initial_prompt,
    condition_on_previous_text: flags.ConditionOnPreviousText = True,
    hotwords: flags.Hotwords = _DEFAULT.hotwords,
    compression_ratio_threshold: flags.CompressionRatioThreshold = 2.4,
    logprob_threshold: flags.LogprobThreshold = _DEFAULT.logprob_threshold,
    no_speech_threshold: flags.NoSpeechThreshold = _DEFAULT.no_speech_threshold,
    hallucination_silence_threshold: flags.HallucinationSilenceThreshold = None,
    vad_filter: flags.VadFilter = _DEFAULT.vad_filter,
    vad_threshold: flags.VadThreshold = _DEFAULT.vad_threshold,
    vad_min_silence_duration_ms: flags.VadMinSilence = _DEFAULT.vad_min_silence_duration_ms,
    word_timestamps: flags.WordTimestamps = _DEFAULT.word_timestamps,
    prepend_punctuations: flags.PrependPunctuations = _DEFAULT.prepend_punctuations,
    append_punctuations: flags.AppendPunctuations = _DEFAULT.append_punctuations,
    max_line_width: flags.MaxLineWidth = None,
    max_line_count: flags.MaxLineCount = None,
    max_words_per_line: flags.MaxWordsPerLine = None,
    highlight_words: flags.HighlightWords = False,
) -> None:
    """Turn speech into text. The word `transcribe` may be left out.

    Text goes to standard output, everything else to standard error.
    """
    given = dict(ctx.params)
    _check(given)
    raise typer.Exit(_run(given, debug=ctx.obj["debug"])())


def _check(given: dict[str, Any]) -> None:
    """Refuse options that would have no effect or no meaning."""
    for name, value in given.items():
        if isinstance(value, float) and math.isnan(value):
            raise UsageError(f"--{name} nan is not a number; give one.")
    if not given["output_format"]:
        if given["output_dir"] != ".":
            raise UsageError("--output_dir needs --output_format (txt, srt, ... or all).")
        if given["skip_existing"]:
            raise UsageError("--skip-existing needs --output_format (txt, srt, ... or all).")
    if not given["word_timestamps"]:
        for name in (
            *("max_line_width", "max_line_count", "max_words_per_line", "highlight_words"),
            "hallucination_silence_threshold",
        ):
            if given[name]:
                raise UsageError(f"--{name} needs --word_timestamps.")


def _run(given: dict[str, Any], debug: bool) -> Run:
    from whisper_npu_cli.cli.jobs import Run, parse_formats
    from whisper_npu_cli.pipeline.writers import FORMATS, WriterOptions

    return Run(
        audio=list(given["audio"]),
        transcriber=_transcriber(given),
        options=_options(given),
        formats=parse_formats(given["output_format"] or (), FORMATS),
        writer=WriterOptions(**{f.name: given[f.name] for f in fields(WriterOptions)}),
        folder=Path(given["output_dir"]),
        raw=_raw(given["raw"]),
        as_json=given["json"],
        debug=debug,
        **{name: given[name] for name in ("skip_existing", "verbose", "timings", "quiet")},
    )


def _raw(text: str | None) -> RawFormat | None:
    if not text:
        return None
    from whisper_npu_cli.pipeline.rawpcm import RawFormat

    return RawFormat.parse(text)


def _transcriber(given: dict[str, Any]) -> dict[str, Any]:
    names = ("model", "device", "compute_type", "threads", "model_dir", "local_files_only")
    arguments = {name: given[name] for name in names}
    folder = given["model_directory"]
    if folder:
        if not Path(folder).is_dir():
            raise ModelError(f"--model_directory {folder} is not a folder; check the path.")
        arguments["model"] = str(Path(folder).absolute())  # never an alias of the same name
    return arguments


def _options(given: dict[str, Any]) -> Options:
    from whisper_npu_cli.pipeline.languages import language_code

    values = {f.name: given[f.name] for f in fields(Options) if f.name in given}
    values["suppress_tokens"] = tuple(_numbers(given, "suppress_tokens", int))
    values["clip_timestamps"] = _clips(given)
    if given["language"] is not None:
        values["language"] = language_code(given["language"])
        if values["language"] is None:
            raise UsageError(
                f"--language {given['language']!r} is unknown; give a code such as de or an "
                "English name such as German, or leave it out to detect the language."
            )
    return Options(**values)


def _clips(given: dict[str, Any]) -> tuple[float, ...]:
    clips = tuple(_numbers(given, "clip_timestamps", float))
    if clips == (0.0,):  # openai/whisper's way to say everything
        return ()
    if any(not 0 <= time < math.inf for time in clips) or list(clips) != sorted(clips):
        raise UsageError("--clip_timestamps takes seconds in rising order, such as 0,10.5,60,90.")
    return clips


def _numbers(given: dict[str, Any], name: str, kind: type) -> list[Any]:
    try:
        return [kind(part) for part in given[name].split(",") if part.strip()]
    except ValueError:
        raise UsageError(
            f"--{name} {given[name]!r} is not a list of numbers separated by commas."
        ) from None
