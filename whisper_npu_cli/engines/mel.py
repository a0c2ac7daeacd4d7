"""Log-mel spectrogram in bounded memory, with the numbers of faster-whisper's FeatureExtractor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

BLOCK = 256
"""Frames transformed at once: 2.56 s, 3 MB of work space; larger blocks are no faster."""
FLOOR = 1e-10
"""Power below which the logarithm is cut off (openai/whisper, audio.py)."""
RANGE = 8.0
"""Decades kept below the loudest point of the whole input, 80 dB (openai/whisper, audio.py)."""


class LogMel(FeatureExtractor):
    """faster-whisper's extractor, block by block instead of all frames at once."""

    def __call__(
        self,
        waveform: npt.NDArray[Any],
        padding: int = 160,
        chunk_length: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Turn samples [n] into log-mel float32 [n_mels, (n + padding) // 160].

        `padding` zero samples are appended; `chunk_length` in seconds, when given, replaces the
        extractor's window length, as upstream does.
        """
        if chunk_length is not None:
            self.n_samples = chunk_length * self.sampling_rate
            self.nb_max_frames = self.n_samples // self.hop_length
        samples = self._padded(waveform, padding)
        frames = np.lib.stride_tricks.sliding_window_view(samples, self.n_fft)[:: self.hop_length]
        window = np.hanning(self.n_fft + 1)[:-1].astype(np.float32)
        n_frames = len(frames) - 1  # upstream drops the last frame
        mel = np.empty((len(self.mel_filters), n_frames), np.float32)
        for start in range(0, n_frames, BLOCK):
            stop = min(start + BLOCK, n_frames)
            spectrum = np.fft.rfft(frames[start:stop] * window).astype(np.complex64, copy=False)
            power = spectrum.real**2 + spectrum.imag**2
            mel[:, start:stop] = np.dot(self.mel_filters, power.T)
        return _log(mel)

    def _padded(self, waveform: npt.NDArray[Any], padding: int) -> npt.NDArray[np.float32]:
        """Append zeros and reflect both ends by half a window, in one copy."""
        edge = self.n_fft // 2
        n = len(waveform) + padding
        samples = np.zeros(max(n, 1) + 2 * edge, np.float32)
        samples[edge : edge + len(waveform)] = waveform
        # numpy's reflection also covers inputs shorter than the edge
        head = samples[edge : edge + max(n, 1)][: edge + 1]
        tail = samples[edge : edge + max(n, 1)][-edge - 1 :]
        samples[:edge] = np.pad(head, (edge, 0), mode="reflect")[:edge]
        samples[-edge:] = np.pad(tail, (0, edge), mode="reflect")[-edge:]
        return samples


def _log(mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn mel power into Whisper's scaled logarithm, in place."""
    np.maximum(mel, FLOOR, out=mel)
    np.log10(mel, out=mel)
    np.maximum(mel, mel.max(initial=-np.inf) - RANGE, out=mel)
    mel += 4.0
    mel /= 4.0
    return mel
