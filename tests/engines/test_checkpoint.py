import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoints import TINY, random_checkpoint, random_weights, save_weights
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.errors import ModelError

WEIGHTS = random_weights(TINY)
NAME = "model.encoder.conv1.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


def test_float32_is_read_exactly(folder: Path) -> None:
    checkpoint = Checkpoint(folder)
    for name, values in WEIGHTS.items():
        read = checkpoint.tensor(name)
        assert read.dtype == np.float32
        assert np.array_equal(read, values), name


def test_float16_is_widened_exactly(tmp_path: Path) -> None:
    checkpoint = Checkpoint(random_checkpoint(tmp_path, dtype="float16"))
    assert checkpoint.is_half
    assert np.array_equal(checkpoint.tensor(NAME), WEIGHTS[NAME].astype(np.float16))


def test_bfloat16_is_the_value_its_bits_mean(tmp_path: Path) -> None:
    checkpoint = Checkpoint(random_checkpoint(tmp_path, dtype="bfloat16"))
    assert not checkpoint.is_half
    bits = (WEIGHTS[NAME].view(np.uint32) >> 16).astype(np.int64)
    sign = np.where(bits >> 15, -1.0, 1.0)
    exponent = ((bits >> 7) & 0xFF) - 127
    assert (exponent > -127).all()  # no subnormals among these, which the formula leaves out
    meant = sign * 2.0**exponent * (1 + (bits & 0x7F) / 128)
    assert np.array_equal(checkpoint.tensor(NAME), meant.astype(np.float32))


def test_sharded_equals_single(tmp_path: Path) -> None:
    checkpoint = Checkpoint(random_checkpoint(tmp_path, shards=3))
    assert len(checkpoint.files) == 3
    for name, values in WEIGHTS.items():
        assert np.array_equal(checkpoint.tensor(name), values), name


def test_missing_tensor(folder: Path) -> None:
    save_weights(folder, {n: v for n, v in WEIGHTS.items() if n != NAME})
    with pytest.raises(ModelError, match=f"lacks the tensor {NAME}"):
        Checkpoint(folder)


def test_wrong_shape(folder: Path) -> None:
    save_weights(folder, WEIGHTS | {NAME: WEIGHTS[NAME][:, :, :2].copy()})
    with pytest.raises(ModelError, match=rf"{NAME} has shape \(32, 80, 2\), not \(32, 80, 3\)"):
        Checkpoint(folder)


def test_projection_of_wrong_shape(folder: Path) -> None:
    save_weights(folder, WEIGHTS | {"proj_out.weight": np.zeros((5, 32), np.float32)})
    with pytest.raises(ModelError, match=r"proj_out\.weight has shape"):
        Checkpoint(folder)


@pytest.mark.parametrize("key", ["d_model", "encoder_layers", "decoder_ffn_dim", "vocab_size"])
def test_config_that_lies(folder: Path, key: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config[key] *= 2
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json"):
        Checkpoint(folder)


def test_integer_weights(folder: Path) -> None:
    save_weights(folder, WEIGHTS, "int8")
    with pytest.raises(ModelError, match="as I8: use a float32"):
        Checkpoint(folder)


def test_missing_shard(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path, shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing"):
        Checkpoint(folder)


@pytest.mark.parametrize(
    "index", ["{}", '{"weight_map": {"a": "../../etc/passwd"}}', '{"weight_map": {"a": 1}}', "["]
)
def test_damaged_index(tmp_path: Path, index: str) -> None:
    folder = random_checkpoint(tmp_path, shards=2)
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"index\.json is damaged"):
        Checkpoint(folder)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        Checkpoint(folder)


def test_weights_are_a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        Checkpoint(folder)


@given(kept=st.floats(0, 1, exclude_max=True))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_truncated_anywhere(folder: Path, kept: float) -> None:
    save_weights(folder, WEIGHTS)
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut short"):
        Checkpoint(folder)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_header_is_refused_or_harmless(folder: Path, data: st.DataObject) -> None:
    """One changed byte before the tensors: a ModelError, or still every tensor in its shape."""
    save_weights(folder, WEIGHTS)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little")
    content[data.draw(st.integers(0, end - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        checkpoint = Checkpoint(folder)
    except ModelError:
        return
    for name, values in WEIGHTS.items():
        assert checkpoint.tensor(name).shape == values.shape
