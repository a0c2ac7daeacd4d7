"""The emulator's pyxrt: the names and overloads of the real one's stub, and what calls do."""

from __future__ import annotations

import ast
import gc
import itertools
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from board import MEM, MM2S, S2MM, through_memtile

from whisper_npu_cli.emulator import pyxrt, signatures
from whisper_npu_cli.emulator.fault import EmulationError

STUBS = [
    Path(folder) / "pyxrt.pyi"
    for folder in (
        os.environ.get("WHISPER_NPU_XRT_PYTHON", ""),
        "/usr/lib/python3/dist-packages",
        "/opt/xilinx/xrt/python",
    )
    if folder
]
TO, FROM = list(pyxrt.xclBOSyncDirection)[:2]
DONE = pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
TIMEOUT = pyxrt.ert_cmd_state.ERT_CMD_STATE_TIMEOUT
COUNT = 32


# The stub ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stub():
    for path in STUBS:
        if path.is_file():
            return ast.parse(path.read_text())
    pytest.skip("no pyxrt.pyi of XRT here; WHISPER_NPU_XRT_PYTHON may name its folder")


def word(annotation):
    """The last name of an annotation: hw_context.access_mode and dict[str, int] give one word."""
    if isinstance(annotation, ast.Subscript):
        return word(annotation.value)
    return annotation.attr if isinstance(annotation, ast.Attribute) else annotation.id


def classes(stub):
    return {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}


def test_every_public_name_is_there(stub):
    left_out = {"xclbinip_vector", "xclbinkernel_vector", "xclbinmem_vector", "ext"}
    for name, node in classes(stub).items():
        if name in left_out or name.startswith("_"):
            continue
        ours = getattr(pyxrt, name)
        for item in node.body:
            if isinstance(item, ast.FunctionDef | ast.ClassDef):
                assert hasattr(ours, item.name), f"{name}.{item.name}"
            elif isinstance(item, ast.AnnAssign):
                assert hasattr(ours, item.target.id), f"{name}.{item.target.id}"
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            assert callable(getattr(pyxrt, node.name))


def test_every_overload_is_the_stub_s(stub):
    for name, node in classes(stub).items():
        overloads = {}
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and not item.args.vararg:
                kinds = " ".join(word(a.annotation) for a in item.args.args[1:])
                overloads.setdefault(f"{name}.{item.name}", []).append(kinds)
        for method, found in overloads.items():
            if not name.startswith("_") and not name.endswith("_vector"):
                assert sorted(signatures.SIGNATURES[method]) == sorted(found), method


def test_enumerations_have_xrt_s_values():
    """ert.h and xrt.h, which the stub does not repeat."""
    assert (DONE, TIMEOUT) == (4, 8)
    assert (TO, FROM) == (0, 1)
    assert pyxrt.bo.cacheable == 1 << 24 and pyxrt.bo.host_only == 1 << 29


@pytest.fixture(autouse=True)
def closed():
    """Contexts of failed tests live on in their tracebacks."""
    yield
    gc.collect()


# Use -----------------------------------------------------------------------------------------


def copying(words=COUNT, argument=1):
    board = through_memtile(words)
    board.transfer(MM2S, 0, 0, 0, words)
    board.transfer(S2MM, 0, 1, argument, words)
    board.sync()
    return board


class Opened:
    """A context with the copying design, and buffers for it."""

    def __init__(self, path, board=None):
        board = board or copying()
        path.write_bytes(board.xclbin())
        self.device = pyxrt.device(0)
        self.xclbin = pyxrt.xclbin(str(path))
        self.context = pyxrt.hw_context(self.device, self.device.register_xclbin(self.xclbin))
        self.kernel = pyxrt.kernel(self.context, "demo")
        words = board.instructions()
        self.count = len(words)
        self.code = pyxrt.bo(self.device, words.nbytes, pyxrt.bo.cacheable, self.kernel.group_id(1))
        self.code.write(words, 0)
        self.code.sync(TO)
        self.source, self.target = (self.buffer(n) for n in (3, 4))

    def buffer(self, argument, size=4 * COUNT):
        return pyxrt.bo(self.device, size, pyxrt.bo.host_only, self.kernel.group_id(argument))

    def run(self):
        return self.kernel(3, self.code, self.count, self.source, self.target)


@pytest.fixture
def opened(tmp_path):
    return Opened(tmp_path / "demo.xclbin")


