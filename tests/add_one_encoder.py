"""An encoder plan of three launches of vector_add_one, which give back what they were given.

The bits of the spectrogram count up by one in each launch; the host takes three off again. So the
whole engine runs on the emulated NPU, with everything but Whisper's arithmetic.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from checkpoints import TINY, random_checkpoint
from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.transfers import Piece
from whisper_npu_cli.aie.facts.topology import COLUMNS
from whisper_npu_cli.engines import npu
from whisper_npu_cli.engines.checkpoint import Checkpoint
from whisper_npu_cli.kernels import vector_add_one
from whisper_npu_cli.kernels.dispatch import Transfer
from whisper_npu_cli.npu import device

LAUNCHES = 3
FRAMES = 20
"""Frames that become one column: a step of tone_speech."""
SIZE = 3 * vector_add_one.BLOCK
"""Bytes of float32[80, 3000 / FRAMES], and a little more."""


@dataclass(frozen=True)
class Region:
    offset: int
    size: int = SIZE


@dataclass(frozen=True)
class AddOne:
    """From one region to the next one; `written` bytes of it."""

    number: int
    written: int = SIZE

    @property
    def output(self) -> Region:
        return Region((self.number + 1) * SIZE)

    def transfers(self):
        quarter = self.written // COLUMNS
        start = self.number * SIZE
        found = []
        for column in range(COLUMNS):
            at = start + column * quarter
            arriving, leaving = (Piece(0, linear(quarter, at + step)) for step in (0, SIZE))
            found.append(Transfer(f"input{column}", (arriving,)))
            found.append(Transfer(f"output{column}", (leaving,), token=True))
        return [found]


class AddOnePlan:
    """Stands for EncoderPlan. `packings` counts how often weights were packed."""

    packings: ClassVar[int] = 0
    written: ClassVar[int] = SIZE  # by the last launch

    def __init__(self, sizes):
        self.bytes = ((LAUNCHES + 1) * SIZE, 4096)
        self.mel, self.result = Region(0), Region(LAUNCHES * SIZE)
        self.launches = [*map(AddOne, range(LAUNCHES - 1)), AddOne(LAUNCHES - 1, self.written)]

    def weights(self, tensor):
        AddOnePlan.packings += 1
        yield 0, tensor("model.encoder.conv1.bias").view(np.uint8)

    def pack_mel(self, mel):
        packed = np.zeros(SIZE // 4, np.float32)
        steps = mel.reshape(80, -1, FRAMES)[:, :, 8:12].mean(axis=2)
        packed[: steps.size] = steps.ravel()
        return packed.view(np.uint16)

    def unpack_result(self, memory):
        part = memory[self.result.offset // 2 :][: SIZE // 2].view(np.uint32)
        values = np.where(part == 0xFFFF_FFFF, part, part - np.uint32(LAUNCHES))
        steps = values.view(np.float32)[: 80 * 3000 // FRAMES].reshape(80, -1)
        return np.repeat(steps, FRAMES, axis=1)


def install(monkeypatch, tmp_path: Path) -> Checkpoint:
    """Let the engine use this plan; a checkpoint for it."""
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(AddOnePlan, "packings", 0)
    monkeypatch.setattr(npu, "EncoderPlan", AddOnePlan)
    monkeypatch.setattr(npu, "OVERLAY", "vector_add_one")
    monkeypatch.setattr(npu.transformer, "design", vector_add_one.design)
    monkeypatch.setattr(device, "ensure_right", lambda context: None)  # has its own tests
    return Checkpoint(random_checkpoint(tmp_path / "checkpoint", TINY))
