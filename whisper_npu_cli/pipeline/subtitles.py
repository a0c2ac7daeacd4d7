"""Subtitles from segments: which words stand together, on which lines, from when to when.

The layout is openai/whisper's: without limits a subtitle is a segment; with `max_words_per_line`
it is that many words of a segment; with both `max_line_width` and `max_line_count` words flow
on over segments, up to a pause.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from whisper_npu_cli.pipeline.results import Segment, Word

PAUSE = 3.0  # seconds between the starts of words after which flowing words begin a new subtitle
NO_LIMIT = 10**9


@dataclass(frozen=True)
class WriterOptions:
    """How to lay out subtitles; the first four need word timestamps.

    `max_line_width` in characters, `max_line_count` lines in a subtitle, `max_words_per_line`
    without effect when words flow, `highlight_words` underlines each word while it is spoken.
    `pretty_json` breaks and indents lines.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    highlight_words: bool = False
    pretty_json: bool = False

    @property
    def flowing(self) -> bool:
        """Whether a subtitle may hold words of two segments."""
        return self.max_line_width is not None and self.max_line_count is not None


@dataclass(frozen=True)
class Cue:
    """One subtitle, times in seconds."""

    start: float
    end: float
    text: str


Lines = list[list[Word]]  # the words of one subtitle, line by line


def cues(
    segments: Sequence[Segment],
    options: WriterOptions,
    escape: Callable[[str], str] = str,
) -> Iterator[Cue]:
    """Subtitles in order, without empty ones; `escape` is applied to text, not to markup."""
    if all(segment.words is None for segment in segments):
        made: Iterator[Cue] = (Cue(s.start, s.end, escape(s.text)) for s in segments)
    else:
        layout = itertools.chain.from_iterable(
            _broken(run, options) for run in _runs(segments, options)
        )
        show = _highlighted if options.highlight_words else _plain
        made = itertools.chain.from_iterable(show(lines, escape) for lines in layout)
    for cue in made:
        if text := _block(cue.text):
            yield Cue(cue.start, max(cue.start, cue.end), text)


def _runs(segments: Sequence[Segment], options: WriterOptions) -> Iterator[list[Word]]:
    """Words that may share a subtitle."""
    if options.flowing:
        yield [word for segment in segments for word in segment.words or ()]
        return
    size = options.max_words_per_line or NO_LIMIT
    for segment in segments:
        words = segment.words or []
        for first in range(0, len(words), size):
            yield words[first : first + size]


def _broken(words: list[Word], options: WriterOptions) -> Iterator[Lines]:
    """Break words into lines and lines into subtitles."""
    width = options.max_line_width or NO_LIMIT
    height = options.max_line_count or NO_LIMIT
    lines: Lines = []
    length, last = 0, 0.0
    for word in words:
        pause = options.flowing and word.start - last > PAUSE
        if lines and not pause and length + len(word.word) <= width:
            lines[-1].append(word)
            length += len(word.word)
        else:
            if lines and (pause or len(lines) >= height):
                yield lines
                lines = []
            lines.append([word])
            length = len(word.word.strip())
        last = word.start
    if lines:
        yield lines


def _plain(lines: Lines, escape: Callable[[str], str]) -> Iterator[Cue]:
    text = _joined([[escape(word.word) for word in line] for line in lines])
    yield Cue(lines[0][0].start, lines[-1][-1].end, text)


def _highlighted(lines: Lines, escape: Callable[[str], str]) -> Iterator[Cue]:
    """One cue for each word with that word underlined, and plain ones between words."""
    (plain,) = _plain(lines, escape)
    now = plain.start
    for spoken in itertools.chain.from_iterable(lines):
        if spoken.start > now:
            yield Cue(now, spoken.start, plain.text)
        if spoken.end > spoken.start:
            marked = [
                [_underlined(escape(word.word)) if word is spoken else escape(word.word)
                 for word in line]
                for line in lines
            ]  # fmt: skip
            yield Cue(spoken.start, spoken.end, _joined(marked))
        now = spoken.end


def _underlined(word: str) -> str:
    """The word in <u>, its leading space outside."""
    bare = word.lstrip()
    return f"{word[: len(word) - len(bare)]}<u>{bare}</u>"


def _joined(lines: list[list[str]]) -> str:
    return "\n".join("".join(line).strip() for line in lines)


def _block(text: str) -> str:
    """Text without what would end or break a subtitle: empty lines and arrows."""
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line).replace("-->", "->")
