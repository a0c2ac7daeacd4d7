"""Which sounds to transcribe and where their transcripts go."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import BinaryIO

from whisper_npu_cli.cli.streams import is_terminal, printable
from whisper_npu_cli.errors import AudioError, OutputError, UsageError

STDIN = "-"
# what a folder's audio files are recognised by; a file named by itself may be called anything
AUDIO_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b"),
    *(".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpga", ".oga", ".ogg", ".opus"),
    *(".wav", ".webm", ".wma", ".wv"),
)


@dataclass(frozen=True)
class Input:
    """One sound: a file, or standard input for the path `-`."""

    path: Path

    @property
    def is_stdin(self) -> bool:
        """Whether the sound comes through the pipe."""
        return str(self.path) == STDIN

    @property
    def name(self) -> str:
        """What messages call it."""
        return "stdin" if self.is_stdin else printable(str(self.path))

    def source(self) -> Path | BinaryIO:
        """What the pipeline reads."""
        return sys.stdin.buffer if self.is_stdin else self.path


def collect(arguments: Sequence[str]) -> tuple[list[Input], list[AudioError]]:
    """Expand folders and globs, in the order given and each file once; say what is not there.

    Raises UsageError when `-` is given twice or nothing is piped into it.
    """
    if arguments.count(STDIN) > 1:
        raise UsageError("- (standard input) can be given once only.")
    if STDIN in arguments and (sys.stdin is None or is_terminal(sys.stdin)):
        raise UsageError("- reads sound from a pipe, and standard input is not one; give a file.")
    found: dict[str, Input] = {}
    problems: list[AudioError] = []
    for argument in arguments:
        try:
            for path in _expand(argument):
                found.setdefault(os.path.normpath(path), Input(Path(path)))
        except AudioError as problem:
            problems.append(problem)
    return list(found.values()), problems


def _expand(argument: str) -> Iterator[str]:
    if argument == STDIN:
        yield argument
    elif os.path.isdir(argument):
        yield from _in_folder(argument)
    elif os.path.exists(argument):
        yield argument
    elif any(character in argument for character in "*?["):
        matches = sorted(glob(argument, recursive=True))
        if not matches:
            raise AudioError(f"no file matches {printable(argument)!r}; check the pattern.")
        for match in matches:
            yield from _in_folder(match) if os.path.isdir(match) else [match]
    else:
        raise AudioError(f"{printable(argument)} does not exist; check the name and the folder.")


def _in_folder(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise AudioError(
            f"folder {printable(folder)} cannot be read ({error.strerror}); check its permissions."
        ) from error
    paths = [
        os.path.join(folder, name)
        for name in names
        if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith(".")
    ]
    if not paths:
        raise AudioError(
            f"folder {printable(folder)} has no audio files of its own; name the files, or the "
            "folder that has them."
        )
    return paths


def outputs(inputs: Sequence[Input], formats: Sequence[str], folder: Path) -> list[list[Path]]:
    """Where each input's transcripts go, one path for each format.

    The name is the input's without its suffix, and with it where two inputs would share a file.
    Raises UsageError when that still is one file, or would replace one of the inputs.
    """
    stems = [_stem(item) for item in inputs]
    shared = {stem for stem, count in Counter(stems).items() if count > 1}
    names = [
        item.path.name if stem in shared and not item.is_stdin else stem
        for item, stem in zip(inputs, stems, strict=True)
    ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if formats and twice:
        rivals = (i.name for i, name in zip(inputs, names, strict=True) if name == twice[0])
        first, second = next(rivals), next(rivals)
        raise UsageError(
            f"{first} and {second} would both be written to {printable(twice[0])}.{formats[0]}; "
            "transcribe them in two runs with different --output_dir."
        )
    plan = [[folder / f"{name}.{suffix}" for suffix in formats] for name in names]
    _protect(inputs, (path for paths in plan for path in paths))
    return plan


def _stem(item: Input) -> str:
    return "stdin" if item.is_stdin else item.path.stem


def _protect(inputs: Iterable[Input], paths: Iterable[Path]) -> None:
    sounds = {os.path.realpath(item.path): item for item in inputs}
    for path in paths:
        sound = sounds.get(os.path.realpath(path))
        if sound is not None:
            raise UsageError(
                f"the transcript {printable(str(path))} would replace the input {sound.name}; "
                "choose another --output_dir."
            )


def make_folder(folder: Path) -> None:
    """Create the output folder; raises OutputError when that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder {printable(str(folder))} cannot be created ({error.strerror}); "
            "choose another --output_dir."
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(
            f"output folder {printable(str(folder))} is not writable; choose another --output_dir."
        )
