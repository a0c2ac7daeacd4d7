"""Any Core drives the long-form logic: here one without a model, that says what it is told to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
from tokenizers import Tokenizer

from checkpoints import MULTILINGUAL, TINY, Recipe, build_tokenizer
from whisper_npu_cli.engines.cpu import LongForm
from whisper_npu_cli.engines.interface import Core

SECONDS = 16000


class FakeCore:
    """Says `script[i]` in its i-th window; notes what it is asked."""

    device = "cpu"
    device_index = (0,)

    def __init__(self, script: list[list[int]], multilingual: bool = False, n_mels: int = 80):
        self.script = script
        self.is_multilingual = multilingual
        self.n_mels = n_mels
        self.features: list[np.ndarray] = []
        self.asked: list[dict[str, Any]] = []

    def encode(self, features: Any, to_cpu: bool = False) -> Any:
        self.features.append(np.array(features))
        hidden = np.full((features.shape[0], 1500, 4), len(self.features), np.float32)
        return ctranslate2.StorageView.from_array(hidden)

    def generate(self, features: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        tokens = self.script[len(self.asked)]
        self.asked.append({"hidden": np.array(features), "prompts": prompts, **options})
        return [SimpleNamespace(sequences_ids=[tokens], scores=[-0.1], no_speech_prob=0.01)]

    def detect_language(self, features: Any) -> list[list[tuple[str, float]]]:
        return [[("<|de|>", 0.9), ("<|en|>", 0.1)]]

    def align(self, features: Any, start: Any, text: Any, frames: Any, **options: Any) -> list[Any]:
        """Each token lasts a second."""
        return [
            SimpleNamespace(
                alignments=[(i, 50 * i) for i in range(len(tokens) + 1)],
                text_token_probs=[0.75] * len(tokens),
            )
            for tokens in text
        ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return build_tokenizer(TINY)


def long_form(core: FakeCore, folder: Path, recipe: Recipe = TINY) -> LongForm:
    build_tokenizer(recipe).save(str(folder / "tokenizer.json"))
    return LongForm(core, folder)


def said(tokenizer: Tokenizer, start: float, text: str, end: float) -> list[int]:
    stamps = [tokenizer.token_to_id(f"<|{time:.2f}|>") for time in (start, end)]
    return [stamps[0], *tokenizer.encode(text, add_special_tokens=False).ids, stamps[1]]


def test_fake_is_a_core() -> None:
    assert isinstance(FakeCore([]), Core)


def test_two_windows_of_segments(tmp_path: Path, tokenizer: Tokenizer) -> None:
    core = FakeCore(
        [
            said(tokenizer, 0, " the cat", 2.5) + said(tokenizer, 2.5, " sat", 30),
            said(tokenizer, 0, " on the mat", 5),
        ]
    )
    sound = np.zeros(37 * SECONDS, np.float32)
    segments, info = long_form(core, tmp_path).transcribe(sound, temperature=0.0, beam_size=3)
    got = [(s.start, s.end, s.text, s.seek) for s in segments]
    assert got == [
        (0.0, 2.5, " the cat", 0),
        (2.5, 30.0, " sat", 0),
        (30.0, 35.0, " on the mat", 3000),
    ]
    assert info.language == "en"
    assert [f.shape for f in core.features] == [(1, 80, 3000)] * 2
    assert {f.dtype for f in core.features} == {np.dtype(np.float32)}
    assert [float(a["hidden"][0, 0, 0]) for a in core.asked] == [1.0, 2.0]
    assert core.asked[0]["beam_size"] == 3
    start = TINY.end_of_text + 1
    assert core.asked[0]["prompts"] == [[start]]
    # the second window is prompted with the text of the first
    previous = start + 99 + 4
    assert core.asked[1]["prompts"][0][0] == previous
    assert core.asked[1]["prompts"][0][-1] == start


def test_segments_are_made_one_window_at_a_time(tmp_path: Path, tokenizer: Tokenizer) -> None:
    core = FakeCore([said(tokenizer, 0, " a", 30), said(tokenizer, 0, " b", 5)])
    segments, _ = long_form(core, tmp_path).transcribe(np.zeros(36 * SECONDS, np.float32))
    assert len(core.asked) == 0
    assert next(segments).text == " a"
    assert len(core.asked) == 1


def test_words(tmp_path: Path, tokenizer: Tokenizer) -> None:
    core = FakeCore([said(tokenizer, 0, " the in", 4)])
    segments, _ = long_form(core, tmp_path).transcribe(
        np.zeros(5 * SECONDS, np.float32), word_timestamps=True
    )
    words = [(w.word, w.start, w.end, w.probability) for s in segments for w in s.words]
    assert [word for word, *_ in words] == [" the", " in"]
    assert words[0][1:] == (0.0, 1.0, 0.75)


def test_language_detection_and_128_mels(tmp_path: Path) -> None:
    stamps = MULTILINGUAL.geometry.vocab_size - 1501
    the = 258  # " the", the third merge
    core = FakeCore([[stamps, the, stamps + 50]], multilingual=True, n_mels=128)
    model = long_form(core, tmp_path, MULTILINGUAL)
    segments, info = model.transcribe(np.zeros(2 * SECONDS, np.float32))
    assert [s.text for s in segments] == [" the"]
    assert (info.language, info.language_probability) == ("de", 0.9)
    assert core.features[0].shape == (1, 128, 3000)
    start = MULTILINGUAL.end_of_text + 1
    assert core.asked[0]["prompts"] == [[start, start + 3, start + 101]]  # de, transcribe


class Clock:
    def __init__(self) -> None:
        self.heard: list[tuple[str, float, int]] = []

    def add(self, stage: str, seconds: float, count: int = 0) -> None:
        self.heard.append((stage, seconds, count))


def test_clock_hears_stages_windows_and_tokens(tmp_path: Path, tokenizer: Tokenizer) -> None:
    script = [said(tokenizer, 0, " the", 30), said(tokenizer, 0, " in", 4)]
    build_tokenizer(TINY).save(str(tmp_path / "tokenizer.json"))
    clock = Clock()
    model = LongForm(FakeCore(script), tmp_path, clock)
    segments, _ = model.transcribe(np.zeros(35 * SECONDS, np.float32), word_timestamps=True)
    assert [segment.text for segment in segments] == [" the", " in"]
    assert [(stage, count) for stage, _, count in clock.heard] == [
        ("mel", 0),
        *[("encode", 1), ("decode", 3), ("decode", 0)],  # encode, generate, align
        *[("encode", 1), ("decode", 4), ("decode", 0)],
    ]
    assert all(seconds > 0 for _, seconds, _ in clock.heard)


def test_clock_hears_language_detection_and_batches(tmp_path: Path) -> None:
    build_tokenizer(MULTILINGUAL).save(str(tmp_path / "tokenizer.json"))
    clock = Clock()
    model = LongForm(FakeCore([], multilingual=True), tmp_path, clock)
    assert model.detect_language(np.zeros(SECONDS, np.float32))[0] == "de"
    model.encode(np.zeros((3, 80, 3000), np.float32))
    assert [(stage, count) for stage, _, count in clock.heard] == [
        ("mel", 0),
        ("encode", 1),
        ("decode", 0),
        ("encode", 3),
    ]
