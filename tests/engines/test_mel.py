import tracemalloc
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from checkpoints import waveform
from whisper_npu_cli.engines.mel import BLOCK, LogMel

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "mel.npz"
EDGES = [0, 1, 2, 39, 40, 41, 159, 160, 161, 199, 200, 201, 399, 400, 401, 480_000]
BLOCK_EDGES = [160 * BLOCK + d for d in (-320, -160, -1, 0, 1, 160, 320)]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_agrees_with_transformers(n_mels: int) -> None:
    """transformers pads to 30 s and appends nothing; its frames are stored in steps of 25."""
    with np.load(REFERENCE) as reference:
        window, plain = reference[f"window_{n_mels}"], reference[f"plain_{n_mels}"]
    extract = LogMel(n_mels)
    padded = np.zeros(480_000, np.float32)
    padded[:400_000] = waveform(400_000)
    ours = extract(padded, padding=0)
    assert ours.shape == (n_mels, 3000)
    assert np.abs(ours[:, ::25] - window).max() <= 1e-4
    ours = extract(waveform(116_800), padding=0)
    assert ours.shape == (n_mels, 730)
    assert np.abs(ours[:, ::25] - plain).max() <= 1e-4


@pytest.mark.parametrize("samples", EDGES + BLOCK_EDGES)
def test_equals_upstream(samples: int) -> None:
    ours, upstream = LogMel(80)(waveform(samples)), FeatureExtractor(80)(waveform(samples))
    assert ours.shape == upstream.shape
    assert ours.dtype == upstream.dtype == np.float32
    assert np.abs(ours - upstream).max() <= 2e-5


def test_silence_and_nothing() -> None:
    silence = LogMel(80)(np.zeros(1600, np.float32))
    assert silence.shape == (80, 11)
    assert np.allclose(silence, -1.5)  # (log10(1e-10) + 4) / 4
    assert LogMel(80)(np.zeros(0, np.float32), padding=0).shape == (80, 0)


def test_accepts_other_types_and_leaves_the_input_alone() -> None:
    samples = waveform(5000)
    before = samples.copy()
    double = LogMel(80)(samples.astype(np.float64))
    assert np.array_equal(double, LogMel(80)(samples))
    assert np.array_equal(samples, before)


def test_chunk_length_changes_the_window_like_upstream() -> None:
    ours, upstream = LogMel(80), FeatureExtractor(80)
    for extract in (ours, upstream):
        extract(waveform(1600), chunk_length=10)
    assert vars(ours).keys() == vars(upstream).keys()
    assert (ours.n_samples, ours.nb_max_frames) == (upstream.n_samples, upstream.nb_max_frames)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filter_bank_is_librosas(n_mels: int) -> None:
    librosa = pytest.importorskip("librosa")
    bank = librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels)
    assert np.abs(LogMel(n_mels).mel_filters - bank).max() <= 1e-7


def test_memory_grows_only_with_input_and_output() -> None:
    """Work space beyond one copy of the input and the result stays below 4 MB."""
    minutes = waveform(2 * 60 * 16000)
    extract = LogMel(80)
    tracemalloc.start()
    try:
        result = extract(minutes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < minutes.nbytes + result.nbytes + 4e6


@pytest.mark.slow
def test_no_slower_than_upstream() -> None:
    minutes = waveform(3 * 60 * 16000)

    def best(extract: FeatureExtractor) -> float:
        times = []
        for _ in range(5):
            start = perf_counter()
            extract(minutes)
            times.append(perf_counter() - start)
        return min(times)

    assert best(LogMel(80)) <= best(FeatureExtractor(80))
