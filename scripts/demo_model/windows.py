"""Training windows: utterances laid out in time with gaps and noise, and their token targets.

A window is what the decoder of a real transcription sees: up to 30 s that begin where the last
segment ended, the rest padded either with silence (openai/whisper) or with zeros (faster-whisper).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
from tokenizers import Tokenizer

from features import FLOOR, N_MELS, RATE, mel_power
from sentences import normalise

LETTERS = " abcdefghijklmnopqrstuvwxyz'"  # CTC classes 1 to 28; 0 is the blank
IGNORE = -100
MAX_PROMPT = 223  # openai/whisper decoding.py: half the context less one


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum."""

    frames: int
    batch: int
    one_utterance: float  # share of windows with a single utterance and padding behind it
    empty: float  # share of windows without speech
    prompt: float = 0.0  # share of batches that carry the text before
    lowest_snr: float = 1.5  # of speech over noise, in factors of ten of power
    decoder: bool = True  # or the encoder with its CTC head alone


@dataclass
class Window:
    """One training example; `mel` float32 [80, frames], the rest token ids."""

    mel: np.ndarray
    tokens: list[int]
    labels: list[int]
    letters: list[int]
    use_ctc: bool


class Corpus:
    """All training shards in memory: log10 mel powers, float16 [frames, 80], and their texts."""

    def __init__(self, folder: Path) -> None:
        self.mel: list[np.ndarray] = []
        self.texts: list[str] = []
        for path in sorted(folder.glob("train-*.npz")):
            data = np.load(path)
            self.mel += np.split(data["mel"], data["ends"][:-1])
            self.texts += data["texts"].tolist()


def noise_bank(rng: np.random.Generator, seconds: int = 40) -> list[np.ndarray]:
    """Mel powers of white, pink, brown and mains-hum noise, each with mean power one."""
    n = seconds * RATE
    white = rng.standard_normal(n)
    spectrum, f = np.fft.rfft(white), np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20)
    pink, brown = (np.fft.irfft(spectrum / f**p, n) for p in (0.5, 1.0))
    t = np.arange(n) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 12)) + 0.05 * white
    powers = [mel_power(x.astype(np.float32)) for x in (white, pink, brown, hum)]
    return [p / p.mean() for p in powers]


