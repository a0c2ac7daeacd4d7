"""Speak the sentences with every synthesizer of `voices.py` and store mel powers or WAV files.

    python scripts/demo_model/synthesize.py train --out DATA
    python scripts/demo_model/synthesize.py test --out DATA

A train shard is one `.npz`: `mel` float16 [frames, 80] (log10 of power), `ends` int64 [n] (frame at
which utterance n ends), `texts` [n]. Test sets are folders of `NNN.wav` and `NNN.txt`. Everything
follows from the seed in the shard's name.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import fftconvolve, resample_poly
from tqdm import tqdm

from features import FLOOR, HOP, RATE, mel_power
from sentences import sentences
from voices import HELD_OUT, Voice, speak, training_voices

SHARD = 2000  # utterances in a training shard
# name of each training shard, with its share of phrases of unrelated words: the hardest to hear
SHARDS = {f"train-{i:02}": 0.12 for i in range(14)} | {"train-words-0": 0.8, "train-words-1": 0.8}
SEEN_TEST, UNSEEN_TEST = 300, 200  # utterances in each test set


def trim(audio: np.ndarray, rng: random.Random) -> np.ndarray:
    """Cut silence at both ends, leaving 20 to 120 ms of it."""
    frames = audio[: len(audio) // HOP * HOP].reshape(-1, HOP)
    loud = np.flatnonzero((frames**2).mean(1) > 1e-4 * (frames**2).mean(1).max())
    start = max(0, loud[0] - rng.randint(2, 12))
    return audio[start * HOP : (loud[-1] + 1 + rng.randint(2, 12)) * HOP]


def resized_speaker(audio: np.ndarray, rng: random.Random) -> np.ndarray:
    """Play faster or slower by up to 15 %: pitch, formants and speed move together."""
    percent = rng.randint(86, 116)
    return resample_poly(audio, 100, percent).astype(np.float32)


def reverberated(audio: np.ndarray, rng: random.Random) -> np.ndarray:
    """Convolve with an exponentially decaying random room answer of 0.1 to 0.5 s."""
    noise = np.random.default_rng(rng.getrandbits(32))
    length = int(RATE * rng.uniform(0.1, 0.5))
    decay = np.exp(-6.9 * np.arange(length) / length)
    room = noise.standard_normal(length) * decay * rng.uniform(0.02, 0.12)
    room[0] = 1.0
    return fftconvolve(audio, room)[: len(audio) + RATE // 8].astype(np.float32)


def utterance(text: str, voice: Voice, rng: random.Random, folder: Path) -> np.ndarray | None:
    """float32 audio at 16 kHz with a random level, or None where the synthesizer said nothing."""
    audio = speak(text, voice, rng, folder)
    if len(audio) < RATE // 4 or not np.abs(audio).max() > 1e-3:
        return None
    if rng.random() < 0.6:
        audio = resized_speaker(audio, rng)
    audio = trim(audio, rng)
    if rng.random() < 0.3:
        audio = reverberated(audio, rng)
    level = 10 ** (rng.uniform(-32, -16) / 20)
    return np.clip(audio * (level / np.sqrt((audio**2).mean())), -1, 1)


def shard(name: str, out: Path, count: int = SHARD) -> None:
    """Write one training shard unless it is there."""
    path = out / f"{name}.npz"
    if path.exists():
        return
    rng = random.Random(name)
    mels, ends, texts = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        stream = islice(sentences(name, SHARDS[name]), count)
        for text in tqdm(stream, total=count, desc=name):
            audio = utterance(text, rng.choices(*training_voices())[0], rng, Path(folder))
            if audio is None or len(audio) > 12 * RATE:
                continue
            power = mel_power(audio)
            mels.append(np.log10(np.maximum(power, FLOOR)).astype(np.float16))
            ends.append(len(power) + (ends[-1] if ends else 0))
            texts.append(text)
    with tempfile.NamedTemporaryFile(dir=out, suffix=".part", delete=False) as part:
        np.savez(part, mel=np.concatenate(mels), ends=np.array(ends), texts=np.array(texts))
    Path(part.name).rename(path)


def noisy(audio: np.ndarray, rng: random.Random) -> np.ndarray:
    """Add white noise 20 to 40 dB below the speech, with half a second of it around."""
    noise = np.random.default_rng(rng.getrandbits(32))
    audio = np.pad(audio, RATE // 2)
    level = np.sqrt((audio**2).mean()) * 10 ** (-rng.uniform(20, 40) / 20)
    return audio + (level * noise.standard_normal(len(audio))).astype(np.float32)


def test_set(name: str, out: Path, count: int, held_out: bool) -> None:
    """Write a folder of held-out utterances: other seeds than any training shard."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(name)
    train_texts = {t for seed, s in SHARDS.items() for t in islice(sentences(seed, s), SHARD)}
    fresh = (t for t in sentences(name) if t not in train_texts)
    with tempfile.TemporaryDirectory() as scratch:
        for i, text in enumerate(tqdm(islice(fresh, count), total=count, desc=name)):
            voice = HELD_OUT if held_out else rng.choices(*training_voices())[0]
            audio = utterance(text, voice, rng, Path(scratch))
            if audio is not None:
                soundfile.write(folder / f"{i:03}.wav", noisy(audio, rng), RATE, "PCM_16")
                (folder / f"{i:03}.txt").write_text(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["train", "test"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", nargs="+", choices=SHARDS, default=list(SHARDS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part == "train":
        for name in args.shards:
            shard(name, args.out)
    else:
        test_set("test-seen", args.out, SEEN_TEST, held_out=False)
        test_set("test-unseen", args.out, UNSEEN_TEST, held_out=True)


if __name__ == "__main__":
    main()
