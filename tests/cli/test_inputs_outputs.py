import errno
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.cli.inputs import Input, collect, outputs
from whisper_npu_cli.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.MP3", "a.wav", "notes.txt", "._a.wav", "sub/c.flac", "empty/readme"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(*arguments):
    inputs, problems = collect(arguments)
    return [str(item.path) for item in inputs], [str(problem) for problem in problems]


def test_a_folder_gives_its_audio_files_in_order(folder):
    assert names(".") == (["a.wav", "b.MP3"], [])
    assert names("sub") == (["sub/c.flac"], [])


def test_a_named_file_may_be_called_anything(folder):
    assert names("notes.txt") == (["notes.txt"], [])


def test_unexpanded_globs(folder):
    assert names("*.wav") == (["a.wav"], [])
    assert names("**/*.flac") == (["sub/c.flac"], [])
    assert names("su?") == (["sub/c.flac"], [])
    assert names("*.ogg") == ([], ["no file matches '*.ogg'; check the pattern."])


def test_a_file_whose_name_looks_like_a_glob(folder):
    (folder / "[1].wav").write_bytes(b"x")
    assert names("[1].wav") == (["[1].wav"], [])


def test_each_file_once_in_the_order_given(folder):
    assert names("sub/../b.MP3", ".", "./a.wav", "b.MP3")[0] == ["sub/../b.MP3", "a.wav"]


def test_what_is_not_there_is_told_and_the_rest_goes_on(folder):
    found, problems = names("gone.wav", "empty", "a.wav")
    assert found == ["a.wav"]
    assert problems == [
        "gone.wav does not exist; check the name and the folder.",
        "folder empty has no audio files of its own; name the files, or the folder that has them.",
    ]


def test_an_unreadable_folder(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)  # root may read everything
    assert names("sub")[1] == [
        "folder sub cannot be read (Permission denied); check its permissions."
    ]


@pytest.mark.parametrize("name", ["two words.wav", "line\nbreak.wav", "🎤.wav", "-dash.wav"])
def test_odd_names(folder, name):
    (folder / name).write_bytes(b"x")
    inputs, problems = collect([name])
    assert (inputs, problems) == ([Input(Path(name))], [])
    assert "\n" not in inputs[0].name


def test_names_in_no_encoding(folder):
    name = os.fsdecode(b"\xff.wav")
    Path(name).write_bytes(b"x")
    inputs, _ = collect([name])
    assert inputs[0].name.encode() == rb"\udcff.wav"


def test_standard_input_once_and_only_from_a_pipe(monkeypatch, pipe):
    pipe(b"x")
    inputs, _ = collect(["-"])
    assert inputs[0].is_stdin and inputs[0].source().read() == b"x"
    with pytest.raises(UsageError, match="once only"):
        collect(["-", "a.wav", "-"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(UsageError, match="reads sound from a pipe"):
        collect(["-"])


def planned(*arguments, formats=("txt",), folder="out"):
    return [
        [str(path) for path in paths]
        for paths in outputs([Input(Path(a)) for a in arguments], formats, Path(folder))
    ]


def test_transcripts_are_named_after_their_sounds():
    assert planned("x/a.wav", "b.tar.mp3", "-", formats=("txt", "srt")) == [
        ["out/a.txt", "out/a.srt"],
        ["out/b.tar.txt", "out/b.tar.srt"],
        ["out/stdin.txt", "out/stdin.srt"],
    ]


def test_shared_names_keep_their_suffix():
    assert planned("a.wav", "x/a.mp3", "b.wav") == [
        ["out/a.wav.txt"],
        ["out/a.mp3.txt"],
        ["out/b.txt"],
    ]
    assert planned("-", "stdin.wav") == [["out/stdin.txt"], ["out/stdin.wav.txt"]]


@pytest.mark.parametrize(
    "arguments", [("x/a.wav", "y/a.wav"), ("a.wav", "a.mp3", "x/a.mp3.ogg"), ("x/a", "y/a")]
)
def test_names_that_cannot_be_told_apart_are_refused(arguments):
    with pytest.raises(UsageError, match="would both be written to"):
        planned(*arguments)
    assert planned(*arguments, formats=()) == [[]] * len(arguments)


@given(st.lists(st.sampled_from([f"{d}{s}{e}" for d in ("", "x/") for s in "ab" for e in
                                 ("", ".wav", ".mp3", ".wav.mp3")]), unique=True))  # fmt: skip
def test_no_two_inputs_ever_share_a_file(arguments):
    try:
        paths = [path for paths in planned(*arguments, formats=("txt", "srt")) for path in paths]
    except UsageError:
        return
    assert len(set(paths)) == 2 * len(arguments)
