"""A transcription whose encoder is on a device: what is chosen, and what a failure costs.

The device is the emulated NPU, with an encoder that gives back its input and a decoder that hears
tones, so a window that was lost or computed wrong changes the text.
"""

import gc

import numpy as np
import pytest
from tone_speech import ToneCore, speak, write_tokenizer

import add_one_encoder
from add_one_encoder import LAUNCHES
from checkpoints import ENGLISH
from faulty_pyxrt import Faulty
from whisper_npu_cli.emulator import pyxrt
from whisper_npu_cli.engines import attach, cpu, models, select
from whisper_npu_cli.errors import DeviceError, DeviceFault, ModelError
from whisper_npu_cli.npu import device
from whisper_npu_cli.npu.backend import Backend
from whisper_npu_cli.npu.choice import list_measured
from whisper_npu_cli.npu.device import Device
from whisper_npu_cli.pipeline.transcriber import Transcriber

TALK = "".join(4 * letter for letter in np.random.default_rng(4).choice(list("abcdefg."), 60))
"""48 s: two windows."""
FAULTS = {  # a place of faulty_pyxrt, and a word of what is told of it
    "start": "No such device",
    "wait": "ERT_CMD_STATE_TIMEOUT",
    "state": "ERT_CMD_STATE_ERROR",
    "lost": "wrote nothing",
}
SECOND_WINDOW = range(LAUNCHES + 1, 2 * LAUNCHES + 1)
EVERY_LAUNCH = [("wait", launch) for launch in SECOND_WINDOW]
EVERY_FAULT = [(fault, SECOND_WINDOW[1]) for fault in FAULTS if fault != "wait"]


@pytest.fixture
def faulty():
    return Faulty()


@pytest.fixture
def made(monkeypatch, tmp_path, faulty):
    """Makes Transcribers for a device; `auto` finds an NPU."""
    monkeypatch.setattr(pyxrt, "_BOARD", pyxrt._Board())
    folder = add_one_encoder.install(monkeypatch, tmp_path).folder
    write_tokenizer(folder, ENGLISH)
    monkeypatch.setattr(models, "resolve", lambda name, **_: folder)
    monkeypatch.setattr(cpu, "load_core", lambda *_: ToneCore())
    monkeypatch.setattr(select, "has_phoenix", lambda _: True)
    backend = Backend("npu", "NPU", faulty, identity="driver 1", mend="use --device cpu")
    monkeypatch.setattr(device, "open_device", lambda name: Device(backend, patience=0))

    def make(name="npu", **options):
        transcriber = Transcriber("tones", name, **options)
        faulty.calls.clear()
        return transcriber

    yield make
    gc.collect()


@pytest.fixture
def timed(monkeypatch):
    """Lets a window take so many seconds, first on the NPU, then on the CPU."""

    def script(*seconds):
        left = list(seconds)
        monkeypatch.setattr(attach, "_second_time", lambda work: left.pop(0))

    return script


