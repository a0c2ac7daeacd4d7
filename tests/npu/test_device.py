"""The runtime on the emulated NPU, with the shipped XCLBINs and faults at the surface of pyxrt."""

import fcntl
import gc
import json
import shutil
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from faulty_pyxrt import ERRORS, Faulty, backend
from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.emulator import pyxrt
from whisper_npu_cli.errors import (
    CorruptXclbin,
    DeviceBusy,
    DeviceError,
    DeviceFault,
    DeviceGone,
    DeviceOutOfMemory,
    DeviceTimeout,
    ExitCode,
    WrongAnswer,
)
from whisper_npu_cli.kernels import passthrough, vector_add_one
from whisper_npu_cli.kernels.build import configure
from whisper_npu_cli.kernels.overlays import OVERLAYS
from whisper_npu_cli.npu import selftest
from whisper_npu_cli.npu.catalog import find_folder, find_overlay
from whisper_npu_cli.npu.device import Device, open_device
from whisper_npu_cli.npu.job import Job

SIZE = vector_add_one.BLOCK
KERNELS = {"passthrough": passthrough, "vector_add_one": vector_add_one}
TIMEOUT = "the command ended in state ERT_CMD_STATE_TIMEOUT"


@cache
def stream(name: str, size: int = SIZE) -> bytes:
    overlay = next(overlay for overlay in OVERLAYS if overlay.name == name)
    made = configure(overlay)
    ops = KERNELS[name].sequence(made.placement, size)
    return sequence.to_bytes(sequence.encode(ops, made.config.columns))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An own cache, and an emulated NPU on which nobody else holds contexts."""
    monkeypatch.setattr(pyxrt, "_BOARD", pyxrt._Board())
    monkeypatch.setenv("WHISPER_NPU_CACHE", str(tmp_path / "cache"))
    yield
    gc.collect()


@pytest.fixture
def faulty():
    return Faulty()


@pytest.fixture
def device(faulty):
    return Device(backend(faulty), patience=0)


class Adding:
    """Two launches of vector_add_one, one after the other: adds two."""

    def __init__(self, device: Device, groups: int = 1) -> None:
        context = device.untested(find_overlay("vector_add_one"))
        self.buffers = [context.buffer(SIZE, 0), context.buffer(SIZE, 1), context.buffer(SIZE, 1)]
        first, middle, last = self.buffers
        launches = [
            context.launch(stream("vector_add_one"), [first, middle], [middle]),
            context.launch(stream("vector_add_one"), [middle, last], [last]),
        ]
        self.job = Job(launches) if groups == 1 else Job(launches[:1], launches[1:])

    def check(self, start: int):
        """Run and compare; how it went."""
        given = np.arange(start, start + SIZE // 4, dtype=np.int32)
        self.buffers[0].array(np.int32)[:] = given
        self.buffers[0].to_device()
        ran = self.job.run()
        self.buffers[2].from_device()
        np.testing.assert_array_equal(self.buffers[2].array(np.int32), given + 2)
        return ran


# Working -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("runlists", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_job_runs_many_times(runlists, groups):
    device = Device(backend(Faulty(runlists)))
    adding = Adding(device, groups)
    cycles = [adding.check(start).cycles for start in range(3)]
    assert {len(each) for each in cycles} == {2}
    assert all(cycle > 28_500 for each in cycles for cycle in each)  # a launch costs that much


def test_devices_that_tell_no_cycles():
    assert Adding(Device(backend(Faulty(tells=False)))).check(0).cycles == (None, None)


def test_each_group_is_heard_of(device):
    heard = []
    Adding(device, 2).job.run(lambda *told: heard.append(told))
    assert heard == [(1, 2), (2, 2)]


def test_equal_streams_share_their_instructions(device, faulty):
    before = faulty.alive("bo")
    adding = Adding(device)
    assert faulty.alive("bo") - before == 4
    assert adding.check(5).retried is None


def test_the_emulator_under_its_name_end_to_end():
    device = open_device("emulator")
    context = device.context("passthrough")
    assert device.context("passthrough") is context
    size = 3 * passthrough.OBJECT
    buffers = [context.buffer(size, n) for n in range(2)]
    job = Job([context.launch(stream("passthrough", size), buffers, [buffers[1]])])
    for seed in range(2):
        given = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        buffers[0].write(given.tobytes())
        job.run()
        assert buffers[1].read() == given.tobytes()
    device.close()


def test_buffers_of_one_context_in_another(device):
    """As one layer's result goes on to the next overlay without the host."""
    adding = device.untested(find_overlay("vector_add_one"))
    copying = device.untested(find_overlay("passthrough"))
    source, middle, end = adding.buffer(SIZE, 0), adding.buffer(SIZE, 1), copying.buffer(SIZE, 1)
    source.write(np.full(SIZE // 4, 41, np.int32).tobytes())
    Job(
        [adding.launch(stream("vector_add_one"), [source, middle], [middle])],
        [copying.launch(stream("passthrough"), [middle, end], [end])],
    ).run()
    assert set(np.frombuffer(end.read(), np.int32)) == {42}


def test_parts_of_a_buffer(device):
    context = device.untested(find_overlay("vector_add_one"))
    whole = context.buffer(3 * SIZE)
    parts = [whole.part(n * SIZE, SIZE) for n in range(3)]
    whole.write(np.zeros(3 * SIZE // 4, np.int32).tobytes())
    words = stream("vector_add_one")
    Job(
        [context.launch(words, [parts[0], parts[2]], [parts[2]])],
        [context.launch(words, [parts[2], parts[1]], [parts[1].part(0, SIZE)])],
    ).run()
    whole.from_device()
    assert whole.array(np.int32, (3, SIZE // 4)).max(axis=1).tolist() == [0, 2, 1]
    assert parts[1].overlaps(whole) and not parts[1].overlaps(parts[2])


def test_an_array_keeps_its_buffer_alive(device, faulty):
    context = device.untested(find_overlay("passthrough"))
    before = faulty.alive("bo")
    view = context.buffer(4096).array(np.int32, (4, 16), 64)
    view[:] = 7
    assert faulty.alive("bo") == before + 1
    assert view.base is not None and view.sum() == 7 * 64
    del view
    assert faulty.alive("bo") == before
    for shape, offset in [((2000,), 0), (None, 4097), (None, -4), ((-1,), 0)]:
        with pytest.raises(ValueError, match="4096 bytes"):
            context.buffer(4096).array(np.int32, shape, offset)


# Refusals ----------------------------------------------------------------------------------------


def test_jobs_that_cannot_be_proved_or_repeated_are_refused(device):
    context = device.untested(find_overlay("vector_add_one"))
    a, b, c = (context.buffer(SIZE) for _ in range(3))
    words = stream("vector_add_one")
    forth, back = context.launch(words, [a, b], [b]), context.launch(words, [b, a], [a])
    with pytest.raises(ValueError, match="could not be repeated"):
        Job([forth], [back])
    with pytest.raises(ValueError, match="no other launch of it touches"):
        Job([forth, back])
    with pytest.raises(ValueError, match="exactly one argument"):
        context.launch(words, [a, a], [a])
    with pytest.raises(ValueError, match="exactly one argument"):
        context.launch(words, [a, b], [c])
    with pytest.raises(ValueError, match="exactly one argument"):
        context.launch(words, [a.part(0, 64), b], [a])
    other = device.untested(find_overlay("passthrough"))
    with pytest.raises(ValueError, match="share one context"):
        Job([forth, other.launch(stream("passthrough"), [b, c], [c])])
    halves = [b.part(0, SIZE // 2), b.part(SIZE // 2, SIZE // 2)]
    filling = [context.launch(words, [a, half], [half]) for half in halves]
    using = context.launch(words, [b, c], [c])
    again = context.launch(words, [c, b], [b])
    Job(filling, [using], [again])
    for half in (filling[:1], filling[1:]):  # the other half is read as it was before
        with pytest.raises(ValueError, match="could not be repeated"):
            Job(half, [using], [again])


# Faults ------------------------------------------------------------------------------------------

DURING = {
    "wait": (DeviceTimeout, TIMEOUT),
    "state": (DeviceFault, "the command ended in state ERT_CMD_STATE_ERROR"),
    "start": (DeviceGone, ERRORS["start"]),
    "lost": (WrongAnswer, "it says that it is done, and wrote nothing"),
}


@pytest.mark.parametrize("place", DURING)
@pytest.mark.parametrize("launch", [1, 2])
def test_one_failure_is_repeated_on_a_fresh_context(device, faulty, place, launch):
    adding = Adding(device, 2)
    adding.check(1)
    faulty.fail(place, launch)
    faulty.fail("context", 2)  # a second fresh one would fail
    ran = adding.check(10)
    kind, reason = DURING[place]
    assert type(ran.retried) is kind
    assert ran.retried.reason == reason
    assert faulty.calls["context"] == 1
    assert faulty.alive("hw_context") == 1
    assert adding.check(20).retried is None


@pytest.mark.parametrize("place", DURING)
def test_two_failures_go_up(device, faulty, place):
    adding = Adding(device, 2)
    faulty.fail(place, 2, 4)  # the second launch, both times
    kind, reason = DURING[place]
    with pytest.raises(kind) as caught:
        adding.check(1)
    assert type(caught.value) is kind
    assert reason in str(caught.value)
    assert str(caught.value).startswith("The emulated NPU failed while running vector_add_one, ")
    assert str(caught.value).endswith("report it.")
    assert caught.value.exit_code == ExitCode.DEVICE_UNAVAILABLE
    assert type(caught.value.__cause__) is kind
    assert faulty.alive("hw_context") == faulty.alive("run") == 0
    adding.check(2)  # a later use finds a fresh context


@pytest.mark.parametrize(("place", "kind"), [("list", DeviceTimeout), ("lost", WrongAnswer)])
def test_faults_of_a_runlist(device, faulty, place, kind):
    adding = Adding(device)
    faulty.fail(place, 1 if place == "list" else 2)
    assert type(adding.check(1).retried) is kind
    faulty.fail(place, *((1, 2) if place == "list" else (2, 4)))
    with pytest.raises(kind):
        adding.check(2)


def test_a_context_that_cannot_be_opened_again(device, faulty):
    adding = Adding(device)
    faulty.fail("lost", 2)
    faulty.fail("context", 1)
    with pytest.raises(DeviceBusy, match="opening a context for vector_add_one"):
        adding.check(1)
    adding.check(2)


def test_a_hang_is_explained_where_the_device_can(device):
    """The channel that reads the input is never started."""
    context = device.untested(find_overlay("vector_add_one"))
    source, result = context.buffer(SIZE), context.buffer(SIZE)
    ops = list(sequence.decode(stream("vector_add_one"), "the stream").ops)
    ops.remove(next(op for op in ops if isinstance(op, Write)))
    words = sequence.to_bytes(sequence.encode(ops, 4))
    with pytest.raises(DeviceTimeout, match="the host waits for a token"):
        Job([context.launch(words, [source, result], [result])]).run()


def test_a_device_in_use_by_another_process_is_waited_for(faulty, tmp_path):
    lock = tmp_path / "run" / "npu.lock"
    lock.parent.mkdir()
    adding = Adding(Device(replace(backend(faulty), turn=lock)))
    held = lock.open("a")
    fcntl.flock(held, fcntl.LOCK_EX)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(adding.check(1)))
    thread.start()
    thread.join(0.5)
    assert not seen and faulty.calls["lost"] == 0
    held.close()
    thread.join(60)
    assert len(seen) == 1


def test_without_a_place_for_the_lock_work_goes_on(faulty, tmp_path):
    (tmp_path / "file").touch()
    Adding(Device(replace(backend(faulty), turn=tmp_path / "file" / "npu.lock"))).check(1)


def test_an_interruption_leaves_a_job_that_can_be_run(device):
    adding = Adding(device, 2)

    def interrupt(done, groups):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adding.job.run(interrupt)
    adding.check(3)


def test_out_of_memory(device, faulty):
    context = device.untested(find_overlay("passthrough"))
    faulty.fail("bo")
    with pytest.raises(DeviceOutOfMemory, match="making a buffer of 4096 bytes, no memory"):
        context.buffer(4096)
    with pytest.raises(DeviceOutOfMemory, match="64 MiB heap"):
        context.launch(bytes(65 << 20), [], [])


def test_out_of_memory_as_c_plus_plus_has_it(device, faulty, monkeypatch):
    """pybind11 makes MemoryError of bad_alloc, with a text that tells nothing."""
    context = device.untested(find_overlay("passthrough"))

    def full(*args):
        raise MemoryError("std::bad_alloc")

    full.host_only = faulty.bo.host_only
    monkeypatch.setattr(faulty, "bo", full)
    with pytest.raises(DeviceOutOfMemory, match=r"no memory for the NPU \(std::bad_alloc"):
        context.buffer(4096)


def test_no_device(faulty):
    faulty.fail("device")
    with pytest.raises(DeviceGone, match="being opened, XRT finds no NPU"):
        Device(backend(faulty))
    with pytest.raises(DeviceError, match="choose npu or emulator"):
        open_device("cpu")


def test_the_seventh_context(device, faulty):
    passthrough = find_overlay("passthrough")
    contexts = [device.untested(passthrough) for _ in range(6)]
    with pytest.raises(DeviceBusy, match="this process holds all 6"):
        device.untested(passthrough)
    del contexts[2]
    device.untested(passthrough)


def test_a_context_of_others_is_waited_for(faulty):
    passthrough = find_overlay("passthrough")
    faulty.fail("context", 1, 2)
    Device(backend(faulty), patience=5).untested(passthrough)
    assert faulty.calls["context"] == 3
    faulty.fail("context", 1)
    with pytest.raises(DeviceBusy, match="no free context") as caught:
        Device(backend(faulty), patience=0).untested(passthrough)
    assert caught.value.reason == ERRORS["context"]


# Wrong files and wrong answers -------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path):
    """A copy of the shipped files, to be damaged."""
    folder = tmp_path / "xclbins"
    shutil.copytree(find_folder(), folder)
    return folder


def rewrite(folder: Path, **fields):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["xclbins"][0] |= fields
    path.write_text(json.dumps(manifest))


def test_a_changed_xclbin(shipped, faulty):
    path = shipped / "passthrough.xclbin"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    device = Device(backend(faulty), (shipped,))
    with pytest.raises(CorruptXclbin, match=r"passthrough.xclbin is not the file .* install"):
        device.context("passthrough")
    path.unlink()
    with pytest.raises(CorruptXclbin, match=r"passthrough\.xclbin cannot be read"):
        device.context("passthrough")
    device.context("vector_add_one")
    (shipped / "manifest.json").write_text("{")
    with pytest.raises(CorruptXclbin, match=r"manifest\.json is damaged"):
        device.context("passthrough")


def test_an_xclbin_that_pyxrt_does_not_read(shipped, faulty):
    path = shipped / "passthrough.xclbin"
    path.write_bytes(b"xclbin2 and nothing behind it")
    overlay = find_overlay("vector_add_one")
    damaged = type(overlay)(path, "", None)
    with pytest.raises(
        CorruptXclbin, match=r"pyxrt does not accept .*passthrough\.xclbin .* install"
    ):
        Device(backend(faulty)).untested(damaged)


def test_an_overlay_that_is_not_there(device):
    with pytest.raises(DeviceError, match="ships no XCLBIN called mel"):
        device.context("mel")


def test_a_wrong_golden_vector_disables_the_overlay(shipped, faulty):
    golden = json.loads((shipped / "manifest.json").read_text())["xclbins"][0]["golden"]
    golden["arguments"][1]["expect_sha256"] = "0" * 64
    rewrite(shipped, golden=golden)
    device = Device(backend(faulty), (shipped,))
    for _ in range(2):  # not remembered as right, either
        with pytest.raises(WrongAnswer, match=r"computes passthrough wrong \(buffer 1: its 14336"):
            device.context("passthrough")


def test_the_self_test_is_not_repeated(faulty, monkeypatch):
    runs = []
    known_answer = selftest.known_answer
    monkeypatch.setattr(
        selftest, "known_answer", lambda *a: runs.append(a[0].overlay.name) or known_answer(*a)
    )

    def use(identity):
        Device(replace(backend(faulty), identity=identity)).context("passthrough")

    for identity in ("driver 1", "driver 1", "driver 2", "", ""):
        use(identity)
    assert len(runs) == 4  # who has no identity is never believed


def test_a_self_test_that_failed_by_chance_is_asked_again(device, faulty):
    faulty.fail("lost")
    with pytest.raises(WrongAnswer):
        device.context("passthrough")
    device.context("passthrough")


# Leaks -------------------------------------------------------------------------------------------


def test_nothing_is_left_behind_by_a_hundred_runs(device, faulty):
    adding = Adding(device)
    adding.check(0)
    names = ("bo", "hw_context", "run", "runlist")
    before = [faulty.alive(name) for name in names]
    gc.disable()
    try:
        for number in range(100):
            if number % 10 == 0:
                faulty.fail("lost", 2)
            adding.check(number)
        assert [faulty.alive(name) for name in names] == before == [4, 1, 2, 1]
        del adding
        assert [faulty.alive(name) for name in names] == [0, 0, 0, 0]
    finally:
        gc.enable()
    assert len(pyxrt._BOARD.slots) == 0