def another_voice(log: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift formants and speed by up to 12 % and colour the spectrum; log10 powers [frames, 80]."""
    hertz = librosa.mel_frequencies(N_MELS + 2, fmax=RATE / 2)[1:-1]
    at = np.interp(hertz * rng.uniform(0.88, 1.12), hertz, np.arange(N_MELS))
    low = np.minimum(at.astype(int), N_MELS - 2)
    part = (at - low).astype(np.float32)
    frames = np.arange(0, len(log), rng.uniform(0.88, 1.12)).astype(int)
    log = log[frames]
    waves = np.cos(np.outer(np.arange(1, 4), np.pi * np.arange(N_MELS) / N_MELS))
    color = (rng.normal(0, 0.15, 3) @ waves).astype(np.float32)
    return log[:, low] * (1 - part) + log[:, low + 1] * part + color


class Windows:
    """Draws windows at random; equal seeds and shards give equal streams."""

    def __init__(self, corpus: Corpus, tokenizer: Tokenizer, seed: int) -> None:
        self.corpus, self.tokenizer = corpus, tokenizer
        self.rng = np.random.default_rng(seed)
        self.noise = noise_bank(self.rng)
        ids = tokenizer.token_to_id
        self.eot, self.sot = ids("<|endoftext|>"), ids("<|startoftranscript|>")
        self.prev, self.no_speech = ids("<|startofprev|>"), ids("<|nospeech|>")
        self.no_times = ids("<|notimestamps|>")
        self.time0 = self.no_times + 1

    def lay_out(self, stage: Stage) -> tuple[np.ndarray, list[tuple[int, int, str]], int]:
        """Powers [frames, 80], (start, end, text) of each utterance in frames, frames with sound.

        The last utterance may run over the window's end; its `end` then lies beyond it.
        """
        rng = self.rng
        power = np.zeros((stage.frames, N_MELS), np.float32)
        spans: list[tuple[int, int, str]] = []
        if rng.random() < stage.empty:
            return power, spans, int(rng.integers(50, stage.frames + 1))
        single = rng.random() < stage.one_utterance
        count = int(rng.integers(1, 3)) if single else 99
        at = int(rng.integers(0, 50)) if rng.random() < 0.8 else int(rng.integers(0, 300))
        while len(spans) < count:
            i = int(rng.integers(len(self.corpus.texts)))
            log = self.corpus.mel[i].astype(np.float32)
            speech = 10.0 ** (another_voice(log, rng) if rng.random() < 0.5 else log)
            at += at % 2
            end = at + len(speech)
            if end > stage.frames and (single or stage.frames < 3000 or rng.random() < 0.5):
                break
            # one recording, or one speaker after the other with levels of their own
            speech = speech[: max(0, stage.frames - at)] * 10 ** rng.uniform(-0.4, 0.4)
            power[at : at + len(speech)] += speech
            spans.append((at, end, self.corpus.texts[i]))
            at = end + int(rng.integers(4, 60) if rng.random() < 0.8 else rng.integers(60, 250))
            if at >= stage.frames:
                break
        used = stage.frames
        if single and spans:
            used = min(stage.frames, spans[-1][1] + int(rng.integers(0, 120)))
        return power, spans, used

    def log_mel(self, power: np.ndarray, used: int, stage: Stage) -> np.ndarray:
        """Add noise, take the logarithm, scale as Whisper does; float32 [80, frames]."""
        rng = self.rng
        loud = power.mean() if power.any() else 10 ** rng.uniform(-4, 0)
        kind = self.noise[int(rng.integers(len(self.noise)))]
        offset = int(rng.integers(len(kind) - len(power) + 1))
        snr = rng.uniform(stage.lowest_snr, 5.0)
        if rng.random() < 0.85:
            power = power + kind[offset : offset + len(power)] * loud * 10**-snr
        power[used:] = 0
        log = np.log10(np.maximum(power, FLOOR))
        # the loudest moment of a recording need not lie in this window
        top = log.max() + (rng.uniform(0, 1.5) if rng.random() < 0.3 else 0.0)
        log = (np.maximum(log, top - 8.0) + 4.0) / 4.0
        if used < len(power) and rng.random() < 0.7:
            log[used:] = 0.0  # faster-whisper pads features, not sound
        for _ in range(int(rng.integers(0, 3))):
            low, start = int(rng.integers(N_MELS - 8)), int(rng.integers(len(log)))
            log[:, low : low + int(rng.integers(1, 9))] = log.mean()
            log[start : start + int(rng.integers(1, 12))] = log.mean()
        return np.ascontiguousarray(log.T, dtype=np.float32)

    def timed(self, spans: list[tuple[int, int, str]], frames: int) -> list[int]:
        """Tokens with timestamps; an utterance that the window cuts leaves only its start."""
        tokens: list[int] = []
        for start, end, text in spans:
            tokens.append(self.time0 + start // 2)
            if end > frames:
                break
            tokens += [*self.tokenizer.encode(" " + text).ids, self.time0 + -(-end // 2)]
        return tokens

    def prompt(self) -> list[int]:
        """The text before this window, as faster-whisper gives it: with its timestamps."""
        tokens: list[int] = []
        for _ in range(int(self.rng.integers(1, 8))):
            text = self.corpus.texts[int(self.rng.integers(len(self.corpus.texts)))]
            start = int(self.rng.integers(0, 1300))
            ids = self.tokenizer.encode(" " + text).ids
            end = min(1500, start + 3 * len(text))
            tokens += [self.time0 + start, *ids, self.time0 + end]
        return [self.prev, *tokens[-MAX_PROMPT:]]

    def draw(self, stage: Stage, with_prompt: bool) -> Window:
        """One random window."""
        power, spans, used = self.lay_out(stage)
        whole = [text for _, end, text in spans if end <= stage.frames]
        cut = len(whole) < len(spans)
        timed = cut or self.rng.random() < 0.65
        text = self.timed(spans, stage.frames) if timed else []
        if not spans:
            text = [self.time0] if timed else []
        if not timed:
            text = self.tokenizer.encode("".join(" " + t for t in whole)).ids
        head = [self.sot] if timed else [self.sot, self.no_times]
        before = self.prompt() if with_prompt and self.rng.random() < 0.7 else []
        tokens = head + text
        # what follows <|startoftranscript|>: silence has a token of its own, and whether there are
        # timestamps is the caller's wish and not to be learnt
        labels = [*tokens[1:], self.eot]
        labels[0] = labels[0] if timed and spans else IGNORE
        if not spans:
            labels[0] = self.no_speech
        # decoders never let the first timestamp be later than one second
        if timed and spans and spans[0][0] > 100 and self.rng.random() < 0.7:
            tokens[1] = self.time0 + int(self.rng.integers(0, 51))
        labels = [IGNORE] * len(before) + labels
        letters = [LETTERS.index(c) + 1 for c in normalise(" ".join(whole))]
        mel = self.log_mel(power, used, stage)
        return Window(mel, before + tokens, labels, letters, not cut)

    def batch(self, stage: Stage) -> list[Window]:
        """`stage.batch` windows; prompts come to whole batches, since they make them long."""
        with_prompt = self.rng.random() < stage.prompt
        return [self.draw(stage, with_prompt) for _ in range(stage.batch)]
