"""What silicon would punish stops the emulator."""

from __future__ import annotations

from whisper_npu_cli.errors import WhisperNpuError


class EmulationError(WhisperNpuError):
    """A design did what the NPU would not do; the sentence names tile, place and numbers."""
