"""Word error rates of a checkpoint on the held-out utterances of `synthesize.py test`.

    python scripts/demo_model/evaluate.py --data DATA [--model demo] [--transformers]

Transcribes with this package as users do. `--transformers` also loads the folder with transformers'
own class, which is the proof that the files are standard, and scores its greedy text.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import soundfile
from tqdm import tqdm

from sentences import normalise
from whisper_npu_cli import Options, Transcriber

SETS = ("test-seen", "test-unseen")
OURS = Path(__file__).parents[2] / "whisper_npu_cli" / "engines" / "demo"


def ours(model: str, beam_size: int) -> Callable[[Path], str]:
    """Text of a file, as `whisper-npu transcribe` prints it."""
    transcriber = Transcriber(model=model, device="cpu")
    options = Options(beam_size=beam_size)
    return lambda wav: transcriber.transcribe(wav, options).text


def theirs(folder: Path) -> Callable[[Path], str]:
    """Greedy text of a file from transformers."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    processor = WhisperProcessor.from_pretrained(folder)
    model, loading = WhisperForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True, dtype="float32"
    )
    assert not loading["missing_keys"] and not loading["unexpected_keys"], loading

    def transcribe(wav: Path) -> str:
        audio, rate = soundfile.read(wav, dtype="float32")
        inputs = processor(audio, sampling_rate=rate, return_tensors="pt")
        tokens = model.generate(inputs.input_features, max_new_tokens=100)
        return processor.batch_decode(tokens, skip_special_tokens=True)[0]

    return transcribe


def score(folder: Path, transcribe: Callable[[Path], str], worst: int) -> tuple[float, int]:
    """Word error rate over a folder of NAME.wav and NAME.txt, and the number of utterances."""
    pairs = []
    for wav in tqdm(sorted(folder.glob("*.wav")), desc=folder.name):
        said = normalise(wav.with_suffix(".txt").read_text())
        pairs.append((said, normalise(transcribe(wav))))
    rates = [(jiwer.wer(said, heard), said, heard) for said, heard in pairs]
    for rate, said, heard in sorted(rates, reverse=True)[:worst]:
        print(f"  {rate:.2f}  said  {said}\n        heard {heard}")
    return jiwer.wer(*map(list, zip(*pairs, strict=True))), len(pairs)


def silence(transcribe: Callable[[Path], str], folder: Path) -> list[str]:
    """Texts that the model hears in digital silence and in faint noise: there should be none."""
    noise = np.random.default_rng(0).standard_normal(5 * 16000)
    heard = []
    for level in (0.0, 1e-4, 1e-3, 1e-2):
        wav = folder / "silence.wav"
        soundfile.write(wav, level * noise, 16000, "PCM_16")
        heard.append(transcribe(wav))
        wav.unlink()
    return heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=str(OURS))
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("--transformers", action="store_true")
    parser.add_argument("--worst", type=int, default=5, help="errors to show for each set")
    args = parser.parse_args()
    engines = {"whisper-npu": ours(args.model, args.beam_size)}
    if args.transformers:
        engines["transformers"] = theirs(Path(args.model))
    for name, transcribe in engines.items():
        for test_set in SETS:
            rate, count = score(args.data / test_set, transcribe, args.worst)
            print(f"{name} {test_set}: WER {100 * rate:.2f} % over {count} utterances")
        print(f"{name} silence: {silence(transcribe, args.data)}")


if __name__ == "__main__":
    main()
