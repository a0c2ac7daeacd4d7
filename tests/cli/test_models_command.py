import json
from pathlib import Path

import numpy as np
import pytest

from whisper_npu_cli.cli.models import human
from whisper_npu_cli.engines import models
from whisper_npu_cli.engines.models import ModelInfo
from whisper_npu_cli.errors import ModelError
from whisper_npu_cli.npu.choice import Subject, decide
from whisper_npu_cli.npu.packed import Recipe, packed

FOUND = [
    ModelInfo("demo", "", Path("/pkg/demo"), 12_345_678, "safetensors"),
    ModelInfo("tiny", "openai/whisper-tiny", None, 0, ""),
]


@pytest.fixture
def hub(monkeypatch):
    """The engine's model functions, replaced by ones that note what they are asked."""
    asked = []

    def stand_in(name, answer):
        def function(*args, **kwargs):
            asked.append((name, *args, *kwargs.values()))
            if args == ("absent",):
                raise ModelError("The model absent is not on this machine.")
            return answer

        monkeypatch.setattr(models, name, function)

    stand_in("list_models", FOUND)
    stand_in("download", Path("/cache/tiny"))
    stand_in("path", Path("/cache/tiny"))
    stand_in("remove", 151_000_000)
    return asked


def test_list(command, hub):
    code, out, err = command("models", "list")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "REPOSITORY", "SIZE", "STATE", "PATH"],
        ["demo", "-", "12", "MB", "safetensors", "/pkg/demo"],
        ["tiny", "openai/whisper-tiny", "-", "not", "downloaded", "-"],
    ]


def test_list_as_json(command, hub):
    found = json.loads(command("models", "list", "--json", "--model_dir", "cache")[1])
    assert [model["name"] for model in found] == ["demo", "tiny"]
    assert found[0]["path"] == "/pkg/demo" and found[1]["path"] is None
    assert hub == [("list_models", Path("cache"))]


def test_download_prints_the_folders(command, hub):
    assert command("models", "download", "tiny", "base") == (0, "/cache/tiny\n/cache/tiny\n", "")
    assert hub == [("download", "tiny", None), ("download", "base", None)]


def test_path_prints_only_the_path(command, hub):
    assert command("models", "path", "tiny") == (0, "/cache/tiny\n", "")


def test_remove_says_how_much(command, hub):
    code, out, err = command("models", "remove", "tiny")
    assert (code, out) == (0, "")
    assert err == "whisper-npu: removed tiny, 151000000 bytes freed (151 MB)\n"


@pytest.mark.parametrize("action", ["download", "path", "remove"])
def test_an_absent_model_has_its_own_exit_code(command, hub, action):
    assert command("models", action, "absent") == (
        4,
        "",
        "whisper-npu: error: The model absent is not on this machine.\n",
    )
    assert command("models", action)[0] == 2


def test_models_alone_is_wrong_usage(command):
    code, out, err = command("models")
    assert (code, out) == (2, "")
    assert err == "whisper-npu: error: Missing command; see `whisper-npu models --help`.\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345_678, "12 MB"), (3_090_000_000, "3.1 GB")],
)
def test_sizes(size, text):
    assert human(size) == text


def test_cache(command, tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "cache"))
    assert command("models", "cache") == (0, "", "")
    recipe = Recipe("checkpoint", "1", "overlay", tmp_path / "model")
    packed(recipe, lambda: [("weights", np.zeros(872, np.uint8))])
    decide(Subject("base", "checkpoint", "driver"), {"npu": 0.25, "cpu": 1.5}.__getitem__)
    code, out, err = command("models", "cache")
    size = sum(file.stat().st_size for file in recipe.folder.iterdir())
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"packed    {human(size)}  {tmp_path / 'model'}  {recipe.folder}",
        "measured  npu: a window of base took 0.25 s on the npu, 1.50 s on the cpu",
    ]
    told = json.loads(command("models", "cache", "--json")[1])
    assert told["packed"] == [
        {"source": str(tmp_path / "model"), "size_bytes": size, "path": str(recipe.folder)}
    ]
    assert told["measured"][0]["seconds"] == {"npu": 0.25, "cpu": 1.5}
    cleared = f"whisper-npu: cleared 1 measurements, {size} bytes freed ({human(size)})\n"
    assert command("models", "cache", "--clear") == (0, "", cleared)
    assert command("models", "cache") == (0, "", "")
