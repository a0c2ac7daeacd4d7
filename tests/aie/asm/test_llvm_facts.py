"""What llvm-aie's own tools say: bytes and text that none of our code made.

Sources (facts only): [align] Xilinx/llvm-aie, llvm/test/MC/AIE/codealign.s; [mc] llvm-mc output
recorded in c8dhjp4tyv-bit/xdna1-npu-emulator, tests/aie2_{,slot_}vectors.h; [conv] llvm-objdump
of a Peano 22 build, recorded in jdominick05/ryzen-ai-xdna1-quantization, "VLIW Disassembly Audit:
Zero-Realignment Vectorized 4-D im2col Kernel"; [text] Xilinx/llvm-aie, llvm/test/MC/AIE/{nops,
bundles,addressing-modes,simple-scalar-instr,instruction-validation,invalid-instructions}.s.
"""

import pytest

from whisper_npu_cli.aie.asm.assemble import SyntaxFault, assemble, parse
from whisper_npu_cli.aie.asm.decode import decode

BYTES_AND_TEXT = [
    # [align]
    ("c0 03" + " 00" * 14, "nopb ; nopa ; nops ; nopxm ; nopv"),
    ("37 88 03" + " 00" * 9, "nops ; nopb ; nopx ; nopm"),
    ("99 34 82 10", "and r1, r2, r3"),
    ("99 35 82 10", "or r1, r2, r3"),
    # [mc]
    ("01 00", "nop"),
    ("03" + " 00" * 7, "nops ; vadd.8 x0, x0, x0"),
    ("0c" + " 00" * 15, "nopb ; nopa ; nops ; nopxm ; vsub.f bml0, bml0, bml0, r0"),
    ("08" + " 00" * 15, "nopb ; nopa ; nops ; nopxm ; vnegmsc cm0, cm0, x0, x0, r0"),
    ("43" + " 00" * 7, "nop ; nopxm"),
    ("37 01" + " 00" * 10, "nopa ; nopb ; nopx ; nops"),
    ("7f 00 00 00 01" + " 00" * 9, "nopa ; nopb ; nopx ; vadd.8 x0, x0, x0; nops"),
    # [conv]
    ("05 00 00 28 2e 11", "vldb wh8, [p1, #32]; nopx"),
    ("19 08 26 39", "vldb wl8, [p1], #64"),
    ("23 0c 82 01 00 08 25 01", "vldb wl4, [p1], #64; vmac cm3, cm3, x0, x8, r0"),
    ("23 88 01 01 46 76 32 03", "mov p3, p1; vmac cm2, cm2, x0, x6, r0"),
    (
        "0b 04 81 00 1d 88 24 3b 70 00",
        "vlda wl0, [p0], #32; vldb wl2, [p3], #64; vmac cm1, cm1, x0, x4, r0",
    ),
    (
        "27 9c a9 03 03 00 00 a8 2d 02 00 00",
        "nopa ; vldb wh6, [p2, #32]; nopx ; vmac cm7, cm7, x10, x6, r0",
    ),
]


@pytest.mark.parametrize(("code", "text"), BYTES_AND_TEXT)
def test_bytes_and_text_agree_with_llvm(code, text):
    expected = bytes.fromhex(code)
    (item,) = decode(expected)
    assert str(item.bundle) == text
    assert assemble(parse(text)).code == expected


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("nopm; nopx", "nopx ; nopm"),
        ("nopa; nopb; nops", "nopa ; nopb ; nops"),
        ("nopa; nops; nopx; nopm; nopv", "nopb ; nopa ; nops ; nopx ; nopm ; nopv"),
        ("padda   [p0], #4;   st      r0, [p1, #0]", "padda [p0], #4; st r0, [p1, #0]"),
        ("movxm   r0, #1000000", "movxm r0, #1000000"),
        ("vlda amll3, [sp, #-1024]", "vlda amll3, [sp, #-1024]"),
        ("vldb.3d wl2, [p1], d1", "vldb.3d wl2, [p1], d1"),
        ("paddb [p0], #-32", "paddb [p0], #-32"),
    ],
)
def test_text_is_printed_as_llvm_prints_it(written, printed):
    (item,) = decode(assemble(parse(written)).code)
    assert str(item.bundle) == printed


@pytest.mark.parametrize(
    "text",
    [
        "padda [p0], #2060",
        "padda [p0], #6",
        "padda [sp], #150000",
        "padda [sp], #22",
        "mova r0, #2000",
        "padda [p0], MCD",
        "vmov.hi cm0, MCD",
    ],
)
def test_what_llvm_refuses_is_refused(text):
    with pytest.raises(SyntaxFault, match="line 1"):
        parse(text)
