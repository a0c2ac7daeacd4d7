import itertools
import re
from contextlib import contextmanager

import faster_whisper.transcribe
import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from tone_speech import LETTERS, SILENCE, ToneCore, speak, write_tokenizer

from checkpoints import MULTILINGUAL
from whisper_npu_cli.pipeline import longform
from whisper_npu_cli.pipeline.audio import open_audio
from whisper_npu_cli.pipeline.longform import LongRun, PieceModel, temperatures
from whisper_npu_cli.pipeline.options import Options
from whisper_npu_cli.pipeline.timings import StageClock


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder):
    return PieceModel(ToneCore(), folder)


def run(model, samples, options=None, piece_seconds=1200):
    with open_audio(samples) as reader:
        return list(LongRun(model, reader, options or Options(), StageClock(), piece_seconds))


def facts(segment, first_id=0):
    """All that upstream and we both say about a segment."""
    return (
        segment.id - first_id,
        segment.seek,
        round(segment.start, 3),
        round(segment.end, 3),
        segment.text,
        list(segment.tokens),
        segment.temperature,
        segment.avg_logprob,
        segment.compression_ratio,
        segment.no_speech_prob,
    )


def upstream(model, samples, **options):
    segments, _ = model.transcribe(samples, **options)
    return [facts(segment, first_id=1) for segment in segments]


