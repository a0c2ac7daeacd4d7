"""XRT's libraries, xrt-smi and pyxrt as users have them or miss them."""

import time

import pytest
from made_up_laptop import JSON_REPORT, NPU, TEXT_REPORT

from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu import smi
from whisper_npu_cli.npu.binding import load
from whisper_npu_cli.npu.check import State
from whisper_npu_cli.npu.smi import ask_smi

DIST = "/usr/lib/python3/dist-packages"
INSTALL = "sudo apt install -t trixie-backports python3-xrt libxrt-npu2"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"


class TestLibraries:
    def test_not_installed(self, quiet):
        quiet.remove(LIBRARIES)
        check = quiet.check("xrt")
        assert (check.state, INSTALL in check.mend) == (State.FAIL, True)
        assert quiet.check("pyxrt").mend == quiet.check("xrt-smi").mend == "Mend xrt first."

    def test_no_plugin(self, quiet):
        quiet.remove(f"{LIBRARIES}/libxrt_driver_xdna.so.2.25.00")
        check = quiet.check("xrt")
        assert check.state is State.FAIL
        assert "XRT 2.25.00 without its NPU plug-in" in check.evidence

    def test_too_old(self, quiet):
        quiet.remove(f"{LIBRARIES}/libxrt_coreutil.so.2.25.00")
        quiet.write("/opt/xilinx/xrt/lib/libxrt_coreutil.so.2.17.0", "")
        check = quiet.check("xrt")
        assert (check.state, check.evidence) == (State.WARN, "XRT 2.17.0 is older than 2.19")

    @pytest.mark.parametrize(
        ("release", "command"),
        [
            ("ID=debian\nVERSION_CODENAME=forky", "sudo apt install python3-xrt"),
            ("ID=arch", "sudo pacman -S xrt xrt-plugin-amdxdna"),
            ("ID=fedora\nVERSION_ID=44", "sudo dnf install xrt python3-xrt"),
            ("ID=debian\nVERSION_CODENAME=bookworm", "https://github.com/amd/xdna-driver"),
            ("", "https://github.com/amd/xdna-driver"),
        ],
    )
    def test_the_mend_is_that_of_the_distribution(self, quiet, release, command):
        quiet.remove(LIBRARIES)
        quiet.write("/etc/os-release", release)
        assert command in quiet.check("xrt").mend


class TestSmi:
    def test_json(self, laptop):
        report = ask_smi(laptop.host, NPU)
        assert (report.version, report.firmware) == ("2.25.00", "1.5.5.391")
        assert (report.power_mode, report.devices) == ("Default", ((NPU, "RyzenAI-npu1"),))
        assert report.contexts == ()

    def test_json_contexts(self, laptop):
        context = {"pid": "4242", "process_name": "flm", "context_id": "1"}
        partition = {"start_col": "0", "hw_contexts": [context]}
        device = {**JSON_REPORT["devices"][0], "aie_partitions": {"partitions": [partition]}}
        laptop.smi({**JSON_REPORT, "devices": [device]})
        assert ask_smi(laptop.host, NPU).contexts == ((4242, "flm"),)
        check = laptop.check("in-use")
        assert "held by flm (process 4242)" in check.evidence

    def test_text(self, laptop):
        laptop.smi(TEXT_REPORT, "  Power Mode : Performance \nClocks\n  H Clock : 1028 MHz\n")
        report = ask_smi(laptop.host, NPU)
        assert (report.version, report.firmware) == ("2.21.75", "1.5.5.391")
        assert (report.power_mode, report.devices) == ("Performance", ((NPU, "RyzenAI-npu1"),))
        assert report.clocks == "H Clock 1028 MHz"

    def test_text_of_the_first_releases(self, laptop):
        laptop.smi(
            "System Configuration\n\nXRT\n  Version              : 2.17.0\n"
            "  AMDXDNA              : 0.1, unknown\n"
            "  Firmware Version     : N/A\n\nDevices present\nBDF             :  Name \n"
            "---------------------------------\n[0000:c4:00.1]  :  RyzenAI-npu1 \n"
        )
        report = ask_smi(laptop.host, NPU)
        assert (report.version, report.firmware) == ("2.17.0", "")
        assert report.devices == ((NPU, "RyzenAI-npu1"),)

    def test_more_columns(self, laptop):
        laptop.smi(TEXT_REPORT.replace("RyzenAI-npu1  |", "RyzenAI-npu1  |aie2  |6x5  |"))
        assert ask_smi(laptop.host, NPU).devices == ((NPU, "RyzenAI-npu1"),)

    @pytest.mark.parametrize("folder", ["/opt/xilinx/xrt/bin", "/usr/bin"])
    def test_found_outside_of_path(self, quiet, folder):
        quiet.change(environ={"PATH": "/nowhere"})
        quiet.program(f"{folder}/xrt-smi", "echo 'Device(s) Present'; echo '  0 devices found'")
        check = quiet.check("xrt-smi")
        assert check.evidence.startswith(f"{folder}/xrt-smi sees 0 devices")

    def test_missing(self, quiet):
        check = quiet.check("xrt-smi")
        assert (check.state, check.evidence) == (
            State.WARN,
            "not in PATH, /opt/xilinx/xrt/bin or /usr/bin",
        )
        assert INSTALL in check.mend

    def test_blind_though_there_is_a_device(self, laptop):
        laptop.smi("\nXRT\n  Version : 2.25.00\n\nDevice(s) Present\n  0 devices found\n")
        check = laptop.check("xrt-smi")
        assert check.state is State.WARN
        assert "sees 0 devices, though the kernel has /dev/accel/accel0" in check.evidence

    def test_hanging_is_cut_off_and_told(self, quiet, monkeypatch):
        monkeypatch.setattr(smi, "SECONDS_WITH_NPU", 0.3)
        quiet.program("/usr/bin/xrt-smi", "sleep 60 & sleep 60")
        start = time.perf_counter()
        check = quiet.check("xrt-smi")
        assert time.perf_counter() - start < 30  # the program hangs for 60 s
        assert check.state is State.WARN
        assert check.evidence == "/usr/bin/xrt-smi: no answer within 0.3 s, stopped"
        assert "modprobe -r amdxdna" in check.mend

    def test_failing_is_told(self, quiet):
        quiet.program("/usr/bin/xrt-smi", "echo; echo 'libboost.so: not found' >&2; exit 127")
        assert "exit code 127: libboost.so: not found" in quiet.check("xrt-smi").evidence
        quiet.write("/usr/bin/xrt-smi", "\x7fELF of another machine")
        assert quiet.check("xrt-smi").state is State.WARN

    def test_power_mode(self, laptop):
        assert laptop.check("power-mode").evidence == "Default, clocks not told"
        clocks = [{"id": "H Clock", "freq_mhz": "1028"}, {"id": "MP-NPU Clock", "freq_mhz": "600"}]
        laptop.smi({**JSON_REPORT, "clocks": clocks})
        check = laptop.check("power-mode")
        assert check.evidence == "Default, H Clock 1028 MHz, MP-NPU Clock 600 MHz"
        device = {**JSON_REPORT["devices"][0], "status": {"power_mode": "Powersaver"}}
        laptop.smi({**JSON_REPORT, "devices": [{**device, "platforms": []}]})
        assert "--pmode performance" in laptop.check("power-mode").mend


