"""Runs the transcriptions of one command: one model, any number of inputs, nothing lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cli import report
from whisper_npu_cli.cli.inputs import Input, collect, make_folder, outputs
from whisper_npu_cli.cli.streams import (
    StdoutClosed,
    complain,
    note,
    printable,
    put,
    speaks_unicode,
)
from whisper_npu_cli.errors import ExitCode, UsageError
from whisper_npu_cli.pipeline.options import Options

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.rawpcm import RawFormat
    from whisper_npu_cli.pipeline.results import Result
    from whisper_npu_cli.pipeline.transcriber import Transcriber, Transcription
    from whisper_npu_cli.pipeline.writers import WriterOptions


@dataclass(frozen=True)
class Job:
    """One input and the files still to be written for it."""

    input: Input
    outputs: list[Path]


@dataclass
class Run:
    """Everything one `whisper-npu transcribe` was asked for.

    `transcriber` holds Transcriber's arguments; `formats` is in writing order, without repeats.
    """

    audio: list[str]
    transcriber: dict[str, Any]
    options: Options
    formats: list[str]
    writer: WriterOptions
    folder: Path
    raw: RawFormat | None = None
    skip_existing: bool = False
    as_json: bool = False
    verbose: bool = False
    timings: bool = False
    quiet: bool = False
    debug: bool = False
    stdout_closed: bool = field(default=False, init=False)
    _bar: report.Progress | None = field(default=None, init=False)
    _warned: str = field(default="", init=False)

    def __call__(self) -> ExitCode:
        """Do it all and return the exit code.

        Raises UsageError before anything is decoded, DeviceError and ModelError from the engine,
        KeyboardInterrupt after what is done has been written, StdoutClosed when nobody reads on.
        """
        inputs, problems = collect(self.audio)
        jobs = self._jobs(inputs)
        if self.formats:
            make_folder(self.folder)
        for problem in problems:
            complain(problem, self.debug)
        succeeded = not problems
        if jobs:
            transcriber = self._load()
            for job in jobs:
                succeeded &= self._transcribe(transcriber, job)
        return ExitCode.OK if succeeded else ExitCode.INPUT_FAILED

    def _jobs(self, inputs: list[Input]) -> list[Job]:
        jobs = []
        for item, paths in zip(inputs, outputs(inputs, self.formats, self.folder), strict=True):
            missing = [path for path in paths if not (self.skip_existing and path.exists())]
            if paths and not missing:
                self._tell(f"{item.name}: skipped, its transcript is there")
            else:
                jobs.append(Job(item, missing))
        return jobs

    def _load(self) -> Transcriber:
        from whisper_npu_cli.pipeline.transcriber import Transcriber

        transcriber = Transcriber(**self.transcriber, progress=self._encoding)
        if self.transcriber["device"] == "auto":
            self._tell(f"auto chose {transcriber.choice.reason}")
        asked, computed = self.transcriber["compute_type"], transcriber.compute_types["encode"]
        if asked not in ("default", computed):
            self._tell(
                f"--compute_type {asked} is the decoder's, on the CPU; the encoder computes in "
                f"{computed} on {transcriber.choice.device}"
            )
        return transcriber

    def _encoding(self, done: int, launches: int) -> None:
        if self._bar is not None:
            self._bar.encoding(done, launches)

    def _transcribe(self, transcriber: Transcriber, job: Job) -> bool:
        """Transcribe one input; whether it went well. What was done before a fault is kept."""
        try:
            transcription = transcriber.stream(
                job.input.source(), self.options, raw=self.raw, name=job.input.name
            )
            fault = self._listen(transcriber, transcription, job)
            result = transcription.result()
            if fault is None or result.segments:
                self._keep(result, job, fault)
            if fault is not None:
                raise fault
        except StdoutClosed:
            raise
        except Exception as error:
            if getattr(error, "exit_code", ExitCode.INPUT_FAILED) != ExitCode.INPUT_FAILED:
                raise
            complain(error, self.debug, job.input.name)
            return False
        return not result.warnings

    def _listen(
        self, transcriber: Transcriber, transcription: Transcription, job: Job
    ) -> BaseException | None:
        """Print segments as they are decoded; return what stopped them early."""
        try:
            with report.Progress(job.input.name, transcription.duration, not self.quiet) as bar:
                self._bar = bar
                for segment in transcription:
                    self._warn(transcriber, bar)
                    if not self.as_json:
                        self._put(report.line(segment, self.verbose), bar)
                    bar.advance(transcription.position)
                self._warn(transcriber, bar)
        except StdoutClosed:
            raise
        except (KeyboardInterrupt, Exception) as fault:
            return fault
        return None

    def _warn(self, transcriber: Transcriber, bar: report.Progress) -> None:
        """Say once what went wrong with the device and did not stop the work."""
        trouble = transcriber.choice.trouble
        if trouble != self._warned:
            self._warned = trouble
            bar.warn(printable(trouble))

    def _put(self, text: str, bar: report.Progress | None = None) -> None:
        """Print a line; when nobody reads it, go on only if files are wanted too."""
        if self.stdout_closed:
            return
        try:
            (bar.put if bar else put)(text)
        except StdoutClosed:
            self.stdout_closed = True
            if not self.formats:
                raise

    def _keep(self, result: Result, job: Job, fault: BaseException | None) -> None:
        from whisper_npu_cli.pipeline.writers import write

        if self.as_json:
            self._put(self._json(result, job.input))
        for path in job.outputs:
            write(result, path, path.suffix[1:], self.writer)
        for warning in result.warnings:
            note(f"warning: {printable(warning)}")
        if fault is not None:
            done = result.segments[-1].end
            note(f"warning: {job.input.name}: only the first {done:.1f} s are transcribed")
        self._tell(report.summary(job.input.name, result))
        if self.timings:
            report.show_timings(job.input.name, result)

    def _json(self, result: Result, item: Input) -> str:
        from whisper_npu_cli.pipeline.writers import result_json

        found = result_json(result)
        found["engine"]["input"] = str(item.path)  # a failed input has no line, so count none
        return json.dumps(
            found,
            ensure_ascii=not speaks_unicode(sys.stdout),
            indent=2 if self.writer.pretty_json else None,
        )

    def _tell(self, text: str) -> None:
        if not self.quiet:
            note(text)


def parse_formats(values: Iterable[str], known: tuple[str, ...]) -> list[str]:
    """Split comma lists and spell out `all`; raises UsageError for a format not in `known`."""
    formats: list[str] = []
    for value in (part.strip() for text in values for part in text.split(",")):
        if value not in (*known, "all"):
            raise UsageError(
                f"--output_format {printable(value)!r} is unknown; choose from "
                f"{', '.join(known)} and all"
            )
        formats += known if value == "all" else [value]
    return list(dict.fromkeys(formats))
