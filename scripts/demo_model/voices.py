"""The synthesizers: Debian's espeak-ng, flite and festival, driven from the command line.

    apt-get install espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts

MBROLA voices are left out: their licences forbid commercial use.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from features import RATE

ACCENTS = ["en-us", "en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan",
           "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]  # fmt: skip
VARIANTS = [
    "", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt",
    "klatt2", "klatt3", "klatt4", "adam", "Alex", "Alicia", "Andrea", "Andy", "Annie", "antonio",
    "aunty", "belinda", "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed", "edward",
    "Gene", "gustave", "Henrique", "Hugo", "Jacky", "john", "Lee", "linda", "marcelo", "Marco",
    "Mario", "max", "Michael", "miguel", "Mike", "norbert", "pablo", "paul", "pedro", "quincy",
    "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac", "anika", "whisper",
]  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """One speaker of one program."""

    program: str
    name: str


HELD_OUT = Voice("flite", "rms")  # no training shard has it


@cache
def training_voices() -> tuple[list[Voice], list[float]]:
    """Every training voice with its weight."""
    weighted = {Voice("espeak-ng", variant): 0.45 / len(VARIANTS) for variant in VARIANTS}
    weighted |= {Voice("flite", "slt"): 0.12, Voice("flite", "awb"): 0.12}
    weighted |= {Voice("flite", "kal16"): 0.07}
    weighted |= {Voice("festival", "kal_diphone"): 0.06, Voice("festival", "ked_diphone"): 0.08}
    weighted |= {Voice("festival", "cmu_us_slt_arctic_hts"): 0.1}
    return list(weighted), list(weighted.values())


def command(text: str, voice: Voice, rng: random.Random, wav: Path) -> list[str]:
    """The command that speaks `text` into `wav`, with a random speed and pitch."""
    if voice.program == "espeak-ng":
        name = rng.choice(ACCENTS) + (f"+{voice.name}" if voice.name else "")
        speed, pitch = rng.randint(125, 195), rng.randint(25, 75)
        return ["espeak-ng", "-v", name, "-s", f"{speed}", "-p", f"{pitch}", "-w", f"{wav}", text]
    if voice.program == "flite":
        stretch = f"duration_stretch={rng.uniform(0.85, 1.2):.2f}"
        return ["flite", "-voice", voice.name, "--setf", stretch, "-t", text, "-o", f"{wav}"]
    # each argument is one expression; a quote in the sentence would end its string
    return [
        "festival",
        "--batch",
        f"(voice_{voice.name})",
        f"(Parameter.set 'Duration_Stretch {rng.uniform(0.85, 1.2):.2f})",
        f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{wav}")',
    ]


def speak(text: str, voice: Voice, rng: random.Random, folder: Path) -> np.ndarray:
    """float32 mono audio at 16 kHz, empty where the program leaves no file.

    Raises CalledProcessError when the program fails, FileNotFoundError when it is not installed.
    """
    wav = folder / "speech.wav"
    wav.unlink(missing_ok=True)  # or a sentence that fails would get the last one's sound
    subprocess.run(command(text, voice, rng, wav), check=True, capture_output=True, timeout=60)
    if not wav.is_file():
        return np.zeros(0, np.float32)
    audio, rate = soundfile.read(wav, dtype="float32")
    if rate == RATE:
        return audio
    divisor = gcd(rate, RATE)
    return resample_poly(audio, RATE // divisor, rate // divisor).astype(np.float32)
