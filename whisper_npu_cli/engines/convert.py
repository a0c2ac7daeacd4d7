"""Hugging Face checkpoint to CTranslate2 folder, once, into the cache; without torch.

The cache holds one folder for each (content, precision).
"""

from __future__ import annotations

import hashlib
import math
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ctranslate2.specs import WhisperSpec, model_spec

from whisper_npu_cli.cache import CACHE_VARIABLE, appearing, cache_root
from whisper_npu_cli.engines.checkpoint import EMBEDDING, PROJECTION, Checkpoint
from whisper_npu_cli.engines.identity import identity
from whisper_npu_cli.engines.json_file import read_json, read_optional_json
from whisper_npu_cli.engines.vocabulary import language_ids, vocabulary
from whisper_npu_cli.errors import ModelError

CONVERSION_VERSION = 1
"""Part of the key; raise it when the converted files change."""
STORED_TYPES = ("float32", "float16", "int8")

_COPIED_FILES = ("tokenizer.json", "preprocessor_config.json")


def conversions() -> Path:
    """Return the folder that holds the converted models."""
    return cache_root() / "ct2"


def converted(folder: Path, stored: str | None = None) -> Path:
    """Return the CTranslate2 folder made from the checkpoint in `folder`, making it if need be.

    `stored` is a name in STORED_TYPES; None keeps the checkpoint's own precision (bfloat16 as
    float32). Raises ModelError when the checkpoint is unusable or the cache cannot be written.
    """
    checkpoint = Checkpoint(folder)
    stored = stored or ("float16" if checkpoint.is_half else "float32")
    target = conversions() / _key(checkpoint, stored)
    if target.exists():
        return target
    spec = _specification(checkpoint, stored)
    try:
        with appearing(target, folder) as part:
            spec.save(str(part))
            for name in _COPIED_FILES:
                if (folder / name).exists():
                    shutil.copyfile(folder / name, part / name)
    except OSError as error:
        raise ModelError(
            f"The converted model cannot be written to {conversions()} ({error.strerror}): free "
            f"some space or set {CACHE_VARIABLE} to a folder on another disk."
        ) from None
    return target


def _key(checkpoint: Checkpoint, stored: str) -> str:
    said = f"{CONVERSION_VERSION} {stored} {identity(checkpoint)}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


class _Lazy(model_spec.Variable):
    """A variable that is read from the checkpoint only when it is written.

    Several tensors are joined along their first axis; a tensor that the checkpoint lacks is the
    bias that Whisper's keys do not have, zeros of length d_model.
    """

    def __init__(self, checkpoint: Checkpoint, names: tuple[str, ...], dtype: str) -> None:
        self._checkpoint = checkpoint
        self._names = names
        self._dtype = dtype
        shapes = [self._part_shape(name) for name in names]
        self._shape = [sum(shape[0] for shape in shapes), *shapes[0][1:]]

    @property
    def shape(self) -> list[int]:
        return self._shape

    @property
    def dtype(self) -> str:
        return self._dtype

    def numpy(self) -> npt.NDArray[Any]:
        parts = [self._part(name) for name in self._names]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return joined.astype(self._dtype, copy=False)

    def num_bytes(self) -> int:
        return math.prod(self._shape) * np.dtype(self._dtype).itemsize

    def to_bytes(self) -> memoryview:
        return self.numpy().data.cast("B")  # written to the file without another copy

    def _to(self, dtype: str) -> _Lazy:
        return _Lazy(self._checkpoint, self._names, dtype)

    def _equal(self, other: _Lazy) -> bool:
        return self._names == other._names

    def _part_shape(self, name: str) -> tuple[int, ...]:
        if name in self._checkpoint:
            return self._checkpoint.shape(name)
        return (self._checkpoint.geometry.d_model,)

    def _part(self, name: str) -> npt.NDArray[np.float32]:
        if name in self._checkpoint:
            return self._checkpoint.tensor(name)
        return np.zeros(self._part_shape(name), np.float32)


