"""N-dimensional access patterns: the order in which a DMA walks a buffer.

A pattern is written as numpy writes a strided view: outermost dimension first, strides in elements.
`words()` turns it into 32-bit words, `reduced()` and `fitted()` make it fit the dimensions and wrap
counters of a DMA engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from whisper_npu_cli.errors import WhisperNpuError

WORD = 4  # bytes; streams and DMA counters know nothing smaller


class AccessError(WhisperNpuError):
    """An access pattern that no DMA can walk, or that leaves its buffer."""


@dataclass(frozen=True)
class Access:
    """Elements at `offset + i·stride + ...` for every index within `sizes`.

    `sizes`, `strides` (in elements of `element_bytes`), outermost first, equally many; `offset` in
    elements. `before` and `after` zeros are put around each dimension (empty for none); only a
    memtile's MM2S channel can do that. AccessError when the description contradicts itself.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    element_bytes: int = WORD
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.strides) or not self.sizes or min(self.sizes) < 1:
            raise AccessError(f"{self}: it needs one stride for each size, and sizes of 1 or more.")
        if min(self.strides) < 0 or self.offset < 0:
            raise AccessError(f"{self}: strides and offset may not be negative.")
        if self.element_bytes not in (1, 2, 4):
            raise AccessError(f"{self}: elements have 1, 2 or 4 bytes.")
        for zeros in (self.before, self.after):
            if zeros and (len(zeros) != len(self.sizes) or min(zeros) < 0):
                raise AccessError(f"{self}: it needs one number of zeros for each size.")

    def __str__(self) -> str:
        start = f" from {self.offset}" if self.offset else ""
        zeros = f" padded {self.before}{self.after}" if self.padded else ""
        dims = " ".join(f"{n}·{s}" for n, s in zip(self.sizes, self.strides, strict=False))
        return f"access pattern [{dims}]{start}{zeros} of {self.element_bytes}-byte elements"

    @property
    def padded(self) -> bool:
        """Whether any zeros are inserted."""
        return any(self.before) or any(self.after)

    @property
    def zeros(self) -> tuple[tuple[int, int], ...]:
        """Zeros before and after each dimension, outermost first."""
        none = (0,) * len(self.sizes)
        return tuple(zip(self.before or none, self.after or none, strict=True))

    @property
    def bytes(self) -> int:
        """Bytes that pass through the stream, inserted zeros included."""
        dims = zip(self.zeros, self.sizes, strict=True)
        return self.element_bytes * prod(b + n + a for (b, a), n in dims)

    @property
    def end(self) -> int:
        """First byte behind the last one touched, counted from the start of the buffer."""
        last = sum((n - 1) * s for n, s in zip(self.sizes, self.strides, strict=True))
        return (self.offset + last + 1) * self.element_bytes

    def indices(self) -> Iterator[int | None]:
        """Element numbers in stream order; None for an inserted zero."""
        dims = zip(self.zeros, self.sizes, strict=True)
        ranges = [range(-b, n + a) for (b, a), n in dims]
        for index in product(*ranges):
            if all(0 <= i < n for i, n in zip(index, self.sizes, strict=True)):
                yield self.offset + sum(i * s for i, s in zip(index, self.strides, strict=True))
            else:
                yield None

    def picture(self, limit: int = 12) -> str:
        """The first few elements in stream order, for error messages: `0 1 2 3 | 64 65 ...`."""
        row = self.sizes[-1] + sum(self.zeros[-1])
        parts: list[str] = []
        for n, index in zip(range(limit + 1), self.indices(), strict=False):
            if n == limit:
                return " ".join([*parts, "..."])
            parts += ["|"] if n and n % row == 0 else []
            parts.append("·" if index is None else str(index))
        return " ".join(parts)

    def words(self) -> Access:
        """The same pattern over 32-bit words; AccessError when an element would be cut."""
        per = WORD // self.element_bytes
        if per == 1:
            return self
        inner = (self.offset, self.sizes[-1], *self.strides[:-1], *self.zeros[-1])
        if self.strides[-1] != 1 or any(value % per for value in inner):
            raise AccessError(
                f"{self} ({self.picture()}) cuts 32-bit words: the innermost dimension has to be "
                f"contiguous, and its size and all other strides multiples of {per}."
            )

        def cut(values: tuple[int, ...]) -> tuple[int, ...]:
            return (*values[:-1], values[-1] // per) if values else ()

        return Access(
            sizes=cut(self.sizes),
            strides=(*(s // per for s in self.strides[:-1]), 1),
            offset=self.offset // per,
            before=cut(self.before),
            after=cut(self.after),
        )

    def squeezed(self) -> Access:
        """Without outermost dimensions of size 1; a padded pattern is left as it is."""
        dims = list(zip(self.sizes, self.strides, strict=True))
        while len(dims) > 1 and dims[0][0] == 1:
            del dims[0]
        return self if self.padded else self._of(dims)

    def reduced(self, dimensions: int) -> Access:
        """The same order in at most so many dimensions where merging contiguous ones achieves it.

        A pattern that is contiguous altogether becomes one dimension; any other that has no more
        than `dimensions` is only squeezed, a padded one is left as it is.
        """
        if self.padded:
            return self
        merged: list[tuple[int, int]] = []
        plain = self.squeezed()
        for size, stride in zip(plain.sizes, plain.strides, strict=True):
            if size == 1:
                continue
            if merged and merged[-1][1] == size * stride:
                merged[-1] = (merged[-1][0] * size, stride)
            else:
                merged.append((size, stride))
        merged = merged or [(1, 1)]
        contiguous = len(merged) == 1 and merged[0][1] == 1
        return self._of(merged) if contiguous or len(plain.sizes) > dimensions else plain

    def fitted(self, dimensions: int, wrap: int) -> Access:
        """Split dimensions that count beyond `wrap`, while there are fewer than `dimensions`."""
        if self.padded:
            return self
        dims = list(zip(self.sizes, self.strides, strict=True))
        i = len(dims) - 1
        while i >= 0:
            size, stride = dims[i]
            inner = max(k for k in range(1, wrap + 1) if size % k == 0)
            if size > wrap and inner > 1 and len(dims) < dimensions:
                dims[i : i + 1] = [(size // inner, inner * stride), (inner, stride)]
            else:
                i -= 1
        return self._of(dims)

    def _of(self, dims: list[tuple[int, int]]) -> Access:
        sizes, strides = zip(*dims, strict=True)
        return replace(self, sizes=tuple(sizes), strides=tuple(strides), before=(), after=())


def linear(length_bytes: int, offset_bytes: int = 0) -> Access:
    """So many contiguous bytes; AccessError unless both are multiples of 4."""
    if length_bytes % WORD or offset_bytes % WORD:
        raise AccessError(
            f"{length_bytes} bytes from {offset_bytes} on cannot be moved: both have to be "
            "multiples of 4."
        )
    return Access((length_bytes // WORD,), (1,), offset_bytes // WORD)
