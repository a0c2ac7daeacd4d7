"""Model names: openai/whisper's, any owner/name of the hub, a folder, and `demo`."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from whisper_npu_cli.cache import remove_made_from
from whisper_npu_cli.engines.json_file import read_json
from whisper_npu_cli.engines.resume import fetch
from whisper_npu_cli.errors import ModelError, UsageError

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo"

ALIASES = {
    **{
        size: f"openai/whisper-{size}"
        for size in ("tiny", "tiny.en", "base", "base.en", "small", "small.en")
    },
    "medium": "openai/whisper-medium",
    "medium.en": "openai/whisper-medium.en",
    "large-v1": "openai/whisper-large",
    "large-v2": "openai/whisper-large-v2",
    "large-v3": "openai/whisper-large-v3",
    "large": "openai/whisper-large-v3",
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    "turbo": "openai/whisper-large-v3-turbo",
    "distil-small.en": "distil-whisper/distil-small.en",
    "distil-medium.en": "distil-whisper/distil-medium.en",
    "distil-large-v2": "distil-whisper/distil-large-v2",
    "distil-large-v3": "distil-whisper/distil-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5",
}
"""The names of openai/whisper's `available_models()` and faster-whisper's distil models."""

WEIGHT_FILES = [
    "model.safetensors",
    "model-*-of-*.safetensors",  # not model.fp32-*, a second copy in float32
    "model.bin",
]
WANTED_FILES = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
    "vocabulary.json",
    "vocabulary.txt",
    *WEIGHT_FILES,
]
"""All that we read; repositories also hold the same weights for other libraries."""

_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class ModelInfo:
    """One line of the model list; `path` is None when the model is not on this machine.

    `repo` is empty for the demo model, `format` is "safetensors", "ctranslate2" or empty.
    """

    name: str
    repo: str
    path: Path | None
    size_bytes: int
    format: str


def resolve(name: str, *, cache_root: Path | None = None, local_files_only: bool = False) -> Path:
    """Return the folder of the model `name`, downloading it when it is not on this machine.

    `cache_root` is the hub's cache folder. What is complete in the cache is used without touching
    the network. Raises ModelError when there is no such model or it cannot be had.
    """
    folder = _own_folder(name)
    if folder:
        return folder
    cached = _cached(repository(name), cache_root)
    if cached:
        return cached
    if local_files_only:
        raise _absent(name, "it is not on this machine")
    return download(name, cache_root=cache_root)


def path(name: str, *, cache_root: Path | None = None) -> Path:
    """Return the folder of the model `name` on this machine. Raise ModelError if it is not."""
    return resolve(name, cache_root=cache_root, local_files_only=True)


def repository(name: str) -> str:
    """Return the hub repository of an alias or an owner/name. Raise ModelError for others."""
    if name in ALIASES:
        return ALIASES[name]
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/"):
        return name
    if "/" in name:
        raise ModelError(f"There is no folder {name}: give an existing folder or a model name.")
    close = difflib.get_close_matches(name, [*ALIASES, DEMO], n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "see whisper-npu models list."
    raise ModelError(f"There is no model called {name}: {hint}")


def _own_folder(name: str) -> Path | None:
    """Return the folder that `name` itself is, if any; aliases go before folders of that name."""
    folder = DEMO_FOLDER if name == DEMO else Path(name).expanduser()
    if not name or name in ALIASES or not (name == DEMO or folder.is_dir()):
        return None
    if not (folder / "config.json").exists():
        raise ModelError(f"The folder {folder} holds no model (no config.json).")
    return folder


def _cached(repo: str, cache_root: Path | None) -> Path | None:
    """Return the snapshot of `repo` in the hub's cache if it is complete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, cache_dir=cache_root, local_files_only=True, allow_patterns=WANTED_FILES
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(found) if is_complete(Path(found)) else None


def is_complete(folder: Path) -> bool:
    """Whether `folder` holds all files of a model in one of the two formats."""
    if not all((folder / name).exists() for name in ("config.json", "tokenizer.json")):
        return False
    if (folder / "model.bin").exists():
        return any(folder.glob("vocabulary.*"))
    if (folder / "model.safetensors").exists():
        return True
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return False
    shards = read_json(index).get("weight_map", {}).values()
    return all((folder / shard).exists() for shard in set(shards))


def download(name: str, *, cache_root: Path | None = None) -> Path:
    """Download the model `name`, or what is missing of it, and return its folder.

    Progress is the hub library's bar on stderr. Raises ModelError when the network or the
    repository does not give it.
    """
    from huggingface_hub import snapshot_download

    folder = _own_folder(name)
    if folder:
        return folder
    repo = repository(name)
    commit, weights = _published(name, repo)
    try:
        for weight in weights:
            fetch(repo, commit, weight, _home(repo, cache_root) / "blobs")
        return Path(snapshot_download(repo, cache_dir=cache_root, allow_patterns=WANTED_FILES))
    except ModelError:
        raise
    except Exception as error:
        raise _broke_off(name, error) from error


