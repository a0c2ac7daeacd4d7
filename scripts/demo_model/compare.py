"""Texts of a device against the CPU's float32 ones, over utterances of `synthesize.py test`.

    python scripts/demo_model/compare.py --data DATA [--device emulator] [--count 200]

Says how many texts are equal and both word error rates. Half of the utterances are of voices that
the demo model was trained on, half of others. On the emulator one takes 10 to 20 s.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jiwer
from tqdm import tqdm

from evaluate import SETS
from sentences import normalise
from whisper_npu_cli import Options, Transcriber


def chosen(data: Path, count: int) -> list[Path]:
    """The first `count` sounds, as many of each set."""
    share = count // len(SETS)
    return [wav for name in SETS for wav in sorted((data / name).glob("*.wav"))[:share]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="emulator")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--from", dest="first", type=int, default=0, help="skip so many")
    args = parser.parse_args()
    reference = Transcriber(model=args.model, device="cpu", compute_type="float32")
    device = Transcriber(model=args.model, device=args.device, compute_type="float32")
    said, expected, heard = [], [], []
    for wav in tqdm(chosen(args.data, args.count)[args.first :]):
        said.append(normalise(wav.with_suffix(".txt").read_text()))
        expected.append(reference.transcribe(wav, Options()).text)
        heard.append(device.transcribe(wav, Options()).text)
        if heard[-1] != expected[-1]:
            tqdm.write(f"{wav.parent.name}/{wav.name}\n  cpu  {expected[-1]}\n  here {heard[-1]}")
    equal = sum(a == b for a, b in zip(expected, heard, strict=True))
    print(f"{equal} of {len(said)} texts on {args.device} are equal to those of the CPU in float32")
    for name, texts in (("cpu", expected), (args.device, heard)):
        print(f"{name}: WER {100 * jiwer.wer(said, list(map(normalise, texts))):.2f} %")


if __name__ == "__main__":
    main()
