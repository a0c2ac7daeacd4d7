"""The files in xclbins/: made from these sources, whole, accepted by real tools, right."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_bench import configured
from launching import FOLDER, opened

from whisper_npu_cli.aie.asm.verify import verify
from whisper_npu_cli.aie.formats import cdo, xclbin
from whisper_npu_cli.aie.formats.tools import ToolError, Tools, find_tools
from whisper_npu_cli.kernels import passthrough, vector_add_one
from whisper_npu_cli.kernels.build import MANIFEST, given_files, golden_entry
from whisper_npu_cli.kernels.overlays import OVERLAYS
from whisper_npu_cli.npu.catalog import read_catalog
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.trial import Plan, try_out

NAMES = [overlay.name for overlay in OVERLAYS]
ENTRIES = {e["kernel"]: e for e in json.loads((FOLDER / MANIFEST).read_text())["xclbins"]}
names = pytest.mark.parametrize("name", NAMES)


def test_the_manifest_names_every_file_and_no_other() -> None:
    assert [*ENTRIES] == NAMES
    catalog = read_catalog(FOLDER)
    assert [overlay.fault() for overlay in catalog] == [""] * len(NAMES)
    files = {overlay.path for overlay in catalog} | {o.golden.sequence for o in catalog}
    files |= {a.path for o in catalog for a in o.golden.arguments if a.path}
    assert {*FOLDER.iterdir()} - files == {FOLDER / MANIFEST, FOLDER / "README.md"}


@names
def test_files_are_made_from_these_sources(name: str) -> None:
    """Without bootgen and xclbinutil: what they were given is in the file. Else build_xclbins."""
    made, entry = configured(name), ENTRIES[name]
    assert entry["source_sha256"] == made.source
    assert entry["golden"] == golden_entry(made)
    box = xclbin.read(FOLDER / entry["file"])
    shipped = box.pdi(box.kernel(name)).decode().ops
    assert shipped == tuple(op for phase in made.config.phases for op in cdo.phase(phase))
    assert (str(box.uuid), box.partition.column_width) == (entry["uuid"], entry["columns"])
    assert len(box.kernel(name).arguments) == 3 + entry["buffers"]
    assert (FOLDER / f"{name}.insts").read_bytes() == made.stream
    for file, content in given_files(made).items():
        assert (FOLDER / file).read_bytes() == content
    assert entry["bytes"] == (FOLDER / entry["file"]).stat().st_size
    assert entry["program_bytes"] == {str(t): len(c.assembly.code) for t, c in made.code.items()}


@pytest.mark.parametrize("name", ["passthrough", "vector_add_one"])
def test_programs_stand_up_to_the_checker(name: str) -> None:
    """Those of the transformer overlay are checked operation by operation (test_attention, ...)."""
    made = configured(name)
    codes = {id(code): (tile, code) for tile, code in made.code.items()}
    programs = made.overlay.programs(made.placement)
    for tile, code in codes.values():
        origins, inputs = code.origins, code.inputs
        assert verify(programs[tile], code.assembly, inputs=inputs, origins=origins, passes=4) > 0


@pytest.mark.parametrize("objects", [1, 2, 5])
def test_passthrough(objects: int) -> None:
    size = objects * passthrough.OBJECT
    source = np.random.default_rng(objects).integers(0, 256, size, np.uint8)
    ops = passthrough.sequence(configured("passthrough").placement, size)
    for data in (source, source[::-1].copy()):  # nothing of a launch stays behind
        np.testing.assert_array_equal(opened("passthrough").run(ops, data, size), data)


@pytest.mark.parametrize("blocks", [1, 3])
def test_vector_add_one(blocks: int) -> None:
    size = blocks * vector_add_one.BLOCK
    source = np.random.default_rng(blocks).integers(-(2**31), 2**31, size // 4, np.int32)
    source[[0, -1]] = 2**31 - 1  # one more is the least
    ops = vector_add_one.sequence(configured("vector_add_one").placement, size)
    for data in (source, source[::-1].copy()):
        result = opened("vector_add_one").run(ops, data, size).view(np.int32)
        np.testing.assert_array_equal(result, data + np.int32(1))


def test_every_golden_vector_is_right_on_the_emulator() -> None:
    trial = try_out(
        Host(), Plan("whisper_npu_cli.emulator.pyxrt", str(FOLDER), device=True, all=True), 600
    )
    assert {s: e for s, e in {**trial.steps, trial.died_at: trial.death}.items() if e} == {}
    assert trial.started("run") == [f"run {name}.xclbin" for name in NAMES]


def test_a_golden_vector_is_the_rule_that_docs_tell() -> None:
    source = hashlib.shake_256(b"vector_add_one").digest(49152)
    result = (np.frombuffer(source, np.uint32) + np.uint32(1)).tobytes()
    assert ENTRIES["vector_add_one"]["golden"]["arguments"] == [
        {"random": "vector_add_one", "size": 49152},
        {"expect_sha256": hashlib.sha256(result).hexdigest(), "size": 49152},
    ]


@pytest.fixture(scope="module")
def real() -> Tools:
    """bootgen and xclbinutil of this machine; WHISPER_NPU_TRIXIE names the Debian folder."""
    try:
        return find_tools()
    except ToolError as error:
        pytest.skip(str(error))


def test_real_tools_build_the_same_files(real: Tools) -> None:
    script = FOLDER.parent / "scripts" / "build_xclbins"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr


@names
def test_xclbinutil_reports_kernel_memory_and_partition(real: Tools, name: str) -> None:
    """--info itself names no kernel in any file without BUILD_METADATA; IP_LAYOUT does."""
    parts = "ip_layout", "aie_partition"
    dumps = [w for p in parts for w in ("--dump-section", f"{p.upper()}:JSON:{p}.json")]
    with real.scratch() as folder:
        work = Path(folder)
        (work / "a.xclbin").write_bytes((FOLDER / f"{name}.xclbin").read_bytes())
        info = real.run(work, "xclbinutil", "--info", "--input", "a.xclbin")
        real.run(work, "xclbinutil", "--input", "a.xclbin", *dumps)
        layout, partition = (json.loads((work / f"{p}.json").read_text())[p] for p in parts)
    assert re.search(rf"UUID \(xclbin\):\s+{ENTRIES[name]['uuid']}\n", info)
    banks = re.findall(r"Name:\s+(\w+)\n.*\n.*\n\s+Base Address: (\w+)\n", info)
    assert banks == [("HOST", "0x4000000"), ("SRAM", "0x4000000")]
    assert [ip["m_name"] for ip in layout["m_ip_data"]] == [f"{name}:whisper_npu"]
    assert partition["partition"]["column_width"] == str(ENTRIES[name]["columns"])
    assert len(partition["PDIs"]) == 1
