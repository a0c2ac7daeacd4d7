"""The twelve recorded designs as designs of ours: read, described anew, never copied.

They lie in `../shared/aie2/golden` beside the checkout; tests skip where that folder is not there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import (
    Bd,
    Design,
    Endpoint,
    LockUse,
    Program,
)
from whisper_npu_cli.aie.array.route import (
    PacketMaster,
    PacketRule,
    PacketSlave,
    Routes,
)
from whisper_npu_cli.aie.facts.topology import SHIM_DMA_PORTS, Direction, Port, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, RegisterOp, Write

FOLDER = Path(__file__).parents[3].parent / "shared" / "aie2" / "golden"
NAMES = sorted(p.stem for p in FOLDER.glob("*.json"))
every_golden = pytest.mark.parametrize(
    "name",
    NAMES
    or [pytest.param("", marks=pytest.mark.skip(reason="../shared/aie2/golden is not there"))],
)


@cache
def read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def port(bundle: str, number: int) -> Port:
    return Port(bundle.replace("TileControl", "TileCtrl"), number)


def endpoint(end: list) -> Endpoint:
    return Endpoint(Tile(*end[:2]), port(*end[2:]))


def design(name: str) -> Design:
    """Tiles, buffers, locks, chains and flows of the recording in our vocabulary."""
    g = read(name)["design"]
    d = Design(name, columns=4)
    for tile in (Tile(*t) for t in g["tiles"]):
        if tile.kind is TileKind.CORE:
            d.core(*tile, stack=g["core_elf"]["{}_{}".format(*tile)]["stack_bytes"])
    for b in g["buffers"]:
        d.buffer(b["name"], Tile(*b["tile"]), b["bytes"], b["address"])
    for k in g["locks"]:
        d.lock(k["name"], Tile(*k["tile"]), k["init"], k["id"])
    for c in g["channels"]:
        add_chain(d, g["bds"], Tile(*c["tile"]), c)
    for f in g["flows"]:
        d.flow(endpoint(f["from"]), endpoint(f["to"]))
    for p in g["packet_flows"]:
        assert (p["id"], p["keep_header"], len(p["to"])) == (15, True, 1)
        d.token_tiles.append(Tile(*p["from"][:2]))
    return d


def add_chain(d: Design, bds: list, tile: Tile, channel: dict) -> None:
    by_id = {b["id"]: b for b in bds if Tile(*b["tile"]) == tile}
    buffers = {b.name: b for b in d.buffers if b.tile == tile}
    locks = {k.id: k for k in d.locks if k.tile == tile}
    chain, at = [], channel["first_bd"]
    while at not in [bd.id for bd in chain]:
        b = by_id[at]
        assert b["dims"] == [] and b["packet"] is None
        acquire = LockUse(locks[b["acquire"][0]], -b["acquire"][1])
        release = LockUse(locks[b["release"][0]], b["release"][1])
        access = linear(b["length_bytes"], b["offset_bytes"])
        chain.append(Bd(buffers[b["buffer"]], access, acquire, release, id=at))
        at = b["next"]
    assert at == channel["first_bd"]
    d.dma(tile, Direction[channel["direction"]], channel["channel"], chain)


def routes(name: str) -> Routes:
    """The switches that aiecc's router chose."""
    found = Routes()
    for r in read(name)["design"]["routes"]:
        tile = Tile(*r["tile"])
        if r["kind"] == "shim_mux":
            for a, i, _, j in r["connect"]:
                to_array = a == "DMA"
                channel = i if to_array else j
                direction = Direction.MM2S if to_array else Direction.S2MM
                expected = SHIM_DMA_PORTS[direction, channel].number
                assert (j if to_array else i) == expected
                found.shim_channels.append((tile, direction, channel))
            continue
        switch = found.switch(tile)
        switch.circuits += [(port(a, i), port(b, j)) for a, i, b, j in r["connect"]]
        for m in r.get("packet_masters", []):
            arbiter = m["arbiter_msel"][0][0]
            msels = tuple(msel for _, msel in m["arbiter_msel"])
            master = PacketMaster(port(*m["port"]), arbiter, msels, m["keep_header"])
            switch.packet_masters.append(master)
        for s in r.get("packet_slaves", []):
            rules = tuple(PacketRule(x["id"], x["mask"], *x["arbiter_msel"]) for x in s["rules"])
            switch.packet_slaves.append(PacketSlave(port(*s["port"]), rules))
    return found


def programs(name: str) -> dict[Tile, Program]:
    """Programs of the recorded size, all zeros, with the recorded constants."""
    g = read(name)
    found = {}
    for key, core in g["design"]["core_elf"].items():
        tile = Tile(*map(int, key.split("_")))
        data = []
        if core["data_bytes"]:
            at = core["data_address"]
            words = next(
                w[2]
                for w in g["config_writes"]
                if w[0] == "block" and int(w[1], 16) == tile.column << 25 | tile.row << 20 | at
            )
            raw = b"".join(int(w, 16).to_bytes(4, "little") for w in words)
            data = [(at, raw[: core["data_bytes"]])]
        found[tile] = Program(bytes(core["text_bytes"]), tuple(data))
    return found


def recorded(name: str) -> list[RegisterOp]:
    """The recorded writes; programs as zeros of the recorded length."""
    ops: list[RegisterOp] = []
    for kind, at, *rest in read(name)["config_writes"]:
        address = int(at, 16)
        if kind == "write":
            ops.append(Write(address, int(rest[0], 16)))
        elif kind == "mask_write":
            ops.append(MaskWrite(address, int(rest[0], 16), int(rest[1], 16)))
        elif kind == "program":
            ops.append(BlockWrite(address, (0,) * rest[0]))
        else:
            ops.append(BlockWrite(address, tuple(int(w, 16) for w in rest[0])))
    return ops
