"""Deterministic random checkpoints in Hugging Face's form, and inputs for them.

The same functions feed scripts/make_reference.py, which runs them through transformers, and the
tests, which run them through our conversion; so neither weights nor inputs are committed.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from whisper_npu_cli.engines.checkpoint import expected
from whisper_npu_cli.engines.geometry import Geometry

_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th "
    "ur hr bg lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr "
    "pa si km sn yo so af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt "
    "haw ln ha ba jw su yue"
)
LANGUAGES = _LANGUAGES.split()
"""openai/whisper's languages in the order of their tokens; the last came with large-v3."""
WHISPER_TEXT_TOKENS = 50257
"""Text tokens of the multilingual vocabulary."""
MERGES = [("h", "e"), ("Ġ", "t"), ("Ġt", "he"), ("i", "n"), ("e", "r"), ("Ġ", "a")]


@dataclass(frozen=True)
class Recipe:
    """One random checkpoint; `text_tokens` is the size of the vocabulary before the specials.

    Multilingual ones have Whisper's own number of text tokens, the last of them empty: that is how
    CTranslate2 knows them (51865 tokens or more in versions before 4.8, the empty token since).
    """

    name: str
    d_model: int = 64
    encoder: tuple[int, int] = (2, 2)  # layers, heads
    decoder: tuple[int, int] = (2, 2)
    ffn: int = 128
    n_mels: int = 80
    text_tokens: int = 300
    languages: int = 99
    dtype: str = "float32"
    shards: int = 1
    timestamps_in_tokenizer: bool = True
    seed: int = 0

    @property
    def geometry(self) -> Geometry:
        """The sizes that config.json states."""
        return Geometry(
            d_model=self.d_model,
            encoder_layers=self.encoder[0],
            encoder_heads=self.encoder[1],
            encoder_ffn=self.ffn,
            decoder_layers=self.decoder[0],
            decoder_heads=self.decoder[1],
            decoder_ffn=self.ffn * 2,
            n_mels=self.n_mels,
            vocab_size=self.text_tokens + len(special_tokens(self.languages)) + 1501,
        )

    @property
    def multilingual(self) -> bool:
        """Whether this imitates a multilingual Whisper."""
        return self.text_tokens == WHISPER_TEXT_TOKENS

    @property
    def end_of_text(self) -> int:
        """Id of <|endoftext|>, the first special token."""
        return self.text_tokens


ENGLISH = Recipe("english", d_model=96, decoder=(2, 3), ffn=192, seed=3)
MULTILINGUAL = Recipe(
    "multilingual",
    encoder=(3, 4),
    decoder=(1, 4),
    text_tokens=WHISPER_TEXT_TOKENS,
    dtype="float16",
    timestamps_in_tokenizer=False,
    seed=3,
)
LARGE_V3_LIKE = Recipe(
    "large_v3_like",
    d_model=128,
    encoder=(1, 2),
    decoder=(3, 2),
    n_mels=128,
    text_tokens=WHISPER_TEXT_TOKENS,
    languages=100,
    dtype="bfloat16",
    shards=3,
    seed=5,
)
REFERENCED = (ENGLISH, MULTILINGUAL, LARGE_V3_LIKE)
TINY = Recipe("tiny", d_model=32, encoder=(1, 1), decoder=(1, 1), ffn=32)
"""For tests of files and faults, where the numbers do not matter."""


def special_tokens(languages: int) -> list[str]:
    """All special tokens but the timestamps, in the order of their ids."""
    return [
        "<|endoftext|>",
        "<|startoftranscript|>",
        *(f"<|{language}|>" for language in LANGUAGES[:languages]),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]