def _specification(checkpoint: Checkpoint, stored: str) -> WhisperSpec:
    """Describe the checkpoint in CTranslate2's terms, ready to save."""
    sizes = checkpoint.geometry
    spec = WhisperSpec(
        sizes.encoder_layers, sizes.encoder_heads, sizes.decoder_layers, sizes.decoder_heads
    )
    fill = _Filler(checkpoint)
    fill.linear(spec.encoder.conv1, "model.encoder.conv1")
    fill.linear(spec.encoder.conv2, "model.encoder.conv2")
    fill.side(spec.encoder, "model.encoder")
    fill.side(spec.decoder, "model.decoder")
    spec.decoder.embeddings.weight = fill.variable(EMBEDDING)
    spec.decoder.projection.weight = fill.variable(_projection(checkpoint))
    spec.register_vocabulary(vocabulary(checkpoint.folder, sizes.vocab_size))
    _configure(spec.config, checkpoint)
    spec.validate()
    spec.optimize(quantization="int8_float32" if stored == "int8" else stored)
    return spec


def _projection(checkpoint: Checkpoint) -> str:
    """Return the tensor of the output layer: the embedding, unless a different one is stored."""
    if PROJECTION not in checkpoint:
        return EMBEDDING
    tied = np.array_equal(checkpoint.tensor(PROJECTION), checkpoint.tensor(EMBEDDING))
    return EMBEDDING if tied else PROJECTION


def _configure(config: Any, checkpoint: Checkpoint) -> None:
    """Set suppressed tokens, languages and alignment heads, as CTranslate2's converter does."""
    folder, sizes = checkpoint.folder, checkpoint.geometry
    saved = read_json(folder / "config.json")
    saved |= read_optional_json(folder / "generation_config.json")
    config.suppress_ids = saved.get("suppress_tokens") or []
    config.suppress_ids_begin = saved.get("begin_suppress_tokens") or []
    languages = saved.get("lang_to_id")
    config.lang_ids = sorted(languages.values()) if languages else language_ids(folder)
    last_half = range(sizes.decoder_layers // 2, sizes.decoder_layers)
    config.alignment_heads = saved.get("alignment_heads") or [
        list(head) for head in product(last_half, range(sizes.decoder_heads))
    ]


class _Filler:
    """Puts a checkpoint's tensors into the places of a CTranslate2 specification."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    def variable(self, *names: str) -> _Lazy:
        """One variable, or several joined."""
        return _Lazy(self._checkpoint, names, "float32")

    def linear(self, spec: Any, *scopes: str) -> None:
        """A linear or convolution layer, or several with the same input joined into one."""
        spec.weight = self.variable(*(f"{scope}.weight" for scope in scopes))
        spec.bias = self.variable(*(f"{scope}.bias" for scope in scopes))

    def norm(self, spec: Any, scope: str) -> None:
        """A layer normalisation."""
        spec.gamma = self.variable(f"{scope}.weight")
        spec.beta = self.variable(f"{scope}.bias")

    def side(self, spec: Any, scope: str) -> None:
        """What encoder and decoder share: positions, final normalisation, layers."""
        spec.position_encodings.encodings = self.variable(f"{scope}.embed_positions.weight")
        self.norm(spec.layer_norm, f"{scope}.layer_norm")
        for i, layer in enumerate(spec.layer):
            self.layer(layer, f"{scope}.layers.{i}")

    def layer(self, spec: Any, scope: str) -> None:
        """One transformer layer; queries, keys and values are joined as CTranslate2 wants."""
        own = [f"{scope}.self_attn.{part}_proj" for part in "qkv"]
        self.linear(spec.self_attention.linear[0], *own)
        self.linear(spec.self_attention.linear[1], f"{scope}.self_attn.out_proj")
        self.norm(spec.self_attention.layer_norm, f"{scope}.self_attn_layer_norm")
        if hasattr(spec, "attention"):
            query, *memory = (f"{scope}.encoder_attn.{part}_proj" for part in "qkv")
            self.linear(spec.attention.linear[0], query)
            self.linear(spec.attention.linear[1], *memory)
            self.linear(spec.attention.linear[2], f"{scope}.encoder_attn.out_proj")
            self.norm(spec.attention.layer_norm, f"{scope}.encoder_attn_layer_norm")
        self.linear(spec.ffn.linear_0, f"{scope}.fc1")
        self.linear(spec.ffn.linear_1, f"{scope}.fc2")
        self.norm(spec.ffn.layer_norm, f"{scope}.final_layer_norm")