@pytest.fixture(scope="module")
def expected():
    """What the CPU alone makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "resolve", lambda name, **_: None)
        patch.setattr(cpu, "load_core", lambda *_: ToneCore())
        patch.setattr(cpu, "load_tokenizer", lambda _: ToneCore().tokenizer)
        patch.setattr(cpu, "_feature_options", lambda _, n_mels: {"feature_size": n_mels})
        return Transcriber("tones", "cpu").transcribe(speak(TALK)).segments


def test_each_stage_says_where_it_ran(made, expected):
    result = made().transcribe(speak(TALK))
    assert result.segments == expected
    assert len({segment.seek for segment in expected}) == 2
    engine = result.engine
    assert engine.stage_devices == dict.fromkeys(["load", "mel", "decode", "other"], "cpu") | {
        "encode": "npu"
    }
    assert (engine.device, engine.reason, engine.trouble) == ("npu", "npu: asked for", "")
    assert engine.fallback_reason is None
    cycles = {stage.name: stage.cycles for stage in result.timings.stages}
    assert cycles["encode"] > 2 * LAUNCHES * 28_500
    assert sum(cycles.values()) == cycles["encode"]


def test_compute_types_are_those_of_each_stage(made):
    result = made(compute_type="int8").transcribe(speak("abc"))
    assert result.engine.compute_types == {"encode": "bfloat16", "decode": "int8"}


def test_progress_within_a_window(made):
    heard = []
    made(progress=lambda *told: heard.append(told)).transcribe(speak("abc"))
    assert heard == [(n, LAUNCHES) for n in range(1, LAUNCHES + 1)]


# Failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("launch", SECOND_WINDOW)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_launch_is_repeated(made, faulty, expected, fault, launch):
    transcriber = made()
    faulty.fail(fault, launch)
    result = transcriber.transcribe(speak(TALK))
    assert result.segments == expected
    assert result.engine.device == "npu"
    assert FAULTS[fault] in result.engine.trouble
    assert result.engine.trouble.endswith("A second attempt went well.")


@pytest.mark.parametrize(("fault", "launch"), EVERY_LAUNCH + EVERY_FAULT)
def test_a_device_that_fails_for_good_leaves_the_cpu(made, timed, faulty, expected, fault, launch):
    timed(1, 2)
    transcriber = made("auto")
    assert transcriber.choice.device == "npu"
    faulty.fail(fault, *range(launch, 1000))
    result = transcriber.transcribe(speak(TALK))
    assert result.segments == expected
    engine = result.engine
    assert engine.device == engine.stage_devices["encode"] == "cpu"
    for told in (engine.reason, engine.fallback_reason, engine.trouble):
        assert FAULTS[fault] in told
    assert engine.trouble.endswith("The CPU goes on.")
    assert result.timings.windows == 2
    assert transcriber.transcribe(speak(TALK)).segments == expected


@pytest.mark.parametrize(("fault", "launch"), EVERY_LAUNCH + EVERY_FAULT)
def test_a_device_asked_for_by_name_keeps_what_is_done(made, faulty, expected, fault, launch):
    transcriber = made()
    faulty.fail(fault, *range(launch, 1000))
    stream = transcriber.stream(speak(TALK))
    done = []
    with pytest.raises(DeviceFault) as failure:
        done.extend(iter(stream.__next__, None))
    assert failure.value.exit_code == 3
    result = stream.result()
    assert result.segments == [s for s in expected if s.seek == 0] != []


def test_no_context_for_the_second_attempt(made, timed, faulty, expected):
    timed(1, 2)
    transcriber = made("auto")
    faulty.fail("start", LAUNCHES + 2)
    faulty.fail("context")
    result = transcriber.transcribe(speak(TALK))
    assert result.segments == expected and result.device == "cpu"
    assert "no free context" in result.engine.trouble


# Choice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "chosen"), [((0.25, 0.5), "npu"), ((0.5, 0.25), "cpu")])
def test_auto_takes_what_was_measured_to_be_faster(made, timed, expected, seconds, chosen):
    timed(*seconds)
    transcriber = made("auto")
    reason = transcriber.choice.reason
    assert reason.startswith(f"{chosen}: a window of tones took 0.25 s on the {chosen}, 0.50 s on")
    assert reason.endswith(", measured now")
    result = transcriber.transcribe(speak(TALK))
    assert (result.segments, result.device) == (expected, chosen)
    assert (result.engine.fallback_reason is None) == (chosen == "npu")
    timed()  # nothing is timed again
    again = made("auto").choice
    assert (again.device, again.reason) == (chosen, reason.replace("now", "before"))
    assert len(list_measured()) == 1


def test_options_that_change_the_speed_are_measured_apart(made, timed):
    timed(*[1, 2] * 3)
    for options in ({}, {"compute_type": "int8"}, {"threads": 1}):
        made("auto", **options)
    told = {measured.model for measured in list_measured()}
    assert told == {"tones", "tones in int8", "tones with 1 threads"}


def test_what_is_measured_is_a_window_on_each(made, faulty):
    made("auto")
    (measured,) = list_measured()
    assert set(measured.seconds) == {"npu", "cpu"} and min(measured.seconds.values()) > 0


def test_an_npu_that_fails_while_it_is_measured(made, timed, faulty, monkeypatch):
    monkeypatch.setattr(
        attach, "_second_time", lambda work: work() if faulty.fail("start", 1, 2) is None else 0
    )
    choice = made("auto").choice
    assert choice.device == "cpu"
    assert "it is gone" in choice.reason and choice.fallback_reason is not None
    assert list_measured() == []


def test_a_model_in_the_cpu_engines_format_is_not_for_the_npu(made):
    folder = models.resolve("tones")
    (folder / "model.bin").touch()
    with pytest.raises(ModelError, match=r"in CTranslate2's format.*or --device cpu"):
        made("npu")
    assert "in CTranslate2's format" in made("auto").choice.reason


@pytest.mark.parametrize("error", [ModelError("its heads are odd."), DeviceError("none left.")])
def test_auto_needs_no_npu_and_a_name_does(made, monkeypatch, error):
    def refuse(*given):
        raise error

    monkeypatch.setattr(attach, "Encoder", refuse)
    assert made("auto").choice.reason == f"cpu: {error}"
    with pytest.raises(type(error)):
        made("npu")
