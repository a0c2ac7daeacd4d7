"""Speech to text on the AMD Phoenix NPU, with a CPU engine for every other machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisper_npu_cli.pipeline.options import Options
    from whisper_npu_cli.pipeline.results import Result, Segment, Timings, Word
    from whisper_npu_cli.pipeline.transcriber import Transcriber

__version__ = "0.1.0"
__all__ = ["Options", "Result", "Segment", "Timings", "Transcriber", "Word", "__version__"]

_HOMES = {
    "Options": "options",
    "Result": "results",
    "Segment": "results",
    "Timings": "results",
    "Transcriber": "transcriber",
    "Word": "results",
}


def __getattr__(name: str) -> Any:
    """Load the public names on first use, so that `whisper-npu --help` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"whisper_npu_cli.pipeline.{_HOMES[name]}"), name)
