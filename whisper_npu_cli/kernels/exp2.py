"""Powers of 2 of many scores, as bf16 patterns, by integer arithmetic.

A score s comes as the float32 X0 - s. Between 512 and 1024 the pattern of a float32 is a whole
number of 2^-14, so a subtraction of patterns leaves i = 2^14 (s + 127), which is 2^s as bf16
pattern but for 7 bits more and a mantissa that is linear in the fraction z. -z (W - z), z being the
distance to the nearest whole number, makes it 2^z - 1 to 0.3 % (rms, bf16's own rounding included).
Above X0 - 512 the patterns grow more slowly, where results are below 2^-64 of what counts; down to
-X0 nothing wraps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whisper_npu_cli.aie.asm.modes import Shape
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.kernels.vectors import everywhere

X0, FRACTION = np.float32(960), 14
"""Bits after the point of a float32 between 512 and 1024."""
LOW_BITS, CURVE = 63, 75
"""Of z in sixty-fourths; W."""


@dataclass(frozen=True)
class Exp2:
    """The constants, in registers. Signs of SRS and vector sums must be off (crSRSSign, ...)."""

    p: Program
    bias: Value
    low_bits: Value
    curve: Value
    to_fraction: Value
    to_pattern: Value
    integers: Value

    @classmethod
    def of(cls, p: Program) -> Exp2:
        """Load them."""
        return cls(
            p,
            everywhere(p, int(X0.view(np.int32)) + (127 << FRACTION), 1024, "bias"),
            p.vbcst_16(p.const(LOW_BITS)),
            p.vbcst_16(p.const(CURVE)),
            p.const(FRACTION - 6, p.new("s")),
            p.const(FRACTION - 7, p.new("s")),
            p.product_mode(Shape.INT16_LANES_32),
        )

    def pattern(self, score: Value, z: Value, w: Value, to: Value) -> None:
        """The patterns of 32 powers, from a 1024-bit accumulator of X0 - s; z, w: room to work."""
        p = self.p
        i = p.vsub(self.bias, score, self.integers)
        p.vsrs_s16_s32(i, self.to_fraction, to=z)
        p.vband(z, self.low_bits, to=z)
        p.vsub_16(self.low_bits, z, to=w)
        p.vmin_ge_s16(z, w, to=[z, p.scalar("compared")])
        p.vsub_16(self.curve, z, to=w)
        p.vmsc(i, z, w, self.integers, to=i)
        p.vsrs_d16_s32(i, self.to_pattern, to=to)
