"""Speech that a test can understand: tones for letters, and a Core that writes them down.

A letter is a tone that lasts a multiple of 0.2 s. The Core hears tones in the spectrogram and
answers as Whisper does: a text token between timestamps, the last sound of a window left
unfinished. Each answer also holds a digit made from the prompt, so that a window decoded with
another history, or at another place, changes the text from there on.
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import ctranslate2
import numpy as np

from checkpoints import ENGLISH, Recipe, build_tokenizer

LETTERS = "abcdefgh"
HOT_LETTER = "h"  # decoded well only at a temperature above 0.5
SILENCE = "."
STEP = 0.2  # seconds
FRAMES = 20  # of 10 ms, in a step
TONES = np.array([300, 500, 800, 1200, 1700, 2300, 3100, 4200])  # Hz


def speak(letters: str) -> np.ndarray:
    """Float32 16 kHz samples, one step for each letter."""
    t = np.arange(int(STEP * 16000)) / 16000
    steps = [
        np.zeros(len(t)) if c == SILENCE else 0.5 * np.sin(2 * np.pi * TONES[LETTERS.index(c)] * t)
        for c in letters
    ]
    return np.concatenate([*steps, np.zeros(0)]).astype(np.float32)


def write_tokenizer(folder: Path, recipe: Recipe = ENGLISH) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(recipe).save(str(folder / "tokenizer.json"))
    return folder


class ToneCore:
    """A Core whose hidden states are the spectrogram itself."""

    device = "cpu"
    device_index = (0,)
    n_mels = 80

    def __init__(
        self, recipe: Recipe = ENGLISH, language: str = "de", unfinished: bool = True
    ) -> None:
        self.is_multilingual = recipe.multilingual
        self.tokenizer = build_tokenizer(recipe)
        self.language = language
        self.unfinished = unfinished  # leave the last sound to the next window
        self.detections = 0
        self.prompts: list[list[int]] = []
        self._first_stamp = self.tokenizer.token_to_id("<|notimestamps|>") + 1
        self._bins = _bins_of_tones()

    def encode(self, features, to_cpu=False):
        return ctranslate2.StorageView.from_array(np.array(features))

    def generate(self, features, prompts, **options):
        self.prompts += prompts
        mels = np.array(features)
        assert mels.shape == (len(prompts), 80, 3000)
        return [self._answer(*pair, options) for pair in zip(mels, prompts, strict=True)]

    def detect_language(self, features):
        self.detections += 1
        return [[(f"<|{self.language}|>", 0.75), ("<|en|>", 0.25)]]

    def align(self, *args, **options):
        raise NotImplementedError

    def hear(self, mel: np.ndarray) -> list[tuple[str, int, int]]:
        """Letters with first and last + 1 step."""
        middle = mel.reshape(80, -1, FRAMES)[:, :, 8:12].mean(axis=2)
        heard = [
            LETTERS[np.abs(self._bins - column.argmax()).argmin()] if column.max() > 0.5 else "."
            for column in middle.T
        ]
        runs, at = [], 0
        for letter, group in itertools.groupby(heard):
            length = len(list(group))
            if letter != SILENCE:
                runs.append((letter, at, at + length))
            at += length
        return runs

    def _answer(self, mel, prompt, options):
        runs = self.hear(mel)
        steps = mel.shape[1] // FRAMES
        tokens = []
        for letter, start, end in runs:
            tokens += [self._stamp(start), self.tokenizer.token_to_id(letter)]
            if end < steps or len(runs) == 1 or not self.unfinished:
                tokens.append(self._stamp(end))
        if tokens:
            digit = self.tokenizer.token_to_id(str(sum(i * p for i, p in enumerate(prompt)) % 10))
            tokens.insert(2, digit)
        cold = options.get("sampling_temperature", 0.0) <= 0.5
        bad = bool(runs) and runs[0][0] == HOT_LETTER and cold
        return SimpleNamespace(
            sequences_ids=[tokens],
            scores=[-5.0 if bad or not runs else -0.1],
            no_speech_prob=0.1 if runs else 0.9,
        )

    def _stamp(self, step: int) -> int:
        return self._first_stamp + step * FRAMES // 2


@cache
def _bins_of_tones() -> np.ndarray:
    """The loudest of the 80 mel channels for each tone."""
    from whisper_npu_cli.engines.mel import LogMel

    mels = [LogMel()(speak(letter * 5)) for letter in LETTERS]
    return np.array([mel[:, 30:60].mean(axis=1).argmax() for mel in mels])
