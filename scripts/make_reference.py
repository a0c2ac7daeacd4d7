"""Make tests/data/reference/*.npz: what transformers says of the random checkpoints and of mel.

Needs the `train` extra. Run from the repository's root:
PYTHONPATH=.:tests python scripts/make_reference.py

Takes a minute; the files change only when tests/checkpoints.py or transformers' numbers do.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from checkpoints import (
    REFERENCED,
    Recipe,
    prompt,
    random_checkpoint,
    random_features,
    suppressed,
    waveform,
)

TARGET = Path(__file__).parents[1] / "tests" / "data" / "reference"
INPUT_SEEDS = (10, 11)
NEW_TOKENS = 20
SMALLEST_MARGIN = 1e-2
"""Least distance of the best logit from the next: float32 rounding must not decide a token."""


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    for recipe in REFERENCED:
        np.savez_compressed(TARGET / f"{recipe.name}.npz", **model_reference(recipe))
    np.savez_compressed(TARGET / "mel.npz", **mel_reference())


@torch.no_grad()
def model_reference(recipe: Recipe) -> dict[str, np.ndarray]:
    """Encoder output at every 50th position, greedy tokens, and two probabilities."""
    with tempfile.TemporaryDirectory() as folder:
        random_checkpoint(Path(folder), recipe)
        model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    model.eval()
    features = np.concatenate([random_features(recipe.n_mels, seed) for seed in INPUT_SEEDS])
    hidden = model.model.encoder(torch.from_numpy(features)).last_hidden_state
    tokens = [greedy(model, hidden[i : i + 1], recipe) for i in range(len(INPUT_SEEDS))]
    if tokens[0] == tokens[1] or len(set(tokens[0])) < 5:
        raise SystemExit(f"{recipe.name}: the tokens say too little: {tokens}")
    start = logits(model, hidden, [[recipe.end_of_text + 1]] * 2)[:, -1]
    languages = slice(recipe.end_of_text + 2, recipe.end_of_text + 2 + recipe.languages)
    return {
        "encoder": hidden[:, ::50].numpy(),
        "encoder_std": hidden.std(dim=(1, 2)).numpy(),
        "tokens": np.array(tokens),
        "no_speech": start.softmax(-1)[:, recipe.end_of_text + recipe.languages + 6].numpy(),
        "languages": start[:, languages].softmax(-1).numpy(),
    }


def greedy(
    model: WhisperForConditionalGeneration, hidden: torch.Tensor, recipe: Recipe
) -> list[int]:
    """Always the best token that is not suppressed, until <|endoftext|> or NEW_TOKENS."""
    tokens = prompt(recipe)
    for step in range(NEW_TOKENS):
        scores = logits(model, hidden, [tokens])[0, -1]
        scores[suppressed(recipe)] = -torch.inf
        if step == 0:
            scores[[220, recipe.end_of_text]] = -torch.inf
        best, second = scores.topk(2).values
        if best - second < SMALLEST_MARGIN:
            raise SystemExit(f"{recipe.name}: step {step} is too close: {best} {second}")
        tokens.append(int(scores.argmax()))
        if tokens[-1] == recipe.end_of_text:
            raise SystemExit(f"{recipe.name}: ended after {step} tokens")
    return tokens[len(prompt(recipe)) :]


def logits(
    model: WhisperForConditionalGeneration, hidden: torch.Tensor, tokens: list[list[int]]
) -> torch.Tensor:
    """Decoder output [batch, position, vocabulary], without cache."""
    return model(encoder_outputs=(hidden,), decoder_input_ids=torch.tensor(tokens)).logits


def mel_reference() -> dict[str, np.ndarray]:
    """Every 25th frame of a padded 30 s window and of an unpadded 7.3 s one; the filter banks."""
    arrays = {}
    for n_mels in (80, 128):
        extract = WhisperFeatureExtractor(feature_size=n_mels)
        for name, samples, padding in (
            ("window", 400_000, "max_length"),
            ("plain", 116_800, False),
        ):
            mel = extract(
                waveform(samples),
                sampling_rate=16000,
                padding=padding,
                truncation=False,
                return_tensors="np",
            ).input_features[0]
            arrays[f"{name}_{n_mels}"] = mel[:, ::25].astype(np.float32)
    return arrays


if __name__ == "__main__":
    main()
