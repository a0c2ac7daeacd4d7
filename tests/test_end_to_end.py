"""The program as users run it: a process of its own, the demo model, real sound files."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import jsonschema
import numpy as np
import pytest
import soundfile

import whisper_npu_cli
from whisper_npu_cli import Options, Transcriber
from whisper_npu_cli.engines.select import has_phoenix

PACKAGE = Path(whisper_npu_cli.__file__).parent
DEMO = PACKAGE / "engines" / "demo"
SAMPLES = sorted((PACKAGE / "samples").glob("*.wav"))
RATE = 16000
SCHEMA = json.loads((PACKAGE / "pipeline" / "transcript.schema.json").read_text())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all, so that the demo model is converted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tool(cache: Path, tmp_path: Path):
    """Runs `whisper-npu` in an empty folder, with no network."""

    def run(*args: object, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "whisper_npu_cli", *map(str, args)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment(cache) | env,
            timeout=600,  # the emulator on a busy machine
        )

    return run


def environment(cache: Path) -> dict[str, str]:
    return os.environ | {
        "WHISPER_NPU_CACHE": str(cache),
        "WHISPER_NPU_MODEL": "demo",
        "HF_HOME": str(cache / "hub"),
        "HF_HUB_OFFLINE": "1",
    }


def text_of(wav: Path) -> str:
    return wav.with_suffix(".txt").read_text()


def test_samples_are_as_promised() -> None:
    assert 5 <= len(SAMPLES) <= 10
    for wav in SAMPLES:
        info = soundfile.info(wav)
        assert info.samplerate == RATE and info.channels == 1 and info.duration < 10


def test_every_sample_is_heard_as_written(tool) -> None:
    done = tool(*SAMPLES)
    assert done.stdout.decode() == "".join(map(text_of, SAMPLES))
    assert done.returncode == 0
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("whisper-npu: auto chose cpu: ")
    assert len(lines) == 1 + len(SAMPLES)  # one summary line each
    assert list(Path(done.args[0]).parent.parent.glob("*.txt")) == []  # nothing written


def encoded(audio: np.ndarray, container: str, codec: str, rate: int = 44100) -> bytes:
    """Sound in a container, as ffmpeg would write it to a file."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(audio[None]), format="fltp", layout="mono"
        )
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, "stereo", rate, frame_size=stream.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [
        ("wav", "pcm_s16le", 44100),
        ("flac", "flac", 44100),
        ("mp3", "libmp3lame", 44100),
        ("ogg", "libopus", 48000),
        ("mp4", "aac", 44100),
        ("webm", "libopus", 48000),
    ],
)
def test_standard_input_in_every_container(tool, container: str, codec: str, rate: int) -> None:
    audio, _ = soundfile.read(SAMPLES[0], dtype="float32")
    done = tool("-", stdin=encoded(audio, container, codec, rate))
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == text_of(SAMPLES[0])


def test_raw_samples(tool) -> None:
    audio, _ = soundfile.read(SAMPLES[0], dtype="int16")
    done = tool("transcribe", "--raw", "s16le:16000", "-", stdin=audio.tobytes())
    assert done.stdout.decode() == text_of(SAMPLES[0])


def test_json_has_the_documented_form(tool) -> None:
    done = tool("--json", "--word_timestamps", "True", *SAMPLES[:2])
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [o["text"].strip() + "\n" for o in objects] == [text_of(wav) for wav in SAMPLES[:2]]
    for found, wav in zip(objects, SAMPLES, strict=False):
        jsonschema.validate(found, SCHEMA)
        engine, length = found["engine"], soundfile.info(wav).duration
        assert engine["windows"] == 1 and engine["model"] == "demo"
        assert set(engine["devices"].values()) == {"cpu"}
        assert engine["audio_seconds"] == pytest.approx(length, abs=0.02)
        words = [word for segment in found["segments"] for word in segment["words"]]
        assert "".join(word["word"] for word in words) == found["text"]
        times = [t for word in words for t in (word["start"], word["end"])]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= length + 0.1


def test_all_formats_are_written(tool, tmp_path: Path) -> None:
    done = tool("-o", "out", "-f", "all", SAMPLES[0])
    names = {p.suffix for p in (tmp_path / "out").iterdir()}
    assert done.returncode == 0
    assert names == {".txt", ".srt", ".vtt", ".tsv", ".json", ".lrc"}
    assert (tmp_path / "out" / f"{SAMPLES[0].stem}.txt").read_text() == text_of(SAMPLES[0])


@pytest.mark.skipif(has_phoenix(), reason="there is an NPU")
def test_an_npu_that_is_not_there(tool) -> None:
    done = tool("--device", "npu", SAMPLES[0])
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"whisper-npu: error: The NPU ") and done.stderr.count(b"\n") == 1


