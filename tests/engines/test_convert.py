import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from checkpoints import (
    LARGE_V3_LIKE,
    REFERENCED,
    TINY,
    Recipe,
    prompt,
    random_checkpoint,
    random_features,
    random_weights,
    save_weights,
    suppressed,
)
from whisper_npu_cli.cache import remove_made_from
from whisper_npu_cli.engines import convert
from whisper_npu_cli.engines.convert import conversions, converted
from whisper_npu_cli.errors import ModelError

REFERENCE = Path(__file__).parents[1] / "data" / "reference"
INPUT_SEEDS = (10, 11)  # those of scripts/make_reference.py


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {recipe.name: random_checkpoint(root / recipe.name, recipe) for recipe in REFERENCED}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ct2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return random_checkpoint(tmp_path / "model")


def load(folder: Path, compute_type: str = "default") -> ctranslate2.models.Whisper:
    return ctranslate2.models.Whisper(str(folder), device="cpu", compute_type=compute_type)


def run(folder: Path, recipe: Recipe, compute_type: str = "default") -> dict[str, np.ndarray]:
    """The same quantities that scripts/make_reference.py stores."""
    model = load(folder, compute_type)
    features = np.concatenate([random_features(recipe.n_mels, seed) for seed in INPUT_SEEDS])
    hidden = model.encode(ctranslate2.StorageView.from_array(features))
    results = model.generate(
        hidden, [prompt(recipe)] * 2, beam_size=1, max_length=64, return_no_speech_prob=True
    )
    encoder = np.array(hidden)
    measured = {
        "encoder": encoder[:, ::50],
        "encoder_std": encoder.std(axis=(1, 2)),
        "tokens": np.array([result.sequences_ids[0][:20] for result in results]),
        "no_speech": np.array([result.no_speech_prob for result in results]),
    }
    if recipe.multilingual:
        measured["languages"] = np.array([_in_order(p) for p in model.detect_language(hidden)])
    return measured


def _in_order(detected: list[tuple[str, float]]) -> list[float]:
    from checkpoints import LANGUAGES

    probabilities = dict(detected)
    return [probabilities[f"<|{name}|>"] for name in LANGUAGES if f"<|{name}|>" in probabilities]


