"""Register files of an AIE2 core: names, widths, and which registers share storage.

Source: Xilinx/llvm-aie, AIE2GenRegisterInfo.td @ ff8589af (Apache-2.0 WITH LLVM-exception); widths
of s, lc and the control registers: AM020 through shared facts 8.1. Names are as the assembler
prints them, except `d0_3d` (printed d0) and the pairs `l0` (printed r17:r16).
"""

from __future__ import annotations

import re
from functools import cache

SINGLE = {
    "lr": 20, "sp": 20, "ls": 20, "le": 20, "dp": 20, "lc": 32, "CORE_ID": 20, "tile_cntr": 64,
    "crSat": 2, "crRnd": 4, "crFPMask": 5, "crF2IMask": 5, "crF2FMask": 5, "crSRSSign": 1,
    "crUPSSign": 1, "crPackSign": 1, "crUnpackSign": 1, "crVaddSign": 1, "crSCDEn": 1, "crMCDEn": 1,
    "srCarry": 1, "srSS0": 1, "srMS0": 1, "srSRS_of": 1, "srUPS_of": 1, "srCompr_uf": 1,
    "srSparse_of": 1, "srFPFlags": 5, "srF2IFlags": 5, "srF2FFlags": 5,
}  # fmt: skip
"""Registers of which there is one: name -> bits."""

FILES: dict[str, tuple[range, int, tuple[str, ...]]] = {
    "r": (range(32), 32, ()),
    "p": (range(8), 20, ()),
    "m": (range(8), 20, ()),
    "dn": (range(8), 20, ()),
    "dj": (range(8), 20, ()),
    "dc": (range(8), 20, ()),
    "s": (range(4), 6, ()),
    "wl": (range(12), 256, ()),
    "wh": (range(12), 256, ()),
    "ql": (range(4), 64, ()),
    "qh": (range(4), 64, ()),
    "amll": (range(9), 256, ()),
    "amlh": (range(9), 256, ()),
    "amhl": (range(9), 256, ()),
    "amhh": (range(9), 256, ()),
    "l": (range(8), 64, ("r+16*2", "r+17*2")),
    "d": (range(8), 80, ("m", "dn", "dj", "dc")),
    "d_3d": (range(4), 160, ("d", "d+4")),
    "x": (range(12), 512, ("wl", "wh")),
    "y": (range(2, 6), 1024, ("x+0*2", "x+1*2")),
    "q": (range(4), 128, ("ql", "qh")),
    "qwl": (range(4), 320, ("ql", "wl")),
    "qwh": (range(4), 320, ("qh", "wh")),
    "qx": (range(4), 640, ("x", "q")),
    "bml": (range(9), 512, ("amll", "amlh")),
    "bmh": (range(9), 512, ("amhl", "amhh")),
    "cm": (range(9), 1024, ("bml", "bmh")),
}
"""Numbered files: numbers, bits, parts from the lowest bits up.

A part `f+k*s` of number n is register n * s + k of file f (k 0 and s 1 where left out).
"""

PORT_GROUPS = {"am": ("amll", "amlh", "amhl", "amhh"), "bm": ("bml", "bmh")}
"""Files that the timing tables name together."""


@cache
def split(register: str) -> tuple[str, int]:
    """("wl", 3) of "wl3"; (name, 0) of a single register; KeyError for what is no register."""
    if register in SINGLE:
        return register, 0
    match = re.fullmatch(r"([a-z]+)(\d+)(_3d)?", register)
    if match:
        file, number = match[1] + (match[3] or ""), int(match[2])
        if file in FILES and number in FILES[file][0]:
            return file, number
    raise KeyError(register)


@cache
def width(register: str) -> int:
    """Bits of a register."""
    file, _ = split(register)
    return SINGLE[file] if file in SINGLE else FILES[file][1]


@cache
def parts(register: str) -> tuple[str, ...]:
    """The registers that make up this one, lowest bits first; empty for one that is a unit."""
    file, number = split(register)
    found = []
    for part in () if file in SINGLE else FILES[file][2]:
        name, _, place = part.partition("+")
        offset, _, scale = place.partition("*")
        found.append(f"{name}{number * int(scale or 1) + int(offset or 0)}")
    return tuple(found)


@cache
def units(register: str) -> tuple[str, ...]:
    """The smallest pieces of storage of a register; registers overlap where these intersect."""
    return tuple(u for part in parts(register) for u in units(part)) or (register,)


@cache
def port_group(register: str) -> str:
    """The file of a register as the timing tables name it: am and bm stand for all of theirs."""
    file, _ = split(register)
    return next((group for group, files in PORT_GROUPS.items() if file in files), file)


@cache
def printed(register: str) -> str:
    """The register in assembler text: d0_3d is d0, l0 is r17:r16."""
    file, number = split(register)
    if file == "l":
        return f"r{2 * number + 17}:r{2 * number + 16}"
    return register.removesuffix("_3d")
