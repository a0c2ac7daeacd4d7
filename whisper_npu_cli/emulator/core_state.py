"""Where a core's state lies: one block of memory that compiled functions see as arrays.

Indices are in 32-bit words of that block. Vector and accumulator registers lie so that a register
and its parts share words: x3 is wl3 and wh3, cm2 is bml2 and bmh2, and so on.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.aie.facts.core_registers import FILES, SINGLE, split, units, width
from whisper_npu_cli.emulator.arena import Arena, aligned

# ---------------------------------------------------------------- registers
R, P, M, DN, DJ, DC, S = 0, 32, 40, 48, 56, 64, 72
LR, SP, LS, LE, LC, DP, CORE_ID, CNTR = 76, 77, 78, 79, 80, 81, 82, 84
CONTROL = 88
Q = 120
SCALARS = 192  # words of registers that have a flag for each word
VECTORS = 192  # wl0, wh0, wl1 ...: 8 words each
ACCUMULATORS = 384  # amll0, amlh0, amhl0, amhh0, amll1 ...
UNIT = 8  # words of a register of 256 bits
REGISTERS_END = 672

_SINGLE = {
    "lr": LR, "sp": SP, "ls": LS, "le": LE, "lc": LC, "dp": DP, "CORE_ID": CORE_ID,
    "tile_cntr": CNTR,
}  # fmt: skip
_CONTROLS = {name: CONTROL + i for i, name in enumerate(n for n in SINGLE if n not in _SINGLE)}
_FILES = {
    "r": (R, 1), "p": (P, 1), "m": (M, 1), "dn": (DN, 1), "dj": (DJ, 1), "dc": (DC, 1), "s": (S, 1),
    "wl": (VECTORS, 16), "wh": (VECTORS + 8, 16), "ql": (Q, 4), "qh": (Q + 2, 4),
    "amll": (ACCUMULATORS, 32), "amlh": (ACCUMULATORS + 8, 32), "amhl": (ACCUMULATORS + 16, 32),
    "amhh": (ACCUMULATORS + 24, 32),
}  # fmt: skip
"""Register file -> word of its first register, words from one to the next."""

CR_SAT, CR_RND = _CONTROLS["crSat"], _CONTROLS["crRnd"]
CR_SRS_SIGN, CR_UPS_SIGN = _CONTROLS["crSRSSign"], _CONTROLS["crUPSSign"]
CR_PACK_SIGN, CR_UNPACK_SIGN = _CONTROLS["crPackSign"], _CONTROLS["crUnpackSign"]
CR_VADD_SIGN = _CONTROLS["crVaddSign"]
CR_SCD_ENABLE, CR_MCD_ENABLE = _CONTROLS["crSCDEn"], _CONTROLS["crMCDEn"]
SR_CARRY, SR_SS, SR_MS = _CONTROLS["srCarry"], _CONTROLS["srSS0"], _CONTROLS["srMS0"]
SR_SRS_OVERFLOW, SR_UPS_OVERFLOW = _CONTROLS["srSRS_of"], _CONTROLS["srUPS_of"]
CONTROL_COUNT = len(_CONTROLS)

# ---------------------------------------------------------------- 1 = this register was written
FLAGS = 672  # one byte for each word below SCALARS, then one for each unit of 8 words
FLAG_COUNT = SCALARS + (REGISTERS_END - SCALARS) // UNIT

# ---------------------------------------------------------------- results on their way
SLOTS = 16  # cycles ahead that a result can land
LANDINGS = 8  # results that can land in one cycle
ENTRY = 40  # words: where, how many words, whether known; from word 8 on the result
RING = 768
RING_COUNT = RING + SLOTS * LANDINGS * ENTRY
FORWARD = RING_COUNT + SLOTS  # results on a forwarding path: one vector, one accumulator a cycle
FORWARDS = 2
FORWARD_COUNT = FORWARD + SLOTS * FORWARDS * ENTRY

# ---------------------------------------------------------------- work of later pipeline stages
LATER = FORWARD_COUNT + SLOTS  # (micro-operation, payload) pairs
LATERS = 6
LATER_COUNT = LATER + SLOTS * LATERS * 2
PAYLOAD = LATER_COUNT + SLOTS
PAYLOADS = 32
PRODUCT = PAYLOAD + PAYLOADS * ENTRY  # sums of products of one multiplication, 8 in flight
PRODUCTS = 8
PRODUCT_WORDS = 64  # from word 32 on: the control word
ACCUMULATE = PRODUCT + PRODUCTS * PRODUCT_WORDS  # row that adds them up in a cycle, plus 1
WIDE = ACCUMULATE + SLOTS  # operands of a multiplication as int32 or float32: 128 + 128
BANKS_LOADS = WIDE + 256  # banks that loads take in this cycle, a bit each
BANKS_STORES = BANKS_LOADS + 1
BANKS_EXTRA = BANKS_LOADS + 2  # cycles lost to conflicts

# ---------------------------------------------------------------- constants of the program
CONSTANTS = BANKS_LOADS + 16
CONSTANT_COUNT = 16384

# ---------------------------------------------------------------- counters, as 64-bit words
CONTROLS64 = (CONSTANTS + CONSTANT_COUNT) // 2
(
    CYCLE, STEP, PC, DELAY, TARGET, GRANTED, REPLY, REPLY_OK,
    ERROR, ERROR_AT, ERROR_VALUE, LOCK, VALUE, LAST, NEXT_PAYLOAD,
    BUNDLES, MACS, BRANCHES, STALL_LOCK, STALL_STREAM, STALL_CASCADE, STALL_BANK, SOUTH,
    WEST, NORTH, OWN, REPORT_EVENTS, EVENTS,
) = range(CONTROLS64, CONTROLS64 + 28)  # fmt: skip
CASCADE = (CONTROLS64 + 32) * 2  # 512 bits to or from a neighbour
STATE_WORDS = CASCADE + 16

PROGRAM_BYTES = 0x4000


class View(NamedTuple):
    """A core's state, its program and the arena, as compiled functions take them.

    w, d, b, h, f, g: the state as int32, int64, int8, int16, float32, float64. mw, md, mb, mh: the
    arena likewise; kb, kd: which of its bytes are known, as uint8 and int64. u: micro-operations,
    t: bundles, c: registers that have to be known, a: bundle of a program address / 2, or -1.
    """

    w: npt.NDArray[np.int32]
    d: npt.NDArray[np.int64]
    b: npt.NDArray[np.int8]
    h: npt.NDArray[np.int16]
    f: npt.NDArray[np.float32]
    g: npt.NDArray[np.float64]
    mw: npt.NDArray[np.int32]
    md: npt.NDArray[np.int64]
    mb: npt.NDArray[np.int8]
    mh: npt.NDArray[np.int16]
    kb: npt.NDArray[np.uint8]
    kd: npt.NDArray[np.int64]
    u: npt.NDArray[np.int32]
    t: npt.NDArray[np.int32]
    c: npt.NDArray[np.int32]
    a: npt.NDArray[np.int32]


def new_view(arena: Arena) -> View:
    """A core with all registers unknown, no program, and this memory."""
    raw = aligned(STATE_WORDS * 4)
    memory, known = arena.bytes, arena.known
    empty = np.zeros(0, np.int32)
    return View(
        raw.view(np.int32), raw.view(np.int64), raw.view(np.int8), raw.view(np.int16),
        raw.view(np.float32), raw.view(np.float64), memory.view(np.int32), memory.view(np.int64),
        memory.view(np.int8), memory.view(np.int16), known, known.view(np.int64), empty, empty,
        empty, np.full(PROGRAM_BYTES // 2, -1, np.int32),
    )  # fmt: skip


@cache
def word(register: str) -> int:
    """The first word of a register; of a modifier (d1, d1_3d) its number."""
    file, number = split(register)
    if file in ("d", "d_3d"):
        return number
    if file in _FILES:
        first, distance = _FILES[file]
        return first + distance * number
    if file in SINGLE:
        return (_SINGLE | _CONTROLS)[file]
    return word(units(register)[0])


@cache
def words(register: str) -> int:
    """Words that a register takes."""
    return max(1, width(register) // 32)


def flag(at: int) -> int:
    """The number of the flag that belongs to a word."""
    return at if at < SCALARS else SCALARS + (at - SCALARS) // UNIT


@cache
def flags(register: str) -> tuple[int, ...]:
    """The flags of a register's words, each once. A 3-D modifier's second m plays no part."""
    found = []
    parts = units(register)
    if register.endswith("_3d"):
        parts = tuple(unit for unit in parts if unit != f"m{int(register[1]) + 4}")
    for unit in parts:
        found += [flag(word(unit) + i) for i in range(words(unit))]
    return tuple(dict.fromkeys(found))


@cache
def _names() -> dict[int, str]:
    singles = (name for name, (_, _, parts) in FILES.items() if not parts)
    numbered = (f"{file}{n}" for file in singles for n in FILES[file][0])
    return {f: name for name in (*numbered, *SINGLE) for f in flags(name)}


def name_of_flag(number: int) -> str:
    """The register that a flag belongs to."""
    return _names()[number]