def _published(name: str, repo: str) -> tuple[str, list[str]]:
    """Ask the hub for the newest commit of `repo` and its weight files.

    A quick question, so that a missing network is noticed quickly.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, timeout=_CONNECT_SECONDS)
    except GatedRepoError:
        raise ModelError(
            f"The model {repo} is gated: accept its terms at https://huggingface.co/{repo} and "
            "log in with: hf auth login."
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(
            f"The hub has no model {repo}, or it is private: check the name, or log in with: "
            "hf auth login."
        ) from None
    except Exception as error:
        raise _no_answer(name, error) from error
    files = [file.rfilename for file in info.siblings or ()]
    weights = [file for file in files if any(fnmatch(file, kind) for kind in WEIGHT_FILES)]
    if not weights:
        raise ModelError(
            f"The model {repo} has no weights that we read: choose one in safetensors or "
            "CTranslate2 format."
        )
    return str(info.sha), weights


def _no_answer(name: str, error: Exception) -> ModelError:
    """Say that the hub was not reached; which exceptions mean that depends on its library."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _absent(name, "HF_HUB_OFFLINE is set")
    return _absent(name, f"{constants.ENDPOINT} does not answer ({type(error).__name__})")


def _broke_off(name: str, error: Exception) -> ModelError:
    """Say that a download did not end well: for lack of disk or for the network."""
    network = isinstance(error, (ConnectionError, TimeoutError))
    if isinstance(error, OSError) and error.errno and not network:
        return ModelError(
            f"The model {name} cannot be stored ({error.strerror}): free some space or choose "
            "another folder with --model_dir."
        )
    return ModelError(
        f"The download of {name} broke off ({type(error).__name__}): run whisper-npu models "
        f"download {name} to go on where it stopped."
    )


def _absent(name: str, why: str) -> ModelError:
    return ModelError(
        f"The model {name} cannot be loaded, for {why}: run whisper-npu models download {name} "
        "on a machine with network, or use --model demo."
    )


def list_models(cache_root: Path | None = None) -> list[ModelInfo]:
    """List the demo model, every alias, and the other Whisper models in the hub's cache."""
    models = [_info(DEMO, "", DEMO_FOLDER if is_complete(DEMO_FOLDER) else None)]
    models += [_info(name, repo, _cached(repo, cache_root)) for name, repo in ALIASES.items()]
    known = set(ALIASES.values())
    for repo in _cached_repositories(cache_root):
        folder = None if repo in known else _cached(repo, cache_root)
        if folder and _is_whisper(folder):
            models.append(_info(repo, repo, folder))
    return models


def _cached_repositories(cache_root: Path | None) -> Iterator[str]:
    for folder in sorted(_hub_cache(cache_root).glob("models--*--*")):
        yield folder.name.removeprefix("models--").replace("--", "/", 1)


def _hub_cache(cache_root: Path | None) -> Path:
    from huggingface_hub import constants

    return cache_root or Path(constants.HF_HUB_CACHE)


def _home(repo: str, cache_root: Path | None) -> Path:
    """Return the folder in which the hub's library keeps all of `repo`."""
    return _hub_cache(cache_root) / f"models--{repo.replace('/', '--')}"


def _is_whisper(folder: Path) -> bool:
    """Whether a cached model is ours to list; CTranslate2's config.json names no model type."""
    config = read_json(folder / "config.json")
    return config.get("model_type") == "whisper" or "suppress_ids_begin" in config


def _info(name: str, repo: str, folder: Path | None) -> ModelInfo:
    if folder is None:
        return ModelInfo(name, repo, None, 0, "")
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    kind = "ctranslate2" if (folder / "model.bin").exists() else "safetensors"
    return ModelInfo(name, repo, folder, size, kind)


def remove(name: str, *, cache_root: Path | None = None) -> int:
    """Delete a downloaded model and what was made from it. Return the bytes freed.

    Raises ModelError when it is not downloaded, UsageError for the demo model and for folders,
    which are not ours to delete.
    """
    if _own_folder(name):
        raise UsageError(f"{name} was not downloaded by us, so it is not ours to remove.")
    folder = _home(repository(name), cache_root)
    if not folder.is_dir():
        raise ModelError(f"The model {name} is not on this machine: nothing to remove.")
    freed = remove_made_from(folder)
    freed += sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
    shutil.rmtree(folder)
    return freed