def random_checkpoint(folder: Path, recipe: Recipe = TINY, **changes: Any) -> Path:
    """Write the checkpoint of `recipe` (with `changes`) into `folder` and return it."""
    recipe = replace(recipe, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", _config(recipe))
    _write_json(folder / "generation_config.json", _generation_config(recipe))
    _write_json(
        folder / "preprocessor_config.json",
        {
            "chunk_length": 30,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": recipe.n_mels,
            "hop_length": 160,
            "n_fft": 400,
            "n_samples": 480000,
            "nb_max_frames": 3000,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": 16000,
        },
    )
    build_tokenizer(recipe).save(str(folder / "tokenizer.json"))
    save_weights(folder, random_weights(recipe), recipe.dtype, recipe.shards)
    return folder


def random_weights(recipe: Recipe) -> dict[str, np.ndarray]:
    """Float32 weights whose activations keep a scale of about 1 and whose attention is uneven."""
    rng = np.random.default_rng(recipe.seed)
    return {name: _random(rng, name, shape) for name, shape in expected(recipe.geometry)}


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("norm.weight"):
        return 1 + 0.1 * values
    if name.endswith(".bias"):
        return 0.1 * values
    if "embed" in name:
        return (1.0 if name == "model.decoder.embed_positions.weight" else 0.4) * values
    scale = 1 / math.sqrt(math.prod(shape[1:]))
    if "encoder_attn" in name:  # else the text would hardly depend on the sound
        scale *= 2.5
    return (scale * values).astype(np.float32)


def save_weights(
    folder: Path, weights: dict[str, np.ndarray], dtype: str = "float32", shards: int = 1
) -> None:
    """Write safetensors files of `dtype`, in one piece or `shards` with an index."""
    if shards == 1:
        _save(weights, folder / "model.safetensors", dtype)
        return
    names = sorted(weights)
    index = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        _save({name: weights[name] for name in part}, folder / file, dtype)
        index |= dict.fromkeys(part, file)
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": index})


def _save(weights: dict[str, np.ndarray], path: Path, dtype: str) -> None:
    if dtype != "bfloat16":
        save_file({name: values.astype(dtype) for name, values in weights.items()}, path)
        return
    header: dict[str, Any] = {}  # by hand: safetensors' numpy interface has no bfloat16
    data = b""
    for name, values in weights.items():
        bits = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        offsets = [len(data), len(data) + len(bits)]
        header[name] = {"dtype": "BF16", "shape": values.shape, "data_offsets": offsets}
        data += bits
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def build_tokenizer(recipe: Recipe) -> Tokenizer:
    """A byte-level BPE with a few merges, filled up to `text_tokens`, and Whisper's specials."""
    words = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(pair) for pair in MERGES]
    words += [f"~{i}" for i in range(recipe.text_tokens - len(words))]
    if recipe.multilingual:
        words[-1] = ""
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token in special_tokens(recipe.languages)]
    )
    if recipe.timestamps_in_tokenizer:
        tokenizer.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>") for i in range(1501)])
    return tokenizer


def _config(recipe: Recipe) -> dict[str, Any]:
    sizes = recipe.geometry
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "activation_function": "gelu",
        "d_model": sizes.d_model,
        "encoder_layers": sizes.encoder_layers,
        "encoder_attention_heads": sizes.encoder_heads,
        "encoder_ffn_dim": sizes.encoder_ffn,
        "decoder_layers": sizes.decoder_layers,
        "decoder_attention_heads": sizes.decoder_heads,
        "decoder_ffn_dim": sizes.decoder_ffn,
        "num_mel_bins": sizes.n_mels,
        "vocab_size": sizes.vocab_size,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "bos_token_id": recipe.end_of_text,
        "eos_token_id": recipe.end_of_text,
        "pad_token_id": recipe.end_of_text,
        "decoder_start_token_id": recipe.end_of_text + 1,
    }


def suppressed(recipe: Recipe) -> list[int]:
    """Tokens never to be generated: some text, and every special but <|endoftext|>."""
    first = recipe.end_of_text + 1
    return [1, 2, 7, *range(first, first + recipe.languages + 7)]


def _generation_config(recipe: Recipe) -> dict[str, Any]:
    sizes = recipe.geometry
    last = sizes.decoder_layers - 1
    config = {
        "suppress_tokens": suppressed(recipe),
        "begin_suppress_tokens": [220, recipe.end_of_text],
        "alignment_heads": [[last, head] for head in range(sizes.decoder_heads)],
        "decoder_start_token_id": recipe.end_of_text + 1,
        "eos_token_id": recipe.end_of_text,
        "pad_token_id": recipe.end_of_text,
    }
    if recipe.multilingual:
        config["lang_to_id"] = {
            f"<|{language}|>": recipe.end_of_text + 2 + i
            for i, language in enumerate(LANGUAGES[: recipe.languages])
        }
    return config


def prompt(recipe: Recipe) -> list[int]:
    """The prompt for text without timestamps; English and transcribe where there is a choice."""
    start = recipe.end_of_text + 1
    task = [start + 1, start + recipe.languages + 2] if recipe.multilingual else []
    return [start, *task, start + recipe.languages + 6]


def random_features(n_mels: int, seed: int) -> np.ndarray:
    """Log-mel-like float32 [1, n_mels, 3000]: smooth in time, in the range of real ones."""
    noise = np.random.default_rng(seed).standard_normal((1, n_mels, 3040), dtype=np.float32)
    sums = np.cumsum(noise, axis=-1)
    smooth = (sums[..., 40:] - sums[..., :-40]) / math.sqrt(40)
    return np.ascontiguousarray(np.clip(smooth, -1, 1.5), dtype=np.float32)


def waveform(samples: int, seed: int = 0) -> np.ndarray:
    """Float32 samples at 16 kHz with sweeps, clicks and noise, between -1 and 1."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 16000
    sweep = 0.4 * np.sin(2 * np.pi * (100 + 300 * t) * t) * (np.sin(2 * np.pi * 0.7 * t) > 0)
    noise = 0.02 * rng.standard_normal(samples)
    clicks = np.where(rng.random(samples) < 1e-4, 0.5, 0.0)
    return (sweep + noise + clicks).astype(np.float32)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
