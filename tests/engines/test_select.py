from pathlib import Path
from typing import NoReturn

import pytest

from whisper_npu_cli.engines.select import Choice, choose, open_chosen
from whisper_npu_cli.errors import DeviceError, ExitCode, UsageError
from whisper_npu_cli.npu import device


def pci(root: Path, slot: str, vendor: str, device: str) -> None:
    (root / slot).mkdir(parents=True)
    (root / slot / "vendor").write_text(vendor + "\n")
    (root / slot / "device").write_text(device + "\n")


@pytest.fixture
def laptop(tmp_path: Path) -> Path:
    pci(tmp_path, "0000:00:00.0", "0x1022", "0x14e8")
    pci(tmp_path, "0000:c4:00.0", "0x1002", "0x1502")  # the NPU's device number, another vendor
    (tmp_path / "0000:c5:00.0").mkdir()  # vanished while we look
    return tmp_path


def test_auto_without_npu(laptop: Path) -> None:
    choice = choose("auto", laptop)
    assert choice.device == "cpu"
    assert choice.reason == "cpu: no Phoenix NPU on this machine"
    assert choice.fallback_reason == "no Phoenix NPU on this machine"


def test_auto_with_npu_has_to_measure(laptop: Path) -> None:
    pci(laptop, "0000:c6:00.1", "0x1022", "0x1502")
    choice = choose("auto", laptop)
    assert (choice.device, choice.measure) == ("npu", True)


def test_auto_on_a_system_without_pci(tmp_path: Path) -> None:
    assert choose("auto", tmp_path / "none").reason == "cpu: no Phoenix NPU on this machine"


def test_cpu_is_no_fallback(laptop: Path) -> None:
    assert choose("cpu", laptop).fallback_reason is None


@pytest.mark.parametrize("name", ["npu", "emulator"])
def test_devices_by_name_are_not_measured(laptop: Path, name: str) -> None:
    assert choose(name, laptop) == Choice(name, f"{name}: asked for")


def refuse(name: str) -> NoReturn:
    raise DeviceError("The NPU failed while being opened; run: whisper-npu doctor.")


def test_a_device_by_name_that_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "open_device", refuse)
    with pytest.raises(DeviceError, match="while being opened") as refusal:
        open_chosen(choose("npu"))
    assert refusal.value.exit_code == ExitCode.DEVICE_UNAVAILABLE == 3


def test_an_npu_that_does_not_open_leaves_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "open_device", refuse)
    why = "The NPU failed while being opened; run: whisper-npu doctor."
    found = open_chosen(Choice("npu", "npu: present", measure=True))
    assert found == (Choice("cpu", f"cpu: {why}", why), None)


def test_the_cpu_needs_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "open_device", refuse)
    assert open_chosen(choose("cpu")) == (choose("cpu"), None)


def test_what_is_opened() -> None:
    choice, opened = open_chosen(choose("emulator"))
    assert choice.device == opened.name == "emulator"


def test_unknown_device() -> None:
    with pytest.raises(UsageError, match="no device cuda: choose one of auto, npu, cpu"):
        choose("cuda")
