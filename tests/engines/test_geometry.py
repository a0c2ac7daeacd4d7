import json
from dataclasses import asdict
from pathlib import Path

import pytest

from checkpoints import LARGE_V3_LIKE, TINY, random_checkpoint
from whisper_npu_cli.engines.geometry import Geometry
from whisper_npu_cli.errors import ModelError


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v != "absent"}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


def test_reads_every_size(folder: Path) -> None:
    assert Geometry.read(folder) == TINY.geometry
    rewrite(folder, num_mel_bins=128, d_model=1280, decoder_layers=4, encoder_layers=32)
    sizes = asdict(Geometry.read(folder))
    assert (sizes["n_mels"], sizes["d_model"]) == (128, 1280)
    assert (sizes["encoder_layers"], sizes["decoder_layers"]) == (32, 4)


def test_old_configs_without_mels_mean_80(folder: Path) -> None:
    rewrite(folder, num_mel_bins="absent", max_source_positions="absent")
    assert Geometry.read(folder).n_mels == 80
    assert LARGE_V3_LIKE.geometry.n_mels == 128


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "bert"}, "describes bert"),
        ({"model_type": "absent"}, "not a Whisper model"),
        ({"d_model": "absent"}, "no usable d_model"),
        ({"d_model": 0}, "no usable d_model"),
        ({"d_model": -64}, "no usable d_model"),
        ({"d_model": 64.5}, "no usable d_model"),
        ({"encoder_layers": True}, "no usable encoder_layers"),
        ({"vocab_size": "many"}, "no usable vocab_size"),
        ({"encoder_attention_heads": 3}, "3 encoder heads do not divide d_model 32"),
        ({"decoder_attention_heads": 64}, "64 decoder heads do not divide"),
        ({"num_mel_bins": 64}, "64 mel channels"),
        ({"max_source_positions": 750}, "max_source_positions 750"),
        ({"max_target_positions": 224}, "max_target_positions 224"),
        ({"activation_function": "relu"}, "activation"),
    ],
)
def test_refuses_what_it_cannot_run(folder: Path, changes: dict, said: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ModelError, match=said) as refusal:
        Geometry.read(folder)
    assert str(folder / "config.json") in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff\xfe\x00", b'"text"'])
def test_refuses_damaged_json(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json is damaged.*download it again"):
        Geometry.read(folder)


def test_refuses_missing_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        Geometry.read(tmp_path)
