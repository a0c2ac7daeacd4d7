"""Weights in the layout that is streamed to the cores: packed once, kept on disk, mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.cache import (
    CACHE_VARIABLE,
    appearing,
    cache_root,
    made_from,
    remove_folder,
    size_of,
)
from whisper_npu_cli.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Recipe:
    """What packed weights follow from; anything else gives other files.

    `checkpoint` is the hash of its content (engines.identity), `version` that of the packing code
    with its options, `overlay` the source hash of the XCLBIN that reads them. `source` is the
    folder of the checkpoint, for people.
    """

    checkpoint: str
    version: str
    overlay: str
    source: Path

    @property
    def folder(self) -> Path:
        """Where the arrays are kept."""
        said = f"{self.checkpoint}\0{self.version}\0{self.overlay}"
        return packings() / hashlib.sha256(said.encode()).hexdigest()[:32]


def packings() -> Path:
    """Return the folder that holds all packed weights."""
    return cache_root() / "packed"


def packed(
    recipe: Recipe, pack: Callable[[], Iterable[tuple[str, NDArray[Any]]]]
) -> dict[str, NDArray[Any]]:
    """The arrays of a recipe by name, mapped read-only; made by `pack` when they are not there.

    `pack` gives names, which must do as file names, and arrays one after the other, so that only
    one is in memory. Files that are cut short are made again. Raises ModelError when the cache
    cannot be written.
    """
    found = _mapped(recipe.folder)
    if found is not None:
        return found
    try:
        if recipe.folder.exists():
            remove_folder(recipe.folder)
        _write(recipe, pack)
    except OSError as error:
        raise ModelError(
            f"The packed weights cannot be written to {packings()} ({error.strerror}): free some "
            f"space or set {CACHE_VARIABLE} to a folder on another disk."
        ) from None
    made = _mapped(recipe.folder)
    if made is None:
        raise ModelError(f"{recipe.folder} cannot be read: remove it and run again.")
    return made


def _write(recipe: Recipe, pack: Callable[[], Iterable[tuple[str, NDArray[Any]]]]) -> None:
    import numpy as np

    with appearing(recipe.folder, recipe.source) as part:
        for name, array in pack():
            np.save(part / f"{name}.npy", array)


def _mapped(folder: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays in a folder; None when it is not there or a file of it is damaged."""
    import numpy as np

    paths = sorted(folder.glob("*.npy"))
    try:
        return {path.stem: np.load(path, mmap_mode="r") for path in paths} if paths else None
    except (OSError, ValueError, EOFError):
        return None


@dataclass(frozen=True)
class Packing:
    """Packed weights on disk: made from the checkpoint in `source`."""

    source: Path
    size_bytes: int
    path: Path


def list_packings() -> list[Packing]:
    """All packed weights in the cache."""
    folders = [note.parent for note in sorted(packings().glob("*/source.json"))]
    return [Packing(made_from(folder), size_of(folder), folder) for folder in folders]


def clear_packings() -> int:
    """Delete all packed weights. Return the bytes freed."""
    return sum(remove_folder(packing.path) for packing in list_packings())
