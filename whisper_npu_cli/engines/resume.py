"""One large file of the hub into the hub library's cache, going on where a cut download stopped.

The library itself goes on after a lost connection, but since version 1 forgets a file's progress
when its process ends; its cache layout, headers, progress bar and retries are used as they are.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

from whisper_npu_cli.errors import ModelError

_BLOCK = 1 << 20


def fetch(repo: str, commit: str, name: str, blobs: Path) -> None:
    """Put the file `name` of `repo` at `commit` into the folder `blobs`, where the library looks.

    Raises ModelError when what arrived is not what the hub announced, and the library's own
    exceptions when it does not arrive.
    """
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    url = hf_hub_url(repo, name, revision=commit)
    token = get_token()
    announced = get_hf_file_metadata(url)
    if announced.etag is None or (blobs / announced.etag).exists():
        return
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / f"{announced.etag}.resumable.incomplete"
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process may be at it: wait, then look again
        if (blobs / announced.etag).exists():
            return
        if file.tell() > (announced.size or 0):  # not this file's beginning
            file.seek(0)
            file.truncate()
        http_get(
            url,
            file,
            resume_size=file.tell(),
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=announced.size,
            displayed_filename=name,
        )
        file.flush()
        _accept(part, blobs / announced.etag)


def _accept(part: Path, blob: Path) -> None:
    """Give a complete file its name, which is its sha256 for every large file of the hub."""
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if len(blob.name) == digest.digest_size * 2 and digest.hexdigest() != blob.name:
        part.unlink()
        raise ModelError(f"{blob} arrived damaged and was removed: run the same command again.")
    part.rename(blob)
