"""Train the demo model on the shards of `synthesize.py` and write a Hugging Face folder.

    python scripts/demo_model/train.py --data DATA --out MODEL

First short windows, so that encoder and CTC head find the sounds, then the 30-second windows of
real use. The last stretch is averaged (EMA). Runs on a GPU when there is one. The state is saved
every few minutes in DATA/state.pt, and a second start goes on from there.
"""

from __future__ import annotations

import argparse
import math
import os
import threading
import time
from pathlib import Path
from queue import Queue

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from export import export
from model import Whisper
from muon import Muon
from tokenizer import load
from windows import IGNORE, LETTERS, Corpus, Stage, Window, Windows

FIRST = Stage(400, batch=24, one_utterance=1.0, empty=0.0, lowest_snr=2.0, decoder=False)
SHORT = Stage(800, batch=12, one_utterance=0.1, empty=0.02)
LONG = Stage(3000, batch=5, one_utterance=0.3, empty=0.06, prompt=0.25)
LONG_EVERY = 15  # steps, when long windows have begun: once learnt, they only have to be kept
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# a processor without bfloat16 instructions takes twenty times as long with it
BFLOAT16 = DEVICE == "cuda" or torch.cpu.get_capabilities()["avx512_bf16"]


def collate(windows: list[Window]) -> dict[str, Tensor]:
    """Pad the windows of a batch to the longest."""
    n = max(len(w.tokens) for w in windows)
    tokens = torch.zeros(len(windows), n, dtype=torch.long)
    labels = torch.full((len(windows), n), IGNORE)
    for i, w in enumerate(windows):
        tokens[i, : len(w.tokens)] = torch.tensor(w.tokens)
        labels[i, : len(w.labels)] = torch.tensor(w.labels)
    usable = [i for i, w in enumerate(windows) if w.use_ctc and w.letters]
    return {
        "mel": torch.from_numpy(np.stack([w.mel for w in windows])),
        "tokens": tokens,
        "labels": labels,
        "ctc_rows": torch.tensor(usable, dtype=torch.long),
        "letters": torch.tensor([c for i in usable for c in windows[i].letters], dtype=torch.long),
        "lengths": torch.tensor([len(windows[i].letters) for i in usable], dtype=torch.long),
    }


def feed(windows: Windows, stage: Stage) -> Queue:
    """Make batches in a thread."""
    queue: Queue = Queue(maxsize=4)

    def work() -> None:
        while True:
            queue.put(collate(windows.batch(stage)))

    threading.Thread(target=work, daemon=True).start()
    return queue


def losses(model: Whisper, batch: dict[str, Tensor], stage: Stage) -> tuple[Tensor, Tensor]:
    """Cross entropy of the decoder and CTC of the encoder, per letter."""
    batch = {k: v.to(DEVICE, non_blocking=True) for k, v in batch.items()}
    with torch.autocast(DEVICE, torch.bfloat16, enabled=BFLOAT16):
        memory = model.encode(batch["mel"])
        letters = model.ctc(memory[batch["ctc_rows"]])
        logits = model.decode(batch["tokens"], memory) if stage.decoder else None
    ctc = torch.zeros((), device=DEVICE)
    if len(batch["ctc_rows"]):  # every window of a batch may end in the middle of an utterance
        log_p = letters.float().log_softmax(-1).transpose(0, 1)
        frames = torch.full((log_p.shape[1],), log_p.shape[0], device=DEVICE)
        ctc = F.ctc_loss(log_p, batch["letters"], frames, batch["lengths"], zero_infinity=True)
    if logits is None:
        return torch.zeros((), device=DEVICE), ctc
    return F.cross_entropy(logits.float().flatten(0, 1), batch["labels"].flatten()), ctc


def optimizers(model: Whisper) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    inner = [p for n, p in model.named_parameters() if ".layers." in n and p.ndim == 2]
    chosen = {id(p) for p in inner}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    return [
        Muon(inner, lr=3e-3, weight_decay=0.05),
        torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01),
    ]


class Run:
    """Model, optimizers, averaged weights and the clock."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.data: Path = args.data
        self.total = args.minutes * 60
        self.tokenizer = load(self.data / "tokenizer.json")
        times = self.tokenizer.token_to_id("<|0.00|>")
        torch.manual_seed(0)
        vocabulary = self.tokenizer.get_vocab_size()
        self.model = Whisper(vocabulary, times, len(LETTERS) + 1).to(DEVICE)
        if args.start:
            weights = load_file(args.start / "model.safetensors", device=DEVICE)
            self.model.load_state_dict(weights, strict=False)  # the CTC head starts afresh
        self.optimizers = optimizers(self.model)
        self.base_lr = [args.rate * o.param_groups[0]["lr"] for o in self.optimizers]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.step, self.spent = 0, 0.0
        if (self.data / "state.pt").exists():
            self.restore()

    def restore(self) -> None:
        state = torch.load(self.data / "state.pt", map_location=DEVICE)
        self.model.load_state_dict(state["model"])
        self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "step": self.step,
            "spent": self.spent,
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        torch.save(state, self.data / "state.part")
        os.replace(self.data / "state.part", self.data / "state.pt")

    def set_rates(self) -> None:
        """Warm up over 300 steps, then a cosine over the planned minutes."""
        part = min(1.0, self.spent / self.total)
        scale = min(1.0, (self.step + 1) / 300) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part))
        )
        for optimizer, base in zip(self.optimizers, self.base_lr, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = base * scale

    def update(self, batch: dict[str, Tensor], stage: Stage) -> tuple[float, float]:
        self.set_rates()
        text, ctc = losses(self.model, batch, stage)
        weight = 1.0 if self.step < 3000 else 0.3
        (text + weight * ctc).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(0.995, (self.step + 1) / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - decay)
        self.step += 1
        return text.item(), ctc.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=120, help="training time")
    parser.add_argument("--short-share", type=float, default=0.3, help="part until long windows")
    parser.add_argument("--first-share", type=float, default=0.08, help="part with CTC alone")
    parser.add_argument("--start", type=Path, help="model folder whose weights to start from")
    parser.add_argument("--rate", type=float, default=1.0, help="factor of the learning rates")
    args = parser.parse_args()
    run = Run(args)
    corpus = Corpus(args.data)
    bar = tqdm(total=int(run.total), initial=int(run.spent), unit="s", mininterval=20)
    last_save = time.monotonic()
    feeds = {
        stage: feed(Windows(corpus, run.tokenizer, seed=run.step + i), stage)
        for i, stage in enumerate((FIRST, SHORT, LONG))
    }
    smooth = np.zeros(2)
    while run.spent < run.total:
        part = run.spent / run.total
        stage = FIRST if part < args.first_share else SHORT
        if part >= args.short_share and run.step % LONG_EVERY == 0:
            stage = LONG
        began = time.monotonic()
        smooth = 0.98 * smooth + 0.02 * np.array(run.update(feeds[stage].get(), stage))
        run.spent += time.monotonic() - began
        bar.n = int(run.spent)
        now = smooth / (1 - 0.98 ** min(run.step, 2000))
        bar.set_postfix(step=run.step, text=f"{now[0]:.3f}", ctc=f"{now[1]:.3f}", refresh=False)
        bar.update(0)
        if time.monotonic() - last_save > 240:
            run.save()
            last_save = time.monotonic()
    run.save()
    export(run.average, run.tokenizer, args.out)


if __name__ == "__main__":
    main()
