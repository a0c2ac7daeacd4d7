import json
import random
from pathlib import Path
from typing import Any

import golden_designs as golden
import made_containers
import pytest
import worked_example as example
from mutators import MUTATORS, repair

from whisper_npu_cli.aie.formats import cdo
from whisper_npu_cli.aie.formats.registers import BlockWrite, Write
from whisper_npu_cli.cli.aie_inspect import inspect
from whisper_npu_cli.cli.app import run
from whisper_npu_cli.errors import ExitCode, WhisperNpuError

MAP = """\
matmul_32x32: a partition of 1 x 6 tiles

················
·              ·
·              ·
·              ·
················

················
·              ·
·              ·
·              ·
················

················
·              ·
·              ·
·              ·
················

┌──────────────┐
│   core 0,2   │
│    P 2704    │
│  in 1 out 1  │
└──────────────┘
     ↓1  ↑1
┌──────────────┐
│   mem 0,1    │
│    0 BDs     │
│              │
└──────────────┘
     ↓1  ↑1
┌──────────────┐
│   shim 0,0   │
│              │
│              │
└──────────────┘

arrows: streams between tiles; in, out: DMA channels started; P: program bytes
"""


@pytest.fixture
def show(capsys, tmp_path):
    """Write a container and show it: standard output; fails on any complaint."""

    def call(data: bytes, *options: str) -> str:
        path = tmp_path / "demo.xclbin"
        path.write_bytes(data)
        code = run(["aie", "inspect", str(path), *options])
        out, err = capsys.readouterr()
        assert (code, err) == (ExitCode.OK, "")
        return out

    return call


def row(text: str, *cells: str) -> bool:
    """Whether some line holds just these cells, two blanks or more apart."""
    return any(line.split() == " ".join(cells).split() for line in text.splitlines())


def test_the_example_is_the_published_one() -> None:
    assert len(example.PDI) == example.PDI_BYTES


def test_tables(show) -> None:
    text = show(example.XCLBIN)
    assert "kernel matmul_32x32 (id 0x901), columns 4 (first: 0), tiles in use 3" in text
    assert "arguments: opcode instr ninstr bo0 bo1" in text
    assert row(text, "core 0,2", "2704 0 4 4 4 2 2 runs")  # tile, then the counts of its parts
    assert row(text, "core 0,2", "0xc00 2048 1")  # a buffer and the descriptor that moves it
    assert row(text, "core 0,2", "0 2 BD 0, 1 -")  # lock 0 starts at 2
    assert row(text, "core 0,2", "2 0x1400 1024 256 1", "3 >= 1", "2 +1", "3 -")  # BD 2
    assert row(text, "core 0,2", "MM2S0 2 1 no")
    assert row(text, "shim tile (0,0) DMA0", "core tile (0,2) DMA0", "-")
    assert row(text, "shim tile (0,0) TileCtrl0", "shim tile (0,0) South0", "15")
    assert row(text, "mem 0,1", "South1 North1 -")
    assert "Registers without a name" not in text


def test_the_picture_of_the_array(show) -> None:
    data = made_containers.xclbin(example.PDI, "matmul_32x32", columns=1)
    assert show(data, "--map") == MAP


def test_neighbours_of_a_memtile_and_registers_without_a_name(show) -> None:
    # BDs of a memtile that reach west (bytes below 80000, locks below 64) and east
    west = (16, 0x100, 0, 0, 0, 0, 0, 0x81000000 | 5 << 16 | 1 << 15 | 0x7F << 8 | 4)
    east = (16, 0x40000 + 0x40, 0, 0, 0, 0, 0, 0x81000000 | 133 << 16 | 1 << 15 | 1 << 8 | 132)
    ops = [
        BlockWrite((1 << 25) + (1 << 20) + 0xA0000, west),
        BlockWrite((1 << 25) + (1 << 20) + 0xA0020, east),
        Write((1 << 25) + (2 << 20) + 0x35550, 7),
        BlockWrite((1 << 25) + (2 << 20) + 0x400, (1, 2, 3)),
    ]
    text = show(made_containers.xclbin(made_containers.pdi(cdo.encode(ops))))
    assert row(text, "mem 1,1", "0 west 0x400 64 16 1", "west 4 >= 1", "west 5 +1", "- -")
    assert row(text, "mem 1,1", "1 east 0x100 64 16 1", "east 4 == 1", "east 5 +1", "- -")
    assert row(text, "core 1,2", "0x35550 0x00000007")
    assert row(text, "core 1,2", "0x400 12")


