"""`whisper-npu aie inspect`: what an XCLBIN makes of the array, read from its bytes alone."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from whisper_npu_cli.cli import aie_map, flags
from whisper_npu_cli.cli.streams import put

if TYPE_CHECKING:
    from whisper_npu_cli.aie.array.explain import BdState, TileState
    from whisper_npu_cli.aie.array.trace import Traced
    from whisper_npu_cli.aie.formats.metadata import Kernel
    from whisper_npu_cli.aie.formats.xclbin import Xclbin

Container = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="An XCLBIN for npu1 (Phoenix).", show_default=False),
]
KernelName = Annotated[
    str | None, typer.Option("--kernel", help="Which kernel, if there are several.")
]
Map = Annotated[int, flags.switch("--map", help="Draw the array instead of the tables.")]
Json = Annotated[int, flags.switch("--json", help="Print one JSON object.")]

MEM_LOCKS, MEM_BYTES = 64, 0x80000  # beyond them a memtile's DMA means its east neighbour


def inspect(
    file: Container, kernel: KernelName = None, map: Map = False, json: Json = False
) -> None:
    """Show columns, tiles, programs, buffers, locks, buffer descriptors and routes of an XCLBIN."""
    from whisper_npu_cli.aie.array.explain import explain
    from whisper_npu_cli.aie.array.trace import trace
    from whisper_npu_cli.aie.formats import xclbin
    from whisper_npu_cli.aie.formats.cdo import register_ops

    box = xclbin.read(file)
    chosen = box.kernel(kernel)
    image = box.pdi(chosen)
    tiles = explain(register_ops(image.decode().ops, str(file)))
    report = {
        **_container(box, chosen, len(image.image)),
        "tiles": [_tile(state) for state in tiles.values()],
        "streams": [_stream(traced) for traced in trace(tiles)],
    }
    if json:
        put(json_format.dumps(report))
    else:
        lines = aie_map.draw(report) if map else _text(report)
        for line in lines:
            put(line)


# As plain data: what --json prints ----------------------------------------------------------------


def _container(box: Xclbin, kernel: Kernel, pdi_bytes: int) -> dict[str, Any]:
    return {
        "file": box.name,
        "uuid": str(box.uuid),
        "xrt_version": ".".join(map(str, box.version)),
        "kernel": kernel.name,
        "kernel_id": kernel.dpu_kernel_id,
        "arguments": [argument.name for argument in kernel.arguments],
        "memories": {memory.tag: memory.size_kib for memory in box.memories},
        "columns": box.partition.column_width,
        "start_columns": list(box.partition.start_columns),
        "pdi_bytes": pdi_bytes,
    }


def _tile(state: TileState) -> dict[str, Any]:
    used = {lock for bd in state.bds for lock in _lock_ids(bd)}
    return {
        "tile": list(state.tile),
        "kind": state.tile.kind.value,
        "enabled": state.enabled,
        "program_bytes": state.program_bytes,
        "data": [{"offset": offset, "bytes": len(data)} for offset, data in state.data],
        "buffers": _buffers(state),
        "locks": {str(i): v for i, v in sorted(state.locks.items()) if v or i in used},
        "bds": [_bd(bd) for bd in state.bds],
        "channels": [
            {"channel": f"{start.direction.name}{start.channel}", "bd": start.first_bd,
             "repeat": start.repeat, "token": start.token}
            for start in state.channels
        ],
        "circuits": [[str(slave), str(master)] for slave, master in state.circuits],
        "packets": [
            {"from": str(slave.port), "id": rule.id, "mask": rule.mask, "to": [
                str(master.port) for master in state.packet_masters
                if master.arbiter == rule.arbiter and rule.msel in master.msels
            ]}
            for slave in state.packet_slaves for rule in slave.rules
        ],
        "unknown": [{"offset": offset, "value": value} for offset, value in state.unknown],
    }  # fmt: skip


def _bd(bd: BdState) -> dict[str, Any]:
    return {
        "id": bd.id,
        "base": bd.base,
        "bytes": bd.length_bytes,
        "dims": [list(dim) for dim in bd.dims],
        "acquire": list(bd.acquire) if bd.acquire else None,
        "release": list(bd.release) if bd.release else None,
        "next": bd.next,
        "packet": bd.packet,
        "valid": bd.valid,
    }


def _lock_ids(bd: BdState) -> set[int]:
    return {lock for lock, _ in filter(None, (bd.acquire, bd.release))}


def _buffers(state: TileState) -> list[dict[str, Any]]:
    """Stretches of memory that descriptors move: start, extent in bytes, descriptors."""
    found: dict[tuple[int, int], list[int]] = {}
    for bd in state.bds:
        words = 1 + sum((size - 1) * step for size, step in bd.dims)
        found.setdefault((bd.base, 4 * words), []).append(bd.id)
    return [
        {"offset": offset, "bytes": extent, "bds": bds}
        for (offset, extent), bds in sorted(found.items())
    ]


def _stream(traced: Traced) -> dict[str, Any]:
    ends = [f"{end.tile} {end.port}" for end in (traced.source, *traced.sinks)]
    return {"from": ends[0], "to": ends[1:], "packet": traced.packet}


# As tables ----------------------------------------------------------------------------------------

Rows = Iterable[Sequence[object]]


def _text(report: dict[str, Any]) -> list[str]:
    tiles = [tile for tile in report["tiles"] if _in_use(tile)]
    starts = ", ".join(map(str, report["start_columns"]))
    banks = ", ".join(f"{tag} {size} KiB" for tag, size in report["memories"].items())
    lines = [
        f"{report['file']}: kernel {report['kernel']} (id {report['kernel_id']:#x}),"
        f" columns {report['columns']} (first: {starts}), tiles in use {len(tiles)}",
        f"uuid {report['uuid']}, made with XRT {report['xrt_version']}, PDI"
        f" {report['pdi_bytes']} bytes, memory {banks}",
        f"arguments: {' '.join(report['arguments'])}",
    ]
    for title, head, rows in (
        ("Tiles", "TILE PROGRAM DATA BUFFERS LOCKS BDS CHANNELS ROUTES CORE", map(_summary, tiles)),
        ("Buffers", "TILE OFFSET BYTES BDS", _each(tiles, "buffers", _buffer_row)),
        ("Initial data", "TILE OFFSET BYTES", _each(tiles, "data", _data_row)),
        ("Locks", "TILE LOCK START ACQUIRED RELEASED", _lock_rows(tiles)),
        ("Buffer descriptors", "TILE BD OFFSET BYTES SIZES STEPS ACQUIRE RELEASE NEXT PACKET",
         _each(tiles, "bds", _bd_row)),
        ("Channels started", "TILE CHANNEL BD TIMES TOKEN", _each(tiles, "channels", _start_row)),
        ("Streams", "FROM TO PACKET", map(_stream_row, report["streams"])),
        ("Stream switches", "TILE FROM TO PACKET", _switch_rows(tiles)),
        ("Registers without a name", "TILE OFFSET VALUE", _each(tiles, "unknown", _unknown_row)),
    ):  # fmt: skip
        lines += _table(title, head.split(), rows)
    return lines


def _in_use(tile: dict[str, Any]) -> bool:
    return any(tile[key] for key in ("program_bytes", "bds", "circuits", "packets", "data"))


def _table(title: str, head: Sequence[str], rows: Rows) -> list[str]:
    """A headed table, columns as wide as they need; nothing where there are no rows."""
    cells = [tuple(head), *(tuple(map(str, row)) for row in rows)]
    if len(cells) == 1:
        return []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["", f"{title}", *(
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )]  # fmt: skip


def _each(tiles: list[dict[str, Any]], key: str, row: Any) -> Rows:
    return [(_name(tile), *row(tile, item)) for tile in tiles for item in tile[key]]


def _name(tile: dict[str, Any]) -> str:
    return f"{tile['kind']} {tile['tile'][0]},{tile['tile'][1]}"


def _summary(tile: dict[str, Any]) -> Sequence[object]:
    sizes = [len(tile[key]) for key in ("buffers", "locks", "bds", "channels")]
    data = sum(item["bytes"] for item in tile["data"])
    routes = len(tile["circuits"]) + len(tile["packets"])
    core = ("runs" if tile["enabled"] else "held") if tile["kind"] == "core" else ""
    return _name(tile), tile["program_bytes"], data, *sizes, routes, core


def _where(tile: dict[str, Any], offset: int) -> str:
    """A byte offset; a memtile's DMA also reaches its neighbours' memories."""
    if tile["kind"] == "mem" and offset < 0:
        return f"west {offset + MEM_BYTES:#x}"
    if tile["kind"] == "mem" and offset >= MEM_BYTES:
        return f"east {offset - MEM_BYTES:#x}"
    return f"{offset:#x}"


def _lock(tile: dict[str, Any], number: int) -> str:
    if tile["kind"] == "mem" and number < 0:
        return f"west {number + MEM_LOCKS}"
    if tile["kind"] == "mem" and number >= MEM_LOCKS:
        return f"east {number - MEM_LOCKS}"
    return str(number)


def _buffer_row(tile: dict[str, Any], item: dict[str, Any]) -> Sequence[object]:
    return _where(tile, item["offset"]), item["bytes"], _join(item["bds"])


def _data_row(_: dict[str, Any], item: dict[str, Any]) -> Sequence[object]:
    return f"{item['offset']:#x}", item["bytes"]


def _lock_rows(tiles: list[dict[str, Any]]) -> Rows:
    for tile in tiles:
        for lock, value in tile["locks"].items():
            users = [
                [bd["id"] for bd in tile["bds"] if bd[way] and bd[way][0] == int(lock)]
                for way in ("acquire", "release")
            ]
            by = [f"BD {_join(bds)}" if bds else "-" for bds in users]
            yield _name(tile), lock, value, *by


def _bd_row(tile: dict[str, Any], bd: dict[str, Any]) -> Sequence[object]:
    acquire, release = bd["acquire"], bd["release"]
    wait = "-"
    if acquire:
        lock, value = _lock(tile, acquire[0]), acquire[1]
        wait = f"{lock} >= {-value}" if value < 0 else f"{lock} == {value}"
    return (
        bd["id"],
        _where(tile, bd["base"]),
        bd["bytes"],
        "x".join(str(size) for size, _ in bd["dims"]),
        ",".join(str(step) for _, step in bd["dims"]),
        wait,
        f"{_lock(tile, release[0])} {release[1]:+d}" if release else "-",
        _or_dash(bd["next"]),
        _or_dash(bd["packet"]),
    )


def _start_row(_: dict[str, Any], start: dict[str, Any]) -> Sequence[object]:
    return start["channel"], start["bd"], start["repeat"], "yes" if start["token"] else "no"


def _stream_row(stream: dict[str, Any]) -> Sequence[object]:
    return stream["from"], ", ".join(stream["to"]), _or_dash(stream["packet"])


def _switch_rows(tiles: list[dict[str, Any]]) -> Rows:
    for tile in tiles:
        for slave, master in tile["circuits"]:
            yield _name(tile), slave, master, "-"
        for packet in tile["packets"]:
            yield _name(tile), packet["from"], _join(packet["to"]), packet["id"]


def _unknown_row(_: dict[str, Any], item: dict[str, Any]) -> Sequence[object]:
    return f"{item['offset']:#07x}", f"{item['value']:#010x}"


def _join(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _or_dash(value: object) -> object:
    return "-" if value is None else value
