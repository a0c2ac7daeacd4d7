import csv
import io
import itertools
import json
import os
import re
import resource
from fractions import Fraction

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.errors import OutputError
from whisper_npu_cli.pipeline.results import Engine, Result, Segment, Stage, Timings, Word
from whisper_npu_cli.pipeline.subtitles import cues
from whisper_npu_cli.pipeline.writers import FORMATS, WriterOptions, render, result_json, write

NASTY = st.text(
    st.sampled_from("ab \t\n\r\v\f\x85\u2028->&<>[]0:\N{PARROT}漢é\u200b")
    | st.characters(codec="utf-8"),
    max_size=20,
)

TYPES = {"encode": "default", "decode": "default"}


def result(segments):
    stages = [Stage(name, "cpu", 0.25) for name in ("load", "mel", "encode", "decode", "other")]
    return Result(
        text="".join(s.text for s in segments),
        segments=segments,
        language="en",
        timings=Timings(stages, audio_seconds=10.0, windows=1, tokens=7),
        engine=Engine("demo", "cpu", {s.name: "cpu" for s in stages}, TYPES, "cpu: asked for"),
    )


def segment(text, start=0.0, end=1.0, words=None, id=0):
    return Segment(id, 0, start, end, text, [1, 2], 0.0, -0.5, 1.1, 0.01, words)