@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_public_designs_are_shown_as_their_authors_meant_them(show, name: str) -> None:
    design = golden.design(name)["design"]
    parts = golden.phases(golden.config(name))
    ops = [op for part in parts for op in cdo.phase(part)]
    data = made_containers.xclbin(made_containers.pdi(cdo.encode(ops)))
    report = json.loads(show(data, "--json"))
    tiles = {tuple(tile["tile"]): tile for tile in report["tiles"]}
    for lock in design["locks"]:
        shown = tiles[tuple(lock["tile"])]["locks"]
        assert shown.get(str(lock["id"]), 0) == lock["init"]
    for bd in design["bds"]:
        check_bd(tiles[tuple(bd["tile"])], bd, design["buffers"])
    starts = [(tuple(c["tile"]), f"{c['direction']}{c['channel']}") for c in design["channels"]]
    assert {(t, c["channel"]) for t, tile in tiles.items() for c in tile["channels"]} == set(starts)
    flows = {(end(flow["from"]), end(flow["to"])) for flow in design["flows"]}
    streams = [stream for stream in report["streams"] if stream["packet"] is None]
    assert {(s["from"], to) for s in streams for to in s["to"]} == flows


def check_bd(tile: dict[str, Any], bd: dict[str, Any], buffers: list[dict[str, Any]]) -> None:
    shown = next(entry for entry in tile["bds"] if entry["id"] == bd["id"])
    address = next(b["address"] for b in buffers if b["name"] == bd["buffer"])
    assert shown["base"] == address + bd["offset_bytes"]
    assert shown["bytes"] == bd["length_bytes"]
    assert (shown["acquire"], shown["release"]) == (bd["acquire"], bd["release"])
    assert (shown["next"], shown["packet"], shown["valid"]) == (bd["next"], None, True)
    assert {"offset": shown["base"], "bytes": shown["bytes"]}.items() <= next(
        b for b in tile["buffers"] if bd["id"] in b["bds"]
    ).items()


def end(place: list[Any]) -> str:
    column, row, bundle, index = place
    kind = {0: "shim tile", 1: "memtile"}.get(row, "core tile")
    return f"{kind} ({column},{row}) {bundle}{index}"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"junk", "not an XCLBIN"),
        (example.XCLBIN[:-1], "the header states"),
        (made_containers.xclbin(b"junk" * 9), "not a PDI"),
    ],
)
def test_files_that_cannot_be_shown(capsys, tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "bad.xclbin"
    path.write_bytes(data)
    assert run(["aie", "inspect", str(path)]) == ExitCode.INPUT_FAILED
    out, err = capsys.readouterr()
    assert out == "" and says in err and str(path) in err and err.count("\n") == 1


def test_damaged_files_never_surprise(capsys, tmp_path: Path) -> None:
    rng, path = random.Random(5), tmp_path / "damaged.xclbin"
    outcome = {True: 0, False: 0}
    for index in range(120):
        data = rng.choice(MUTATORS)(example.XCLBIN, [example.PDI], rng)
        path.write_bytes(repair(data) if index % 3 else data)
        try:
            inspect(path, map=index % 2 == 1)
            outcome[True] += 1
        except WhisperNpuError:
            outcome[False] += 1
        assert len(capsys.readouterr().out) < 1 << 20
    assert min(outcome.values()) > 20
