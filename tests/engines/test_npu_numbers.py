"""The demo model's encoder on the emulated NPU against the CPU's, in numbers."""

from __future__ import annotations

import ctranslate2
import numpy as np
import pytest

from checkpoints import waveform
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.engines.cpu import load_core
from whisper_npu_cli.engines.mel import LogMel
from whisper_npu_cli.engines.models import DEMO_FOLDER
from whisper_npu_cli.engines.npu import Encoder
from whisper_npu_cli.npu.device import open_device


@pytest.mark.slow
def test_hidden_states_are_the_cpus_in_bfloat16() -> None:
    mel = LogMel()(waveform(30 * 16000))[:, :3000]
    mel = np.ascontiguousarray(mel, np.float32)
    cpu = load_core(DEMO_FOLDER, "float32")
    features = ctranslate2.StorageView.from_array(mel[None])
    expected = np.array(cpu.encode(features, to_cpu=True))[0]
    got = Encoder(open_device("emulator"), Checkpoint(DEMO_FOLDER)).encode(mel)
    assert got.shape == expected.shape == (1500, 192)
    correlation = np.corrcoef(got.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.999
