"""What several kernels do with vectors: copies, constants in all lanes, float32 as two bfloat16."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value

VECTOR = 64
"""Bytes of a vector of 512 bits."""
ONE = 0x3F80
"""1 as bf16."""


def copy(
    p: Program, source: Value, target: Value, vectors: int, independent: Sequence[str] = ()
) -> None:
    """Copy 64-byte vectors; both pointers move on. `independent`: buffers, as for a loop."""
    with p.loop(vectors, independent=independent):
        data = p.load_x(source)
        p.vst(data.hi, target[VECTOR // 2])
        p.vst(data.lo, target.post(VECTOR))


def fill(p: Program, target: Value, pattern: int, vectors: int) -> None:
    """The same 32 bits all over so many vectors; the pointer moves on."""
    data = p.vbcst_32(p.const(pattern))
    with p.loop(vectors, independent=(target.variable.buffer,)):
        p.vst(data.hi, target[VECTOR // 2])
        p.vst(data.lo, target.post(VECTOR))


def everywhere(p: Program, pattern: int, bits: int, name: str = "constant") -> Value:
    """An accumulator of 512 or 1024 bits with the same 32 bits in all lanes."""
    lanes, result = p.vbcst_32(p.const(pattern)), p.accumulator(bits, name)
    for part in (result.lo, result.hi) if bits == 1024 else (result,):
        p.vmov(lanes, to=part)
    return result


def split(p: Program, value: Value, lanes: Value) -> Value:
    """The bf16 of 16 float32, and in the upper half those of what they leave: 16 bits in all."""
    parts = p.vector(512, "parts")
    p.vconv_bf16_fp32(value, to=parts.lo)
    p.vconv_bf16_fp32(p.vsub_f(value, p.vconv_fp32_bf16(parts.lo), lanes), to=parts.hi)
    return parts


def lane_mask(p: Program, name: str = "select") -> Value:
    """A scalar where vsel looks for its bits: it knows r16 to r23 only."""
    return p.new("r", name, [f"r{n}" for n in range(16, 24)])
