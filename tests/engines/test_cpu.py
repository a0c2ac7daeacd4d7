import json
import logging
from pathlib import Path

import ctranslate2
import pytest
from faster_whisper import WhisperModel

from checkpoints import ENGLISH, LARGE_V3_LIKE, random_checkpoint, waveform
from whisper_npu_cli.engines.convert import converted
from whisper_npu_cli.engines.cpu import COMPUTE_TYPES, LongForm, load_core
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.errors import ExitCode, ModelError, UsageError

GREEDY = {"beam_size": 1, "temperature": 0.0, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("english"), ENGLISH)


@pytest.fixture
def ct2(folder: Path, tmp_path: Path) -> Path:
    """A copy of the converted folder, to be damaged."""
    copy = tmp_path / "ct2"
    copy.mkdir()
    for file in converted(folder).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_core_is_a_core(folder: Path) -> None:
    core = load_core(folder, threads=1)
    assert isinstance(core, Core)
    assert core.device == "cpu"
    assert core.device_index == [0]


def test_long_form_has_every_attribute_of_upstream(folder: Path) -> None:
    upstream = WhisperModel(str(converted(folder)), device="cpu")
    ours = LongForm(load_core(folder), folder)
    assert vars(ours).keys() == vars(upstream).keys()
    for name in ("num_samples_per_token", "frames_per_second", "tokens_per_second", "max_length"):
        assert getattr(ours, name) == getattr(upstream, name)
    assert ours.time_precision == upstream.time_precision
    assert ours.feat_kwargs == upstream.feat_kwargs
    assert ours.supported_languages == upstream.supported_languages == ["en"]


@pytest.mark.parametrize("options", [GREEDY, GREEDY | {"word_timestamps": True}])
def test_transcribes_like_upstream(folder: Path, options: dict) -> None:
    sound = waveform(35 * 16000)
    upstream = WhisperModel(str(converted(folder)), device="cpu", cpu_threads=1)
    expected, _ = upstream.transcribe(sound, **options)
    got, info = LongForm(load_core(folder, threads=1), folder).transcribe(sound, **options)
    got, expected = list(got), list(expected)
    assert len(got) == len(expected) >= 2
    for ours, theirs in zip(got, expected, strict=True):
        for name in ("id", "seek", "start", "end", "text", "tokens", "temperature"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-5)
        assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, rel=1e-3)
        for word, their_word in zip(ours.words or (), theirs.words or (), strict=True):
            assert (word.word, word.start, word.end) == (
                their_word.word,
                their_word.start,
                their_word.end,
            )
    assert info.language == "en"


def test_ctranslate2_folder_is_used_as_it_is(ct2: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "unused"))
    LongForm(load_core(ct2), ct2)
    assert not (tmp_path / "unused").exists()


def test_128_mels_without_preprocessor_config(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path, LARGE_V3_LIKE)
    (folder / "preprocessor_config.json").unlink()
    model = LongForm(load_core(folder), folder)
    assert model.feature_extractor(waveform(1600)).shape[0] == 128
    assert "yue" in model.supported_languages


@pytest.mark.parametrize("name", COMPUTE_TYPES)
def test_every_compute_type_loads(folder: Path, name: str, capfd) -> None:
    core = load_core(folder, name)
    assert core.compute_type == ("int8_float32" if "int8" in name or name == "auto" else "float32")
    assert capfd.readouterr().err == ""  # CTranslate2 would warn about float16


def test_warnings_of_ctranslate2_are_only_silenced_while_loading(folder: Path) -> None:
    before = ctranslate2.get_log_level()
    try:
        ctranslate2.set_log_level(logging.INFO)
        load_core(folder)
        assert ctranslate2.get_log_level() == logging.INFO
    finally:
        ctranslate2.set_log_level(before)


@pytest.mark.parametrize("name", ["bfloat16", "int8_float16", "int4", ""])
def test_compute_types_that_cpus_lack(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="choose one of default, auto, float32") as refusal:
        load_core(folder, name)
    assert refusal.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("kept", [0, 3, 4, 30, 1000, 100_000, -1])
def test_truncated_model_bin(ct2: Path, kept: int) -> None:
    path = ct2 / "model.bin"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"damaged or no Whisper model.*run again") as refusal:
        load_core(ct2)
    assert refusal.value.exit_code == ExitCode.MODEL_UNAVAILABLE


def test_model_bin_of_something_else(ct2: Path) -> None:
    (ct2 / "model.bin").write_bytes(b"GGUF" + bytes(4096))
    with pytest.raises(ModelError, match="damaged or no Whisper model"):
        load_core(ct2)


def test_model_bin_without_vocabulary(ct2: Path) -> None:
    (ct2 / "vocabulary.json").unlink()
    with pytest.raises(ModelError, match="damaged or no Whisper model"):
        load_core(ct2)


def test_tokenizer_is_never_fetched(ct2: Path) -> None:
    """Upstream would download another model's tokenizer."""
    (ct2 / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        LongForm(load_core(ct2), ct2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "damaged"),
        ('{"sampling_rate": 8000}', "sampling_rate 8000"),
        ('{"hop_length": 0}', "hop_length 0"),
        ('{"n_fft": "x"}', "n_fft x"),
        ('{"chunk_length": 15}', "chunk_length 15"),
    ],
)
def test_preprocessor_config_that_lies(ct2: Path, content: str, said: str) -> None:
    (ct2 / "preprocessor_config.json").write_text(content)
    with pytest.raises(ModelError, match=said):
        LongForm(load_core(ct2), ct2)


def test_mel_channels_are_those_of_the_weights(ct2: Path) -> None:
    path = ct2 / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"feature_size": 128}))
    assert LongForm(load_core(ct2), ct2).feat_kwargs["feature_size"] == 80


def test_damaged_checkpoint_names_the_file(tmp_path: Path) -> None:
    folder = random_checkpoint(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged or cut short"):
        load_core(folder)
