"""Reading the JSON files of a model folder, with refusals that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from whisper_npu_cli.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in `path`. Raise ModelError when it is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: this folder is not a whole Whisper model, download it again."
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ModelError(f"{path} is damaged (not a JSON object): remove it and download it again.")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """Like `read_json`, but an absent file is an empty object."""
    return read_json(path) if path.exists() else {}
