import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from time import perf_counter

import pytest
from fake_hub import COMMIT, serving

from checkpoints import random_checkpoint
from whisper_npu_cli.engines import models
from whisper_npu_cli.engines.convert import converted
from whisper_npu_cli.engines.models import (
    ALIASES,
    DEMO_FOLDER,
    is_complete,
    list_models,
    path,
    remove,
    repository,
    resolve,
)
from whisper_npu_cli.errors import ExitCode, ModelError, UsageError

REPO = "someone/whisper-small-test"
JUNK = ["pytorch_model.bin", "flax_model.msgpack", "model.fp32-00001-of-00002.safetensors"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = random_checkpoint(tmp_path_factory.mktemp("published"))
    published = {file.name: file.read_bytes() for file in folder.iterdir()}
    return published | dict.fromkeys(JUNK, b"x" * 1000)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A hub cache that holds base whole and tiny half, as huggingface_hub lays them out."""
    root = tmp_path / "hub"
    for repo in ("openai/whisper-base", "openai/whisper-tiny"):
        home = root / f"models--{repo.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(COMMIT)
        snapshot = random_checkpoint(home / "snapshots" / COMMIT)
        (home / "blobs").mkdir()
        for file in list(snapshot.iterdir()):
            file.rename(home / "blobs" / file.name)
            file.symlink_to(Path("../../blobs") / file.name)
    (snapshot / "model.safetensors").unlink()
    return root


def call(function: str, name: str, root: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run engines.models in its own process: the hub's library reads its address at import."""
    code = (
        "import sys; from pathlib import Path; from whisper_npu_cli.engines import models\n"
        "try: print(getattr(models, sys.argv[1])(sys.argv[2], cache_root=Path(sys.argv[3])))\n"
        "except models.ModelError as error: sys.exit(f'{int(error.exit_code)} {error}')"
    )
    command = [sys.executable, "-c", code, function, name, str(root)]
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_download_takes_what_is_needed_and_no_more(tmp_path: Path, files: dict) -> None:
    with serving(REPO, files) as hub:
        done = call("download", REPO, tmp_path, hub.url)
    assert done.returncode == 0, done.stderr
    got = content(Path(done.stdout.strip()))
    assert got == {name: data for name, data in files.items() if name not in JUNK}
    assert "model.safetensors" in done.stderr or "%" in done.stderr  # the library's own bar


WRITTEN_AT_ONCE = 10 * 1024 * 1024  # huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE


def test_cut_download_resumes_in_a_new_process(tmp_path: Path, files: dict) -> None:
    big = files | {"model.safetensors": bytes(range(256)) * 100_000}
    with serving(REPO, big, cut="model.safetensors") as hub:
        first = call("download", REPO, tmp_path, hub.url)
        assert first.stderr.splitlines()[-1].startswith(f"4 The download of {REPO} broke off")
        assert "to go on where it stopped" in first.stderr
        hub.broken = False
        hub.requests.clear()
        second = call("resolve", REPO, tmp_path, hub.url)
    assert second.returncode == 0, second.stderr
    assert content(Path(second.stdout.strip()))["model.safetensors"] == big["model.safetensors"]
    weights = [
        asked
        for method, path, asked in hub.requests
        if method == "GET" and path.endswith("/model.safetensors")
    ]
    assert weights == [f"bytes={WRITTEN_AT_ONCE}-"]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_leftover_that_cannot_be_a_beginning_is_dropped(tmp_path: Path, files: dict) -> None:
    blobs = tmp_path / f"models--{REPO.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True)
    etag = sha256(files["model.safetensors"]).hexdigest()
    (blobs / f"{etag}.resumable.incomplete").write_bytes(files["model.safetensors"] + b"more")
    with serving(REPO, files) as hub:
        done = call("download", REPO, tmp_path, hub.url)
    assert content(Path(done.stdout.strip()))["model.safetensors"] == files["model.safetensors"]


def test_what_arrives_damaged_is_refused(tmp_path: Path, files: dict) -> None:
    with serving(REPO, files) as hub:
        hub.lie = "model.safetensors"
        done = call("download", REPO, tmp_path, hub.url)
        assert "arrived damaged and was removed: run the same command again" in done.stderr
        hub.lie = None
        assert call("download", REPO, tmp_path, hub.url).returncode == 0


def test_what_is_complete_never_asks_the_network(tmp_path: Path, files: dict) -> None:
    with serving(REPO, files) as hub:
        first = call("resolve", REPO, tmp_path, hub.url)
        hub.requests.clear()
        second = call("resolve", REPO, tmp_path, hub.url)
        assert hub.requests == []
    assert first.stdout == second.stdout != ""


def test_no_network_is_said_quickly(tmp_path: Path) -> None:
    start = perf_counter()
    done = call("resolve", "tiny", tmp_path, "http://127.0.0.1:9")  # discard: nobody listens
    assert perf_counter() - start < 30
    assert done.stderr.startswith("4 The model tiny cannot be loaded, for http://127.0.0.1:9 does")
    assert "run whisper-npu models download tiny on a machine with network" in done.stderr
    assert "--model demo" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_unknown_repository(tmp_path: Path, files: dict) -> None:
    with serving(REPO, files) as hub:
        done = call("resolve", "someone/else", tmp_path, hub.url)
    assert done.stderr.startswith("4 The hub has no model someone/else, or it is private")


def test_gated_repository(tmp_path: Path, files: dict) -> None:
    with serving(REPO, files) as hub:
        hub.gated = True
        done = call("resolve", REPO, tmp_path, hub.url)
    assert done.stderr.startswith(f"4 The model {REPO} is gated: accept its terms")


def test_repository_without_safetensors(tmp_path: Path, files: dict) -> None:
    others = {name: data for name, data in files.items() if name != "model.safetensors"}
    with serving(REPO, others) as hub:
        done = call("resolve", REPO, tmp_path, hub.url)
        assert not any("/resolve/" in path for _, path, _ in hub.requests)
    assert "has no weights that we read: choose one in safetensors or CTranslate2" in done.stderr


def test_disk_that_cannot_be_written(tmp_path: Path, files: dict) -> None:
    (tmp_path / "file").write_text("")
    with serving(REPO, files) as hub:
        done = call("download", REPO, tmp_path / "file" / "cache", hub.url)
    assert "cannot be stored" in done.stderr
    assert "--model_dir" in done.stderr


def test_names() -> None:
    assert repository("base") == "openai/whisper-base"
    assert repository("large") == repository("large-v3") == "openai/whisper-large-v3"
    assert repository("turbo") == "openai/whisper-large-v3-turbo"
    assert repository("large-v1") == "openai/whisper-large"
    assert repository("distil-small.en") == "distil-whisper/distil-small.en"
    assert repository("some-one/thing.v2") == "some-one/thing.v2"
    faster = pytest.importorskip("faster_whisper").available_models()
    assert set(ALIASES) == set(faster)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bsae", "did you mean base"),
        ("large-v4", "did you mean .*large-v3"),
        ("dmeo", "demo"),
        ("qwertz", "see whisper-npu models list"),
        ("", "models list"),
        ("./no/such/folder", "no folder ./no/such/folder"),
        ("/no/such", "no folder /no/such"),
        ("a/b/c", "no folder a/b/c"),
        ("owner/", "no folder owner/"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as refusal:
        resolve(name)
    assert refusal.value.exit_code == ExitCode.MODEL_UNAVAILABLE == 4


@pytest.mark.parametrize("name", ["a b/c", "owner/na\nme", "owner/..", "-x/y"])
def test_names_that_no_repository_can_have(name: str, cache: Path) -> None:
    with pytest.raises(ModelError):
        resolve(name, cache_root=cache)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = random_checkpoint(tmp_path / "owner" / "my model ☃")
    assert resolve(str(folder)) == folder
    monkeypatch.chdir(tmp_path)
    assert resolve("owner/my model ☃") == Path("owner/my model ☃")
    shutil.copytree(folder, tmp_path / "mine")
    assert resolve("mine") == Path("mine")


def test_an_alias_means_the_same_everywhere(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_checkpoint(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    assert resolve("base", cache_root=cache).name == COMMIT
    assert resolve("./base") == Path("base")


def test_folder_without_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model"):
        resolve(str(tmp_path))


def test_demo_is_in_the_package() -> None:
    assert resolve("demo") == DEMO_FOLDER
    assert DEMO_FOLDER.parent == Path(models.__file__).parent


def test_cached_model_is_found_offline(cache: Path) -> None:
    folder = cache / "models--openai--whisper-base" / "snapshots" / COMMIT
    assert resolve("base", cache_root=cache, local_files_only=True) == folder
    assert path("openai/whisper-base", cache_root=cache) == folder


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_half_or_no_model_is_not_found_offline(cache: Path, name: str) -> None:
    with pytest.raises(ModelError, match=f"models download {name}"):
        path(name, cache_root=cache)


def test_complete_means_all_shards_or_both_ctranslate2_files(tmp_path: Path) -> None:
    sharded = random_checkpoint(tmp_path / "sharded", shards=3)
    assert is_complete(sharded)
    (sharded / "model-00002-of-00003.safetensors").unlink()
    assert not is_complete(sharded)
    ct2 = tmp_path / "ct2"
    ct2.mkdir()
    for name in ("config.json", "tokenizer.json", "model.bin"):
        (ct2 / name).write_text("{}")
    assert not is_complete(ct2)
    (ct2 / "vocabulary.json").write_text("[]")
    assert is_complete(ct2)
    (ct2 / "tokenizer.json").unlink()
    assert not is_complete(ct2)


def test_list(cache: Path) -> None:
    other = cache / "models--someone--fine-tune"
    shutil.copytree(cache / "models--openai--whisper-base", other, symlinks=True)
    unrelated = cache / "models--someone--bert"
    shutil.copytree(other, unrelated, symlinks=True)
    (unrelated / "blobs" / "config.json").write_text('{"model_type": "bert"}')
    listed = {model.name: model for model in list_models(cache)}
    assert next(iter(listed)) == "demo"
    assert set(listed) == {"demo", *ALIASES, "someone/fine-tune"}
    base = listed["base"]
    size = sum(f.stat().st_size for f in (cache / "models--openai--whisper-base/blobs").iterdir())
    assert (base.repo, base.size_bytes, base.format) == ("openai/whisper-base", size, "safetensors")
    assert base.path == path("base", cache_root=cache)
    assert (listed["tiny"].path, listed["tiny"].size_bytes) == (None, 0)


def test_remove(cache: Path) -> None:
    made = converted(path("base", cache_root=cache))
    home = cache / "models--openai--whisper-base"
    freed = remove("base", cache_root=cache)
    assert not home.exists()
    assert not made.exists()
    assert freed > 300_000
    with pytest.raises(ModelError, match="not on this machine"):
        remove("base", cache_root=cache)


def test_a_half_download_can_be_removed(cache: Path) -> None:
    assert remove("tiny", cache_root=cache) > 0
    assert not (cache / "models--openai--whisper-tiny").exists()


def test_only_downloads_can_be_removed(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path / "mine")
    with pytest.raises(UsageError, match="not ours to remove"):
        remove(str(folder))
    assert is_complete(folder)
    with pytest.raises(UsageError, match="not ours to remove"):
        remove("demo")


def test_offline_variable_is_named(cache: Path) -> None:
    """The tests run with HF_HUB_OFFLINE=1."""
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        resolve("small", cache_root=cache)
