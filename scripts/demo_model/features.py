"""Mel powers for training: the spectrogram of Whisper before its logarithm and its scaling.

Training adds noise in this domain, where two sounds add, and only then takes the logarithm.
"""

from __future__ import annotations

from functools import cache

import librosa
import numpy as np

RATE = 16000
HOP = 160
N_FFT = 400
N_MELS = 80
FLOOR = 1e-10  # openai/whisper audio.py, clamp before log10


@cache
def filters() -> np.ndarray:
    """Slaney mel filter bank, float32 [80, 201]."""
    return librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=N_MELS).astype(np.float32)


def mel_power(audio: np.ndarray) -> np.ndarray:
    """Mel powers, float32 [frames, 80], of float32 audio at 16 kHz; one frame each 10 ms."""
    window = np.hanning(N_FFT + 1)[:-1].astype(np.float32)
    padded = np.pad(audio, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][: len(audio) // HOP]
    spectrum = np.fft.rfft(frames * window, axis=1)
    return (np.abs(spectrum) ** 2).astype(np.float32) @ filters().T
