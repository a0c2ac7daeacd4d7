"""`whisper-npu models`: what can be loaded, what is on this machine, and how to change that."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisper_npu_cli.cli import flags
from whisper_npu_cli.cli.streams import note, put

if TYPE_CHECKING:
    from whisper_npu_cli.engines.models import ModelInfo

app = typer.Typer(help="List, download, locate and remove models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As for --model.")]
ListJson = Annotated[int, flags.switch("--json", help="Print a JSON list.")]
CacheJson = Annotated[int, flags.switch("--json", help="Print one JSON object.")]
ClearCache = Annotated[int, flags.switch("--clear", help="Delete all that is shown.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="As for --model.")]


@app.command("list")
def list_(model_dir: flags.ModelDir = None, json: ListJson = False) -> None:
    """Show every model known by name or downloaded: name, repository, size, state, path."""
    from whisper_npu_cli.engines.models import list_models

    found = list_models(_folder(model_dir))
    if json:
        put(json_format.dumps([asdict(model) for model in found], default=str))
        return
    rows = [("NAME", "REPOSITORY", "SIZE", "STATE", "PATH"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        put("  ".join(cells).rstrip())


@app.command()
def download(names: Names, model_dir: flags.ModelDir = None) -> None:
    """Fetch models from the Hugging Face hub; a cut download resumes. Prints their folders."""
    from whisper_npu_cli.engines import models

    for name in names:
        put(str(models.download(name, cache_root=_folder(model_dir))))


@app.command()
def path(name: Name, model_dir: flags.ModelDir = None) -> None:
    """Print the folder of a model that is on this machine, and nothing else."""
    from whisper_npu_cli.engines import models

    put(str(models.path(name, cache_root=_folder(model_dir))))


@app.command()
def remove(name: Name, model_dir: flags.ModelDir = None) -> None:
    """Delete a downloaded model and what was made from it."""
    from whisper_npu_cli.engines import models

    freed = models.remove(name, cache_root=_folder(model_dir))
    note(f"removed {name}, {freed} bytes freed ({human(freed)})")


@app.command()
def cache(clear: ClearCache = False, json: CacheJson = False) -> None:
    """Show what was made from models for the NPU, and which device `auto` found the fastest."""
    from whisper_npu_cli.npu import choice, packed

    packings, measured = packed.list_packings(), choice.list_measured()
    if clear:
        choice.clear_measured()
        freed = packed.clear_packings()
        note(f"cleared {len(measured)} measurements, {freed} bytes freed ({human(freed)})")
        return
    if json:
        told = {"packed": list(map(asdict, packings)), "measured": list(map(asdict, measured))}
        put(json_format.dumps(told, default=str))
        return
    for packing in packings:
        put(f"packed    {human(packing.size_bytes)}  {packing.source}  {packing.path}")
    for each in measured:
        put(f"measured  {each.reason}")


def human(size: float) -> str:
    """Bytes in decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _folder(model_dir: str | None) -> Path | None:
    return Path(model_dir) if model_dir else None


def _row(model: ModelInfo) -> tuple[str, str, str, str, str]:
    state = model.format or "not downloaded"
    size = human(model.size_bytes) if model.path else "-"
    return model.name, model.repo or "-", size, state, str(model.path or "-")
