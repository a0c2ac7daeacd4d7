"""Running a program that may hang, crash or never die."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_GRACE = 1.0  # seconds that a killed process is given to disappear


@dataclass(frozen=True)
class Outcome:
    """How a program ended; `code` is negative for a signal and None when it did not end in time."""

    code: int | None
    stdout: str
    stderr: str


def run_limited(
    command: Sequence[str], seconds: float, environ: Mapping[str, str] | None = None
) -> Outcome:
    """Run `command` for at most `seconds`, then kill it with all that it started.

    Output goes to files, not pipes: a grandchild that keeps a pipe open would hold us up, and so
    would waiting for a process that the kernel cannot kill because a driver does not let it go.
    Raises OSError when it cannot be started.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=None if environ is None else dict(environ),
            start_new_session=True,
        )
        code: int | None = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _kill(process)
        except BaseException:
            _kill(process)
            raise
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Outcome(code, *texts)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