@st.composite
def transcripts(draw):
    times = sorted(draw(st.lists(st.integers(0, 40_000_000), min_size=2, max_size=12)))
    texts = draw(st.lists(NASTY, min_size=len(times) // 2, max_size=len(times) // 2))
    return [
        segment(text, start / 1000, end / 1000, id=i)
        for i, (text, start, end) in enumerate(zip(texts, times[::2], times[1::2], strict=False))
    ]


def spoken(text, start=0.0, step=0.5):
    """A segment whose words follow one another, `step` seconds each."""
    words = [
        Word(word, round(start + i * step, 3), round(start + (i + 1) * step, 3), 0.9)
        for i, word in enumerate(re.findall(r"\s*\S+", text))
    ]
    return segment(text, start, words[-1].end, words)


def by_ffmpeg(text, form):
    """Cues (start, end or None, payload) that FFmpeg's own demuxer finds."""
    with av.open(io.BytesIO(text.encode()), format=form) as container:
        stream = container.streams.subtitles[0]
        return [
            (
                packet.pts * stream.time_base,
                (packet.pts + packet.duration) * stream.time_base if packet.duration else None,
                bytes(packet).decode(),
            )
            for packet in container.demux(stream)
            if packet.size
        ]


STAMPS = {
    "srt": r"(\d\d):([0-5]\d):([0-5]\d),(\d{3})",
    "vtt": r"(?:(\d\d):)?([0-5]\d):([0-5]\d)\.(\d{3})",
}


def strictly(text, form):
    """Cues (start, end, lines) by the letter of the format; fails on any deviation."""
    assert text.endswith("\n")
    blocks = text.rstrip("\n").split("\n\n") if text.strip() else []
    if form == "vtt":
        assert blocks.pop(0) == "WEBVTT" and "\r" not in text
    found = []
    for number, block in enumerate(blocks, start=1):
        lines = block.split("\n")
        if form == "srt":
            assert lines.pop(0) == str(number)
        match = re.fullmatch(f"{STAMPS[form]} --> {STAMPS[form]}", lines.pop(0))
        assert match, block
        assert lines and all(line.strip() and "-->" not in line for line in lines)
        if form == "vtt":
            assert not re.search(r"<(?!/?u>)|&(?!amp;|lt;)", "".join(lines))
        numbers = [int(n or 0) for n in match.groups()]
        start, end = (
            h * 3600 + m * 60 + s + Fraction(ms, 1000) for h, m, s, ms in (numbers[:4], numbers[4:])
        )
        assert start <= end
        found.append((start, end, lines))
    return found


def words_of(text):
    return re.findall(r"[^\s]+", text.replace("-->", "->"))


@settings(max_examples=200)
@given(transcripts())
def test_subtitles_keep_times_and_words_of_any_text(segments):
    kept = [s for s in segments if s.text.strip()]
    for form in "srt", "vtt":
        found = strictly(render(result(segments), form) or "\n", form)
        assert [(start, end) for start, end, _ in found] == [
            (Fraction(round(s.start * 1000), 1000), Fraction(round(s.end * 1000), 1000))
            for s in kept
        ]
        for (_, _, lines), source in zip(found, kept, strict=True):
            shown = "\n".join(lines)
            if form == "vtt":
                shown = shown.replace("&lt;", "<").replace("&amp;", "&")
            assert words_of(shown) == words_of(source.text)


@pytest.mark.parametrize("form", ["srt", "webvtt"])
def test_ffmpeg_reads_the_subtitles(form):
    segments = [
        segment(" One two. ", 0.0, 1.5),
        segment("R&B --> a < b\n\nnext\tline", 59.9996, 61.25),
        segment("\N{PARROT} 漢字", 3599.5, 3600.0),
        segment("later", 36_000.001, 359_999.999),
    ]
    found = by_ffmpeg(render(result(segments), "vtt" if form == "webvtt" else form), form)
    assert [(float(start), float(end)) for start, end, _ in found] == [
        (0.0, 1.5), (60.0, 61.25), (3599.5, 3600.0), (36_000.001, 359_999.999)
    ]  # fmt: skip
    texts = [text.strip() for _, _, text in found]
    second = "R&B -> a < b\nnext\tline"
    if form == "webvtt":
        second = second.replace("&", "&amp;").replace("<", "&lt;")
    assert texts == ["One two.", second, "\N{PARROT} 漢字", "later"]


def test_ffmpeg_reads_the_lyrics():
    segments = [segment(" One\ntwo", 1.234, 2.0), segment("three", 3599.996, 3700.0)]
    text = render(result(segments), "lrc")
    assert text == "[00:01.23]One two\n[60:00.00]three\n"
    assert [(float(start), line.strip()) for start, _, line in by_ffmpeg(text, "lrc")] == [
        (1.23, "One two"),
        (3600.0, "three"),
    ]


@given(transcripts())
def test_tables_keep_every_segment_on_its_line(segments):
    # Python 3.10's csv refuses NUL, which a TSV file may hold
    text = render(result(segments), "tsv").replace("\0", "�")
    rows = list(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert rows[0] == ["start", "end", "text"]
    assert [row[:2] for row in rows[1:]] == [
        [str(round(s.start * 1000)), str(round(s.end * 1000))] for s in segments
    ]
    assert all(len(row) == 3 for row in rows)
    texts = [s.text.replace("\0", "�") for s in segments]
    assert [row[2].split() for row in rows[1:]] == [text.split() for text in texts]


@given(transcripts())
def test_plain_text_has_one_line_for_each_segment(segments):
    lines = render(result(segments), "txt").splitlines()
    assert [line.split() for line in lines] == [s.text.split() for s in segments]


@given(transcripts(), st.booleans())
def test_json_reads_back(segments, pretty):
    source = result(segments)
    text = render(source, "json", WriterOptions(pretty_json=pretty))
    assert json.loads(text) == result_json(source)
    assert (text.count("\n") > 5) == pretty
    assert all(c in text for c in source.text if c in "\N{PARROT}漢é")  # no ASCII escapes


def test_json_has_no_number_that_json_does_not_know():
    source = result([segment("x")])
    source.segments[0] = Segment(0, 0, 0, 1, "x", [], 0, float("-inf"), float("nan"), 0)
    (read,) = json.loads(render(source, "json"), parse_constant=pytest.fail)["segments"]
    assert read["avg_logprob"] is None and read["compression_ratio"] is None


def test_no_segments_make_valid_files():
    assert {form: render(result([]), form) for form in FORMATS if form != "json"} == {
        "txt": "", "srt": "", "vtt": "WEBVTT\n\n", "tsv": "start\tend\ttext\n", "lrc": ""
    }  # fmt: skip


def layout(segments, **options):
    return [(c.start, c.end, c.text) for c in cues(segments, WriterOptions(**options))]


HELLO = spoken(" hello there my good old friend", 1.0)
BYE = spoken(" bye bye", 4.5)
LATER = spoken(" later on", 30.0)


def test_words_without_limits_are_segments():
    assert layout([HELLO, BYE]) == [
        (1.0, 4.0, "hello there my good old friend"),
        (4.5, 5.5, "bye bye"),
    ]


def test_lines_break_at_the_width_within_segments():
    assert layout([HELLO, BYE], max_line_width=12) == [
        (1.0, 4.0, "hello there\nmy good old\nfriend"),
        (4.5, 5.5, "bye bye"),
    ]


def test_with_width_and_count_words_flow_until_a_pause():
    assert layout([HELLO, BYE, LATER], max_line_width=12, max_line_count=2) == [
        (1.0, 3.5, "hello there\nmy good old"),
        (3.5, 5.5, "friend bye\nbye"),
        (30.0, 31.0, "later on"),
    ]


def test_so_many_words_make_a_subtitle():
    assert layout([HELLO, BYE], max_words_per_line=4) == [
        (1.0, 3.0, "hello there my good"),
        (3.0, 4.0, "old friend"),
        (4.5, 5.5, "bye bye"),
    ]


def test_a_word_longer_than_a_line_stands_alone():
    long = spoken(" a incomprehensibilities b")
    assert layout([long], max_line_width=8)[0][2] == "a\nincomprehensibilities\nb"


def test_each_word_is_underlined_while_it_is_spoken():
    words = [Word(" a", 0.0, 1.0, 1), Word(" <b>", 2.0, 3.0, 1), Word(" c", 3.0, 3.0, 1)]
    found = layout([segment(" a <b> c", 0, 3, words)], highlight_words=True)
    assert found == [
        (0.0, 1.0, "<u>a</u> <b> c"),
        (1.0, 2.0, "a <b> c"),
        (2.0, 3.0, "a <u><b></u> c"),
    ]
    marked = render(result([segment("", 0, 3, words)]), "vtt", WriterOptions(highlight_words=True))
    assert "a <u>&lt;b></u> c" in marked
    strictly(marked, "vtt")


@given(
    lengths=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=12), max_size=5),
    width=st.none() | st.integers(1, 40),
    height=st.none() | st.integers(1, 3),
    count=st.none() | st.integers(1, 5),
    highlight=st.booleans(),
)
def test_layouts_keep_their_limits(lengths, width, height, count, highlight):
    names = (f"w{i}" for i in itertools.count())
    segments = [
        spoken("".join(" " + next(names).ljust(length, "x") for length in row), 10.0 * i)
        for i, row in enumerate(lengths)
    ]
    options = {"max_line_width": width, "max_line_count": height, "max_words_per_line": count}
    plain = layout(segments, **options)
    said = [word.word.strip() for s in segments for word in s.words]
    assert " ".join(text for _, _, text in plain).split() == said
    for start, end, text in plain:
        assert start < end
        lines = text.split("\n")
        if width:
            assert all(len(line) <= width or " " not in line for line in lines)
        if height:
            assert len(lines) <= height
        if count and not (width and height):
            assert len(text.split()) <= count
    if highlight:
        shown = layout(segments, highlight_words=True, **options)
        assert [re.search("<u>(.*)</u>", t)[1] for _, _, t in shown if "<u>" in t] == said
        assert {re.sub("</?u>", "", t) for _, _, t in shown} == {t for _, _, t in plain}
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(shown))