def check_emulated(done: subprocess.CompletedProcess[bytes], wav: Path) -> dict:
    """The text is right; the JSON says what was emulated."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    assert found["text"].strip() + "\n" == text_of(wav)
    engine = found["engine"]
    assert engine["device"] == engine["devices"]["encode"] == "emulator"
    assert engine["devices"]["decode"] == "cpu"
    assert engine["compute_types"] == {"encode": "bfloat16", "decode": "default"}
    assert engine["trouble"] is engine["fallback_reason"] is None
    cycles, milliseconds = engine["emulated"]["encode"].values()
    assert 1e6 < cycles < 1e8 and milliseconds == pytest.approx(cycles / 1e6, abs=1e-3)
    return found


def test_the_emulated_npu(tool) -> None:
    done = tool("--device", "emulator", "--json", "--timings", SAMPLES[0])
    check_emulated(done, SAMPLES[0])
    assert b"Emulated, not measured" in done.stderr


@pytest.mark.slow
def test_two_processes_at_once(tool, tmp_path: Path) -> None:
    """Both fill the same cache."""
    arguments = [("--device", "emulator", "--json", wav) for wav in SAMPLES[:2]]
    with ThreadPoolExecutor() as pool:
        both = list(
            pool.map(lambda given: tool(*given, WHISPER_NPU_CACHE=str(tmp_path)), arguments)
        )
    found = [check_emulated(done, wav) for done, wav in zip(both, SAMPLES, strict=False)]
    assert found[0]["engine"]["emulated"] == found[1]["engine"]["emulated"]


def test_an_unknown_model_and_no_network(tool) -> None:
    for model, word in (("bas", "base"), ("tiny", "download")):
        done = tool("--model", model, SAMPLES[0])
        assert done.returncode == 4
        assert word in done.stderr.decode() and b"Traceback" not in done.stderr


def damaged(folder: Path, how: str) -> Path:
    shutil.copytree(DEMO, folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    if how == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "garbage":
        weights.write_bytes(b"not a tensor at all" * 100)
    elif how == "lying config":
        config.write_text(config.read_text().replace('"encoder_layers": 4', '"encoder_layers": 5'))
    elif how == "no weights":
        weights.unlink()
    return folder


@pytest.mark.parametrize("how", ["cut short", "garbage", "lying config", "no weights"])
def test_damaged_models(tool, tmp_path: Path, how: str) -> None:
    done = tool("--model", damaged(tmp_path / "bad model", how), SAMPLES[0])
    assert done.returncode == 4 and done.stdout == b""
    assert "bad model" in done.stderr.decode() and b"Traceback" not in done.stderr


def test_bad_inputs_do_not_stop_good_ones(tool, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is no sound.\n" * 50)
    (tmp_path / "folder").mkdir()
    soundfile.write(tmp_path / "no samples.wav", np.zeros(0), RATE)
    whole = SAMPLES[1].read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) * 3 // 4])
    odd = tmp_path / "-odd \n name 🎤.wav"
    shutil.copy(SAMPLES[0], odd)
    bad = ["missing.wav", "empty.wav", "text.wav", "folder", "no samples.wav", "cut.wav"]
    done = tool("transcribe", "--", *bad, odd.name)
    errors = done.stderr.decode()
    assert done.returncode == 1
    assert done.stdout.decode().endswith(text_of(SAMPLES[0]))
    for name in bad:
        assert sum(name in line for line in errors.splitlines()) >= 1, name
    assert "Traceback" not in errors and "🎤" in errors


def test_silence_and_ten_milliseconds_are_empty_transcripts(tool, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(3 * RATE), RATE)
    soundfile.write(tmp_path / "short.wav", np.zeros(RATE // 100), RATE)
    done = tool("silence.wav", "short.wav")
    assert (done.returncode, done.stdout.strip()) == (0, b"")


def test_a_locale_without_unicode(tool, tmp_path: Path) -> None:
    shutil.copy(SAMPLES[0], tmp_path / "größe.wav")
    done = tool("größe.wav", LC_ALL="C", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("ascii") == text_of(SAMPLES[0])


def test_a_reader_that_goes_away_is_no_error(cache: Path) -> None:
    files = " ".join(f"'{wav}'" for wav in SAMPLES)
    line = f"'{sys.executable}' -m whisper_npu_cli --quiet {files} | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, env=environment(cache)
    )
    assert done.stdout.decode() == text_of(SAMPLES[0])
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_keeps_what_is_done(cache: Path, tmp_path: Path) -> None:
    clip, _ = soundfile.read(SAMPLES[0], dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.tile(clip, 150), RATE)
    process = subprocess.Popen(
        [sys.executable, "-m", "whisper_npu_cli", "-f", "txt", SAMPLES[1], "long.wav"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment(cache),
    )
    assert process.stdout
    process.stdout.readline()
    process.stdout.readline()  # the first line of the long file
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert (tmp_path / f"{SAMPLES[1].stem}.txt").read_text() == text_of(SAMPLES[1])
    assert (tmp_path / "long.txt").read_text().strip()
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*tmp*"))


def test_the_python_api(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(cache))
    transcriber = Transcriber(model="demo", device="auto")
    result = transcriber.transcribe(SAMPLES[0])
    assert result.text.strip() + "\n" == text_of(SAMPLES[0])
    assert (result.language, result.device) == ("en", "cpu")
    assert [stage.name for stage in result.timings.stages][:4] == [
        "load",
        "mel",
        "encode",
        "decode",
    ]
    audio, _ = soundfile.read(SAMPLES[0], dtype="float32")
    assert transcriber.transcribe(audio, Options(beam_size=1)).text == result.text
