"""Headerless PCM samples, described by the user, to 16 kHz mono float32."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from whisper_npu_cli.errors import AudioError, UsageError
from whisper_npu_cli.pipeline.audio import SAMPLE_RATE, Notes, seekable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from whisper_npu_cli.pipeline.audio import Samples

BLOCK_SECONDS = 30

# FFmpeg's names -> (bytes a sample, numpy's name); integers are scaled by their full range
ENCODINGS = {
    "u8": (1, "u1"),
    "s16le": (2, "<i2"),
    "s16be": (2, ">i2"),
    "s24le": (3, "<i4"),  # widened to 32 bits by _widened
    "s32le": (4, "<i4"),
    "f32le": (4, "<f4"),
    "f64le": (8, "<f8"),
}


@dataclass(frozen=True)
class RawFormat:
    """How to read headerless samples: encoding (a key of ENCODINGS), Hz, interleaved channels."""

    encoding: str
    rate: int
    channels: int = 1

    @classmethod
    def parse(cls, text: str) -> RawFormat:
        """Read "s16le:16000" or "f32le:48000:2"; raises UsageError for anything else."""
        encoding, *numbers = text.split(":")
        if encoding not in ENCODINGS or len(numbers) not in (1, 2):
            raise UsageError(
                f"'{text}' is not a raw format; write ENCODING:RATE[:CHANNELS] with one of "
                f"{', '.join(ENCODINGS)}, for example s16le:16000."
            )
        if not all(number.isascii() and number.isdigit() for number in numbers):
            raise UsageError(f"'{text}' is not a raw format; rate and channels are whole numbers.")
        rate, channels = int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 1
        if not (1000 <= rate <= 768_000 and 1 <= channels <= 64):
            raise UsageError(
                f"'{text}' is not a raw format; rates are 1000 to 768000 Hz, channels 1 to 64."
            )
        return cls(encoding, rate, channels)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of every channel."""
        return ENCODINGS[self.encoding][0] * self.channels

    def decode(self, data: bytes) -> NDArray[np.floating]:
        """Whole frames to floats [frames, channels] in -1..1; floats as they are."""
        dtype = np.dtype(ENCODINGS[self.encoding][1])
        samples = np.frombuffer(_widened(data) if self.encoding == "s24le" else data, dtype)
        if dtype.kind == "u":
            samples = (samples.astype(np.float32) - 128) / 128
        elif dtype.kind == "i":
            samples = samples / 2.0 ** (8 * dtype.itemsize - 1)
        return samples.reshape(-1, self.channels)


def _widened(data: bytes) -> bytes:
    """Signed 24 bits as the upper three bytes of 32."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.tobytes()


def raw_blocks(
    stream: BinaryIO, form: RawFormat, notes: Notes
) -> tuple[Iterator[Samples], float | None]:
    """Blocks of float32 16 kHz mono samples, and the length in seconds if it is known."""
    duration = None
    if seekable(stream):
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        duration = size // form.frame_bytes / form.rate
    mono = _mono_blocks(stream, form, notes)
    return (mono if form.rate == SAMPLE_RATE else _resampled(mono, form.rate)), duration


def _mono_blocks(stream: BinaryIO, form: RawFormat, notes: Notes) -> Iterator[Samples]:
    """The mean of the channels, at the source's rate."""
    done, left = 0, b""
    wanted = BLOCK_SECONDS * form.rate * form.frame_bytes
    try:
        while data := stream.read(wanted):
            data = left + data  # a pipe may end a read in the middle of a sample
            whole = len(data) // form.frame_bytes * form.frame_bytes
            left = data[whole:]
            frames = notes.finite(form.decode(data[:whole]).T, done / form.rate, form.rate)
            yield frames.mean(axis=0).astype(np.float32)
            done += frames.shape[-1]
    except OSError as error:
        raise AudioError(
            f"{notes.name} cannot be read beyond {done / form.rate:.1f} s ({error.strerror});"
            " copy it again."
        ) from None
    if left:
        notes.sentences.append(
            f"{notes.name} ends in the middle of a sample, so it may be cut short or not be "
            f"{form.encoding} with {form.channels} channel(s); check --raw."
        )
    notes.finish(done / form.rate, None)


def _resampled(blocks: Iterator[Samples], rate: int) -> Iterator[Samples]:
    """The blocks at 16 kHz, the same numbers as librosa.resample of the whole.

    Each block is resampled with a second of its neighbours on both sides, which is cut off again:
    soxr's filter reaches a few milliseconds. Cuts are at whole seconds, where both rates meet.
    """
    import librosa  # costs a second to import

    buffer = np.zeros(0, np.float32)
    lead = 0  # samples at the front of the buffer that were given out already
    for block in itertools.chain(blocks, [None]):
        if block is not None:
            buffer = np.concatenate([buffer, block])
            end = (len(buffer) // rate - 1) * rate
        else:
            end = len(buffer)
        if end <= lead:
            continue
        out = librosa.resample(buffer, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
        stop = end // rate * SAMPLE_RATE if block is not None else len(out)
        yield out[lead // rate * SAMPLE_RATE : stop]
        keep = max(0, end - rate)
        buffer, lead = buffer[keep:], end - keep
