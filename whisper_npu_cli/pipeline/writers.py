"""Transcripts as text: txt, srt, vtt, tsv, json and lrc, as openai/whisper's writers make them."""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from whisper_npu_cli import __version__
from whisper_npu_cli.errors import OutputError
from whisper_npu_cli.pipeline.results import Result, Segment
from whisper_npu_cli.pipeline.subtitles import WriterOptions, cues

__all__ = ["FORMATS", "WriterOptions", "render", "result_json", "write"]

FORMATS = ("txt", "srt", "vtt", "tsv", "json", "lrc")


def render(result: Result, format: str, options: WriterOptions | None = None) -> str:
    """The transcript in one of FORMATS, ending in a newline unless it is empty."""
    return _RENDERERS[format](result, options or WriterOptions())


def write(
    result: Result, path: str | Path, format: str, options: WriterOptions | None = None
) -> None:
    """Write the transcript as UTF-8, all or nothing: the path never holds half a file.

    A missing folder is made. Raises OutputError when the path cannot be written or the disk is
    full.
    """
    # lone surrogates can come in through a model's path; JSON reads the replacement as the same
    data = render(result, format, options).encode("utf-8", "backslashreplace")
    try:
        _replace(Path(os.path.realpath(path)), data)
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{os.fspath(path)!r} cannot be written ({reason}); choose another output folder or"
            " make room."
        ) from None


def _replace(path: Path, data: bytes) -> None:
    """Write beside the path, then rename over it; on failure leave nothing behind."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def result_json(result: Result) -> dict[str, Any]:
    """openai/whisper's object and one key of ours, `engine`; docs/json.md describes it."""
    return {
        "text": result.text,
        "segments": [_segment_json(segment) for segment in result.segments],
        "language": result.language,
        "engine": _engine_json(result),
    }


def _segment_json(segment: Segment) -> dict[str, Any]:
    fields = {key: _finite(value) for key, value in asdict(segment).items()}
    if segment.words is None:
        del fields["words"]  # openai/whisper has the key only with word timestamps
    return fields


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity (the avg_logprob of nothing)."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _engine_json(result: Result) -> dict[str, Any]:
    timings = result.timings
    stages = {stage.name: round(stage.seconds * 1000, 3) for stage in timings.stages}
    return {
        "version": __version__,
        "model": result.engine.model,
        "device": result.engine.device,
        "devices": dict(result.engine.stage_devices),
        "compute_types": dict(result.engine.compute_types),
        "reason": result.engine.reason,
        "fallback_reason": result.engine.fallback_reason,
        "trouble": result.engine.trouble or None,
        "timings_ms": stages | {"total": round(timings.total * 1000, 3)},
        "emulated": timings.emulated,
        "windows": timings.windows,
        "tokens": timings.tokens,
        "audio_seconds": round(timings.audio_seconds, 3),
        "rtf": round(timings.rtf, 6),
    }


def _json(result: Result, options: WriterOptions) -> str:
    indent = 2 if options.pretty_json else None
    return json.dumps(result_json(result), ensure_ascii=False, indent=indent) + "\n"


def _txt(result: Result, options: WriterOptions) -> str:
    return "".join(f"{_line(segment.text)}\n" for segment in result.segments)


def _tsv(result: Result, options: WriterOptions) -> str:
    rows = [
        f"{_milliseconds(segment.start)}\t{_milliseconds(segment.end)}\t{_line(segment.text)}\n"
        for segment in result.segments
    ]
    return "".join(["start\tend\ttext\n", *rows])


def _lrc(result: Result, options: WriterOptions) -> str:
    return "".join(
        f"[{_stamp(cue.start, '.', hours=False, digits=2)}]{_line(cue.text)}\n"
        for cue in cues(result.segments, replace(options, highlight_words=False))
    )


def _srt(result: Result, options: WriterOptions) -> str:
    return "".join(
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{cue.text}\n\n"
        for number, cue in enumerate(cues(result.segments, options), start=1)
    )


def _vtt(result: Result, options: WriterOptions) -> str:
    blocks = [
        f"{_stamp(cue.start, '.', hours=False)} --> {_stamp(cue.end, '.', hours=False)}\n"
        f"{cue.text}\n\n"
        for cue in cues(result.segments, options, _escaped)
    ]
    return "".join(["WEBVTT\n\n", *blocks])


_RENDERERS: dict[str, Callable[[Result, WriterOptions], str]] = {
    "txt": _txt, "srt": _srt, "vtt": _vtt, "tsv": _tsv, "json": _json, "lrc": _lrc,
}  # fmt: skip


def _escaped(text: str) -> str:
    """Text for WebVTT, where "<" would open a tag and "&" a character reference."""
    return text.replace("-->", "->").replace("&", "&amp;").replace("<", "&lt;")


def _line(text: str) -> str:
    """Text on one line: any run of line breaks and tabs becomes a space."""
    return " ".join(re.split(r"[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+", text.strip()))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _stamp(seconds: float, point: str, *, hours: bool = True, digits: int = 3) -> str:
    """HH:MM:SS,mmm; without `hours` they are left out while zero (vtt) or become minutes (lrc)."""
    unit = 10**digits
    whole, fraction = divmod(round(max(0.0, seconds) * unit), unit)
    minutes, second = divmod(whole, 60)
    tail = f"{second:02d}{point}{fraction:0{digits}d}"
    if digits == 2 or (not hours and minutes < 60):
        return f"{minutes:02d}:{tail}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{tail}"
