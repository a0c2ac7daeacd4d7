import io

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.pipeline import rawpcm
from whisper_npu_cli.pipeline.audio import open_audio
from whisper_npu_cli.pipeline.rawpcm import ENCODINGS, RawFormat


class Pipe:
    """Cannot seek, and ends its reads where it likes."""

    def __init__(self, data, size):
        self._file = io.BytesIO(data)
        self._size = size

    def read(self, n=-1):
        return self._file.read(min(n, self._size))


def noise(*shape):
    return np.random.default_rng(3).uniform(-0.9, 0.9, shape)


def packed(samples, encoding):
    """Samples as bytes, by an own rule for each encoding."""
    if encoding == "u8":
        return (np.round(samples * 128) + 128).astype("u1").tobytes()
    if encoding == "s24le":
        whole = np.round(samples.ravel() * 2**23).astype(int)
        return b"".join(int(x).to_bytes(3, "little", signed=True) for x in whole)
    if encoding.startswith("s"):
        bits = int(encoding[1:3])
        order = ">" if encoding.endswith("be") else "<"
        return np.round(samples * 2 ** (bits - 1)).astype(f"{order}i{bits // 8}").tobytes()
    return samples.astype(f"<f{int(encoding[1:3]) // 8}").tobytes()


def read_all(reader):
    with reader:
        blocks = []
        while len(block := reader.read(5000)):
            blocks.append(block)
        return np.concatenate(blocks)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_every_encoding(encoding, channels):
    samples = noise(8000, channels)
    form = RawFormat.parse(f"{encoding}:16000:{channels}")
    reader = open_audio(io.BytesIO(packed(samples, encoding)), form)
    assert reader.duration == 0.5
    half_a_step = 0.5 / 128 if encoding == "u8" else 0.501 / 32768
    assert np.abs(read_all(reader) - samples.mean(axis=1)).max() <= half_a_step
    assert reader.warnings == []


@pytest.mark.parametrize("rate", [1000, 8000, 11025, 22050, 44100, 48000, 192000])
@pytest.mark.parametrize("seconds", [0.01, 2.99, 3.0, 8.2])
def test_other_rates_are_librosas(rate, seconds, monkeypatch):
    monkeypatch.setattr(rawpcm, "BLOCK_SECONDS", 3)
    samples = noise(round(rate * seconds)).astype(np.float32)
    data = samples.tobytes()
    resampled = read_all(open_audio(io.BytesIO(data), RawFormat("f32le", rate)))
    expected = librosa.resample(samples, orig_sr=rate, target_sr=16000)
    assert len(resampled) == len(expected)
    assert np.abs(resampled - expected).max() < 2e-6


@settings(max_examples=30)
@given(
    frames=st.integers(1, 4000),
    size=st.integers(1, 999),
    encoding=st.sampled_from(["s16le", "s24le", "f64le"]),
    channels=st.integers(1, 3),
)
def test_pipes_may_end_a_read_anywhere(frames, size, encoding, channels):
    data = packed(noise(frames, channels), encoding)
    form = RawFormat(encoding, 16000, channels)
    piped = read_all(open_audio(Pipe(data, size), form))
    assert np.array_equal(piped, read_all(open_audio(io.BytesIO(data), form)))


def test_half_a_sample_at_the_end_is_reported():
    data = packed(noise(16000), "s16le")
    reader = open_audio(io.BytesIO(data[:-1]), RawFormat("s16le", 16000), name="x.raw")
    assert len(read_all(reader)) == 15999
    assert "x.raw ends in the middle of a sample" in reader.warnings[0]


def test_samples_that_are_not_numbers_are_silence():
    samples = noise(48000, 2)
    samples[32000, 1] = np.nan
    reader = open_audio(io.BytesIO(packed(samples, "f32le")), RawFormat("f32le", 16000, 2))
    assert read_all(reader)[32000] == pytest.approx(samples[32000, 0] / 2)
    assert "1 samples that are not numbers, the first at 2.00 s" in reader.warnings[0]


@pytest.mark.parametrize("data", [b"", b"\1"])
def test_nothing_is_refused(data):
    with pytest.raises(AudioError, match="holds no audio samples"):
        open_audio(io.BytesIO(data), RawFormat("s16le", 16000))


@given(
    encoding=st.sampled_from(sorted(ENCODINGS)),
    rate=st.integers(1000, 768_000),
    channels=st.none() | st.integers(1, 64),
)
def test_formats_are_parsed(encoding, rate, channels):
    text = f"{encoding}:{rate}" + (f":{channels}" if channels else "")
    assert RawFormat.parse(text) == RawFormat(encoding, rate, channels or 1)


@given(
    st.text(max_size=20)
    | st.sampled_from(
        ["s16le", "s16le:", "s16le:16000:", "s16le:16000:2:1", "s16:16000", "s16le:-16000",
         "s16le:1e4", "s16le:16000:0", "s16le:16000:65", "s16le:999", "s16le:768001", "S16LE:8000",
         "s16le:\N{ARABIC-INDIC DIGIT ONE}6000", " s16le:16000"]
    )
)  # fmt: skip
def test_other_texts_are_refused(text):
    with pytest.raises(UsageError, match="is not a raw format") as caught:
        RawFormat.parse(text)
    assert str(caught.value).endswith(".")
