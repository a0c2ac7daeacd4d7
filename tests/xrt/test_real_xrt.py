"""The doctor beside a real XRT, in a Debian trixie folder without any NPU: scripts/check_xrt.

whisper-npu is installed in a virtual environment that does not see the system's packages.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import whisper_npu_cli
from whisper_npu_cli.npu import faults
from whisper_npu_cli.npu.binding import choose_binding, load
from whisper_npu_cli.npu.catalog import find_folder
from whisper_npu_cli.npu.check import State
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.probe import examine
from whisper_npu_cli.npu.smi import ask_smi
from whisper_npu_cli.npu.trial import Plan, try_out

pytestmark = pytest.mark.xrt
DIST = Path("/usr/lib/python3/dist-packages")
EXTENSION = DIST / "pyxrt.cpython-313-x86_64-linux-gnu.so"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def report():
    return examine(Host(), None)


def test_this_is_the_installed_package_in_a_closed_virtual_environment():
    assert sys.version_info[:2] == (3, 13)
    assert Path(whisper_npu_cli.__file__).is_relative_to(sys.prefix)
    assert sys.prefix != sys.base_prefix
    plain = run(sys.executable, "-c", "import pyxrt")
    assert plain.returncode == 1
    assert "No module named 'pyxrt'" in plain.stderr
    assert run(sys.executable, "-c", "import ctranslate2").returncode == 1


def test_the_command_line_tells_it_right_and_quickly():
    command = Path(sys.prefix) / "bin/whisper-npu"
    seconds = []
    for _ in range(4):  # the first compiles, and a busy machine may delay others
        start = time.perf_counter()
        done = run(command, "doctor", "--json")
        seconds.append(time.perf_counter() - start)
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    assert told["ready"] is told["amd_device_found"] is False
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert states["npu"] == "FAIL"
    assert states["xrt"] == states["xrt-smi"] == states["pyxrt"] == "OK"
    assert [name for name, state in states.items() if state == "FAIL"] == ["npu"]
    table = run(command, "doctor")
    assert table.returncode == 1
    assert "0 devices" in table.stdout
    assert min(seconds) < 2


def test_libraries(report):
    assert report["xrt"].evidence.startswith("XRT 2.25")
    assert report["xrt"].evidence.endswith("with its NPU plug-in")


def test_pyxrt_is_found_and_loaded_from_inside_the_virtual_environment(report):
    assert report["pyxrt"].state is State.OK
    assert report["pyxrt"].evidence == (
        f"{EXTENSION}, loaded by its path from this virtual environment"
    )


def test_another_python_is_told_which_one_it_was_built_for():
    report = examine(Host(abi="cpython-312"), None)
    assert report["pyxrt"].state is State.FAIL
    assert "is built for Python 3.13, and this is Python 3.12" in report["pyxrt"].evidence


def test_xrt_smi_with_zero_devices(report):
    smi = ask_smi(Host(), "")
    assert smi.version.startswith("2.25")
    assert (smi.fault, smi.devices, smi.firmware) == ("", (), "")
    assert report["xrt-smi"].evidence == "/usr/bin/xrt-smi sees 0 devices"


def test_xrt_smi_asked_for_a_device_that_it_does_not_have():
    smi = ask_smi(Host(), "0000:c4:00.1")
    assert not smi.hung
    assert (smi.devices, smi.power_mode) == ((), "")
    assert smi.version.startswith("2.25")


def test_a_driver_that_is_not_there_is_not_believed(report):
    """xrt-smi prints the kernel's release as the version of an amdxdna that is not loaded."""
    text = run("xrt-smi", "examine").stdout
    assert "amdxdna Version" in text
    assert report["driver"].state is State.WARN


def test_what_xrt_says_without_a_device_is_understood():
    pyxrt = load(choose_binding(Host()).path)
    assert pyxrt.enumerate_devices() == 0
    with pytest.raises(RuntimeError) as refusal:
        pyxrt.device(0)
    assert faults.explain(str(refusal.value)) is faults.NO_XRT_DEVICE


def test_the_trial_goes_as_far_as_the_real_xrt_lets_it(tmp_path):
    trial = try_out(Host(), Plan(str(EXTENSION), node=str(tmp_path / "absent"), device=True))
    assert trial.error("import") == ""
    assert "No such file" in trial.error("node")
    trial = try_out(Host(), Plan(str(EXTENSION), device=True))
    assert "No such device with index '0'" in trial.error("open")


def test_what_is_no_xclbin_is_refused_by_the_real_pyxrt(tmp_path):
    content = b"xclbin2 and nothing behind it"
    (tmp_path / "fake.xclbin").write_bytes(content)
    entry = {"file": "fake.xclbin", "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"xclbins": [entry]}))
    check = examine(Host(), tmp_path)["xclbins"]
    assert check.state is State.FAIL
    assert check.evidence.startswith("pyxrt does not accept fake.xclbin: ")


def test_amds_own_packages_need_no_setup_script():
    """Libraries in /opt/xilinx/xrt/lib, out of the loader's sight, are found by `load`."""
    script = f"""
        mkdir -p /opt/xilinx/xrt/python /opt/xilinx/xrt/lib
        mount -t tmpfs tmpfs /opt/xilinx
        mkdir -p /opt/xilinx/xrt/python /opt/xilinx/xrt/lib
        cp {EXTENSION} /opt/xilinx/xrt/python
        cp /usr/lib/x86_64-linux-gnu/libxrt_*.so.* /opt/xilinx/xrt/lib
        for library in /usr/lib/x86_64-linux-gnu/libxrt_*.so.*; do
            mount --bind /dev/null "$library"
        done
        ! python3 -c 'import pyxrt' 2>/dev/null || exit 9
        exec {sys.executable} -c '
from pathlib import Path
from whisper_npu_cli.npu.binding import load
print(load(Path("/opt/xilinx/xrt/python/{EXTENSION.name}")).device.__name__)'
    """
    done = run("unshare", "--mount", "--propagation=unchanged", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "device\n"), done.stderr


def test_shipped_xclbins_are_accepted():
    folder = find_folder()
    assert folder == Path(whisper_npu_cli.__file__).parent / "xclbins"
    check = examine(Host(), folder)["xclbins"]
    assert (check.state, check.evidence.endswith("accepted by pyxrt")) == (State.OK, True)


def test_pyxrt_reads_the_shipped_xclbins_as_their_manifest_says():
    pyxrt = load(choose_binding(Host()).path)
    entries = json.loads((find_folder() / "manifest.json").read_text())["xclbins"]
    for entry in entries:
        image = pyxrt.xclbin(str(find_folder() / entry["file"]))
        assert image.get_uuid().to_string() == entry["uuid"]
        kernels = [(k.get_name(), k.get_num_args()) for k in image.get_kernels()]
        assert kernels == [(entry["kernel"], 3 + entry["buffers"])]
        memories = [(m.get_tag(), m.get_index(), m.get_used()) for m in image.get_mems()]
        assert memories == [("HOST", 0, True), ("SRAM", 1, True)]


def test_transcribe_on_the_npu_reaches_xrt_and_says_what_is_missing():
    """Nothing else is imported before: neither libraries of the engine nor a model."""
    sound = next((Path(whisper_npu_cli.__file__).parent / "samples").glob("*.wav"))
    command = (Path(sys.prefix) / "bin/whisper-npu", "transcribe", "--model", "demo", sound)
    done = run(*command, "--device", "npu")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(
        "whisper-npu: error: The NPU failed while being opened, XRT finds"
    )
    assert "No such device with index '0'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
