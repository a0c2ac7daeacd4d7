"""Memory does not grow with the length of the input."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from tone_speech import ToneCore, speak, write_tokenizer

from whisper_npu_cli.pipeline.audio import open_audio
from whisper_npu_cli.pipeline.longform import LongRun, PieceModel
from whisper_npu_cli.pipeline.options import Options
from whisper_npu_cli.pipeline.timings import StageClock

MINUTE = (speak("aaab...ccc" * 30) * 32767).astype("<i2").tobytes()


class Tape:
    """A WAV file of so many minutes on a pipe, made while it is read."""

    def __init__(self, minutes):
        size = minutes * len(MINUTE)
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16,
                           1, 1, 16000, 32000, 2, 16, b"data", size)  # fmt: skip
        self._minutes = minutes
        self._rest = head

    def read(self, n=-1):
        if not self._rest and self._minutes:
            self._rest, self._minutes = MINUTE, self._minutes - 1
        data, self._rest = self._rest[:n], self._rest[n:]
        return data


def resident():
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak(steps):
    return max(resident() for _ in steps)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_reading_takes_no_more_for_a_longer_input():
    def blocks(minutes):
        with open_audio(Tape(minutes)) as reader:
            while len(block := reader.read(160_000)):
                yield block

    peak(blocks(2))  # what libraries allocate once
    assert peak(blocks(40)) - peak(blocks(10)) < 8e6  # half an hour of samples is 115 MB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_transcribing_takes_no_more_for_a_longer_input(tmp_path):
    core = ToneCore()
    model = PieceModel(core, write_tokenizer(tmp_path))

    def segments(minutes):
        core.prompts.clear()
        with open_audio(Tape(minutes)) as reader:
            run = LongRun(model, reader, Options(), StageClock(), piece_seconds=60)
            yield from run
            assert run.position == 60 * minutes

    peak(segments(2))
    assert peak(segments(12)) - peak(segments(3)) < 8e6  # 9 minutes of samples are 35 MB


def test_the_tape_is_what_it_says():
    with open_audio(Tape(2)) as reader:
        assert reader.duration == 120
        first = reader.read(960_000)
        assert np.array_equal(first, reader.read(960_000))
        assert np.abs(first).max() == pytest.approx(0.5, abs=1e-3)
