"""Programs that hang, leave children behind, or do not start."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from whisper_npu_cli.npu.process import run_limited


def test_output_and_code():
    outcome = run_limited(["sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (3, "out\n", "err\n")
    assert run_limited(["sh", "-c", "kill -9 $$"], 10).code == -9


def test_the_environment_is_the_given_one():
    assert run_limited(["/bin/sh", "-c", "echo $A"], 10, {"A": "b"}).stdout == "b\n"


def is_alive(pid):
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "script",
    ["echo $$; exec sleep 60", "echo $$; trap '' TERM INT; sleep 60", "sleep 60 & echo $!; wait"],
)
def test_what_hangs_is_killed_with_its_children(script):
    start = time.perf_counter()
    outcome = run_limited(["sh", "-c", script], 2)  # a busy machine takes long to start a shell
    assert time.perf_counter() - start < 30
    assert outcome.code is None
    pid = int(outcome.stdout)
    while is_alive(pid) and time.perf_counter() - start < 30:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_a_child_that_keeps_the_output_open_holds_nobody_up():
    program = (
        "import subprocess; "
        "print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"
    )
    start = time.perf_counter()
    outcome = run_limited([sys.executable, "-c", program], 30)
    assert time.perf_counter() - start < 30
    os.kill(int(outcome.stdout), signal.SIGKILL)  # it was alive all the time
    assert outcome.code == 0


def test_undecodable_output_is_survived():
    assert run_limited(["printf", r"\377x"], 10).stdout == "\ufffdx"


def test_what_is_not_there_cannot_be_started():
    with pytest.raises(FileNotFoundError):
        run_limited(["/nowhere/at/all"], 1)
