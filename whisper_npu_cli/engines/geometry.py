"""The sizes of a Whisper checkpoint, from its config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.engines.json_file import read_json
from whisper_npu_cli.errors import ModelError

SOURCE_POSITIONS = 1500
"""Encoder positions of a 30 s window: 3000 mel frames, halved by the second convolution."""
TARGET_POSITIONS = 448
"""Decoder positions; the long-form logic relies on this number."""
MEL_CHANNELS = (80, 128)
"""Mel channels that Whisper models have: 128 since large-v3."""

_HUGGING_FACE_DEFAULTS = {
    "num_mel_bins": 80,
    "max_source_positions": SOURCE_POSITIONS,
    "max_target_positions": TARGET_POSITIONS,
}
"""Defaults of transformers' WhisperConfig, for keys that old checkpoints leave out."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of one checkpoint; `*_ffn` are the inner widths of the feed-forward layers."""

    d_model: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn: int
    n_mels: int
    vocab_size: int

    @classmethod
    def read(cls, folder: Path) -> Geometry:
        """Read `folder`/config.json. Raise ModelError when it is not a Whisper we can run."""
        path = folder / "config.json"
        return _from_config(read_json(path), path)

    @property
    def encoder_macs(self) -> int:
        """Multiply-accumulates that a window of the encoder needs."""
        d, rows = self.d_model, SOURCE_POSITIONS
        convolutions = 3 * d * (2 * rows * self.n_mels + rows * d)
        layer = rows * (4 * d * d + 2 * d * self.encoder_ffn) + 2 * rows * rows * d
        return convolutions + self.encoder_layers * layer


def _published(d: int, layers: int, heads: int, n_mels: int = 80, decoder: int = 0) -> Geometry:
    vocabulary = {80: 51865, 128: 51866}[n_mels]
    sizes = (d, layers, heads, 4 * d, decoder or layers, heads, 4 * d)
    return Geometry(*sizes, n_mels, vocabulary)


PUBLISHED = {
    "tiny": _published(384, 4, 6),
    "base": _published(512, 6, 8),
    "small": _published(768, 12, 12),
    "medium": _published(1024, 24, 16),
    "large-v2": _published(1280, 32, 20),
    "large-v3": _published(1280, 32, 20, 128),
    "large-v3-turbo": _published(1280, 32, 20, 128, 4),
}
"""Sizes of OpenAI's multilingual models (the model card of openai/whisper)."""


def _from_config(config: dict[str, Any], path: Path) -> Geometry:
    if config.get("model_type") != "whisper":
        kind = config.get("model_type", "nothing we know")
        raise ModelError(f"{path} describes {kind}, not a Whisper model: choose another model.")
    sizes = Geometry(
        d_model=_size(config, "d_model", path),
        encoder_layers=_size(config, "encoder_layers", path),
        encoder_heads=_size(config, "encoder_attention_heads", path),
        encoder_ffn=_size(config, "encoder_ffn_dim", path),
        decoder_layers=_size(config, "decoder_layers", path),
        decoder_heads=_size(config, "decoder_attention_heads", path),
        decoder_ffn=_size(config, "decoder_ffn_dim", path),
        n_mels=_size(config, "num_mel_bins", path),
        vocab_size=_size(config, "vocab_size", path),
    )
    _check_heads(sizes, path)
    if sizes.n_mels not in MEL_CHANNELS:
        raise ModelError(f"{path} asks for {sizes.n_mels} mel channels: Whisper has 80 or 128.")
    _expect(config, "max_source_positions", SOURCE_POSITIONS, path)
    _expect(config, "max_target_positions", TARGET_POSITIONS, path)
    if config.get("activation_function", "gelu") != "gelu":
        raise ModelError(f"{path} asks for another activation than Whisper's gelu: not supported.")
    return sizes


def _size(config: dict[str, Any], key: str, path: Path) -> int:
    value = config.get(key, _HUGGING_FACE_DEFAULTS.get(key))
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(
            f"{path} has no usable {key} ({value!r}): remove the folder and download it again."
        )
    return value


def _expect(config: dict[str, Any], key: str, wanted: int, path: Path) -> None:
    value = _size(config, key, path)
    if value != wanted:
        raise ModelError(f"{path} has {key} {value}; only Whisper's own {wanted} is supported.")


def _check_heads(sizes: Geometry, path: Path) -> None:
    for side, heads in (("encoder", sizes.encoder_heads), ("decoder", sizes.decoder_heads)):
        if sizes.d_model % heads:
            raise ModelError(
                f"{path} cannot be right: {heads} {side} heads do not divide d_model "
                f"{sizes.d_model}; remove the folder and download it again."
            )
