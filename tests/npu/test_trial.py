"""Opening the device: what users were told by XRT, and what it meant."""

import json
import resource
import time

import pytest

from whisper_npu_cli.npu import facts, faults
from whisper_npu_cli.npu.check import State
from whisper_npu_cli.npu.facts import gather
from whisper_npu_cli.npu.faults import explain

MMAP = (
    "mmap(addr=(nil), len=134217728, prot=3, flags=8193, offset=4294967296) failed (err=-11): "
    "Resource temporarily unavailable"
)
HWCTX = "DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err={}): {}"
NO_DEVICE = "No such device with index '0'"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (MMAP, faults.MEMLOCK),
        ("failed to allocate: Resource temporarily unavailable", faults.MEMLOCK),
        (HWCTX.format(-22, "Invalid argument"), faults.NO_CONTEXT),
        (HWCTX.format(22, "Invalid argument"), faults.NO_CONTEXT),
        ("CREATE_HWCTX IOCTL failed (err=-22)", faults.NO_CONTEXT),
        (HWCTX.format(-16, "Device or resource busy"), faults.BUSY),
        (HWCTX.format(-19, "No such device"), faults.NO_IOMMU),
        (HWCTX.format(-62, "Timer expired"), faults.HUNG),
        ("DRM_IOCTL_AMDXDNA_GET_INFO IOCTL failed (err=95): Not supported", faults.MISMATCH),
        ("Open /dev/accel/accel0 failed (err=-13): Permission denied", faults.PERMISSION),
        ("[Errno 13] Permission denied: '/dev/accel/accel0'", faults.PERMISSION),
        ("[Errno 1] Operation not permitted: '/dev/accel/accel0'", faults.PERMISSION),
        (NO_DEVICE, faults.NO_XRT_DEVICE),
        ("no answer within 10 s", faults.HUNG),
        ("something new", faults.UNKNOWN),
        ("error 4711 of nobody", faults.UNKNOWN),
    ],
)
def test_what_errors_mean(error, fault):
    assert explain(error) is fault


def test_memlock_at_open(laptop):
    laptop.behave(device=MMAP)
    laptop.change(memlock=(8 << 20, 8 << 20))
    report = laptop.examine()
    assert report["open"].state is State.FAIL
    assert "the memlock limit is too low" in report["open"].evidence
    assert MMAP in report["open"].evidence
    assert "memlock unlimited" in report["open"].mend
    assert report["context"].mend == report["kernel-run"].mend.replace("context", "open")


def test_the_soft_limit_is_raised_before_the_device_is_opened(laptop):
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (4096, hard))
    try:  # the stand-in for pyxrt refuses a soft limit below the hard one
        assert laptop.check("open").state is State.OK
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))


def test_without_a_node_nothing_is_opened(laptop):
    laptop.remove("/dev/accel")
    laptop.behave(crash="device")
    trial = gather(laptop.host, laptop.xclbins).trial
    assert (trial.died_at, trial.error("import"), trial.error("open")) == ("", "", None)


@pytest.mark.parametrize("culprit", ["xrt", "permission", "memlock"])
def test_no_such_device_with_index_is_traced_to_its_cause(laptop, culprit):
    laptop.behave(device=NO_DEVICE)
    if culprit == "xrt":
        laptop.remove("/usr/lib/x86_64-linux-gnu/libxrt_driver_xdna.so.2.25.00")
    if culprit == "permission":
        laptop.change(gids=frozenset({99999}))
    if culprit == "memlock":
        laptop.change(memlock=(8 << 20, 8 << 20))
    check = laptop.check("open")
    assert (check.state, check.mend) == (State.FAIL, f"Mend {culprit} first.")


def test_no_such_device_without_a_known_cause(laptop):
    laptop.behave(device=NO_DEVICE)
    assert "dmesg" in laptop.check("open").mend


def test_no_free_context_names_the_holders(laptop):
    laptop.behave(context=HWCTX.format(-22, "Invalid argument"))
    laptop.hold(4242, "flm")
    report = laptop.examine()
    assert report["open"].state is State.OK
    assert report["context"].state is State.FAIL
    assert "no free context" in report["context"].evidence
    assert "held by flm (process 4242)" in report["context"].evidence
    assert report["kernel-run"].mend == "Mend context first."
    assert not report.ready


def test_a_container_that_has_the_node_but_not_the_device(laptop):
    laptop.write("/.dockerenv", "")
    laptop.behave(device="Open /dev/accel/accel0 failed (err=-1): Operation not permitted")
    assert laptop.check("open").mend == "Start the container with --device /dev/accel/accel0"


@pytest.mark.parametrize("place", ["device", "context", "run"])
def test_a_crash_takes_nothing_with_it(laptop, place):
    laptop.behave(crash=place)
    report = laptop.examine()
    check = report[{"device": "open", "run": "kernel-run"}.get(place, place)]
    assert check.state is State.FAIL
    assert "the process was killed by signal 11" in check.evidence
    assert not report.ready


def test_a_crash_at_import(laptop):
    laptop.behave(crash="import")
    report = laptop.examine()
    assert "killed by signal 11" in report["pyxrt"].evidence
    assert report["open"].mend == "Mend pyxrt first."


def test_a_wedged_device_is_given_up(laptop, monkeypatch):
    start = time.perf_counter()
    assert laptop.check("open").state is State.OK
    healthy = time.perf_counter() - start  # on a busy machine it takes its time to get there
    monkeypatch.setattr(facts, "SECONDS", 3 * healthy + 1)
    laptop.behave(hang="device")
    start = time.perf_counter()
    check = laptop.check("open")
    assert time.perf_counter() - start < 50  # the device hangs for 60 s
    assert check.state is State.FAIL
    assert "the NPU hangs: no answer within" in check.evidence
    assert "modprobe -r amdxdna" in check.mend


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("wrong", "buffer 1: its 100 bytes are wrong, they begin with d0d13eaf"),
        ("lost", "it says that it is done, and wrote nothing"),
        ("timeout", "the NPU hangs: the command ended in state ERT_CMD_STATE_TIMEOUT"),
    ],
)
def test_a_wrong_answer_is_never_ready(laptop, answer, told):
    laptop.behave(answer=answer)
    report = laptop.examine()
    assert report["kernel-run"].state is State.FAIL
    assert told in report["kernel-run"].evidence
    assert report["context"].state is State.OK
    assert not report.ready


def test_the_first_xclbin_with_a_golden_vector_is_run(laptop):
    laptop.manifest(2)
    path = laptop.path("/xclbins/manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["xclbins"][0]["golden"]
    path.write_text(json.dumps(manifest))
    assert laptop.examine()["kernel-run"].evidence == "overlay1.xclbin gave the right answer"


def test_selftest_runs_every_xclbin_within_six_contexts(laptop):
    laptop.manifest(8)
    names = ", ".join(f"overlay{index}.xclbin" for index in range(8))
    assert laptop.examine()["kernel-run"].evidence == "overlay0.xclbin gave the right answer"
    assert laptop.examine("npu")["kernel-run"].evidence == f"{names} gave the right answer"
