"""The whole report, on the made-up laptop and on this very machine."""

import os
import time

import pytest

from whisper_npu_cli.npu.check import FLM_KEYS, Check, Report, State, fail, ok, warn
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.probe import examine


def test_a_laptop_on_which_all_is_well_is_ready(laptop):
    report = laptop.examine()
    assert [check for check in report.checks if check.state is not State.OK] == []
    assert report.ready
    assert len({check.name for check in report.checks}) == len(report.checks) == 21


def test_json_has_the_keys_of_flm_validate(laptop):
    told = laptop.examine().as_json()
    assert all(told[key] is True for key in ("ready", *FLM_KEYS))
    laptop.remove("/sys/bus/pci/devices/0000:c4:00.1")
    told = laptop.examine().as_json()
    assert {key: told[key] for key in FLM_KEYS} == {
        "amd_device_found": False,
        "kernel_ok": True,
        "npu_driver_ok": False,
        "all_fw_ok": False,
        "memlock_ok": True,
    }
    assert told["ready"] is False


def test_nothing_is_ready_that_did_not_run(laptop):
    laptop.manifest(1, golden=False)
    report = laptop.examine()
    assert report["kernel-run"].state is State.WARN
    assert report["kernel-run"].evidence.startswith("nothing was run")
    assert not report.ready
    laptop.xclbins = None
    report = laptop.examine()
    assert report["xclbins"].evidence == "this version ships no XCLBINs yet"
    assert (report["context"].state, report["kernel-run"].state) == (State.WARN, State.WARN)
    assert report["open"].state is State.OK
    assert not report.ready


def test_any_failure_keeps_it_from_being_ready():
    good = (ok("kernel-run", "right"), warn("cpu", "slow", "Wait."))
    assert Report(good).ready
    assert not Report((*good, fail("npu", "gone", "Find it."))).ready


@pytest.mark.parametrize(("state", "mend"), [(State.OK, "x"), (State.WARN, ""), (State.FAIL, "")])
def test_a_mend_stands_exactly_where_something_is_wrong(state, mend):
    with pytest.raises(ValueError, match="check npu"):
        Check("npu", state, "evidence", mend)


def test_without_an_npu_only_causes_are_told(laptop):
    laptop.remove("/sys/bus/pci/devices/0000:c4:00.1")
    report = laptop.examine()
    assert [check.name for check in report.checks if check.state is State.FAIL] == ["npu"]
    blocked = [check.name for check in report.checks if check.mend == "Mend npu first."]
    assert blocked == [
        *("driver", "firmware", "device-node", "permission", "in-use", "power-mode"),
        *("open", "context", "kernel-run"),
    ]


@pytest.mark.skipif(os.path.exists("/dev/accel/accel0"), reason="has a device to look at")
def test_this_machine_has_no_npu_and_says_so_quickly():
    seconds = []
    for _ in range(5):  # other work on the machine may disturb some
        start = time.perf_counter()
        report = examine(Host(), None)
        seconds.append(time.perf_counter() - start)
        if seconds[-1] < 2:
            break
    assert min(seconds) < 2
    assert report["npu"].state is State.FAIL
    assert report["npu"].evidence.startswith("no AMD NPU on the PCI bus")
    assert report["kernel"].evidence.startswith(os.uname().release)
    assert not report.ready


def test_an_empty_tree_is_survived(tmp_path):
    report = examine(Host(root=tmp_path, environ={}, module_path=()), None)
    assert not report.ready
    assert report["kernel"].evidence == "its release cannot be read"
    assert report["cpu"].state is report["memory"].state is State.WARN