def fill(buffer, first):
    values = np.arange(first, first + buffer.size() // 4, dtype=np.uint32)
    np.frombuffer(buffer.map(), np.uint32)[:] = values
    return values


def content(buffer):
    return np.frombuffer(buffer.map(), np.uint32)


def test_a_launch(opened):
    values = fill(opened.source, 100)
    opened.source.sync(TO)
    run = opened.run()
    assert run.wait(1000) == run.state() == DONE
    opened.target.sync(FROM)
    np.testing.assert_array_equal(content(opened.target), values)
    assert pyxrt.outcome_of(run).cycles > 25_000
    np.testing.assert_array_equal(opened.target.read(8, 4).view(np.uint32), values[1:3])


def test_what_is_not_synced_is_stale(opened):
    old = fill(opened.source, 100)
    opened.source.sync(TO)
    fill(opened.source, 900)  # stays on the host
    opened.run()
    assert not content(opened.target).any()
    opened.target.sync(FROM)
    np.testing.assert_array_equal(content(opened.target), old)
    fill(opened.source, 900)
    opened.source.sync(TO, 8, 4)
    opened.run()
    opened.target.sync(FROM, 16, 0)
    assert content(opened.target)[:5].tolist() == [100, 901, 902, 103, 104]


def test_a_prepared_run_starts_again_and_again(opened):
    run = pyxrt.run(opened.kernel)
    for index, value in enumerate((3, opened.code, opened.count, opened.source, opened.target)):
        run.set_arg(index, value)
    for first in (5, 500):
        values = fill(opened.source, first)
        opened.source.sync(TO)
        run.start()
        assert run.wait2(100) == DONE
        opened.target.sync(FROM)
        np.testing.assert_array_equal(content(opened.target), values)


def test_sub_buffers_share_their_parent(opened):
    whole = opened.buffer(3, size=16 * COUNT)
    values = fill(whole, 0)
    whole.sync(TO)
    part = pyxrt.bo(whole, 4 * COUNT, 8 * COUNT)
    assert part.address() == whole.address() + 8 * COUNT
    opened.source = part
    opened.run()
    opened.target.sync(FROM)
    np.testing.assert_array_equal(content(opened.target), values[2 * COUNT : 3 * COUNT])
    with pytest.raises(RuntimeError, match="sub buffer"):
        pyxrt.bo(whole, 4 * COUNT, 13 * COUNT)


def test_a_runlist_runs_in_order(opened):
    runs = pyxrt.runlist(opened.context)
    buffers = [opened.source, opened.target, opened.buffer(4)]
    for source, target in itertools.pairwise(buffers):
        run = pyxrt.run(opened.kernel)
        for index, value in enumerate((3, opened.code, opened.count, source, target)):
            run.set_arg(index, value)
        runs.add(run)
    with pytest.raises(RuntimeError, match="belongs to a runlist"):
        run.start()
    values = fill(buffers[0], 7)
    buffers[0].sync(TO)
    for _ in range(2):
        runs.execute()
        runs.wait()
    buffers[2].sync(FROM)
    np.testing.assert_array_equal(content(buffers[2]), values)


def test_a_hang_is_a_timeout_with_a_report(tmp_path, caplog):
    board = copying()
    board.lock(MEM, 0, 0)
    hung = Opened(tmp_path / "hung.xclbin", board)
    with caplog.at_level(logging.ERROR):
        run = hung.run()
    assert run.wait() == TIMEOUT
    assert "waits for lock 0 of memtile (0,1) to reach 1" in caplog.text
    with pytest.raises(RuntimeError, match="ERT_CMD_STATE_TIMEOUT"):
        run.wait2()


def test_what_silicon_would_punish_is_raised(tmp_path):
    board = copying()
    board.lock(MEM, 1, 63)
    with pytest.raises(EmulationError, match="MM2S channel 0: BD 1 reads byte 0x0 of its memory"):
        Opened(tmp_path / "wrong.xclbin", board).run()


def test_six_contexts(tmp_path):
    first = Opened(tmp_path / "demo.xclbin")
    more = [pyxrt.hw_context(first.device, first.xclbin) for _ in range(5)]
    with pytest.raises(RuntimeError, match="err=22"):
        pyxrt.hw_context(first.device, first.xclbin)
    more.pop()
    more.append(pyxrt.hw_context(first.device, str(tmp_path / "demo.xclbin")))
    assert first.run().wait() == DONE


def test_contexts_displace_each_other(tmp_path):
    """Five partitions of one column on four columns: the fifth takes one, which starts anew."""
    board = through_memtile(COUNT, to_memory={"Lock_Rel_Value": 0})  # nobody empties it
    board.transfer(MM2S, 0, 0, 0, COUNT, token=True)
    board.sync(MM2S)
    fillers = [Opened(tmp_path / "fill.xclbin", board) for _ in range(5)]
    for opened in fillers:
        assert opened.run().wait() == DONE  # fills the memtile's only buffer
    assert fillers[4].run().wait() == DONE  # these words wait in the stream, which holds 40
    assert fillers[4].run().wait() == TIMEOUT
    assert fillers[0].run().wait() == DONE  # which was configured again


def test_arguments_are_checked_as_in_the_real_one(opened):
    run = pyxrt.run(opened.kernel)
    with pytest.raises(TypeError, match="incompatible arguments"):
        run.set_arg(2, np.int32(5))
    with pytest.raises(RuntimeError, match="Bad argument index '9'"):
        run.set_arg(9, 1)
    with pytest.raises(TypeError):
        run.set_arg(2, 1 << 31)
    with pytest.raises(RuntimeError, match="No such kernel 'other'"):
        pyxrt.kernel(opened.context, "other")
    with pytest.raises(RuntimeError, match="no memory bank"):
        opened.kernel.group_id(0)
    assert opened.kernel.group_id(1) & 0xFFFF == 1 and opened.kernel.group_id(3) & 0xFFFF == 0
    with pytest.raises(RuntimeError, match="index 0"):
        pyxrt.device(1)
    with pytest.raises(RuntimeError, match="is registered"):
        pyxrt.hw_context(opened.device, pyxrt.uuid("00000000-0000-0000-0000-000000000000"))


def test_a_wrong_argument_is_left_out_and_found(opened):
    """`kernel(...)` drops what it does not know, as the real one does; the launch then lacks it."""
    with pytest.raises(EmulationError, match="buffer 1, which the launch lacks"):
        opened.kernel(3, opened.code, opened.count, opened.source, np.int64(7))
    with pytest.raises(EmulationError, match="opcode"):
        opened.kernel(1, opened.code, opened.count, opened.source, opened.target)
    with pytest.raises(EmulationError, match="instruction words in a buffer"):
        opened.kernel(3, opened.code, 4 * opened.count + 1, opened.source, opened.target)
    run = opened.kernel(3, opened.code, 4 * opened.count, opened.source, opened.target)
    assert run.wait() == DONE  # a count of bytes is taken too


def test_buffers_keep_to_their_size(opened):
    for call in (
        lambda: opened.source.write(bytes(4 * COUNT), 1),
        lambda: opened.source.read(4, 4 * COUNT),
        lambda: opened.source.sync(TO, 4 * COUNT, 4),
    ):
        with pytest.raises(RuntimeError, match="past buffer size"):
            call()
    with pytest.raises(RuntimeError, match="no normal buffers"):
        pyxrt.bo(opened.device, 64, pyxrt.bo.normal, 0)
    with pytest.raises(RuntimeError, match="64 MiB heap"):
        pyxrt.bo(opened.device, 65 << 20, pyxrt.bo.cacheable, 0)
    with pytest.raises(RuntimeError, match="Invalid buffer size"):
        pyxrt.bo(opened.device, 0, pyxrt.bo.host_only, 0)


def test_damaged_files(tmp_path, opened):
    whole = (tmp_path / "demo.xclbin").read_bytes()
    for name, data in {
        "cut": whole[:-8], "empty": b"", "other": b"ELF" + whole[3:],
        "cdo": whole.replace(b"CDO\0", b"CDX\0"),
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.xclbin"
        path.write_bytes(data)
        with pytest.raises(RuntimeError, match=f"{name}.xclbin"):
            pyxrt.hw_context(opened.device, pyxrt.xclbin(str(path)))
    with pytest.raises(RuntimeError):
        pyxrt.xclbin(str(tmp_path / "missing.xclbin"))


def test_damaged_instructions(opened):
    opened.code.write(np.array([0x06030200], np.uint32), 0)
    opened.code.sync(TO)
    with pytest.raises(Exception, match="not a stream for npu1"):
        opened.run()


def test_what_is_not_modelled_says_so(opened):
    for call in (
        lambda: pyxrt.elf("x.elf"), lambda: opened.xclbin.get_axlf(),
        lambda: pyxrt.xclbin(b"bytes"), lambda: opened.device.get_xclbin_uuid(),
        lambda: pyxrt.kernel(opened.device, opened.xclbin.get_uuid(), "demo"),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match="emulated NPU"):
            call()
