"""The program as a process: pipes that close, signals, encodings, terminals."""

import errno
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from whisper_npu_cli.cli.report import clock
from whisper_npu_cli.cli.streams import printable

WAIT = 120  # seconds until a process that hangs is a failure


def finish(process):
    out, err = process.communicate(timeout=WAIT)
    return process.returncode, out, err


def test_streams_of_a_real_process(command):
    command.sound()
    code, out, err = finish(command.process("a.wav", "--quiet"))
    assert (code, out, err) == (0, b"hello\nworld\n", b"")


def test_the_module_runs_as_the_program_does(command):
    result = subprocess.run(
        [sys.executable, "-m", "whisper_npu_cli", "gone.wav"], capture_output=True, timeout=WAIT
    )
    assert result.returncode == 1
    assert b"gone.wav does not exist" in result.stderr


def test_head_ends_the_run_quietly(command):
    command.sound("a.wav", "first", *["more"] * 50, pause=0.02)
    process = command.process("a.wav", "--quiet")
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    assert process.wait(WAIT) == 0
    assert process.stderr.read() == b""


def test_files_are_finished_when_only_the_text_goes_unread(command):
    command.sound("a.wav", "first", *["more"] * 20, pause=0.02)
    process = command.process("a.wav", "--quiet", "-f", "txt")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(WAIT) == 0
    assert process.stderr.read() == b""
    assert (command.folder / "a.txt").read_text() == "first\n" + "more\n" * 20


def test_help_into_a_closed_pipe(command):
    reader, writer = os.pipe()
    os.close(reader)
    process = command.process("transcribe", "--help", stdout=writer)
    os.close(writer)
    assert finish(process)[2] == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output(command):
    command.sound()
    with open("/dev/full", "wb") as full:
        code, _, err = finish(command.process("a.wav", "--quiet", stdout=full))
    assert code == 1
    assert err.decode().endswith(
        "whisper-npu: error: standard output cannot be written (No space left on device); free "
        "space there or redirect it elsewhere.\n"
    )


def test_closed_standard_streams(command):
    command.sound()
    line = f"{sys.executable} {command.process.__globals__['DRIVER'][1]} a.wav >&- 2>&-"
    assert subprocess.run(line, shell=True, cwd=command.folder, timeout=WAIT).returncode == 0


def test_a_closed_standard_error_stops_nothing(command):
    command.sound()
    reader, writer = os.pipe()
    os.close(reader)
    process = command.process("a.wav", "--timings", stderr=writer)
    os.close(writer)
    assert finish(process)[:2] == (0, b"hello\nworld\n")


def test_ctrl_c_keeps_what_is_done(command):
    command.sound("a.wav", "first", *["more"] * 500, pause=0.05)
    process = command.process("a.wav", "-f", "txt,json")
    assert process.stdout.readline() == b"first\n"
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert err.endswith(b"whisper-npu: interrupted\n") and b"Traceback" not in err
    assert (command.folder / "a.txt").read_text().startswith("first\n")
    assert json.loads((command.folder / "a.json").read_text())["segments"]


@pytest.mark.parametrize(
    "env",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}],
)
def test_a_locale_without_the_characters(command, env):
    command.sound("ä.wav", "schön 🎤")
    code, out, err = finish(command.process("ä.wav", "gone-ü.wav", env=env))
    assert code == 1
    assert out in ("schön 🎤\n".encode(), b"sch\\xf6n \\U0001f3a4\n")
    assert b"Traceback" not in err
    code, out, _ = finish(command.process("ä.wav", "--json", env=env))
    assert json.loads(out)["text"] == " schön 🎤"


def test_odd_file_names(command):
    for name in ("two words.wav", "line\nbreak.wav", "🎤.wav", "-dash.wav", "True"):
        command.sound(name, name)
    code, _, err = finish(
        command.process(
            *("--word_timestamps", "two words.wav", "line\nbreak.wav", "🎤.wav", "./True"),
            *("-f", "txt", "--", "-dash.wav"),
        )
    )
    assert code == 0, err
    assert (command.folder / "line\nbreak.txt").exists()
    assert (command.folder / "-dash.txt").exists()
    assert len(err.splitlines()) == 1 + 5  # the auto line and a summary for each


def in_terminal(command, *args):
    """Run with all streams on a terminal; return what it showed with the time of each part."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = command.process(*args, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = []
    while True:
        try:
            data = os.read(master, 65536)
        except OSError as error:
            assert error.errno == errno.EIO  # Linux: the other side has closed
            data = b""
        if not data:
            break
        shown.append((time.monotonic(), data.decode(errors="replace")))
    os.close(master)
    assert process.wait(WAIT) == 0
    return shown


def test_a_terminal_shows_segments_as_they_come_below_a_bar(command):
    command.sound("a.wav", "first", "second", "third", pause=1.0, duration=3.0)
    shown = in_terminal(command, "a.wav")
    text = "".join(part for _, part in shown)
    assert re.search(r"a\.wav +33%\|.*1/3 s \[.*, \d+\.\dx real time\]", text), text
    seen = {word: next(when for when, part in shown if word in part) for word in ("first", "third")}
    assert seen["third"] - seen["first"] > 0.4  # neither held back until the end, 2 s apart
    for word in ("first", "second", "third"):  # each on a line of its own, not behind the bar
        assert any(line.split("\r")[-1] == word for line in text.split("\r\n")), text


def test_a_terminal_shows_how_far_a_window_is_and_what_went_wrong(command):
    trouble = "The NPU failed. The CPU goes on."
    command.sound("a.wav", "first", "second", duration=2.0, launches=3, trouble=trouble)
    text = "".join(part for _, part in in_terminal(command, "a.wav", "--device", "emulator"))
    for step in ("encoding 1/3]", "encoding 2/3]", "decoding]", "x real time, encoding 1/3]"):
        assert step in text, text
    lines = [line.split("\r")[-1] for line in text.split("\r\n")]
    assert lines.count(f"whisper-npu: warning: {trouble}") == 1, text


def test_quiet_shows_no_bar(command):
    command.sound("a.wav", "first", duration=1.0)
    assert "".join(part for _, part in in_terminal(command, "a.wav", "--quiet")) == "first\r\n"


def test_a_terminal_is_no_sound(command):
    master, slave = pty.openpty()
    code, _, err = finish(command.process("-", stdin=slave))
    os.close(master)
    os.close(slave)
    assert code == 2 and b"reads sound from a pipe" in err


def test_one_line_without_control_characters():
    assert printable("a b\n\x1b[31mä🎤\udcff") == "a b\\n\\x1b[31mä🎤\\udcff"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "00:00.000"), (1.2345, "00:01.234"), (59.9996, "01:00.000"), (3661.5, "01:01:01.500")],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown
