"""Our cache folder: what is made once from models and machines and may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CACHE_VARIABLE = "WHISPER_NPU_CACHE"
SOURCE_NOTE = "source.json"
"""Says, in a folder that was made from a model, which folder that was."""
_ABANDONED_SECONDS = 24 * 3600


def cache_root() -> Path:
    """Return the folder of all our caches: $WHISPER_NPU_CACHE or the system's place for caches."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("whisper-npu")


def digest_of_sources(*paths: Path) -> str:
    """A hash of files of code, for what has to be made again whenever the code changes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def appearing(target: Path, source: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `target` in one step when the block succeeds.

    `source` is what it is made from, for `remove_made_from`. A killed or concurrent writer is
    never seen half done; of two writers the first one stays. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target.parent)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
    try:
        yield part
        (part / SOURCE_NOTE).write_text(json.dumps({"folder": str(source.resolve())}))
        try:
            part.rename(target)
        except OSError:
            if not target.exists():  # else another process was quicker, with the same content
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Delete what killed writers left behind."""
    for part in parent.glob(".part-*"):
        try:
            abandoned = time.time() - part.stat().st_mtime > _ABANDONED_SECONDS
        except FileNotFoundError:  # its owner has just finished
            continue
        if abandoned:
            shutil.rmtree(part, ignore_errors=True)


def made_from(folder: Path) -> Path:
    """The source of a folder that `appearing` made."""
    return Path(json.loads((folder / SOURCE_NOTE).read_text())["folder"])


def remove_made_from(source: Path) -> int:
    """Delete all that was made from `source` or folders below it. Return the bytes freed."""
    freed = 0
    for note in cache_root().glob(f"*/*/{SOURCE_NOTE}"):
        if made_from(note.parent).is_relative_to(source.resolve()):
            freed += remove_folder(note.parent)
    return freed


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir())


def remove_folder(folder: Path) -> int:
    """Delete a folder of files. Return the bytes freed."""
    freed = size_of(folder)
    shutil.rmtree(folder)
    return freed


class Store:
    """Small answers that are remembered: JSON objects by key, one file each, in `folder`.

    What cannot be read is not there, and what cannot be written is not remembered: everything in
    it can be found out again.
    """

    def __init__(self, name: str) -> None:
        self.folder = cache_root() / name

    def get(self, key: str) -> dict[str, Any] | None:
        """What was put under `key`."""
        held = _read(self._path(key))
        return held["value"] if held and held["key"] == key else None

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Remember `value`, in one step."""
        path = self._path(key)
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({"key": key, "value": value}))
            part.replace(path)

    def values(self) -> list[dict[str, Any]]:
        """All that is remembered."""
        held = (_read(path) for path in sorted(self.folder.glob("*.json")))
        return [entry["value"] for entry in held if entry]

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        held = json.loads(path.read_text())
        return held if isinstance(held["key"], str) and isinstance(held["value"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
