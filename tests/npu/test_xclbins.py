"""The shipped XCLBINs and the golden vectors on the emulator."""

import json

import pytest

from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu import probe
from whisper_npu_cli.npu.catalog import find_folder, read_catalog
from whisper_npu_cli.npu.check import State


def test_no_manifest_no_folder(tmp_path):
    assert find_folder((tmp_path,)) is None
    (tmp_path / "manifest.json").write_text("{}")
    assert find_folder((tmp_path / "absent", tmp_path)) == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"xclbins": [{"file": "a"}]}',
        '{"xclbins": [7]}',
        '{"xclbins": [{"file": "a", "sha256": "b", "golden": {"sequence": "s"}}]}',
        '{"xclbins": [{"file": "a", "sha256": "b",'
        ' "golden": {"sequence": "s", "sequence_sha256": "c",'
        ' "arguments": [{"random": "r", "size": 4}]}}]}',
        '{"xclbins": [{"file": "a", "sha256": "b",'
        ' "golden": {"sequence": "s", "sequence_sha256": "c", "arguments": [{"size": 4}]}}]}',
    ],
)
def test_damaged_manifests_are_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DeviceError, match=r"manifest.json is damaged \(\w+: .*install whisper-npu"):
        read_catalog(tmp_path)


def test_a_damaged_manifest_is_a_failed_check(quiet):
    quiet.write("/xclbins/manifest.json", "{")
    assert quiet.check("xclbins").state is State.FAIL


def test_a_changed_file(laptop):
    laptop.write("/xclbins/overlay0.xclbin", "xclbin2 number 1")
    check = laptop.check("xclbins")
    assert check.state is State.FAIL
    assert "overlay0.xclbin is not the file that the manifest names" in check.evidence


def test_a_changed_sequence_is_not_run(quiet):
    quiet.write("/xclbins/words.bin", "12345679")
    assert "words.bin is not the file that the manifest" in quiet.check("xclbins").evidence


def test_a_missing_file(quiet):
    quiet.remove("/xclbins/overlay0.xclbin")
    assert "cannot be read (No such file or directory)" in quiet.check("xclbins").evidence


def test_not_accepted_by_pyxrt(laptop):
    laptop.behave(xclbin="Invalid axlf")
    check = laptop.check("xclbins")
    assert check.state is State.FAIL
    assert check.evidence == "pyxrt does not accept overlay0.xclbin: Invalid axlf"
    assert laptop.check("open").mend == "Mend xclbins first."


def test_not_shown_to_pyxrt(quiet):
    check = quiet.check("xclbins")
    assert (check.state, check.mend) == (State.WARN, "Mend pyxrt first.")


class TestEmulator:
    @pytest.fixture(autouse=True)
    def stand_in(self, laptop, monkeypatch):
        laptop.remove("/sys/bus/pci/devices/0000:c4:00.1")
        folder = laptop.pyxrt.parent
        laptop.pyxrt.rename(folder / "pretend_xrt.py")
        laptop.change(environ={**laptop.host.environ, "PYTHONPATH": str(folder)})
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(probe, "EMULATOR", "pretend_xrt")

    def test_right(self, laptop):
        report = laptop.examine("emulator")
        check = report["self-test-emulated"]
        assert check.state is State.OK
        assert check.evidence == "1 kernels gave the right answer on the emulator, not on an NPU"
        assert not report.ready

    def test_wrong(self, laptop):
        laptop.behave(answer="wrong")
        check = laptop.examine("emulator")["self-test-emulated"]
        assert (check.state, "bytes are wrong" in check.evidence) == (State.FAIL, True)

    def test_nothing_to_run(self, laptop):
        laptop.manifest(1, golden=False)
        assert laptop.examine("emulator")["self-test-emulated"].state is State.WARN
        laptop.xclbins = None
        assert laptop.examine("emulator")["self-test-emulated"].mend == "Mend xclbins first."

    def test_no_emulator(self, laptop, monkeypatch):
        monkeypatch.setattr(probe, "EMULATOR", "absent_package.pyxrt")
        check = laptop.examine("emulator")["self-test-emulated"]
        assert (check.state, check.evidence) == (State.FAIL, "this version has no emulator")


def test_the_manifest_may_say_more(laptop):
    path = laptop.path("/xclbins/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["made_by"] = "bootgen"
    manifest["xclbins"][0]["evidence"] = "emulator"
    path.write_text(json.dumps(manifest))
    assert len(read_catalog(laptop.xclbins)) == 1
