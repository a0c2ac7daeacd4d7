import json
import os
import struct
from pathlib import Path

import made_containers
import pytest
import worked_example as example

from whisper_npu_cli.aie.formats import tools, xclbin
from whisper_npu_cli.aie.formats.registers import Write
from whisper_npu_cli.aie.formats.tools import ToolError, Tools

ASK_PYXRT = """
import json, pyxrt
box = pyxrt.xclbin("main.xclbin")
print(json.dumps({
    "uuid": box.get_uuid().to_string(),
    "kernels": [(k.get_name(), k.get_num_args()) for k in box.get_kernels()],
    "memories": [(m.get_tag(), m.get_index(), m.get_size_kb(), m.get_base_address(), m.get_used())
                 for m in box.get_mems()],
}))
"""


@pytest.fixture(scope="module")
def real() -> Tools:
    """bootgen and xclbinutil of this machine; WHISPER_NPU_TRIXIE names the Debian folder."""
    try:
        return tools.find_tools()
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder as the whole PATH, but for the shell."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    monkeypatch.setenv("WHISPER_NPU_TRIXIE", str(tmp_path / "trixie"))
    return tmp_path


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_missing_tools_are_named_with_the_mend(fake: Path) -> None:
    with pytest.raises(ToolError, match=r"neither on PATH nor in .*/trixie; run scripts/trixie"):
        tools.find_tools()
    script(fake / "bin", "bootgen", "true")  # one of the two is not enough
    with pytest.raises(ToolError, match="neither on PATH"):
        tools.find_tools()
    script(fake / "bin", "xclbinutil", "true")
    assert tools.find_tools() == Tools(None)


