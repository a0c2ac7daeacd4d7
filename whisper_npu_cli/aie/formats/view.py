"""Checked reading: every offset, count and length of a file is held against the bytes there are.

Readers of this package see files only through `View`, so a damaged file ends in a `FormatError`
with one sentence. Nothing is copied before its length is known to be present.
"""

from __future__ import annotations

import struct
from pathlib import Path

from whisper_npu_cli.errors import WhisperNpuError

MAX_FILE_BYTES = 256 << 20  # XRT refuses a PDI above 128 MiB; no container of ours reaches 1 MiB

MAX_TEXT = 4096  # longest string inside a container; names are a few dozen bytes


class FormatError(WhisperNpuError):
    """A container, configuration or instruction stream that breaks the rules of its format."""


def printable(text: str) -> str:
    """`text` with all but printable characters escaped: no file may send codes to a terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class View:
    """A window into a file: `name` says in messages which file and which part of it."""

    __slots__ = ("data", "name")

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        self.data, self.name = memoryview(data), name

    def __len__(self) -> int:
        return len(self.data)

    def part(self, offset: int, size: int, what: str) -> View:
        """The `size` bytes from `offset` on, called `what`. FormatError if some are missing."""
        if offset < 0 or size < 0 or offset + size > len(self.data):
            raise FormatError(
                f"{self.name}: {what} would be bytes {offset} to {offset + size}, but there are"
                f" {len(self.data)}; the file is damaged or cut short."
            )
        return View(self.data[offset : offset + size], self.name)

    def array(self, offset: int, count: int, size: int, limit: int, what: str) -> list[View]:
        """`count` records of `size` bytes from `offset` on; FormatError above `limit` of them."""
        if count > limit:
            raise FormatError(f"{self.name}: {count} {what} are more than the {limit} allowed.")
        whole = self.part(offset, count * size, what)
        return [whole.part(index * size, size, what) for index in range(count)]

    def fields(self, layout: struct.Struct, offset: int, what: str) -> tuple[int, ...]:
        """The integers of `layout` at `offset`."""
        return layout.unpack(self.part(offset, layout.size, what).data)

    def words(self, offset: int, count: int, what: str) -> tuple[int, ...]:
        """`count` little-endian 32-bit words from byte `offset` on."""
        return struct.unpack(f"<{count}I", self.part(offset, 4 * count, what).data)

    def u32(self, offset: int, what: str) -> int:
        """The little-endian 32-bit word at byte `offset`."""
        return self.words(offset, 1, what)[0]

    def text(self, offset: int, what: str, size: int | None = None) -> str:
        """The text at `offset` up to a NUL: within a field of `size` bytes, or one that must end.

        Bytes that are not printable ASCII come back as escapes; at most `MAX_TEXT` are taken.
        """
        room = min(len(self) - offset, MAX_TEXT) if size is None else size
        body, end, _ = bytes(self.part(offset, room, what).data).partition(b"\0")
        if size is None and not end:
            raise FormatError(f"{self.name}: {what} has no end.")
        return printable(body.decode("ascii", "backslashreplace"))


def read_file(path: Path) -> View:
    """The bytes of a regular file of at most `MAX_FILE_BYTES`. Raises FormatError."""
    try:
        if not path.is_file():
            raise FormatError(f"{path}: no such file.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; none is read.")
        return View(path.read_bytes(), str(path))
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}).") from error