@st.composite
def talks(draw, least=20.0, most=170.0):
    """Runs of letters and silence, some longer than a window."""
    runs = draw(
        st.lists(
            st.tuples(st.sampled_from(LETTERS + SILENCE * 3), st.integers(1, 60)),
            min_size=3,
            max_size=40,
        )
    )
    text = "".join(letter * count for letter, count in runs)
    text = text * (1 + int(least / 0.2) // len(text))
    return text[: int(most / 0.2)]


@settings(max_examples=80)
@given(talk=talks(), piece_seconds=st.integers(31, 120), condition=st.booleans())
def test_pieces_joined_are_one_whole_run(model, talk, piece_seconds, condition):
    samples = speak(talk)
    options = Options(condition_on_previous_text=condition, initial_prompt="heat")
    pieces = run(model, samples, options, piece_seconds)
    whole = upstream(model, samples, condition_on_previous_text=condition, initial_prompt="heat")
    assert [facts(s) for s in pieces] == whole


def test_the_joining_test_would_notice_another_prompt(model):
    samples = speak("a" * 10 + "b" * 10 + "c" * 200)
    with_prompt = upstream(model, samples, initial_prompt="heat")
    assert upstream(model, samples, initial_prompt="heated") != with_prompt


@settings(max_examples=10)
@given(
    talk=talks(least=100),
    piece_seconds=st.integers(31, 70),
    marks=st.lists(st.integers(0, 200), min_size=1, max_size=5, unique=True),
)
def test_clips_in_pieces_are_clips_of_the_whole(model, talk, piece_seconds, marks):
    samples = speak(talk)
    clips = tuple(mark * 0.6 for mark in sorted(marks))
    pieces = run(model, samples, Options(clip_timestamps=clips), piece_seconds)
    # a clip that begins behind the end: upstream's window has a negative size there
    length = len(samples) / 16000
    inside = [c for c in clips if c < length][: len(clips) if len(clips) % 2 else None]
    if len(inside) == len(clips):
        assert [facts(s) for s in pieces] == upstream(model, samples, clip_timestamps=list(clips))
    else:
        assert all(s.start < length for s in pieces)


def test_progress_ends_at_the_length_of_the_input(model):
    with open_audio(speak("ab" * 200)) as reader:
        whole = LongRun(model, reader, Options(), StageClock(), 31)
        positions = [whole.position for _ in whole]
        assert positions == sorted(positions)
        assert positions[-1] <= 80 == whole.position


def test_silence_gives_no_text(model):
    assert run(model, speak(SILENCE * 400), piece_seconds=31) == []


def test_ten_milliseconds_give_no_text(model):
    assert run(model, np.zeros(160, np.float32)) == []


def test_the_language_is_detected_once(tmp_path):
    core = ToneCore(MULTILINGUAL, language="pt")
    model = PieceModel(core, write_tokenizer(tmp_path, MULTILINGUAL))
    with open_audio(speak("abcd" * 150)) as reader:
        whole = LongRun(model, reader, Options(), StageClock(), 31)
        list(whole)
    assert (whole.language, whole.language_probability, core.detections) == ("pt", 0.75, 1)
    assert all(core.tokenizer.token_to_id("<|pt|>") in prompt for prompt in core.prompts)


def test_a_carried_prompt_stands_before_the_text_of_every_window(folder):
    core = ToneCore()
    model = PieceModel(core, folder)
    options = Options(initial_prompt="heat", carry_initial_prompt=True)
    run(model, speak("abcdefg" * 120), options, piece_seconds=61)
    kept = core.tokenizer.encode(" heat", add_special_tokens=False).ids
    previous = core.tokenizer.token_to_id("<|startofprev|>")
    assert len(core.prompts) > 5
    for prompt in core.prompts:
        assert prompt[: 1 + len(kept)] == [previous, *kept]
        assert prompt.count(previous) == 1
        assert prompt.index(core.tokenizer.token_to_id("<|startoftranscript|>")) <= 1 + 223
    assert model.kept_prompt == []  # each input has its own


def test_a_prompt_longer_than_the_room_keeps_its_end(folder):
    core = ToneCore()
    options = Options(initial_prompt="heat " * 300, carry_initial_prompt=True)
    run(PieceModel(core, folder), speak("abc" * 100), options)
    kept = core.tokenizer.encode(" " + ("heat " * 300).strip(), add_special_tokens=False).ids
    assert all(prompt[1:224] == kept[-223:] for prompt in core.prompts)


def loudness(samples, vad, **_):
    """Voice activity by loudness, in the place of Silero's."""
    steps = np.abs(samples[: len(samples) // 3200 * 3200].reshape(-1, 3200)).max(axis=1) > 0.1
    edges = np.flatnonzero(np.diff(np.r_[False, steps, False].astype(int))) * 3200
    limit = int(min(vad.max_speech_duration_s, 1e6) * 16000)
    return [
        {"start": at, "end": min(at + limit, end)}
        for start, end in edges.reshape(-1, 2).tolist()
        for at in range(start, end, limit)
    ]


@contextmanager
def loudness_for_vad():
    """For us and for upstream; gives the list of options that it was asked with."""
    asked = []

    def record(samples, vad, **options):
        asked.append(vad)
        return loudness(samples, vad, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longform, "get_speech_timestamps", record)
        patch.setattr(faster_whisper.transcribe, "get_speech_timestamps", record)
        yield asked


PAUSED = "." * 20 + "abc" * 20 + "." * 90 + "bdfa" * 30 + "." * 33 + "ce" * 50 + "." * 10


def test_vad_is_upstreams_for_one_piece(model):
    samples = speak(PAUSED)
    options = Options(vad_filter=True, vad_threshold=0.4, vad_min_silence_duration_ms=700)
    parameters = {"threshold": 0.4, "min_silence_duration_ms": 700}
    with loudness_for_vad() as asked:
        ours = run(model, samples, options)
        theirs = upstream(model, samples, vad_filter=True, vad_parameters=parameters)
    # but for seek: upstream's is a time in the joined speech, ours one in the input
    assert [facts(s)[2:] for s in ours] == [t[2:] for t in theirs]
    assert asked[0] == asked[1]
    assert (ours[0].seek, ours[0].start) == (400, 4.0)


def test_batches_are_upstreams_for_one_piece(model):
    samples = speak(PAUSED)
    options = Options(batch_size=2, vad_threshold=0.4, vad_min_silence_duration_ms=700)
    with loudness_for_vad() as asked:
        ours = run(model, samples, options)
        theirs, _ = BatchedInferencePipeline(model).transcribe(
            samples,
            batch_size=2,
            without_timestamps=False,
            vad_parameters={"threshold": 0.4, "min_silence_duration_ms": 700},
        )
        theirs = [facts(segment, first_id=1)[2:] for segment in theirs]
    assert [facts(s)[2:] for s in ours] == theirs
    assert len(theirs) > 5
    assert asked[0] == asked[1]


@settings(max_examples=40)
@given(talk=talks(least=60), piece_seconds=st.integers(31, 90), batch=st.sampled_from([1, 3]))
def test_vad_in_pieces_loses_and_repeats_nothing(folder, talk, piece_seconds, batch):
    model = PieceModel(ToneCore(unfinished=batch == 1), folder)
    talk = talk.replace("h", "a")  # batches have no fallback
    with loudness_for_vad():
        options = Options(vad_filter=True, batch_size=batch)
        segments = run(model, speak(talk), options, piece_seconds)
    heard = [""] * len(talk)
    for segment in segments:
        for step in range(round(segment.start / 0.2), round(segment.end / 0.2)):
            heard[step] += "".join(c for c in segment.text if c in LETTERS)
    spoken = [(at, letter) for at, letter in enumerate(talk) if letter != SILENCE]
    assert [(at, heard[at]) for at, _ in spoken] == spoken


@settings(max_examples=40)
@given(
    stretches=st.lists(
        st.tuples(st.lists(st.integers(1, 25), max_size=5), st.integers(1, 60)),
        min_size=10,
        max_size=20,
    ),
    piece_seconds=st.integers(31, 60),
    batch=st.sampled_from([1, 3]),
)
def test_vad_never_splits_speech_at_the_end_of_a_piece(folder, stretches, piece_seconds, batch):
    model = PieceModel(ToneCore(unfinished=batch == 1), folder)
    letter = itertools.cycle("abcdefg")  # neighbours differ also when a pause is taken out
    talk = "".join(
        "".join(next(letter) * length for length in lengths) + SILENCE * rest
        for lengths, rest in stretches
    )
    with loudness_for_vad():
        options = Options(vad_filter=True, batch_size=batch)
        segments = run(model, speak(talk), options, piece_seconds)
    steps = [(round(s.start / 0.2), round(s.end / 0.2)) for s in segments]
    assert steps == [match.span() for match in re.finditer(r"(\w)\1*", talk)]


def test_silence_is_nothing_for_vad(model):
    with loudness_for_vad():
        for batch in 1, 4:
            options = Options(vad_filter=True, batch_size=batch)
            assert run(model, speak(SILENCE * 500), options, piece_seconds=31) == []


def test_the_temperatures_are_those_of_openai_whisper():
    assert temperatures(Options()) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert temperatures(Options(temperature=0.5)) == (0.5, 0.7, 0.9)
    assert temperatures(Options(temperature_increment_on_fallback=0.3)) == (0.0, 0.3, 0.6, 0.9)
    assert temperatures(Options(temperature_increment_on_fallback=None)) == (0.0,)
    assert temperatures(Options(temperature=1.5)) == (1.5,)
