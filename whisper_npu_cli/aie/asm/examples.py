"""Two inner loops of a dense matrix product, for docs/scheduling.md and the tests of its claim."""

from __future__ import annotations

from collections.abc import Callable

from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation, Shape
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.schedule import Timed

SLOTS = ("lda", "ldb", "st", "alu", "mv", "vec")
A, B, C = 0x70000, 0x74000, 0x78000
"""Buffers in different 16 KB quarters of the data memory, so that the two loads never meet."""


def bf16_product(steps: int = 32) -> Program:
    """C (8x8, bf16) = A (8 x 8 steps) times B (8 steps x 8): 2x2 tiles of 4x8x4.

    Per step, A and B lie as two 512-bit tiles each. Four accumulators cover the four cycles
    after which a multiply-add may use the one before.
    """
    p = Program("bf16_product")
    p.rounding(Rounding.HALF_TO_EVEN)
    a, b, c = p.pointer("a", A), p.pointer("b", B), p.pointer("c", C)
    mode = p.product_mode(Shape.BF16_4X8X4)
    sums = [[p.accumulator(512, f"sum{i}{j}") for j in range(2)] for i in range(2)]
    for total in sums[0] + sums[1]:
        p.vclr(to=total)
    with p.loop(steps):
        left = [p.load_x(a) for _ in range(2)]
        right = [p.load_x(b) for _ in range(2)]
        for i in range(2):
            for j in range(2):
                p.vmac_f(sums[i][j], left[i], right[j], mode, to=sums[i][j])
    for total in sums[0] + sums[1]:
        p.vst_conv_bf16_fp32(total, c.post(32))
    return p


def int8_product(steps: int = 32) -> Program:
    """C (8x16, int8) = A (8 x 8 steps) times B (8 steps x 16): 2x2 tiles of 4x8x8."""
    p = Program("int8_product")
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    a, b, c = p.pointer("a", A), p.pointer("b", B), p.pointer("c", C)
    mode = p.product_mode(Shape.INT8_4X8X8)
    shift = p.const(12, p.new("s", "shift"))
    sums = [[p.accumulator(1024, f"sum{i}{j}") for j in range(2)] for i in range(2)]
    for total in sums[0] + sums[1]:
        p.vclr(to=total)
    with p.loop(steps):
        left = [p.vector(512, "left") for _ in range(2)]
        for tile in left:
            p.vld(a.post(32), to=tile.lo)
        right = [p.load_x(b) for _ in range(2)]
        for i in range(2):
            for j in range(2):
                p.vmac(sums[i][j], left[i].lower, right[j], mode, to=sums[i][j])
    for total in sums[0] + sums[1]:
        p.vst_srs_s8_s32(total, shift, c.post(32))
    return p


EXAMPLES: dict[str, Callable[[], Program]] = {
    "bf16_product": bf16_product,
    "int8_product": int8_product,
}
"""Name in the document -> program."""


def kernel(code: Code) -> Timed:
    """The pipelined loop of an example."""
    (found,) = [item for item in code.timed if item.block.loop is not None]
    return found


def rendered(name: str) -> str:
    """The schedule of an example as Markdown: one line a cycle, one column a slot."""
    code = compile_program(EXAMPLES[name]())
    addresses = iter(code.assembly.bundles)
    lines = ["```"]
    for timed in code.timed:
        what = "kernel, repeated" if timed.block.loop is not None else ""
        lines.append(f"{timed.block.label}: {timed.length} cycles {what}".rstrip())
        for cycle in range(timed.length):
            address, bundle = next(addresses)
            slots = bundle.slots()
            row = [str(slots[s]) for s in (*SLOTS[:3], "lng", *SLOTS[3:]) if s in slots]
            lines.append(f"  {cycle:3} {address:#06x}  " + " | ".join(row or ["nop"]))
    body = kernel(code)
    products = sum(1 for item in body.placed if item.form and item.form.opcode.slot == "vec")
    lines += ["```", "", f"{products} multiply-adds in {body.length} cycles of the kernel; "
              f"{len(code.assembly.code)} bytes in all.", ""]  # fmt: skip
    return "\n".join(lines)
