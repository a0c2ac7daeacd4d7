"""Registers that were never written: data paths carry the mark, and what it decides is refused."""

from __future__ import annotations

import numpy as np
import pytest
from core_bench import MEMORY, Bench, bench

from whisper_npu_cli.emulator.fault import EmulationError

ONES = int.from_bytes(bytes([1]) * 64, "little")
INT8, INT16_LANES, BFLOAT16 = 0x308, 0x338, 0x1C
BASE = MEMORY + 0x100


def test_a_product_of_an_unknown_vector_is_unknown() -> None:
    core = bench("vmul cm0, x0, x1, r0\nvmul.f bml2, x0, x1, r1").run(
        {"x0": ONES, "r0": INT8, "r1": BFLOAT16}
    )
    assert not core.is_known("cm0") and not core.is_known("bml2")


def test_lanes_that_a_shape_does_not_use_may_be_unknown() -> None:
    """4 x 8 signed bytes take the lower half of the first operand only."""
    core = bench("vmul cm0, x0, x1, r0").run({"wl0": ONES >> 256, "x1": ONES, "r0": INT8})
    assert core.is_known("cm0")
    assert core.read("cm0") == int.from_bytes(np.full(32, 8, "<i4").tobytes(), "little")


def test_lane_by_lane_products_are_known_by_halves() -> None:
    core = bench("vmul cm0, x0, x1, r0").run({"wl0": ONES >> 256, "x1": ONES, "r0": INT16_LANES})
    assert core.is_known("bml0") and not core.is_known("bmh0")


@pytest.mark.parametrize(("zero", "known"), [(0, False), (1, True)])
def test_an_unknown_accumulator_counts_unless_it_is_made_zero(zero: int, known: bool) -> None:
    core = bench("vmac cm0, cm0, x0, x1, r0").run({"x0": ONES, "x1": ONES, "r0": INT8 | zero})
    assert core.is_known("cm0") is known


CONVERSIONS = [
    ("vsrs.s16.s32 wl1, bml0, s0", "wl1"), ("vups.s32.s16 cm1, x2, s0", "cm1"),
    ("vpack.s8.s16 wl1, x2", "wl1"), ("vunpack.s16.s8 x1, wl2", "x1"),
    ("vconv.bf16.fp32 wl1, bml0", "wl1"), ("vconv.fp32.bf16 bml1, wl2", "bml1"),
    ("vfloor.s32.bf16 x1, wl2, s0", "x1"), ("vbcst.32 x1, r3", "x1"),
    ("vadd.32 x1, x2, x0", "x1"), ("vshuffle x1, x2, x0, r5", "x1"),
    ("vpush.lo.32 x1, r3, x0", "x1"), ("vextract.s32 r7, x2, r16", "r7"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "result"), CONVERSIONS)
def test_vector_instructions_carry_the_mark(text: str, result: str) -> None:
    core = bench(text).run({"x0": ONES, "s0": 0, "r5": 0, "r16": 0})
    assert not core.is_known(result)
    written = {"x2": ONES, "bml0": 0, "r3": 1}
    assert bench(text).run({"x0": ONES, "s0": 0, "r5": 0, "r16": 0} | written).is_known(result)


def test_conversions_keep_the_marks_of_both_halves_apart() -> None:
    core = bench("vsrs.s16.s32 x1, cm0, s0\nvups.s32.s16 cm1, x2, s0").run(
        {"bml0": 0, "wh2": 0, "s0": 0}
    )
    assert core.is_known("wl1") and not core.is_known("wh1")
    assert core.is_known("bmh1") and not core.is_known("bml1")


@pytest.mark.parametrize(
    "text",
    ["vst wl0, [p0, #0]", "vst.srs.s16.s32 bml0, s0, [p0, #0]", "vst.conv.bf16.fp32 bml0, [p0, #0]",
     "vst.pack.s8.s16 x0, [p0, #0]", "st r1, [p0, #0]", "st.s8 r1, [p0, #0]"],
)  # fmt: skip
def test_stores_carry_the_mark_to_memory(text: str) -> None:
    b = bench(text)
    b.run({"p0": BASE, "s0": 0}, {BASE: bytes(64)})
    assert b.arena.known[0x100] == 0
    b.run({"p0": BASE, "s0": 0, "x0": 0, "bml0": 0, "r1": 0})
    assert b.arena.known[0x100] == 1


@pytest.mark.parametrize(
    ("text", "register"),
    [
        ("vlda wl0, [p0, #0]", "p0"), ("st r0, [p0, dj0]", "p0|dj0"),
        ("j p0\n" + "nop\n" * 6, "p0"),
        ("jnz r1, #64\n" + "nop\n" * 6, "r1"), ("acq r1, r0", "r1"), ("rel #48, r1", "r1"),
        ("mov lc, r1", "r1"), ("mov crRnd, r1", "r1"), ("vsrs.s16.s32 wl1, bml0, s0", "s0"),
        ("vlda.ups.s32.s16 bml0, s0, [p1, #0]", "s0"), ("vshuffle x1, x0, x0, r1", "r1"),
        ("vmul cm0, x0, x0, r1", "r1"), ("mov ms, r1", "r1"), ("add r2, r1, #1", "r1"),
    ],
)  # fmt: skip
def test_what_an_unknown_value_decides_is_refused(text: str, register: str) -> None:
    b = Bench(text)
    with pytest.raises(EmulationError, match=f"uses ({register}), which was never written"):
        b.run({"x0": 0, "r0": 1, "bml0": 0, "p1": BASE}, {BASE: bytes(64)})


def test_memory_that_was_never_written_marks_what_is_loaded() -> None:
    core = bench("vlda wl0, [p0, #0]\nvlda.ups.s32.s16 bml0, s0, [p0, #32]").run(
        {"p0": BASE, "s0": 0}, {BASE + 32: bytes(31)}
    )
    assert not core.is_known("wl0") and not core.is_known("bml0")
