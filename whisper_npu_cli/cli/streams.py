"""Standard output and standard error: data on the one, everything said to people on the other."""

from __future__ import annotations

import os
import sys
import traceback
from typing import TextIO

from whisper_npu_cli.errors import OutputError, WhisperNpuError

PROGRAM = "whisper-npu"


class StdoutClosed(Exception):
    """The reader of standard output went away, as `| head -1` does: nothing to report."""


def prepare() -> None:
    """Let no character fail to print, whatever the locale's encoding."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether someone looks at this stream; False for a stream that was closed by the caller."""
    return stream is not None and stream.isatty()


def speaks_unicode(stream: TextIO | None) -> bool:
    """Whether every character reaches the reader of this stream unchanged."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


def put(text: str) -> None:
    """Write one line of data to standard output at once.

    Raises StdoutClosed when the reader is gone and OutputError when the line cannot be written.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _silence(sys.stdout)
        raise StdoutClosed from None
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(
            f"standard output cannot be written ({error.strerror}); free space there or "
            "redirect it elsewhere."
        ) from error


def note(text: str) -> None:
    """Say one thing on standard error; a standard error that is gone is no reason to stop."""
    say(f"{PROGRAM}: {text}")


def say(text: str) -> None:
    """Write text to standard error as it is, for tables and tracebacks."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)


def complain(error: Exception, debug: bool, where: str = "") -> None:
    """Say in one line what went wrong, after the traceback when `debug`.

    `where` is said of what no one foresaw; our own errors name the file or device themselves.
    """
    if debug:
        say("".join(traceback.format_exception(error)).rstrip())
    text = str(error)
    if not isinstance(error, WhisperNpuError):
        hint = "the traceback is above" if debug else "run again with --debug and report it"
        place = f"{where}: " if where else ""
        text = f"{place}unexpected {type(error).__name__} ({text}); {hint}."
    note(f"error: {printable(text)}")


def printable(text: str) -> str:
    """Text on one line without control characters, so that no file name can fake a message."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _silence(stream: TextIO) -> None:
    """Point the stream at nothing, so that the flush at interpreter exit fails no more."""
    try:
        target = stream.fileno()
    except (OSError, ValueError):  # a stream without a descriptor has no flush to fear
        return
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), target)
