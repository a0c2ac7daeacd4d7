"""The helper for tests of kernels, shown with the programs of the shipped XCLBINs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from one_core import OneCore

from whisper_npu_cli.aie.array.place import CoreFifo
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.kernels import passthrough, vector_add_one

SOURCE = CoreFifo((0x70400, 0x70800), 1024, acquire=49, release=48)
TARGET = CoreFifo((0x74000, 0x74400), 1024, acquire=50, release=51)
KERNELS = [(passthrough, 0), (vector_add_one, 1)]


@pytest.mark.parametrize(("kernel", "more"), KERNELS, ids=["passthrough", "vector_add_one"])
@pytest.mark.parametrize("objects", [0, 1, 2])
def test_as_many_objects_as_both_locks_allow(kernel, more: int, objects: int) -> None:
    core = OneCore(kernel.tile_program(SOURCE, TARGET))
    data = np.random.default_rng(objects).integers(0, 1 << 32, 512, np.uint32)
    core.put(SOURCE.buffers[0], data)
    core.put(TARGET.buffers[0], b"\7" * 2048)
    core.run(locks={49: objects, 50: 2})
    expected = np.full(512, 0x07070707, np.uint32)
    expected[: 256 * objects] = data[: 256 * objects] + np.uint32(more)
    np.testing.assert_array_equal(core.get(TARGET.buffers[0], np.uint32, 512), expected)
    assert core.locks == Counter({48: objects, 50: 2 - objects, 51: objects})


def test_inputs_and_what_was_never_written() -> None:
    p = Program("t")
    number = p.input("r", "number")
    p.st(p.add(number, 5), p.pointer("out", 0x70010)[0])
    core = OneCore(p)
    assert core.run(inputs={"number": 37}) > 0
    assert core.get(0x70010, np.int32, 1)[0] == 42
    with pytest.raises(AssertionError, match="0x70014 was never written"):
        core.get(0x70010, np.int32, 2)
