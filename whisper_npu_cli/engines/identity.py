"""What a checkpoint holds, as a hash: the key of everything that is made from it.

Hashing gigabytes at every start would cost seconds, so the hash is one of: the small files whole;
of each weight file the hub's own sha256 where the file is a blob of the hub cache, else its size,
modification time, header and 64 samples of 4 KiB spread over it. A touched file counts as another
one; that costs time, never truth.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from whisper_npu_cli.engines.checkpoint import Checkpoint

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "preprocessor_config.json",
)
_SAMPLES, _SAMPLE_BYTES = 64, 4096


def identity(checkpoint: Checkpoint) -> str:
    """Return 64 hex digits that differ when the content of the checkpoint differs."""
    digest = hashlib.sha256()
    for name in _SMALL_FILES:
        path = checkpoint.folder / name
        digest.update(f"\0{name}\0".encode() + (path.read_bytes() if path.exists() else b""))
    for path in checkpoint.files:
        digest.update(f"\0{path.name}\0".encode() + _of_weights(path))
    return digest.hexdigest()


def _of_weights(path: Path) -> bytes:
    """Return bytes that differ when the content of a weight file differs (see the module)."""
    real = path.resolve()
    if real.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", real.name):
        return real.name.encode()
    status = real.stat()
    parts = [f"{status.st_size} {status.st_mtime_ns}".encode()]
    with real.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek(status.st_size * i // _SAMPLES)
            parts.append(file.read(_SAMPLE_BYTES))
    return b"".join(parts)
