"""The demo model's encoder on the emulated NPU against the CPU's, in numbers."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from checkpoints import LARGE_V3_LIKE, TINY, random_checkpoint, random_features, waveform
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.cpu import load_core
from whisper_npu_cli.engines.mel import LogMel
from whisper_npu_cli.engines.models import DEMO_FOLDER
from whisper_npu_cli.engines.npu import Encoder
from whisper_npu_cli.errors import WrongAnswer
from whisper_npu_cli.npu.device import open_device


def correlation(checkpoint: Checkpoint, mel: np.ndarray) -> float:
    """Of hidden states on the emulated NPU with those of the CPU in float32."""
    cpu = load_core(checkpoint.folder, "float32")
    features = ctranslate2.StorageView.from_array(mel[None])
    expected = np.array(cpu.encode(features, to_cpu=True))[0]
    got = Encoder(open_device("emulator"), checkpoint).encode(mel)
    assert got.shape == expected.shape == (1500, checkpoint.geometry.d_model)
    return float(np.corrcoef(got.ravel(), expected.ravel())[0, 1])


@pytest.mark.slow
def test_hidden_states_are_the_cpus_in_bfloat16() -> None:
    mel = LogMel()(waveform(30 * 16000))[:, :3000]
    mel = np.ascontiguousarray(mel, np.float32)
    assert correlation(Checkpoint(DEMO_FOLDER), mel) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d_model", "heads", "layers", "mels"),
    [(384, 6, 4, 80), (512, 8, 6, 80), (1280, 20, 2, 128)],
    ids=["tiny", "base", "two layers of large-v3"],
)
def test_random_weights_of_published_sizes(
    tmp_path: Path, d_model: int, heads: int, layers: int, mels: int
) -> None:
    changes = {"d_model": d_model, "encoder": (layers, heads), "ffn": 4 * d_model}
    recipe = TINY if mels == TINY.n_mels else LARGE_V3_LIKE
    folder = random_checkpoint(tmp_path, recipe, **changes)
    assert correlation(Checkpoint(folder), random_features(mels, 1)[0]) > 0.999


LAYERS = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The smallest encoder that the kernels have."""
    folder = tmp_path_factory.mktemp("small")
    return Checkpoint(random_checkpoint(folder, TINY, d_model=64, encoder=(LAYERS, 1), ffn=64))


def junk(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("content", [junk, np.zeros], ids=["junk", "zeros"])
def test_junk_and_zeros_from_any_launch_are_noticed(small: Checkpoint, content) -> None:
    """What a launch left behind is overwritten before the next one begins."""
    mel, spoilt = random_features(80, 1)[0], []

    def spoil(done: int, launches: int) -> None:
        if done == spoilt_launch and not spoilt:
            spoilt.append(done)
            output = encoder.plan.launches[done - 1].output
            encoder._buffer.array(np.uint8, (output.size,), output.offset)[:] = content(output.size)
            encoder._buffer.to_device(output.offset, output.size)

    encoder, spoilt_launch = Encoder(open_device("emulator"), small, spoil), 0
    expected = encoder.encode(mel)
    for spoilt_launch in range(1, len(encoder.plan.launches) + 1):
        spoilt.clear()
        np.testing.assert_array_equal(encoder.encode(mel), expected)
        assert isinstance(encoder.retried, WrongAnswer), spoilt_launch
