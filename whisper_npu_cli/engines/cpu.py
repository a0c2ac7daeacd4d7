"""The CPU engine: CTranslate2's Whisper as Core; faster-whisper's long-form logic on any Core."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import ctranslate2
import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel
from faster_whisper.utils import get_logger

from whisper_npu_cli.engines.convert import converted
from whisper_npu_cli.engines.geometry import TARGET_POSITIONS
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.engines.json_file import read_optional_json
from whisper_npu_cli.engines.mel import LogMel
from whisper_npu_cli.engines.timed import Clock, Timed, timing
from whisper_npu_cli.engines.vocabulary import load_tokenizer
from whisper_npu_cli.errors import ModelError, UsageError

COMPUTE_TYPES: dict[str, tuple[str | None, str]] = {
    "default": (None, "default"),
    "auto": ("int8", "auto"),
    "float32": (None, "float32"),
    "float16": ("float16", "float32"),
    "int8": ("int8", "int8"),
    "int8_float32": ("int8", "int8_float32"),
}
"""Name to (precision of the converted file, arithmetic); None keeps the checkpoint's precision.

`default` means the numbers of the checkpoint itself, in float32 arithmetic: the reference that
others are judged by. `int8` is about twice as fast. CTranslate2 has no float16 arithmetic on
CPUs, so float16 only halves the file.
"""

_FEATURES = {"sampling_rate": 16000, "hop_length": 160, "n_fft": 400, "chunk_length": 30}
"""What preprocessor_config.json may say: the seam is fixed at 3000 frames of 10 ms."""


def load_core(folder: Path, compute_type: str = "default", threads: int = 0) -> Core:
    """Load the model in `folder`, a Hugging Face checkpoint or a CTranslate2 model, on the CPU.

    `threads` 0 leaves the number to CTranslate2 (4, or OMP_NUM_THREADS). Raises ModelError when
    the model is missing or damaged, UsageError when `compute_type` is not one for CPUs.
    """
    stored, arithmetic = _precision(compute_type)
    if not (folder / "model.bin").exists():
        folder = converted(folder, stored)
    try:
        with _quiet():
            core = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type=arithmetic, intra_threads=threads
            )
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{folder} is damaged or no Whisper model ({str(error).splitlines()[0]}): remove it "
            "and run again."
        ) from None
    return cast(Core, core)


def _precision(compute_type: str) -> tuple[str | None, str]:
    try:
        return COMPUTE_TYPES[compute_type]
    except KeyError:
        raise UsageError(
            f"The compute type {compute_type} does not run on CPUs: choose one of "
            f"{', '.join(COMPUTE_TYPES)}."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence CTranslate2's remark that float16 weights are executed in float32."""
    level = ctranslate2.get_log_level()
    ctranslate2.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        ctranslate2.set_log_level(level)


class LongForm(WhisperModel):
    """faster-whisper's WhisperModel around any Core.

    `folder` holds tokenizer.json and, perhaps, preprocessor_config.json. A `clock` hears the time
    of the stages `mel`, `encode` and `decode`. Raises ModelError when those files are unusable.
    """

    def __init__(self, core: Core, folder: Path, clock: Clock | None = None) -> None:
        # every attribute that WhisperModel.__init__ sets, which itself would load a model
        self.logger = get_logger()
        self.model = Timed(core, clock) if clock else core
        self.hf_tokenizer = load_tokenizer(folder)
        self.feat_kwargs = _feature_options(folder, core.n_mels)
        self.feature_extractor = _TimedLogMel(clock, **self.feat_kwargs)
        self.input_stride = 2
        self.num_samples_per_token = self.feature_extractor.hop_length * self.input_stride
        self.frames_per_second = (
            self.feature_extractor.sampling_rate // self.feature_extractor.hop_length
        )
        self.tokens_per_second = self.feature_extractor.sampling_rate // self.num_samples_per_token
        self.time_precision = 0.02
        self.max_length = TARGET_POSITIONS


def _feature_options(folder: Path, n_mels: int) -> dict[str, int]:
    """Return the extractor's options; the number of channels is that of the weights."""
    path = folder / "preprocessor_config.json"
    saved = read_optional_json(path)
    for key, wanted in _FEATURES.items():
        if saved.get(key, wanted) != wanted:
            raise ModelError(
                f"{path} has {key} {saved[key]}; only Whisper's own {wanted} is supported."
            )
    return {"feature_size": n_mels, **_FEATURES}


class _TimedLogMel(LogMel):
    """The extractor, reporting its time as stage `mel`."""

    def __init__(self, clock: Clock | None, **options: int) -> None:
        super().__init__(**options)
        self._clock = clock

    def __call__(self, *args: Any, **options: Any) -> npt.NDArray[np.float32]:
        if self._clock is None:
            return super().__call__(*args, **options)
        with timing(self._clock, "mel"):
            return super().__call__(*args, **options)
