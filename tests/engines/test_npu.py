"""The NPU engine on the emulated NPU, with an encoder that gives back its input."""

import gc
import os
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

import add_one_encoder
from add_one_encoder import FRAMES, LAUNCHES, SIZE, AddOnePlan
from faulty_pyxrt import Faulty, backend
from whisper_npu_cli.emulator import pyxrt
from whisper_npu_cli.engines.interface import Core
from whisper_npu_cli.engines.npu import Encoder, NpuCore
from whisper_npu_cli.errors import DeviceFault, WrongAnswer
from whisper_npu_cli.kernels import vector_add_one
from whisper_npu_cli.npu.device import Device
from whisper_npu_cli.npu.packed import list_packings


@pytest.fixture
def checkpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(pyxrt, "_BOARD", pyxrt._Board())
    yield add_one_encoder.install(monkeypatch, tmp_path)
    gc.collect()


@pytest.fixture
def faulty():
    return Faulty()


@pytest.fixture
def device(faulty):
    return Device(backend(faulty), patience=0)


def mel(seed: int) -> np.ndarray:
    """Log-mel whose columns are the same for FRAMES frames."""
    steps = np.random.default_rng(seed).standard_normal((80, 3000 // FRAMES), np.float32)
    return np.repeat(steps, FRAMES, axis=1)


def test_windows_one_after_the_other(checkpoint, device):
    heard = []
    encoder = Encoder(device, checkpoint, lambda *told: heard.append(told))
    assert encoder.cycles is None
    for seed in range(2):
        np.testing.assert_allclose(encoder.encode(mel(seed)), mel(seed), rtol=1e-6)
    assert heard == [(1, LAUNCHES), (2, LAUNCHES), (3, LAUNCHES)] * 2
    assert encoder.cycles > 2 * LAUNCHES * 28_500  # what launches alone cost
    assert encoder.retried is None


def test_a_device_that_tells_no_cycles(checkpoint):
    encoder = Encoder(Device(backend(Faulty(tells=False))), checkpoint)
    encoder.encode(mel(0))
    assert encoder.cycles is None


def test_weights_are_packed_once_for_all_processes(checkpoint, device):
    first, second = Encoder(device, checkpoint), Encoder(device, checkpoint)
    assert AddOnePlan.packings == 1 and len(list_packings()) == 1
    bias = checkpoint.tensor("model.encoder.conv1.bias").view(np.uint8)
    for encoder in (first, second):
        weights = encoder._job._groups[0].launches[0].buffers[1]
        np.testing.assert_array_equal(weights.array()[: bias.size], bias)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_over_100_windows(checkpoint, device, faulty):
    encoder = Encoder(device, checkpoint)
    window, kinds = mel(0), ("bo", "run", "hw_context", "device")
    faulty.fail("start", *range(5, 400, 40))  # also where windows are repeated
    for _ in range(10):
        encoder.encode(window)
    alive, before = [faulty.alive(kind) for kind in kinds], resident()
    for _ in range(100):
        encoder.encode(window)
    gc.collect()  # the emulated arrays of contexts that were given up
    assert [faulty.alive(kind) for kind in kinds] == alive
    assert resident() - before < 20e6  # the hidden states of 100 windows take 96e6
    assert faulty.calls["start"] > 330


def test_a_result_that_is_written_in_part_is_no_result(checkpoint, device, monkeypatch):
    monkeypatch.setattr(AddOnePlan, "written", SIZE - vector_add_one.BLOCK)
    encoder = Encoder(device, checkpoint)
    with pytest.raises(WrongAnswer, match=r"wrote nothing|not of numbers"):
        encoder.encode(mel(0))


def spoil_nothing(window):
    pass


def spoil_one_number(window):
    window[7, 100:120] = np.nan


def spoil_all(window):
    window[:] = 0


@pytest.mark.parametrize(
    ("spoil", "told"), [(spoil_one_number, "not of numbers"), (spoil_all, "same at every position")]
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_cannot_be_right_is_computed_again(
    checkpoint, device, monkeypatch, times, spoil, told
):
    encoder = Encoder(device, checkpoint)
    spoils = [spoil] * times + [spoil_nothing]
    unpack = encoder.plan.unpack_result

    def unpacked(memory):
        window = unpack(memory)
        spoils.pop(0)(window)
        return window

    monkeypatch.setattr(encoder.plan, "unpack_result", unpacked)
    if times == 1:
        np.testing.assert_allclose(encoder.encode(mel(1)), mel(1), rtol=1e-6)
        assert isinstance(encoder.retried, WrongAnswer)
    else:
        with pytest.raises(WrongAnswer, match=f"{told}; report it"):
            encoder.encode(mel(1))


class Cpu:
    """The other Core, which encodes to ones."""

    device, device_index, is_multilingual, n_mels = "cpu", (0,), False, 80

    def encode(self, features, to_cpu=False):
        return ctranslate2.StorageView.from_array(np.ones(features.shape, np.float32))

    def generate(self, features, prompts, **options):
        return ["generated", options]

    def detect_language(self, features):
        return "detected"

    def align(self, *given, **options):
        return [*given, options]


def view(*windows):
    return ctranslate2.StorageView.from_array(np.stack(windows))


@pytest.fixture
def told():
    return []


@pytest.fixture
def core(checkpoint, device, told):
    def make(fall_back):
        return NpuCore(
            Encoder(device, checkpoint), Cpu(), lambda *what: told.append(what), fall_back
        )

    return make


def test_a_core_that_encodes_batches(core):
    made = core(False)
    assert isinstance(made, Core)
    assert (made.device, made.n_mels, made.is_multilingual) == ("cpu", 80, False)
    hidden = np.array(made.encode(view(mel(1), mel(2))))
    np.testing.assert_allclose(hidden, np.stack([mel(1), mel(2)]), rtol=1e-6)
    cycles = made.take_cycles()
    assert cycles > 2 * LAUNCHES * 28_500 and made.take_cycles() is None
    assert made.generate(1, [[2]], beam_size=3) == ["generated", {"beam_size": 3}]
    assert made.detect_language(1) == "detected"
    assert made.align(1, [2], [[3]], 4, median_filter_width=5) == [
        1, [2], [[3]], 4, {"median_filter_width": 5},
    ]  # fmt: skip


def test_the_cpu_goes_on_for_good(core, faulty, told):
    made = core(True)
    buffers = faulty.alive("bo")
    faulty.fail("start", 2, 4)  # in both attempts
    assert np.array(made.encode(view(mel(1)))).max() == 1
    assert [(type(fault).__name__, final) for fault, final in told] == [("DeviceGone", True)]
    assert np.array(made.encode(view(mel(1)))).max() == 1
    assert made.take_cycles() is None
    told.clear()
    gc.collect()
    assert faulty.alive("bo") < buffers - LAUNCHES  # the encoder's are given back
    assert faulty.calls["start"] == 4


def test_a_device_asked_for_by_name_fails(core, faulty, told):
    made = core(False)
    faulty.fail("start", 2, 4)
    with pytest.raises(DeviceFault):
        made.encode(view(mel(1)))
    assert told == []
    np.testing.assert_allclose(np.array(made.encode(view(mel(1))))[0], mel(1), rtol=1e-6)


def test_a_second_attempt_that_goes_well_is_told_of(core, faulty, told):
    made = core(True)
    faulty.fail("start", 3)
    np.testing.assert_allclose(np.array(made.encode(view(mel(1))))[0], mel(1), rtol=1e-6)
    assert [final for _, final in told] == [False]
    made.encode(view(mel(1)))
    assert len(told) == 1
