from dataclasses import replace
from pathlib import Path

import pytest

from checkpoints import LANGUAGES, LARGE_V3_LIKE, TINY, build_tokenizer, special_tokens
from whisper_npu_cli.engines.vocabulary import language_ids, load_tokenizer, vocabulary
from whisper_npu_cli.errors import ModelError

SIZE = TINY.geometry.vocab_size


def save(folder: Path, recipe=TINY) -> Path:
    build_tokenizer(recipe).save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("stored", [True, False])
def test_every_token_at_its_id(tmp_path: Path, stored: bool) -> None:
    tokens = vocabulary(save(tmp_path, replace(TINY, timestamps_in_tokenizer=stored)), SIZE)
    assert len(tokens) == SIZE == len(set(tokens))
    end = TINY.end_of_text
    assert tokens[end : end + 107] == special_tokens(99)
    assert tokens[-1501] == "<|0.00|>"
    assert tokens[-1] == "<|30.00|>"
    assert tokens[-1501 + 57] == "<|1.14|>"
    assert tokens[:3] == ["!", '"', "#"]


def test_languages(tmp_path: Path) -> None:
    folder = save(tmp_path, LARGE_V3_LIKE)
    tokens = vocabulary(folder, LARGE_V3_LIKE.geometry.vocab_size)
    assert [tokens[i] for i in language_ids(folder)] == [f"<|{name}|>" for name in LANGUAGES]


def test_tokenizer_of_a_larger_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not belong to this model"):
        vocabulary(save(tmp_path), SIZE - 1)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": 1}', "\0"])
def test_damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("token", ["<|startoflm|>", "<|notimestamps|>", "<|nospeech|>"])
def test_not_whispers(tmp_path: Path, token: str) -> None:
    path = save(tmp_path) / "tokenizer.json"
    path.write_text(path.read_text().replace(token, "<|other|>"))
    with pytest.raises(ModelError, match=r"not a Whisper tokenizer"):
        load_tokenizer(tmp_path)
