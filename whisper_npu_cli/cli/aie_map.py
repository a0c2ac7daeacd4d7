"""A picture of the array in plain characters, for `whisper-npu aie inspect --map`."""

from __future__ import annotations

from typing import Any

ROWS, WIDTH, GAP = 6, 14, 7  # rows of the array; characters of a cell, and between two cells
LEGEND = "arrows: streams between tiles; in, out: DMA channels started; P: program bytes"


def draw(report: dict[str, Any]) -> list[str]:
    """The picture of a report of `aie_inspect`: one box a tile, empty where nothing is set up."""
    tiles = {tuple(tile["tile"]): tile for tile in report["tiles"]}
    columns = max([report["columns"], *(column + 1 for column, _ in tiles)])
    lines = [f"{report['kernel']}: a partition of {report['columns']} x {ROWS} tiles", ""]
    for row in reversed(range(ROWS)):
        boxes = [_box(tiles.get((column, row)), column, row) for column in range(columns)]
        beside = [_beside(tiles, column, row) for column in range(columns)]
        for index, parts in enumerate(zip(*boxes, strict=True)):
            links = [pair[index - 1] if index in (1, 2) else "" for pair in beside]
            cells = (part + link.center(GAP) for part, link in zip(parts, links, strict=True))
            lines.append("".join(cells).rstrip())
        if row:
            below = [_below(tiles, column, row) for column in range(columns)]
            lines.append(
                "".join(text.center(WIDTH + 2).ljust(WIDTH + 2 + GAP) for text in below).rstrip()
            )
    return [*lines, "", LEGEND]


def _box(tile: dict[str, Any] | None, column: int, row: int) -> list[str]:
    kind = {0: "shim", 1: "mem"}.get(row, "core")
    used = [f"{kind} {column},{row}", *_inside(tile, kind)] if tile else ["", "", ""]
    side, flat = ("│", "─") if tile else ("·", "·")
    corners = "┌┐└┘" if tile else "····"
    return [
        corners[0] + flat * WIDTH + corners[1],
        *(f"{side}{text[: WIDTH - 1]:^{WIDTH}}{side}" for text in used),
        corners[2] + flat * WIDTH + corners[3],
    ]


def _inside(tile: dict[str, Any], kind: str) -> list[str]:
    """Two lines: what the tile holds, and the DMA channels that run."""
    held = f"P {tile['program_bytes']}" if kind == "core" else f"{len(tile['bds'])} BDs"
    names = [start["channel"] for start in tile["channels"]]
    into = len({name for name in names if name.startswith("S2MM")})
    out = len({name for name in names if name.startswith("MM2S")})
    return [held if kind != "shim" else "", f"in {into} out {out}" if names else ""]


def _masters(tile: dict[str, Any] | None, bundle: str) -> int:
    """How many master ports of a side carry streams out of the tile."""
    if tile is None:
        return 0
    circuits = {master for _, master in tile["circuits"]}
    packets = {master for packet in tile["packets"] for master in packet["to"]}
    return sum(master.startswith(bundle) for master in circuits | packets)


def _arrow(sign: str, count: int) -> str:
    return f"{sign}{count}" if count else ""


def _beside(tiles: dict[Any, Any], column: int, row: int) -> tuple[str, str]:
    east = _masters(tiles.get((column, row)), "East")
    west = _masters(tiles.get((column + 1, row)), "West")
    return _arrow("→", east), _arrow("←", west)


def _below(tiles: dict[Any, Any], column: int, row: int) -> str:
    down = _masters(tiles.get((column, row)), "South")
    up = _masters(tiles.get((column, row - 1)), "North")
    return f"{_arrow('↓', down)}  {_arrow('↑', up)}".strip()