class TestBinding:
    def extension(self, laptop, name, folder=DIST):
        return laptop.write(f"{folder}/{name}", "")

    def test_not_installed(self, quiet):
        check = quiet.check("pyxrt")
        assert (check.state, check.evidence) == (State.FAIL, "not installed")
        assert INSTALL in check.mend

    def test_for_another_python(self, quiet):
        self.extension(quiet, "pyxrt.cpython-312-x86_64-linux-gnu.so")
        check = quiet.check("pyxrt")
        assert check.state is State.FAIL
        assert "is built for Python 3.12, and this is Python 3.13" in check.evidence
        assert "python3.12 -m venv" in check.mend

    def test_the_x_ray_tracer(self, quiet):
        quiet.write(f"{DIST}/xrt/backends/raycing/oes.py", "")
        check = quiet.check("pyxrt")
        assert check.state is State.FAIL
        assert f"{DIST}/xrt is the X-ray tracer" in check.evidence
        assert INSTALL in check.mend

    def test_hidden_by_a_virtual_environment_it_is_loaded_by_its_path(self, laptop):
        check = laptop.check("pyxrt")
        assert check.state is State.OK
        assert check.evidence == (
            f"{DIST}/pyxrt.py, loaded by its path from this virtual environment"
        )
        laptop.change(module_path=(str(laptop.path(DIST)),))
        assert laptop.check("pyxrt").evidence == f"{DIST}/pyxrt.py"

    def test_the_one_that_fits_is_taken(self, laptop):
        self.extension(laptop, "pyxrt.cpython-312-x86_64-linux-gnu.so")
        self.extension(laptop, "pyxrt.cpython-31-x86_64-linux-gnu.so")
        assert f"{DIST}/pyxrt.py" in laptop.check("pyxrt").evidence

    def test_it_does_not_load(self, laptop):
        laptop.behave(**{"import": "libxrt_coreutil.so.2: cannot open shared object file"})
        check = laptop.check("pyxrt")
        assert check.state is State.FAIL
        assert "does not load" in check.evidence and "libxrt_coreutil.so.2" in check.evidence
        assert laptop.check("open").mend == "Mend pyxrt first."

    def test_a_broken_extension_is_a_device_error(self, tmp_path):
        broken = tmp_path / "pyxrt.so"
        broken.write_text("not an ELF file")
        with pytest.raises(DeviceError, match=r"pyxrt\.so cannot be loaded"):
            load(broken)
        with pytest.raises(DeviceError, match="is no Python module"):
            load(tmp_path / "pyxrt.txt")
