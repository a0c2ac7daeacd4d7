"""The worked example of the shared facts (3.6), written out: one core, one stream in, one out.

A published 32x32 int8 matrix multiply for npu1 (github.com/Unicorn-Commander/Unicorn-Amanuensis);
its program is left out, a ramp of the same length stands for it.
"""

from __future__ import annotations

from made_containers import pdi, xclbin

from whisper_npu_cli.aie.formats import cdo
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, RegisterOp, Write

CORE, MEM, SHIM = 2 << 20, 1 << 20, 0
DMA_CONTROLS = (0x1DE10, 0x1DE18, 0x1DE00, 0x1DE08)
BDS = {
    0: (0x00400200, 0, 0, 0, 0, 0x0E043FE0),
    2: (0x01400100, 0, 0, 0, 0, 0x1E045FE3),
    3: (0x01800100, 0, 0, 0, 0, 0x16045FE3),
    1: (0x00C00200, 0, 0, 0, 0, 0x06043FE0),
}
SWITCHES = {
    SHIM: """3F034=80000005 3F114=80000000 3F010=8000000E 3F138=80000000
             3F008=C0000045 3F100=C0000000 3F200=0F1F0135""",
    MEM: "B0030=80000008 B0120=80000000 B001C=8000000D B0134=80000000",
    CORE: "3F004=80000006 3F118=80000000 3F014=80000001 3F104=80000000",
}


def programs() -> list[RegisterOp]:
    resets = [MaskWrite(CORE + offset, 2, 2) for offset in DMA_CONTROLS]
    program = BlockWrite(CORE + 0x20000, tuple(range(676)))
    releases = [MaskWrite(CORE + offset, 2, 0) for offset in DMA_CONTROLS]
    return [MaskWrite(CORE + 0x32000, 1, 0), *resets, program, *releases]


def init() -> list[RegisterOp]:
    ops: list[RegisterOp] = [MaskWrite(CORE + 0x32000, 2, value) for value in (2, 0)]
    ops += [Write(CORE + 0x1F000 + 16 * lock, 0) for lock in range(16)]
    ops += [Write(SHIM + 0x14000 + 16 * lock, 0) for lock in (2, 3)]
    ops += [Write(CORE + 0x1F000 + 16 * lock, value) for lock, value in ((2, 2), (3, 0))]
    ops += [Write(CORE + 0x1F000 + 16 * lock, value) for lock, value in ((0, 2), (1, 0))]
    ops += [Write(SHIM + 0x14000 + 16 * lock, 0) for lock in (0, 1)]
    ops += [BlockWrite(CORE + 0x1D000 + 0x20 * bd, words) for bd, words in BDS.items()]
    for queue, control, bd in ((0x1DE04, 0x1DE00, 0), (0x1DE14, 0x1DE10, 2)):
        ops += [Write(CORE + queue, bd), MaskWrite(CORE + control, 0, 1)]
    for tile, text in SWITCHES.items():
        pairs = (pair.split("=") for pair in text.split())
        ops += [Write(tile + int(offset, 16), int(value, 16)) for offset, value in pairs]
    return [*ops, MaskWrite(0x1F000, 0xC00, 0x400), MaskWrite(0x1F004, 0x30, 0x10)]


PHASES = (programs(), init(), [MaskWrite(CORE + 0x32000, 1, 1)])
CDO = cdo.encode(op for part in PHASES for op in cdo.phase(part))
PDI = pdi(CDO)
PDI_BYTES = 4048  # as published
XCLBIN = xclbin(PDI, "matmul_32x32")
