"""How `auto` learns which device is the fastest, with injected timings."""

import pytest

from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu.choice import Subject, clear_measured, decide, list_measured

BASE = Subject("base", "checkpoint 1", "driver 1")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path))
    return tmp_path / "choices"


class Stopwatch:
    def __init__(self, **seconds):
        self.seconds, self.asked = seconds, []

    def __call__(self, device):
        self.asked.append(device)
        answer = self.seconds[device]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(("npu", "cpu", "device"), [(0.2, 0.9, "npu"), (1.5, 0.9, "cpu")])
def test_the_fastest_is_taken_and_remembered(npu, cpu, device):
    watch = Stopwatch(npu=npu, cpu=cpu)
    first, second = (decide(BASE, watch) for _ in range(2))
    assert (first.device, first.fresh, second.device, second.fresh) == (device, True, device, False)
    assert watch.asked == ["npu", "cpu"]
    for word in (f"{npu:.2f} s on the npu", f"{cpu:.2f} s on the cpu", f"{device}: a window of"):
        assert word in first.reason and word in second.reason
    assert "\n" not in first.reason


@pytest.mark.parametrize(
    "other",
    [
        Subject("base in int8", "checkpoint 1", "driver 1"),
        Subject("base", "checkpoint 2", "driver 1"),
        Subject("base", "checkpoint 1", "driver 2"),
    ],
)
def test_another_model_or_driver_is_measured_again(other):
    watch = Stopwatch(npu=1, cpu=2)
    decide(BASE, watch)
    decide(other, watch)
    assert len(watch.asked) == 4
    assert {Subject(m.model, m.checkpoint, m.driver) for m in list_measured()} == {BASE, other}


def test_a_device_that_fails_is_asked_again():
    broken = Stopwatch(npu=DeviceError("The NPU hangs; wait."), cpu=2)
    for _ in range(2):
        decision = decide(BASE, broken)
        assert (decision.device, decision.reason) == ("cpu", "cpu: The NPU hangs; wait.")
    assert list_measured() == []
    assert decide(BASE, Stopwatch(npu=1, cpu=2)).device == "npu"
    with pytest.raises(DeviceError):
        decide(BASE, broken, ("npu",))


def test_clear(cache):
    watch = Stopwatch(npu=1, cpu=2)
    decide(BASE, watch)
    clear_measured()
    assert list_measured() == []
    decide(BASE, watch)
    assert len(watch.asked) == 4


def test_a_damaged_memory_is_measured_again(cache):
    watch = Stopwatch(npu=1, cpu=2)
    decide(BASE, watch)
    (path,) = cache.iterdir()
    right = path.read_text()
    for content in (
        "{",
        "7",
        "{}",
        right.replace("base", "tiny", 1),
        right.replace("seco", "mome"),
    ):
        path.write_text(content)
        assert decide(BASE, watch).fresh
        assert path.read_text() == right


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "file"))
    assert decide(BASE, Stopwatch(npu=1, cpu=2)).device == "npu"
