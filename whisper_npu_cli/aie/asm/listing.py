"""A program as text for people: address, bytes and instructions of every bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from whisper_npu_cli.aie.asm.decode import decode
from whisper_npu_cli.errors import WhisperNpuError

BYTES_COLUMN = 16 * 3
"""Characters that the bytes of the longest bundle take."""


class Difference(WhisperNpuError):
    """A bundle that is encoded differently from the bytes it was decoded from."""


def listing(
    code: bytes, origin: int = 0, symbols: Mapping[int, str] | None = None
) -> Iterator[str]:
    """Lines of a disassembly; a symbol's name stands above its address.

    Raises DecodeError at bytes that are no program.
    """
    for item in decode(code, origin):
        name = (symbols or {}).get(item.address)
        if name is not None:
            yield f"{item.address:08x} <{name}>:"
        offset = item.address - origin
        raw = code[offset : offset + item.size].hex(" ")
        yield f"{item.address:8x}: {raw:<{BYTES_COLUMN}} {item.bundle}"


def check(code: bytes, origin: int = 0) -> int:
    """Decode and encode every bundle; return their number, or raise Difference at the first."""
    count = 0
    for item in decode(code, origin):
        offset = item.address - origin
        source, ours = code[offset : offset + item.size], item.bundle.encode()
        if source != ours:
            raise Difference(
                f"at address {item.address:#x} `{item.bundle}` is {source.hex(' ')} in the file "
                f"and {ours.hex(' ')} when encoded again."
            )
        count += 1
    return count
