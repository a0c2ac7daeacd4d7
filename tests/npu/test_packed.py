"""Packed weights on disk: made once, mapped, made again when anything they follow from changes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whisper_npu_cli.cache import remove_made_from
from whisper_npu_cli.errors import ModelError
from whisper_npu_cli.npu.packed import Recipe, clear_packings, list_packings, packed, packings

ARRAYS = {"a": np.arange(1000, dtype=np.uint16), "b": np.ones((3, 5), np.int8)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path):
    return Recipe("checkpoint", "1", "overlay", tmp_path / "model")


class Packer:
    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        yield from ARRAYS.items()


def same(found):
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_packed_once_and_mapped(recipe):
    pack = Packer()
    for _ in range(3):
        found = packed(recipe, pack)
        same(found)
        assert isinstance(found["a"], np.memmap) and not found["a"].flags.writeable
    assert pack.times == 1


@pytest.mark.parametrize("field", ["checkpoint", "version", "overlay"])
def test_whatever_they_follow_from(recipe, field):
    pack = Packer()
    packed(recipe, pack)
    packed(replace(recipe, **{field: "another"}), pack)
    packed(replace(recipe, source=Path("/moved")), pack)
    assert pack.times == 2


def test_a_file_that_was_cut_short_is_made_again(recipe):
    packed(recipe, Packer())
    path = recipe.folder / "a.npy"
    for size in (100, 0):
        os.truncate(path, size)
        same(packed(recipe, Packer()))


def test_a_packer_that_fails_leaves_nothing_behind(recipe):
    def failing():
        yield "a", ARRAYS["a"]
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        packed(recipe, failing)
    assert list(packings().iterdir()) == []
    same(packed(recipe, Packer()))


def test_a_cache_that_cannot_be_written(recipe, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelError, match=r"cannot be written .* set WHISPER_NPU_CACHE"):
        packed(recipe, Packer())


def test_list_clear_and_remove(recipe, tmp_path):
    packed(recipe, Packer())
    packed(replace(recipe, checkpoint="2", source=tmp_path / "other"), Packer())
    sizes = {packing.source: packing.size_bytes for packing in list_packings()}
    assert sizes.keys() == {tmp_path / "model", tmp_path / "other"}
    assert min(sizes.values()) > 2015
    assert remove_made_from(tmp_path / "model") == sizes[tmp_path / "model"]
    assert [packing.source for packing in list_packings()] == [tmp_path / "other"]
    assert clear_packings() == sizes[tmp_path / "other"]
    assert list_packings() == []
