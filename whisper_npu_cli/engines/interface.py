"""The seam at which an engine plugs in.

It is where faster-whisper's inner `ctranslate2.models.Whisper` stands.

The long-form logic above it (windows, prompts, temperature fallback, word timing) is
faster-whisper's and the same for every engine.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Core(Protocol):
    """Encoder and decoder of one loaded Whisper checkpoint.

    Tensors are `ctranslate2.StorageView`; a StorageView shares memory with a C-contiguous numpy
    array of the same dtype. `d` is the model width, `n_mels` 80 or 128.
    """

    @property
    def device(self) -> str:
        """Where CTranslate2 keeps its tensors, always "cpu" here."""

    @property
    def device_index(self) -> list[int]:
        """CTranslate2's device numbers, [0]."""

    @property
    def is_multilingual(self) -> bool:
        """Whether the vocabulary has language and task tokens."""

    @property
    def n_mels(self) -> int:
        """Mel channels that `encode` expects."""

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """Log-mel float32 [batch, n_mels, 3000] to hidden states float32 [batch, 1500, d]."""

    def generate(self, features: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        """Decode token ids after each prompt from `encode`'s output [batch, 1500, d].

        Options and results are those of `ctranslate2.models.Whisper.generate`: each result has
        `sequences_ids` list[list[int]], `scores` list[float] and `no_speech_prob` float.
        """

    def detect_language(self, features: Any) -> list[list[tuple[str, float]]]:
        """For each batch entry, (language token such as "<|en|>", probability), best first."""

    def align(
        self,
        features: Any,
        start_sequence: list[int],
        text_tokens: list[list[int]],
        num_frames: int | list[int],
        *,
        median_filter_width: int = 7,
    ) -> list[Any]:
        """Align text tokens with encoder positions, for word times.

        Each result has `alignments` list[(token index, position)] and `text_token_probs`.
        """


class Around:
    """A Core that leaves everything to another Core; a start for those that change some of it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def device(self) -> str:
        """See Core."""
        return self._core.device

    @property
    def device_index(self) -> list[int]:
        """See Core."""
        return self._core.device_index

    @property
    def is_multilingual(self) -> bool:
        """See Core."""
        return self._core.is_multilingual

    @property
    def n_mels(self) -> int:
        """See Core."""
        return self._core.n_mels

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        """See Core."""
        return self._core.encode(features, to_cpu=to_cpu)

    def generate(self, features: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        """See Core."""
        return self._core.generate(features, prompts, **options)

    def detect_language(self, features: Any) -> list[list[tuple[str, float]]]:
        """See Core."""
        return self._core.detect_language(features)

    def align(self, *operands: Any, **options: Any) -> list[Any]:
        """See Core."""
        return self._core.align(*operands, **options)
