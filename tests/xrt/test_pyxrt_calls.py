"""Our calls of pyxrt against the real pyxrt.pyi, and proof that the comparison can fail."""

from pathlib import Path

import pytest
from pyxrt_calls import Uses, read_stub

import whisper_npu_cli.npu

STUB = """
class flags(IntEnum):
    fast: flags
class bo:
    class kind(IntEnum):
        host: bo.kind
    host: kind
    @overload
    def __init__(self, dev: device, size: int) -> None: ...
    @overload
    def __init__(self, parent: bo, size: int, offset: int, flags: kind) -> None: ...
    def sync(self, direction: flags) -> None: ...
    def map(self) -> memoryview: ...
class image:
    class part:
        def get_title(self) -> str: ...
    def get_parts(self) -> List[part]: ...
class device:
    def __init__(self, index: int) -> None: ...
    def open_image(self, path: str = ...) -> image: ...
class job:
    def __init__(self) -> None: ...
    def __call__(self, *args: Any) -> bo: ...
def count() -> int: ...
"""
RIGHT = """
import pyxrt
def use(pyxrt, dev: pyxrt.device, b: pyxrt.bo | None):
    pyxrt.count()
    b.sync(pyxrt.flags.fast)
    data = bytes(b.map()).decode().strip()
    pyxrt.bo(dev, 7).sync(direction=pyxrt.flags.fast)
    pyxrt.bo(b, 7, 0, pyxrt.bo.host)
    pyxrt.job()(1, *data).map()
    for part in dev.open_image().get_parts():
        part.get_title()
    [open("file").read(), {}.get(1), sorted([1])]
def make(pyxrt) -> pyxrt.image:
    return pyxrt.device(0).open_image("x")
class Runner:
    def late(self):
        return self.image.get_parts()[0].get_title() + make(pyxrt).get_parts()[1].get_title()
    def __init__(self, pyxrt):
        self.dev = pyxrt.device(0)
        self.image = self.dev.open_image()
"""


def problems(source):
    return Uses(source, read_stub(STUB)).problems


def test_right_calls_pass_and_are_all_compared():
    uses = Uses(RIGHT, read_stub(STUB))
    assert uses.problems == []
    assert uses.checked >= {
        *("<module>.count", "<module>.bo", "bo.__init__", "bo.sync", "bo.map", "bo.host"),
        *("flags.fast", "device.__init__", "device.open_image", "image.get_parts"),
        *("image.part.get_title", "job.__call__", "job.__init__"),
    }


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("pyxrt.counts()", "<module> has no counts"),
        ("pyxrt.count(1)", "no overload of <module>.count"),
        ("pyxrt.flags.slow", "flags has no slow"),
        ("pyxrt.bo.device_only", "bo has no device_only"),
        ("pyxrt.bo(pyxrt.device(0))", "no overload of bo.__init__"),
        ("pyxrt.bo(1, 2, 3)", "no overload of bo.__init__"),
        ("pyxrt.bo(1, size=2).sync()", "no overload of bo.sync"),
        ("pyxrt.bo(1, length=2)", "no overload of bo.__init__"),
        ("pyxrt.device(0).open_image().get_part()", "image has no get_part"),
        ("pyxrt.device(0).open_image().get_parts()[0].get_name()", "image.part has no get_name"),
        ("pyxrt.job()(1).unmap()", "bo has no unmap"),
        ("d = pyxrt.device(0)\nd.open_image(1, 2)", "line 2: no overload of device.open_image"),
        ("for p in pyxrt.device(0).open_image().get_parts(): p.title()", "has no title"),
        ("def f(x: pyxrt.buffer): pass", "there is no class buffer"),
        ("def f(x: pyxrt.bo):\n    with x.lock(): pass", "bo has no lock"),
        ("def f(x):\n    return x.open_image()", "is called on is not known"),
        ("class A:\n    def f(self): self.b = pyxrt.bo(1, 2); self.b.close()", "bo has no close"),
        ("f = lambda b: pyxrt.nothing(b)", "<module> has no nothing"),
    ],
)
def test_wrong_calls_are_found(wrong, told):
    found = problems(wrong)
    assert len(found) >= 1
    assert told in found[0]


@pytest.mark.xrt
def test_every_call_of_ours_exists_in_the_real_pyxrt():
    text = Path("/usr/lib/python3/dist-packages/pyxrt.pyi").read_text()
    stub = read_stub(text)
    checked: set[str] = set()
    for path in sorted(Path(whisper_npu_cli.npu.__path__[0]).glob("*.py")):
        uses = Uses(path.read_text(), stub)
        assert uses.problems == [], path.name
        checked |= uses.checked
    assert checked >= {
        *("device.__init__", "device.register_xclbin", "hw_context.__init__", "xclbin.__init__"),
        *("xclbin.get_kernels", "xclbin.xclbinkernel.get_name", "kernel.__init__"),
        *("kernel.group_id", "bo.__init__", "bo.sync", "bo.map", "bo.cacheable", "bo.host_only"),
        *("run.__init__", "run.set_arg", "run.start", "run.wait"),
        *("runlist.__init__", "runlist.add", "runlist.execute", "runlist.wait"),
        "ert_cmd_state.ERT_CMD_STATE_COMPLETED",
    }


@pytest.mark.xrt
def test_the_stub_describes_the_real_module():
    """Every name that we compare with exists in the extension module itself."""
    from whisper_npu_cli.npu.binding import choose_binding, load
    from whisper_npu_cli.npu.host import Host

    pyxrt = load(choose_binding(Host()).path)
    for name in ("device", "xclbin", "hw_context", "kernel", "bo", "run", "runlist", "uuid"):
        assert isinstance(getattr(pyxrt, name), type)
    stub = read_stub(Path("/usr/lib/python3/dist-packages/pyxrt.pyi").read_text())
    for name, owner in stub.items():
        if "." not in name and not name.startswith(("_", "<", "ext")):
            assert hasattr(pyxrt, name)
            missing = [m for m in owner.methods if not hasattr(getattr(pyxrt, name), m)]
            assert missing == []
