"""What the two source tables leave out or have wrong, each with its source.

`scripts/gen_facts.py` merges these into `isa.json`; nothing else reads them.

Source: Xilinx/llvm-aie, Apache-2.0 WITH LLVM-exception:
[dis] llvm/lib/Target/AIE/Disassembler/AIE2Disassembler.cpp @ 1461ace9,
[enc] llvm/lib/Target/AIE/MCTargetDesc/AIE2MCCodeEmitterRegOperandDef.h @ 8f46fb2e,
[reg] llvm/lib/Target/AIE/aie2/AIE2GenRegisterInfo.td @ ff8589af,
[ins] llvm/lib/Target/AIE/aie2/{AIE2InstrInfo,AIE2GenInstrInfo,AIE2GenFixupInstrInfo}.td @ 19ba03dc.
"""

from __future__ import annotations

SAME_CODES = {
    "mSclSt": "mLdaScl", "mSclMS": "mLdaScl", "mMvSclDstCg": "mMvSclDst", "mMvSclSrc": "mMvSclDst",
    "mWs": "mWa", "mWb": "mWa", "mWm": "mWa",
    "mXw": "mXv", "mXm": "mXv", "mXn": "mXv", "mXa": "mXv", "mXs": "mXv",
    "mAMs": "mAMm", "mBMs": "mBMm", "mBMa": "mBMm", "mCMm": "eCM", "mCMs": "eCM", "mCMa": "eCM",
    "mQQa": "mQQm", "mSm": "mSs",
}  # fmt: skip
"""Register classes that number their registers as another one does [dis]."""

COMPOUND_CLASSES: dict[str, tuple[int, tuple[tuple[str, str], ...]]] = {
    "mAluCg": (6, (("eR", "nnnnn0"), ("=lc", "-----1"))),
    "mMvAMWQSrc": (9, (("mAMm", "nnnnnn-01"), ("mWm_1", "110-nnnnn"), ("mQQm", "111nn----"))),
    "mMvAMWQDst": (7, (("mAMm", "nnnnnn1"), ("mWm_1", "nnnnn00"), ("mQQm", "nn---10"))),
    "mMvBMXSrc": (9, (("mBMm", "nnnnn----"), ("mXv", "11---nnnn"))),
    "mMvBMXDst": (6, (("mBMm", "nnnnn1"), ("mXv", "nnnn-0"))),
    "mShflDst": (5, (("mBMSm", "nnnn1"), ("mXv", "nnnn0"))),
}
"""Classes made of several: width, then (class, pattern); n = that class's number, - = ignored.

The decoder accepts any value of an ignored bit [dis], the assembler writes 0 [enc]; "=lc" is one
register by name.
"""

DROPPED_CODES = {("mLdaScl", 89), ("mLdaCg", 89)}
"""Entries that are slips of the source: p5 is 93 (number * 16 + 13 as for every p) [enc]."""

ALIASED_REGISTERS = {"LC": "lc", "LS": "ls", "LE": "le", "SP": "sp", "DP": "dp"}
"""Register names of the table, as the assembler prints them [reg]."""

SIGN_CONTROLS = {"crSRSSign", "crUPSSign", "crPackSign", "crUnpackSign", "crVaddSign"}
"""Controls read only where an operand's sign is dynamic (a type D4 .. D64 in the name) [ins]."""

IMPLICIT = {
    "JL": (("lr", "write", 1),),
    "JL_IND": (("lr", "write", 1),),
    "RET": (("lr", "read", 0),),
    "PADDA_sp_imm": (("sp", "write", 1), ("sp", "read", 2)),
    "PADDB_sp_imm": (("sp", "write", 1), ("sp", "read", 2)),
    "MOV_CNTR": (("tile_cntr", "read", 1),),
}
"""Registers outside the text that the itineraries do not label: register, access, position [ins].

Loads and stores relative to sp read it in the position after their operands; the generator adds
that from the text, since [ins] leaves it out of some of them (vst.128).
"""

BRANCHES = ("J_jump_imm", "J_jump_ind", "JL", "JL_IND", "JNZ", "JZ", "JNZD", "RET")
"""The instructions with delay slots [ins]."""

DELAY_SLOTS = 5
"""Bundles executed after a branch; the constant of llvm-aie's AIEBaseInstrInfo.cpp."""

_SCALAR_PORTS = {f: f.upper() for f in ("p", "m", "dn", "dj", "dc")}
_MOVES = {"r": "RS", "s": "RS"} | _SCALAR_PORTS
_LOADS = {"r": "R"} | _SCALAR_PORTS
_VECTOR = {"am": "CM", "wl": "WML", "wh": "WMH", "q": "Q"}
_WIDE = {"bm": "BM", "x": "XM"}

REFINEMENTS: dict[str, tuple[tuple[int, ...], dict[str, str]]] = {
    **{f"II_{name}": ((0,), _MOVES) for name in ("ADD_NC", "MOV", "MOV_SCL", "VEXTRACT")},
    **{
        f"II_{name}": ((0,), _LOADS)
        for name in ("LDA", "LDA_POST_1D", "LDA_POST_2D", "LDA_POST_3D", "MOVA")
    },
    "II_VMOV_W": (
        (0, 1),
        {
            f"{d} {s}": f"{_VECTOR[d]}_{_VECTOR[s]}"
            for d in _VECTOR
            for s in _VECTOR
            if d + s != "qq" and {d, s} != {"q", "am"}
        },
    ),
    "II_VMOV_X": ((0, 1), {f"{d} {s}": f"{_WIDE[d]}_{_WIDE[s]}" for d in _WIDE for s in _WIDE}),
    "II_VCONVfp32bf16": ((1,), {"wl": "WL"}),
}
"""Finer itineraries by register file: class -> (operand positions, files -> suffix) [ins]."""