def test_writing_makes_the_folder_and_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "deep" / "é \N{PARROT}\n.txt"
    write(result([segment("one")]), path, "txt")
    path.chmod(0o600)
    write(result([segment("zwei é")]), str(path), "txt")
    assert path.read_bytes() == "zwei é\n".encode()
    assert os.listdir(path.parent) == [path.name]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link.txt").symlink_to("real.txt")
    write(result([segment("one")]), tmp_path / "link.txt", "txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "one\n"


def test_new_files_have_the_usual_permissions(tmp_path):
    write(result([]), tmp_path / "a.txt", "txt")
    (tmp_path / "b.txt").write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def refused(path, words):
    with pytest.raises(OutputError) as caught:
        write(result([segment("one")]), path, "txt")
    message = str(caught.value)
    assert words in message and message.endswith(".") and "\n" not in message
    assert path.name.replace("\n", "\\n") in message


def test_paths_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.txt").mkdir()
    refused(tmp_path / "file" / "x\n.txt", "Not a directory")
    refused(tmp_path / "folder.txt", "Is a directory")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.txt"]


def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    me = os.geteuid()
    try:
        if me == 0:
            os.seteuid(65534)
        refused(tmp_path / "x.txt", "Permission denied")
    finally:
        os.seteuid(me)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(path, "No space left on device")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))
    try:
        refused(path, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_model_path_that_is_no_text_can_be_written(tmp_path):
    source = result([segment("é")])
    source.engine = Engine("/\udcff", "cpu", source.engine.stage_devices, TYPES, "x")
    write(source, tmp_path / "x.json", "json")
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == result_json(source)
