"""Any sound source to 16 kHz mono float32, read in blocks so that memory does not grow with length.

Sources: a path, a binary stream (a pipe too), a numpy array; containers go through FFmpeg
(`containers.py`), headerless samples through `rawpcm.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, cast

from whisper_npu_cli.errors import AudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from whisper_npu_cli.pipeline.rawpcm import RawFormat

    Samples = NDArray[np.float32]
    Source = str | Path | BinaryIO | NDArray[np.floating]

SAMPLE_RATE = 16000  # Hz, what Whisper was trained on


class Notes:
    """What is wrong with one source but does not stop it: a name and sentences about it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sentences: list[str] = []
        self._bad_samples = 0
        self._first_bad = 0.0

    def finite(self, samples: NDArray[np.floating], at: float, rate: int) -> NDArray[np.floating]:
        """Samples [..., n] with NaN and infinity replaced by silence; `at` is their time in s.

        Silence and a warning rather than a refusal: one bad sample must not cost a long recording.
        """
        import numpy as np

        good = np.isfinite(samples)
        if good.all():
            return samples
        if not self._bad_samples:
            self._first_bad = at + int(np.nonzero(~good)[-1].min()) / rate
        self._bad_samples += int(good.size - good.sum())
        return np.where(good, samples, 0).astype(samples.dtype)

    def finish(self, seconds: float, promised: float | None) -> None:
        """Close the notes at the end of the sound; `promised` is its header's length in s."""
        if self._bad_samples:
            self.sentences.append(
                f"{self.name} holds {self._bad_samples} samples that are not numbers, the first at "
                f"{self._first_bad:.2f} s; they were taken as silence, export the file again."
            )
        # an encoder's delay is a few hundredths of a second
        if promised is not None and seconds < promised - 0.1:
            self.sentences.append(
                f"{self.name} is cut short or damaged: {seconds:.1f} s of the {promised:.1f} s that"
                " its header promises could be decoded; copy or download it again."
            )


class AudioReader:
    """An open source; `read` gives its sound in order. A context manager."""

    def __init__(
        self,
        notes: Notes,
        blocks: Iterator[Samples],
        duration: float | None,
        resources: ExitStack,
    ) -> None:
        import numpy as np

        self.name = notes.name
        self.duration = duration
        self._notes = notes
        self._blocks = blocks
        self._resources = resources
        self._rest: Samples = np.zeros(0, np.float32)

    @property
    def warnings(self) -> list[str]:
        """Sentences about what is wrong with the sound read so far; complete at its end."""
        return self._notes.sentences

    def read_into(self, buffer: Samples) -> int:
        """Fill a float32 array [n] with the next samples, 16 kHz in -1..1, and say how many.

        Fewer than n come only at the end. Raises AudioError when the source breaks off with a
        read error.
        """
        filled = 0
        while filled < len(buffer):
            if not len(self._rest):
                block = next(self._blocks, None)
                if block is None:
                    break
                self._rest = block
            taken = self._rest[: len(buffer) - filled]
            buffer[filled : filled + len(taken)] = taken
            self._rest = self._rest[len(taken) :]
            filled += len(taken)
        return filled

    def read(self, n: int) -> Samples:
        """The next samples, float32 [<= n]; as read_into."""
        import numpy as np

        buffer = np.empty(n, np.float32)
        return buffer[: self.read_into(buffer)]

    def require_sound(self) -> None:
        """Decode the first block, so that an empty source is refused when it is opened."""
        self._rest = next((block for block in self._blocks if len(block)), self._rest)
        if not len(self._rest):
            raise AudioError(f"{self.name} holds no audio samples; record or export it again.")

    def close(self) -> None:
        """Release files and decoders; streams and arrays of the caller stay open."""
        self._resources.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_audio(
    source: Source, raw: RawFormat | None = None, name: str | None = None
) -> AudioReader:
    """Open a path, a binary stream or a float array [n] of 16 kHz mono samples.

    `raw` says that path or stream holds headerless samples. `name` stands for the source in
    messages (default: the path, or "the input"). Raises AudioError, one sentence, for whatever
    cannot be read as sound, an empty source included.
    """
    shown = _shown(name or _own_name(source))
    notes = Notes(shown)
    with ExitStack() as resources:
        if isinstance(source, str | Path):
            stream = resources.enter_context(_open_file(Path(source), shown))
            blocks, duration = _stream_blocks(stream, raw, notes, resources)
        elif hasattr(source, "read"):
            blocks, duration = _stream_blocks(cast("BinaryIO", source), raw, notes, resources)
        else:
            blocks, duration = _array_blocks(source, notes)
        reader = AudioReader(notes, blocks, duration, resources.pop_all())
    try:
        reader.require_sound()
    except BaseException:
        reader.close()
        raise
    return reader


def _own_name(source: Source) -> str:
    if isinstance(source, str | Path):
        return os.fspath(source)
    own = getattr(source, "name", None)  # open files have one, an int for bare descriptors
    return own if isinstance(own, str) else "the input"


def _shown(name: str) -> str:
    """A name on one line: quoted and escaped when it holds newlines or undecodable bytes."""
    return name if name.isprintable() else repr(name)


def _open_file(path: Path, shown: str) -> BinaryIO:
    """Open for reading; our own open, because FFmpeg takes "a:b.wav" or "%d.wav" for patterns."""
    try:
        if path.is_dir():
            raise AudioError(f"{shown} is a folder; name the sound files in it.")
        return path.open("rb")
    except FileNotFoundError:
        raise AudioError(f"{shown} does not exist; check the path.") from None
    except PermissionError:
        raise AudioError(
            f"{shown} cannot be read (permission denied); change its permissions."
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{shown} cannot be opened ({reason}); check the path.") from None


def seekable(stream: BinaryIO) -> bool:
    """Whether the stream can go back; pipes and terminals cannot."""
    ask = getattr(stream, "seekable", None)
    return ask is not None and ask()


def _stream_blocks(
    stream: BinaryIO, raw: RawFormat | None, notes: Notes, resources: ExitStack
) -> tuple[Iterator[Samples], float | None]:
    if raw is not None:
        from whisper_npu_cli.pipeline.rawpcm import raw_blocks

        return raw_blocks(stream, raw, notes)
    from whisper_npu_cli.pipeline.containers import container_blocks

    return container_blocks(stream, notes, resources)


def _array_blocks(
    array: NDArray[np.floating], notes: Notes
) -> tuple[Iterator[Samples], float | None]:
    import numpy as np

    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind != "f":
        form = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array)
        raise AudioError(
            f"{notes.name} must be a path, a binary stream or a one-dimensional float array of "
            f"16 kHz samples, not {form}; convert it first."
        )

    def blocks() -> Iterator[Samples]:
        yield notes.finite(array, 0.0, SAMPLE_RATE).astype(np.float32, copy=False)
        notes.finish(len(array) / SAMPLE_RATE, None)

    return blocks(), len(array) / SAMPLE_RATE
