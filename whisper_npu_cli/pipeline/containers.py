"""Sound files of every container, decoded by FFmpeg (PyAV) as faster-whisper decodes them."""

from __future__ import annotations

import itertools
import shutil
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import numpy as np

from whisper_npu_cli.errors import AudioError
from whisper_npu_cli.pipeline.audio import SAMPLE_RATE, Notes, seekable

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.audio import Samples

HEAD_BYTES = 65536  # enough to reach a WAV file's "data" chunk behind its metadata
GROUP_SAMPLES = 500_000  # per call of the resampler, as faster-whisper groups them


class Rejoined:
    """A pipe whose first bytes have been looked at and put back; has `read` alone."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, n: int) -> bytes:
        """At most n bytes; empty at the end."""
        if self._head:
            taken, self._head = self._head[:n], self._head[n:]
            return taken
        return self._stream.read(n)


def container_blocks(
    stream: BinaryIO, notes: Notes, resources: ExitStack
) -> tuple[Iterator[Samples], float | None]:
    """Blocks of float32 16 kHz mono samples, and the length in seconds if it is known.

    What has to be closed afterwards goes into `resources`. Raises AudioError for data that is
    not sound.
    """
    source, head = _rewindable(stream, notes.name, resources)
    try:
        container = resources.enter_context(av.open(source, metadata_errors="ignore"))
    except (av.error.FFmpegError, OSError) as error:
        raise AudioError(_refusal(notes.name, head, error)) from None
    if not container.streams.audio:
        raise AudioError(f"{notes.name} has no audio stream; give a file with sound in it.")
    promised = _promised_seconds(container, head, source)
    return _blocks(container, notes, promised), promised or _estimated_seconds(container)


def _rewindable(stream: BinaryIO, name: str, resources: ExitStack) -> tuple[Any, bytes]:
    """What FFmpeg can read from, and the first bytes of it.

    A pipe is read as it comes, save MP4 and its kin, whose index may stand at the end: those go
    through a temporary file.
    """
    try:
        head = stream.read(HEAD_BYTES)
        if not head:
            raise AudioError(f"{name} is empty (0 bytes); record or download it again.")
        if seekable(stream):
            stream.seek(0)
            return stream, head
        if not _is_mp4(head):
            return Rejoined(head, stream), head
        return resources.enter_context(_spooled(head, stream)), head
    except OSError as error:
        raise AudioError(f"{name} cannot be read ({error.strerror}); copy it again.") from None


@contextmanager
def _spooled(head: bytes, stream: BinaryIO) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as spool:
        spool.write(head)
        shutil.copyfileobj(stream, spool)
        spool.seek(0)
        yield cast("BinaryIO", spool)


def _is_mp4(head: bytes) -> bool:
    return head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}


def _refusal(name: str, head: bytes, error: av.error.FFmpegError | OSError) -> str:
    if not isinstance(error, av.error.InvalidDataError):
        return f"{name} cannot be read ({error.strerror}); copy it again or convert it to WAV."
    if _is_mp4(head):
        return f"{name} is cut short: the index of this MP4 file is missing; copy it again."
    return (
        f"{name} is not a sound file that can be decoded; convert it to WAV, FLAC or MP3 "
        "(samples without a header need --raw)."
    )


def _promised_seconds(container: Any, head: bytes, source: Any) -> float | None:
    """The length that the file's header states; None where FFmpeg can only estimate it."""
    kind = container.format.name
    if kind == "wav":
        return _wav_seconds(head)  # FFmpeg puts the length of the file in its place
    stream = container.streams.audio[0]
    stated = kind == "flac" or "mp4" in kind or (kind == "mp3" and _counted(source))
    if stated and stream.duration:
        return float(stream.duration * stream.time_base)
    return None


def _wav_seconds(head: bytes) -> float | None:
    """Seconds by the "data" chunk's size, unless it is one that programs write into a pipe."""
    position, bytes_a_second = 12, 0
    while position + 8 <= len(head):
        chunk, size = struct.unpack_from("<4sI", head, position)
        if chunk == b"fmt " and position + 20 <= len(head):
            (bytes_a_second,) = struct.unpack_from("<I", head, position + 16)
        if chunk == b"data":
            # 0 and 2^32-1 from FFmpeg, about 2^31 from SoX and espeak-ng: the writer did not know
            return size / bytes_a_second if bytes_a_second and 0 < size < 0x7FFF0000 else None
        position += 8 + size + size % 2
    return None


def _counted(source: Any) -> bool:
    """Whether an MP3 file has a Xing, Info or VBRI header, which states the number of frames."""
    if isinstance(source, Rejoined):
        return False
    back = source.tell()
    source.seek(0)
    start = source.read(10)
    tag = 0
    if start[:3] == b"ID3":  # size in four bytes of seven bits
        tag = 10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
    source.seek(tag)
    first_frame = source.read(2048)
    source.seek(back)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _estimated_seconds(container: Any) -> float | None:
    stream = container.streams.audio[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None


def _blocks(container: Any, notes: Notes, promised: float | None) -> Iterator[Samples]:
    """Decode, mix and resample to signed 16 bits as faster-whisper does, then scale to -1..1."""
    clock = 0.0  # seconds of decoded sound
    try:
        for (_, _, rate), frames in itertools.groupby(_frames(container), key=_form):
            resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            for frame in _grouped(frames):
                whole = _finite(frame, notes, clock)
                clock += frame.samples / rate
                yield from map(_as_float, resampler.resample(whole))
            yield from map(_as_float, resampler.resample(None))
    except (av.error.FFmpegError, OSError) as error:
        raise AudioError(
            f"{notes.name} cannot be read beyond {clock:.1f} s ({error.strerror}); copy it again."
        ) from None
    notes.finish(clock, promised)


def _frames(container: Any) -> Iterator[Any]:
    """Decoded frames; damaged packets are left out, as in faster-whisper."""
    for packet in container.demux(container.streams.audio[0]):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue


def _form(frame: Any) -> tuple[str, str, int]:
    """What one resampler can take; it may change within a stream (chained Ogg, HE-AAC)."""
    return frame.format.name, frame.layout.name, frame.sample_rate


def _grouped(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames joined to about GROUP_SAMPLES, timestamps dropped."""
    fifo = av.AudioFifo()
    for frame in frames:
        frame.pts = None
        fifo.write(frame)
        if fifo.samples >= GROUP_SAMPLES:
            yield fifo.read()
    if fifo.samples:
        yield fifo.read()


def _finite(frame: Any, notes: Notes, at: float) -> Any:
    """The frame without NaN and infinity, which the conversion to 16 bits would turn into noise."""
    if not frame.format.name.startswith(("flt", "dbl")):
        return frame
    samples = frame.to_ndarray()
    # packed formats interleave the channels in one row
    rate = frame.sample_rate * (1 if frame.format.is_planar else frame.layout.nb_channels)
    repaired = notes.finite(samples, at, rate)
    if repaired is samples:
        return frame
    clean = av.AudioFrame.from_ndarray(repaired, frame.format.name, frame.layout.name)
    clean.sample_rate = frame.sample_rate
    return clean


def _as_float(frame: Any) -> Samples:
    return cast("Samples", frame.to_ndarray()[0].astype(np.float32) / 32768.0)
