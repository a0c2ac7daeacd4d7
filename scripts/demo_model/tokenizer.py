"""The demo model's tokenizer: byte-level BPE over our sentences plus Whisper's special tokens.

Order and names of the special tokens are those of openai/whisper's English-only tokenizers.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from sentences import sentences

TEXT_TOKENS = 1000
SPECIALS = [
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>",
    "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
]  # fmt: skip
TIMESTAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def build() -> Tokenizer:
    """Train the merges; the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (" " + text for text in islice(sentences("tokenizer"), 30000))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIALS])
    # timestamps are not "special" in Hugging Face's Whisper tokenizers either
    tokenizer.add_tokens([AddedToken(t, special=False) for t in TIMESTAMPS])
    return tokenizer


def load(path: Path) -> Tokenizer:
    """Read `path`, or build and store it there first."""
    if not path.exists():
        build().save(str(path))
    return Tokenizer.from_file(str(path))
