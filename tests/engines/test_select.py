from pathlib import Path

import pytest

from whisper_npu_cli.engines.select import choose
from whisper_npu_cli.errors import DeviceError, ExitCode, UsageError


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


def test_auto_with_npu(laptop: Path) -> None:
    pci(laptop, "0000:c6:00.1", "0x1022", "0x1502")
    choice = choose("auto", laptop)
    assert choice.device == "cpu"
    assert choice.reason.startswith("cpu: a Phoenix NPU is present, but")


def test_auto_on_a_system_without_pci(tmp_path: Path) -> None:
    assert choose("auto", tmp_path / "none").reason == "cpu: no Phoenix NPU on this machine"


def test_cpu_is_no_fallback(laptop: Path) -> None:
    assert choose("cpu", laptop).fallback_reason is None


@pytest.mark.parametrize("device", ["npu", "emulator"])
def test_devices_by_name_never_fall_back(laptop: Path, device: str) -> None:
    pci(laptop, "0000:c6:00.1", "0x1022", "0x1502")
    with pytest.raises(DeviceError, match=f"{device} is not built.*--device cpu") as refusal:
        choose(device, laptop)
    assert refusal.value.exit_code == ExitCode.DEVICE_UNAVAILABLE == 3


def test_who_asks_for_the_npu_is_told_of_the_doctor(laptop: Path) -> None:
    with pytest.raises(DeviceError, match=r"--device cpu; whisper-npu doctor looks at"):
        choose("npu", laptop)


def test_unknown_device() -> None:
    with pytest.raises(UsageError, match="no device cuda: choose one of auto, npu, cpu"):
        choose("cuda")
