"""The overlay transformer_int8 as a whole: its golden launch does what it says."""

from __future__ import annotations

import numpy as np
from array_bench import ArrayBench, configured

from whisper_npu_cli.kernels import transformer_int8
from whisper_npu_cli.kernels.golden import Expected, Given


def test_the_golden_launch() -> None:
    made = configured(transformer_int8.NAME)
    arguments = made.golden.arguments
    assert len(arguments) == made.overlay.buffers
    given = [a.content for a in arguments if isinstance(a, Given)]
    (expected,) = (a.content for a in arguments if isinstance(a, Expected))
    bench = ArrayBench(*map(len, given), len(expected), overlay=transformer_int8.NAME)
    for _ in range(2):  # nothing of a launch stays behind
        for n, content in enumerate(given):
            bench.write(n, 0, np.frombuffer(content, np.uint8))
        bench.write(len(given), 0, np.full(len(expected), 0xA5, np.uint8))
        bench.run(made.golden.ops)
        found = bench.read(len(given), 0, len(expected))
        np.testing.assert_array_equal(found, np.frombuffer(expected, np.uint16))