@pytest.mark.parametrize("recipe", REFERENCED, ids=lambda recipe: recipe.name)
def test_agrees_with_transformers(folders: dict[str, Path], recipe: Recipe) -> None:
    """Committed outputs of transformers in float32, for the same weights and inputs."""
    ours = run(converted(folders[recipe.name]), recipe)
    with np.load(REFERENCE / f"{recipe.name}.npz") as reference:
        scale = np.abs(reference["encoder"]).max()
        assert np.abs(ours["encoder"] - reference["encoder"]).max() <= 1e-5 * scale
        assert np.allclose(ours["encoder_std"], reference["encoder_std"], rtol=1e-4)
        assert ours["tokens"].tolist() == reference["tokens"].tolist()
        assert np.allclose(ours["no_speech"], reference["no_speech"], rtol=1e-3)
        if recipe.multilingual:
            assert np.allclose(ours["languages"], reference["languages"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("stored", ["int8", "float16"])
@pytest.mark.parametrize("recipe", REFERENCED, ids=lambda recipe: recipe.name)
def test_smaller_precisions_stay_close(
    folders: dict[str, Path], recipe: Recipe, stored: str
) -> None:
    """What is stored is close. Computed in float32, since int8 arithmetic differs by processor: one
    without VNNI saturates sums of two products (encoder correlation 0.984 to 0.995 seen).
    """
    ours = run(converted(folders[recipe.name], stored), recipe, compute_type="float32")
    with np.load(REFERENCE / f"{recipe.name}.npz") as reference:
        same = np.corrcoef(ours["encoder"].ravel(), reference["encoder"].ravel())[0, 1]
    assert same > (0.9999 if stored == "float16" else 0.999)


@pytest.mark.parametrize(("stored", "bytes_each"), [("float32", 4), ("float16", 2), ("int8", 1)])
def test_stored_size(folders: dict[str, Path], stored: str, bytes_each: int) -> None:
    """The embedding, most of this model, is stored once and in the asked precision."""
    embedding = LARGE_V3_LIKE.geometry.vocab_size * LARGE_V3_LIKE.d_model
    size = (converted(folders["large_v3_like"], stored) / "model.bin").stat().st_size
    assert embedding * bytes_each < size < 1.4 * embedding * bytes_each


def test_own_precision_of_a_half_checkpoint_is_float16(folders: dict[str, Path]) -> None:
    assert converted(folders["multilingual"]) == converted(folders["multilingual"], "float16")
    assert converted(folders["large_v3_like"]) == converted(folders["large_v3_like"], "float32")


def test_configuration(folders: dict[str, Path]) -> None:
    made = converted(folders["large_v3_like"])
    config = json.loads((made / "config.json").read_text())
    start = LARGE_V3_LIKE.end_of_text + 1
    assert config["alignment_heads"] == [[2, 0], [2, 1]]
    assert config["lang_ids"] == list(range(start + 1, start + 101))
    assert config["suppress_ids"] == suppressed(LARGE_V3_LIKE)
    assert config["suppress_ids_begin"] == [220, start - 1]
    assert load(made).is_multilingual
    assert load(made).n_mels == 128
    assert not load(converted(folders["english"])).is_multilingual
    for name in ("tokenizer.json", "preprocessor_config.json"):
        assert (made / name).read_bytes() == (folders["large_v3_like"] / name).read_bytes()


def test_without_generation_config(folder: Path, cache: Path) -> None:
    """config.json's lists count then, and the last half of the layers aligns words."""
    (folder / "generation_config.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"begin_suppress_tokens": [5]}))
    config = json.loads((converted(folder) / "config.json").read_text())
    assert config["suppress_ids_begin"] == [5]
    assert config["suppress_ids"] == []
    assert config["alignment_heads"] == [[0, 0]]
    assert len(config["lang_ids"]) == 99


def first_tokens(folder: Path) -> list[int]:
    features = ctranslate2.StorageView.from_array(random_features(80, 0))
    return load(folder).generate(features, [prompt(TINY)], beam_size=1)[0].sequences_ids[0]


def test_stored_projection(folder: Path, cache: Path) -> None:
    """The same tensor stored twice changes nothing; a different one is used."""
    weights = random_weights(TINY)
    embedding = weights["model.decoder.embed_tokens.weight"]
    plain = converted(folder)
    save_weights(folder, weights | {"proj_out.weight": embedding})
    tied = converted(folder)
    assert (tied / "model.bin").read_bytes() == (plain / "model.bin").read_bytes()
    save_weights(folder, weights | {"proj_out.weight": np.roll(embedding, 1, axis=0)})
    rolled = converted(folder)
    assert first_tokens(rolled)[0] == first_tokens(plain)[0] + 1


def test_second_time_nothing_is_written(folder: Path, cache: Path) -> None:
    first = converted(folder)
    stamp = (first / "model.bin").stat()
    assert converted(folder) == first
    assert (first / "model.bin").stat() == stamp
    assert [entry.name for entry in cache.iterdir()] == [first.name]


@pytest.mark.parametrize(
    "file", ["config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json"]
)
def test_a_changed_small_file_is_another_model(folder: Path, cache: Path, file: str) -> None:
    first = converted(folder)
    path = folder / file
    path.write_text(path.read_text() + " ")
    assert converted(folder) != first


def test_changed_weights_are_another_model(folder: Path, cache: Path) -> None:
    """Also when size and time stay the same, as in archives with fixed times."""
    path = folder / "model.safetensors"
    os.utime(path, (1e9, 1e9))
    first = converted(folder)
    save_weights(folder, random_weights(Recipe(**{**TINY.__dict__, "seed": 99})))
    os.utime(path, (1e9, 1e9))
    assert converted(folder) != first


def test_a_hub_blob_is_known_by_its_name(tmp_path: Path, folder: Path, cache: Path) -> None:
    """In the hub's cache the file is a link to blobs/<sha256>; its time does not matter."""
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    weights = folder / "model.safetensors"
    weights.rename(blob)
    weights.symlink_to(blob)
    first = converted(folder)
    os.utime(blob, (1e9, 1e9))
    assert converted(folder) == first


CONVERT = (
    "import sys, pathlib; from whisper_npu_cli.engines.convert import converted;"
    "print(converted(pathlib.Path(sys.argv[1])))"
)


def test_two_processes_at_once(folder: Path, cache: Path) -> None:
    command = [sys.executable, "-c", CONVERT, str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert [entry.name for entry in cache.iterdir()] == [Path(said[0].strip()).name]
    assert first_tokens(converted(folder))


def test_loser_of_a_race_uses_the_winners_folder(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process finishes between our look and our rename."""
    specification = convert._specification

    def meanwhile(*arguments: object) -> object:
        monkeypatch.setattr(convert, "_specification", specification)
        converted(folder)
        return specification(*arguments)

    monkeypatch.setattr(convert, "_specification", meanwhile)
    made = converted(folder)
    assert [entry.name for entry in cache.iterdir()] == [made.name]


def test_cache_cannot_be_made(folder: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelError, match=r"cannot be written to .*set WHISPER_NPU_CACHE"):
        converted(folder)


def test_full_disk_leaves_nothing_behind(folder: Path, cache: Path) -> None:
    """A limit on file size fails in the middle of model.bin, as a full disk does."""
    limited = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); {CONVERT}"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, str(folder)], capture_output=True, text=True
    )
    assert "ModelError: The converted model cannot be written to" in done.stderr
    assert list(cache.iterdir()) == []


def test_abandoned_parts_go_and_fresh_ones_stay(folder: Path, cache: Path) -> None:
    for name, age in ((".part-old", 1e9), (".part-new", None)):
        (cache / name).mkdir(parents=True)
        if age:
            os.utime(cache / name, (age, age))
    converted(folder)
    assert sorted(entry.name for entry in cache.glob(".part-*")) == [".part-new"]


def test_damaged_checkpoint_leaves_nothing_behind(folder: Path, cache: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        converted(folder)
    assert not cache.exists()


def test_removal_frees_only_what_came_from_there(tmp_path: Path, folder: Path, cache: Path) -> None:
    other = converted(random_checkpoint(tmp_path / "other", seed=7))
    size = sum(file.stat().st_size for file in converted(folder).iterdir())
    assert remove_made_from(folder) == size
    assert list(conversions().iterdir()) == [other]
    assert remove_made_from(folder) == 0


@pytest.mark.parametrize("stored", ["float32", "float16"])
def test_memory_is_a_few_tensors_not_the_model(tmp_path: Path, cache: Path, stored: str) -> None:
    deep = random_checkpoint(tmp_path / "deep", encoder=(30, 1), ffn=2048)
    whole = (deep / "model.safetensors").stat().st_size
    converted(deep, "int8")  # everything imported and cached before the measurement
    tracemalloc.start()
    try:
        converted(deep, stored)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 8
