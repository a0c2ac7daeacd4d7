"""Write trained weights as a standard Hugging Face Whisper folder, in float16."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from features import HOP, N_FFT, N_MELS, RATE
from model import D_MODEL, DECODER_LAYERS, ENCODER_LAYERS, FFN, HEADS, MAX_TOKENS, POSITIONS


def configuration(tokenizer: Tokenizer) -> dict[str, dict]:
    """The JSON files, by name."""
    ids = tokenizer.token_to_id
    eot, sot = ids("<|endoftext|>"), ids("<|startoftranscript|>")
    common = {
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": eot,
        "decoder_start_token_id": sot,
        "begin_suppress_tokens": [ids("Ġ"), eot],
        # decoders may not write special tokens as text; <|endoftext|> ends the text
        "suppress_tokens": list(range(sot, ids("<|notimestamps|>"))),
    }
    config = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "d_model": D_MODEL,
        "encoder_layers": ENCODER_LAYERS,
        "encoder_attention_heads": HEADS,
        "encoder_ffn_dim": FFN,
        "decoder_layers": DECODER_LAYERS,
        "decoder_attention_heads": HEADS,
        "decoder_ffn_dim": FFN,
        "num_mel_bins": N_MELS,
        "max_source_positions": POSITIONS,
        "max_target_positions": MAX_TOKENS,
        "max_length": MAX_TOKENS,
        "vocab_size": tokenizer.get_vocab_size(),
        "activation_function": "gelu",
        "scale_embedding": False,
        "is_encoder_decoder": True,
        "torch_dtype": "float16",
    } | {k: v for k, v in common.items() if not k.endswith("suppress_tokens")}
    generation = common | {
        "is_multilingual": False,
        "max_initial_timestamp_index": 50,
        "max_length": MAX_TOKENS,
        "no_timestamps_token_id": ids("<|notimestamps|>"),
        "prev_sot_token_id": ids("<|startofprev|>"),
        "return_timestamps": False,
        # every head of the last decoder layer
        "alignment_heads": [[DECODER_LAYERS - 1, head] for head in range(HEADS)],
    }
    preprocessor = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": N_MELS,
        "sampling_rate": RATE,
        "hop_length": HOP,
        "n_fft": N_FFT,
        "chunk_length": 30,
        "n_samples": 30 * RATE,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
    }
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    tokenizer_config = special | {
        "tokenizer_class": "WhisperTokenizer",
        "processor_class": "WhisperProcessor",
        "add_prefix_space": False,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    return {
        "config.json": config,
        "generation_config.json": generation,
        "preprocessor_config.json": preprocessor,
        "tokenizer_config.json": tokenizer_config,
    }


def export(weights: dict[str, Tensor], tokenizer: Tokenizer, out: Path) -> None:
    """Write the folder; the CTC head stays behind."""
    out.mkdir(parents=True, exist_ok=True)
    half = {
        name: value.detach().cpu().to(torch.float16).contiguous()
        for name, value in weights.items()
        if not name.startswith("ctc.")
    }
    save_file(half, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    for name, content in configuration(tokenizer).items():
        (out / name).write_text(json.dumps(content, indent=1) + "\n")