def test_the_debian_folder_needs_root(fake: Path, monkeypatch) -> None:
    for tool in ("bootgen", "xclbinutil"):
        script(fake / "trixie" / "usr/bin", tool, "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert tools.find_tools() == Tools(fake / "trixie")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="needs root; run this with sudo"):
        tools.find_tools()


def test_the_default_folder_is_that_of_the_script(monkeypatch) -> None:
    monkeypatch.delenv("WHISPER_NPU_TRIXIE", raising=False)
    monkeypatch.setenv("WHISPER_NPU_CACHE", "/somewhere")
    assert tools.trixie_folder() == Path("/somewhere/trixie")


def test_a_tool_that_fails_or_lies(fake: Path) -> None:
    script(fake / "bin", "bootgen", "echo no such device >&2; exit 3")
    with pytest.raises(ToolError, match="bootgen failed with exit code 3: no such device"):
        tools.build_pdi(example.PHASES, Tools(None))
    with pytest.raises(ToolError, match="xclbinutil did not run"):
        Tools(None).run(fake, "xclbinutil")
    other = fake / "other.pdi"
    other.write_bytes(example.PDI)
    script(fake / "bin", "bootgen", f"/bin/cp {other} main.pdi")
    assert tools.build_pdi(example.PHASES, Tools(None)) == example.PDI
    with pytest.raises(ToolError, match="not those it was given"):
        tools.build_pdi(([Write(0, 0)], [], []), Tools(None))


@pytest.mark.parametrize(
    ("name", "columns", "buffers", "says"),
    [
        ("two words", 1, 1, "no kernel name"),
        ("", 1, 1, "no kernel name"),
        ("x" * 41, 1, 1, "no kernel name"),
        ("x", 0, 1, "0 columns"),
        ("x", 5, 1, "5 columns"),
        ("x", 4, 8, "8 buffers"),
    ],
)
def test_what_cannot_be_built(
    name: str, columns: int, buffers: int, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ToolError, match=says):
        tools.build_xclbin(name, columns, example.PHASES, buffers, tmp_path / "x", Tools(None))


def test_start_columns_as_aiecc_lists_them() -> None:
    lists = [
        tools.partition_json(columns, b"")["aie_partition"]["partition"]["start_columns"]
        for columns in (1, 2, 3, 4)
    ]
    assert lists == [[1, 2, 3, 4], [1, 2, 3], [1, 2], [0]]


def with_mirror(unique: int, stamp: int) -> bytes:
    data = bytearray(made_containers.xclbin(example.PDI))
    struct.pack_into("<QQQ", data, 0x128, unique, len(data), stamp)
    header = {"UniqueID": struct.pack("<Q", unique).hex(), "TimeStamp": str(stamp)}
    text = json.dumps({"header": header}, separators=(",", ":")).encode()
    return bytes(data) + b"XCLBIN_MIRROR_DATA_START" + text + b"\nXCLBIN_MIRROR_DATA_END"


def test_the_clock_leaves_no_trace() -> None:
    plain = tools.without_clock(with_mirror(1_795_257_515, 1_795_257_515))
    assert plain == with_mirror(tools.TIME, tools.TIME)
    assert plain == tools.without_clock(with_mirror(1_795_257_999, 1_795_257_998))
    with pytest.raises(ToolError, match="time stamps"):
        tools.without_clock(with_mirror(1_795_257_515, 7))
    with pytest.raises(ToolError, match="time stamps"):
        tools.without_clock(made_containers.xclbin(example.PDI))


def test_the_real_bootgen_makes_the_pdi_that_we_expect(real: Tools) -> None:
    assert tools.build_pdi(example.PHASES, real) == example.PDI


def test_real_tools_build_the_same_file_twice(real: Tools, tmp_path: Path) -> None:
    first, second = tmp_path / "one.xclbin", tmp_path / "two" / "other.xclbin"
    second.parent.mkdir()
    made = tools.build_xclbin("demo", 4, example.PHASES, 2, first, real)
    tools.build_xclbin("demo", 4, example.PHASES, 2, second, real)
    assert first.read_bytes() == second.read_bytes()
    other = tools.build_xclbin("demo", 4, example.PHASES, 3, second, real)
    assert other.uuid != made.uuid
    assert xclbin.read(first).pdi(made.kernel()).uuid == other.pdi(other.kernel()).uuid


def test_real_tools_and_the_plain_writer_agree(real: Tools, tmp_path: Path) -> None:
    path = tmp_path / "demo.xclbin"
    made = tools.build_xclbin("demo", 4, example.PHASES, 2, path, real)
    plain = xclbin.decode(made_containers.xclbin(example.PDI), "plain")
    assert made.memories == plain.memories
    assert made.connections == plain.connections
    assert [section.kind for section in made.sections] == [s.kind for s in plain.sections]
    assert made.kernel().arguments == plain.kernel().arguments
    assert made.partition.pdis[0].groups == plain.partition.pdis[0].groups
    assert made.partition.start_columns == plain.partition.start_columns
    assert set(real.versions()) == {"bootgen", "xclbinutil"}
    assert "unknown" not in real.versions().values()


@pytest.mark.parametrize("columns", [1, 4])
def test_xrt_reports_kernel_memory_and_partition(real: Tools, tmp_path: Path, columns: int) -> None:
    made = tools.build_xclbin("demo", columns, example.PHASES, 5, tmp_path / "demo.xclbin", real)
    with real.scratch() as folder:
        work = Path(folder)
        (work / "main.xclbin").write_bytes((tmp_path / "demo.xclbin").read_bytes())
        info = real.run(work, "xclbinutil", "--info", "--input", "main.xclbin")
        assert str(made.uuid) in info and "AIE_PARTITION" in info and "SRAM" in info
        dump = "AIE_PARTITION:JSON:partition.json"
        real.run(work, "xclbinutil", "--input", "main.xclbin", "--dump-section", dump)
        part = json.loads((work / "partition.json").read_text())["aie_partition"]
        assert part["partition"]["column_width"] == str(columns)
        assert part["PDIs"][0]["cdo_groups"][0]["dpu_kernel_ids"] == ["0x901"]
        image = (work / part["PDIs"][0]["file_name"]).read_bytes()
        assert image == example.PDI
        try:
            told = json.loads(real.run(work, "python3", "-c", ASK_PYXRT).splitlines()[-1])
        except ToolError as error:
            pytest.skip(f"no pyxrt for python3: {error}")
    assert told == {
        "uuid": str(made.uuid),
        "kernels": [["demo", 8]],
        "memories": [
            ["HOST", 0, 0x10000, 0x4000000, True],
            ["SRAM", 1, 0xC000, 0x4000000, True],
        ],
    }
