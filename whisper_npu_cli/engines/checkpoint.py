"""A Hugging Face Whisper folder as named numpy arrays, one tensor in memory at a time."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from whisper_npu_cli.engines.geometry import SOURCE_POSITIONS, TARGET_POSITIONS, Geometry
from whisper_npu_cli.engines.json_file import read_json
from whisper_npu_cli.errors import ModelError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PROJECTION = "proj_out.weight"
EMBEDDING = "model.decoder.embed_tokens.weight"

_STORED_AS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
"""safetensors' names of the types that we read; numpy has no bfloat16, so its bits are widened."""


@dataclass(frozen=True)
class _Entry:
    """Where one tensor lies; `offset` in bytes from the start of the file."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    kind: str


class Checkpoint:
    """Weights of one folder, checked against its config.json when it is opened.

    Raises ModelError when a file is missing, damaged or truncated, or when a tensor is missing
    or has another shape than config.json says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.geometry = Geometry.read(folder)
        self.files = weight_files(folder)
        self._entries = {name: entry for file in self.files for name, entry in _entries(file)}
        self._verify()

    @property
    def is_half(self) -> bool:
        """Whether every weight is float16, so that a float16 copy loses nothing."""
        return all(self._entries[name].kind == "F16" for name, _ in expected(self.geometry))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the tensor `name`."""
        return self._entries[name].shape

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """Read the tensor `name` from disk: a fresh C-contiguous float32 array."""
        entry = self._entries[name]
        count = int(np.prod(entry.shape))
        raw = np.fromfile(entry.path, _STORED_AS[entry.kind], count, offset=entry.offset)
        if entry.kind == "BF16":
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False).reshape(entry.shape)

    def _verify(self) -> None:
        for name, shape in expected(self.geometry):
            self._verify_tensor(name, shape)
        if PROJECTION in self:  # usually left out: it is the embedding once more
            self._verify_tensor(PROJECTION, self.shape(EMBEDDING))

    def _verify_tensor(self, name: str, shape: tuple[int, ...]) -> None:
        entry = self._entries.get(name)
        if entry is None:
            raise ModelError(
                f"{self.folder} lacks the tensor {name}: its config.json belongs to another "
                "checkpoint or a file is missing; remove the folder and download it again."
            )
        if entry.shape != shape:
            raise ModelError(
                f"{entry.path} disagrees with config.json: {name} has shape {entry.shape}, not "
                f"{shape}; remove the folder and download it again."
            )
        if entry.kind not in _STORED_AS:
            raise ModelError(
                f"{entry.path} stores {name} as {entry.kind}: use a float32, float16 or bfloat16 "
                "checkpoint."
            )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of `folder`. Raise ModelError when one is missing."""
    if (folder / SINGLE_FILE).exists():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).exists():
        raise ModelError(
            f"{folder} holds no {SINGLE_FILE}: use a model in safetensors or CTranslate2 format."
        )
    shards = read_json(folder / INDEX_FILE).get("weight_map")
    if not isinstance(shards, dict) or not all(_is_plain_name(name) for name in shards.values()):
        raise ModelError(f"{folder / INDEX_FILE} is damaged: remove it and download it again.")
    files = [folder / name for name in sorted(set(shards.values()))]
    for file in files:
        if not file.exists():
            raise ModelError(f"{file} is missing: download the model again to complete it.")
    return files


def _is_plain_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name


def _entries(path: Path) -> Iterator[tuple[str, _Entry]]:
    """List the tensors of one safetensors file (format: 8-byte length, JSON header, data)."""
    try:
        with safe_open(path, framework="np"):  # refuses bad headers, overlaps, short files
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except SafetensorError as error:
        raise ModelError(
            f"{path} is damaged or cut short ({error}): remove it and download it again."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error}).") from None
    for name, tensor in header.items():
        if name != "__metadata__":
            start = 8 + length + tensor["data_offsets"][0]
            yield name, _Entry(path, start, tuple(tensor["shape"]), tensor["dtype"])


def expected(sizes: Geometry) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield (name, shape) of every tensor that a checkpoint of these sizes must hold."""
    d = sizes.d_model
    yield "model.encoder.conv1.weight", (d, sizes.n_mels, 3)
    yield "model.encoder.conv1.bias", (d,)
    yield "model.encoder.conv2.weight", (d, d, 3)
    yield "model.encoder.conv2.bias", (d,)
    yield "model.encoder.embed_positions.weight", (SOURCE_POSITIONS, d)
    yield EMBEDDING, (sizes.vocab_size, d)
    yield "model.decoder.embed_positions.weight", (TARGET_POSITIONS, d)
    for side, layers, ffn in (
        ("encoder", sizes.encoder_layers, sizes.encoder_ffn),
        ("decoder", sizes.decoder_layers, sizes.decoder_ffn),
    ):
        yield from _norm(f"model.{side}.layer_norm", d)
        for layer in range(layers):
            yield from _layer(f"model.{side}.layers.{layer}", d, ffn, side == "decoder")


def _layer(scope: str, d: int, ffn: int, cross: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    for attention in ("self_attn", "encoder_attn") if cross else ("self_attn",):
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield f"{scope}.{attention}.{part}.weight", (d, d)
            if part != "k_proj":  # Whisper's keys have no bias
                yield f"{scope}.{attention}.{part}.bias", (d,)
        yield from _norm(f"{scope}.{attention}_layer_norm", d)
    yield f"{scope}.fc1.weight", (ffn, d)
    yield f"{scope}.fc1.bias", (ffn,)
    yield f"{scope}.fc2.weight", (d, ffn)
    yield f"{scope}.fc2.bias", (d,)
    yield from _norm(f"{scope}.final_layer_norm", d)


def _norm(scope: str, d: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{scope}.weight", (d,)
    yield f"{scope}.bias", (d,)
