import io
import time
from dataclasses import replace

import faster_whisper
import numpy as np
import pytest
import soundfile
from tone_speech import ToneCore, speak, write_tokenizer

from checkpoints import ENGLISH, MULTILINGUAL, TINY, random_checkpoint
from whisper_npu_cli.engines import cpu, models
from whisper_npu_cli.engines.convert import converted
from whisper_npu_cli.errors import AudioError, DeviceError, ModelError, UsageError
from whisper_npu_cli.pipeline import longform
from whisper_npu_cli.pipeline.options import Options
from whisper_npu_cli.pipeline.rawpcm import RawFormat
from whisper_npu_cli.pipeline.transcriber import Transcriber

# 76 s, not so regular that its text would count as a loop
TALK = "".join(4 * letter for letter in np.random.default_rng(4).choice(list("abcdefg."), 95))


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes Transcribers around a ToneCore."""

    def make(recipe=ENGLISH, **options):
        core = ToneCore(recipe, **options)
        folder = write_tokenizer(tmp_path / recipe.name, recipe)
        monkeypatch.setattr(models, "resolve", lambda name, **_: folder)
        monkeypatch.setattr(cpu, "load_core", lambda *_: core)
        return Transcriber("tones", device="cpu")

    return make


def test_a_result_says_everything(made, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, speak(TALK), 16000)
    transcriber = made()
    start = time.perf_counter()
    result = transcriber.transcribe(path)
    elapsed = time.perf_counter() - start
    assert result.text == "".join(s.text for s in result.segments)
    assert [s.id for s in result.segments] == list(range(len(result.segments)))
    assert (result.language, result.device, result.warnings) == ("en", "cpu", [])
    assert (result.engine.model, result.engine.reason) == ("tones", transcriber.choice.reason)
    timings = result.timings
    assert [s.name for s in timings.stages] == ["load", "mel", "encode", "decode", "other"]
    assert all(s.seconds > 0 for s in timings.stages)
    assert timings.total <= elapsed
    assert timings.audio_seconds == pytest.approx(76)
    assert timings.windows >= 3
    assert timings.tokens >= sum(len(s.tokens) for s in result.segments)
    assert transcriber.load_seconds > 0


def test_a_stream_is_the_whole_and_lazy(made):
    transcriber = made()
    core = transcriber._model.model._core
    stream = transcriber.stream(speak(TALK))
    assert core.prompts == []
    assert (stream.duration, stream.position) == (76, 0)
    first = next(stream)
    assert len(core.prompts) == 1
    assert stream.result().segments == [first]
    assert stream.result().timings.audio_seconds == pytest.approx(first.end)
    assert [first, *stream] == transcriber.transcribe(speak(TALK)).segments
    assert stream.position == 76
    assert list(stream) == []


def test_transcriptions_of_one_model_do_not_disturb_each_other(made):
    transcriber = made()
    whole = transcriber.transcribe(speak(TALK))
    other = transcriber.transcribe(speak("fg" * 150))
    streams = transcriber.stream(speak(TALK)), transcriber.stream(speak("fg" * 150))
    pending = list(streams)
    while pending:
        pending = [stream for stream in pending if next(stream, None) is not None]
    for stream, alone in zip(streams, (whole, other), strict=True):
        assert stream.result().segments == alone.segments
        assert stream.result().timings.tokens == alone.timings.tokens
        assert stream.result().timings.windows == alone.timings.windows


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_what_is_done_survives_a_fault(made, fault, tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, speak(TALK), 16000)
    transcriber = made()
    core = transcriber._model.model._core
    generate = core.generate

    def failing(*args, **options):
        if len(core.prompts) == 2:
            raise fault
        return generate(*args, **options)

    core.generate = failing
    stream = transcriber.stream(path)
    done = []
    with pytest.raises(type(fault)):
        collect(stream, done)
    result = stream.result()
    assert result.segments and result.segments == done
    assert result.segments[-1].end < 76
    assert result.timings.audio_seconds == pytest.approx(result.segments[-1].end)
    assert result.timings.total > 0


def collect(stream, done):
    for segment in stream:
        done.append(segment)


def test_a_source_that_breaks_off_leaves_what_was_read(made, monkeypatch):
    monkeypatch.setattr(longform.LongRun.__init__, "__defaults__", (31,))
    data = io.BytesIO()
    soundfile.write(data, speak(TALK), 16000, format="wav")
    data.seek(0)

    class Tape:
        def read(self, n=-1):
            if data.tell() > 1_500_000:
                raise OSError(5, "Input/output error")
            return data.read(min(n, 4096))

    stream = made().stream(Tape(), name="tape.wav")
    done = []
    with pytest.raises(AudioError, match=r"tape\.wav cannot be read beyond"):
        collect(stream, done)
    assert stream.result().segments == done != []


def test_a_cut_file_is_transcribed_and_reported(made, tmp_path):
    path = tmp_path / "cut.wav"
    soundfile.write(path, speak(TALK), 16000)
    path.write_bytes(path.read_bytes()[: 50 * 32000])
    stream = made().stream(path)
    list(stream)
    assert "of the 76.0 s" in stream.warnings[0]
    assert stream.result().warnings == stream.warnings
    assert stream.result().timings.audio_seconds == pytest.approx(50, abs=0.01)


def test_raw_samples(made):
    samples = speak(TALK)
    data = io.BytesIO(samples.astype("<f4").tobytes())
    transcriber = made()
    result = transcriber.transcribe(data, raw=RawFormat("f32le", 16000))
    assert result.segments == transcriber.transcribe(samples).segments


def test_a_multilingual_model(made):
    transcriber = made(MULTILINGUAL, language="fi")
    core = transcriber._model.model._core
    result = transcriber.transcribe(speak(TALK))
    assert (result.language, result.language_probability) == ("fi", 0.75)
    result = transcriber.transcribe(speak(TALK), Options(language="German", task="translate"))
    assert (result.language, result.language_probability, core.detections) == ("de", 1.0, 1)
    ids = [core.tokenizer.token_to_id(token) for token in ("<|de|>", "<|translate|>")]
    assert core.prompts[-1][-2:] == ids


@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        (ENGLISH, Options(language="de"), "does not know the language de"),
        (ENGLISH, Options(task="translate"), "cannot translate"),
        (MULTILINGUAL, Options(language="yue"), "does not know the language yue"),
        (MULTILINGUAL, Options(language="klingon"), "klingon is not a language"),
        (MULTILINGUAL, Options(task="summarize"), "no task summarize"),
        (ENGLISH, Options(beam_size=0), "beam_size"),
        (ENGLISH, Options(best_of=0), "best_of"),
        (ENGLISH, Options(batch_size=0), "batch_size"),
        (ENGLISH, Options(patience=0.0), "patience"),
        (ENGLISH, Options(temperature=-0.1), "temperature"),
        (ENGLISH, Options(temperature_increment_on_fallback=0.0), "increment"),
        (ENGLISH, Options(vad_threshold=1.0), "vad_threshold"),
        (ENGLISH, Options(clip_timestamps=(3.0, 1.0)), "must rise"),
        (ENGLISH, Options(clip_timestamps=(-1.0,)), "must rise"),
        (ENGLISH, Options(clip_timestamps=(1.0,), batch_size=2), "batch_size"),
    ],
)
def test_options_that_make_no_sense(made, recipe, options, words):
    with pytest.raises(UsageError) as caught:
        made(recipe).stream(speak("abc"), options)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")


def test_english_is_allowed_for_an_english_model(made):
    assert made().transcribe(speak(TALK), Options(language="English")).language == "en"


def test_the_device_is_judged_before_the_model(made):
    with pytest.raises(DeviceError):
        Transcriber("no-such-model", device="npu")
    with pytest.raises(ModelError):
        Transcriber("/no/such/model", device="cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return random_checkpoint(tmp_path_factory.mktemp("tiny"), TINY)


@pytest.mark.parametrize(
    "options",
    [
        Options(temperature_increment_on_fallback=None),
        Options(temperature_increment_on_fallback=None, beam_size=1, word_timestamps=True),
        Options(temperature_increment_on_fallback=None, without_timestamps=True, hotwords="he"),
        Options(temperature_increment_on_fallback=None, condition_on_previous_text=False,
                no_speech_threshold=None, compression_ratio_threshold=None, initial_prompt="in"),
    ],
)  # fmt: skip
def test_one_piece_is_faster_whispers_own_result(checkpoint, tmp_path, options):
    rng = np.random.default_rng(5)
    path = tmp_path / "x.flac"
    soundfile.write(path, rng.normal(0, 0.1, 44100 * 45) * np.linspace(0, 1, 44100 * 45), 44100)
    # no_speech_threshold: a random model finds no speech anywhere
    options = replace(options, no_speech_threshold=None, logprob_threshold=None)
    ours = Transcriber(str(checkpoint), device="cpu", threads=1).transcribe(path, options)
    reference = faster_whisper.WhisperModel(
        str(converted(checkpoint, None)), device="cpu", cpu_threads=1
    )
    names = (
        "beam_size", "best_of", "word_timestamps", "without_timestamps", "hotwords",
        "condition_on_previous_text", "compression_ratio_threshold", "initial_prompt",
    )  # fmt: skip
    theirs, _ = reference.transcribe(
        str(path),
        temperature=0.0,
        no_speech_threshold=None,
        log_prob_threshold=None,
        suppress_tokens=[-1],
        **{name: getattr(options, name) for name in names},
    )
    theirs = list(theirs)
    assert len(theirs) >= 2
    assert [s.tokens for s in ours.segments] == [s.tokens for s in theirs]
    for mine, other in zip(ours.segments, theirs, strict=True):
        assert (mine.text, mine.seek) == (other.text, other.seek)
        assert (mine.start, mine.end) == pytest.approx((other.start, other.end), abs=5e-4)
        assert mine.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-5)
        assert mine.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-5)
        if options.word_timestamps:
            assert [w.word for w in mine.words] == [w.word for w in other.words]
            assert [w.start for w in mine.words] == pytest.approx([w.start for w in other.words])
            assert [w.end for w in mine.words] == pytest.approx([w.end for w in other.words])
