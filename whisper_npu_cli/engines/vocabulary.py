"""tokenizer.json: the tokens that Whisper's decoding relies on, and the list CTranslate2 needs."""

from __future__ import annotations

from pathlib import Path

import tokenizers

from whisper_npu_cli.errors import ModelError

REQUIRED = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)
"""Every Whisper vocabulary has these, English-only ones too (openai/whisper, tokenizer.py)."""
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
"""The two names of one token."""
TIMESTAMPS = 1501
"""Timestamp tokens <|0.00|> to <|30.00|> in steps of 0.02 s, the last of the vocabulary."""


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Read `folder`/tokenizer.json, or raise ModelError: missing, damaged or not Whisper's."""
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ModelError(f"{path} is missing: download the model again to complete it.")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception:  # tokenizers raises bare Exception
        raise ModelError(f"{path} is damaged: remove it and download it again.") from None
    missing = [token for token in REQUIRED if tokenizer.token_to_id(token) is None]
    if all(tokenizer.token_to_id(token) is None for token in NO_SPEECH):
        missing.append(NO_SPEECH[0])
    if missing:
        raise ModelError(
            f"{path} is not a Whisper tokenizer (no {missing[0]}): use the one of this model."
        )
    return tokenizer


def vocabulary(folder: Path, size: int) -> list[str]:
    """Return the `size` tokens of the model in `folder`, in the order of their ids.

    Timestamp tokens, which older tokenizer.json files leave out, are added at the end. Raise
    ModelError when tokenizer.json and a vocabulary of `size` cannot belong together.
    """
    tokenizer = load_tokenizer(folder)
    first_timestamp = _id(tokenizer, "<|notimestamps|>") + 1
    if first_timestamp + TIMESTAMPS > size:
        raise ModelError(
            f"{folder / 'tokenizer.json'} does not belong to this model, whose vocabulary has "
            f"{size} tokens: remove the folder and download it again."
        )
    tokens = [f"<|unused{i}|>" for i in range(size)]
    for i in range(TIMESTAMPS):
        tokens[first_timestamp + i] = f"<|{i * 0.02:.2f}|>"
    for token, i in tokenizer.get_vocab(with_added_tokens=True).items():
        if i < size:
            tokens[i] = token
    return tokens


def language_ids(folder: Path) -> list[int]:
    """Return the ids of the language tokens, which stand between two fixed tokens."""
    tokenizer = load_tokenizer(folder)
    first = _id(tokenizer, "<|startoftranscript|>") + 1
    return list(range(first, _id(tokenizer, "<|translate|>")))


def _id(tokenizer: tokenizers.Tokenizer, token: str) -> int:
    """Return the id of a token that `load_tokenizer` has made sure of."""
    found = tokenizer.token_to_id(token)
    assert found is not None, token
    return found
