"""Time: latencies of every modelled instruction, delay slots, loops, stalls, requests."""

from __future__ import annotations

import pytest
from core_bench import MEMORY, Bench, bench, machine_code, new_core

from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.reasons import Reason

BASE = MEMORY + 0x1000

# one instruction, the register that it writes, a copy of that register, cycles until it is seen
LATENCIES = [
    ("add r1, r2, r3", "r1", "mov r0, r1", 1),
    ("mul r1, r2, r3", "r1", "mov r0, r1", 2),
    ("mov p1, r2", "p1", "mov r0, p1", 1),
    ("lda r1, [p0, #0]", "r1", "mov r0, r1", 7),
    ("lda.u8 r1, [p0, #0]", "r1", "mov r0, r1", 7),
    ("vlda wl1, [p0, #0]", "wl1", "vmov wl2, wl1", 7),
    ("vldb wl1, [p0, #0]", "wl1", "vmov wl2, wl1", 7),
    ("vlda.ups.s32.s16 bml1, s0, [p0, #0]", "bml1", "vmov bml2, bml1", 9),
    ("vlda.conv.fp32.bf16 bml1, [p0, #0]", "bml1", "vmov bml2, bml1", 7),
    ("vups.s32.s16 bml1, wl0, s0", "bml1", "vmov bml2, bml1", 3),
    ("vsrs.s16.s32 wl1, bml0, s0", "wl1", "vmov wl2, wl1", 4),
    ("vpack.s8.s16 wl1, x0", "wl1", "vmov wl2, wl1", 2),
    ("vunpack.s16.s8 x1, wl0", "x1", "vmov x2, x1", 7),
    ("vextract.s16 r1, x0, r16", "r1", "mov r0, r1", 2),
    ("vlt.s16 r16, x0, x3", "r16", "mov r0, r16", 2),
    ("vconv.bf16.fp32 wl1, bml0", "wl1", "vmov wl2, wl1", 2),
    ("vmac cm1, cm1, x0, x3, r4", "cm1", "vmov cm2, cm1", 5),
    ("vmac.f bml1, bml1, x0, x3, r5", "bml1", "vmov bml2, bml1", 6),
    ("vadd.16 x1, x0, x3", "x1", "vst wl1, [p2, #0]", 2),
    ("vadd.16 x1, x0, x3", "x1", "vmov x2, x1", 1),
    ("vshuffle x1, x0, x3, r2", "x1", "vmov x2, x1", 1),
    ("vmov wh1, wh0", "wh1", "vmov wl2, wh1", 2),
    ("vmov wl1, wh0", "wl1", "vmov wl2, wl1", 1),
    ("vmov.d cm1, cm0", "cm1", "vmov cm2, cm1", 5),
    ("mov.d3 r1, r2", "r1", "mov r0, r1", 4),
]
START = {
    "r1": 0x1111, "r2": 3, "r3": 5, "r4": 0x308, "r5": 0x1C, "r16": 3, "p0": BASE, "p1": 0x71110,
    "p2": BASE + 512, "x0": int.from_bytes(bytes(range(1, 65)), "little"), "x1": 77 << 300 | 99,
    "x3": int.from_bytes(bytes(range(65, 129)), "little"), "cm0": 12345, "cm1": 54321 << 40,
    "s0": 1, "crRnd": 0, "crSat": 0,
}  # fmt: skip
MEMORY_START = {BASE: bytes(range(1, 65)), BASE + 512: bytes(32)}


def copied(text: str, copy: str, distance: int) -> int:
    """What a copy sees that is issued `distance` cycles after the instruction."""
    b = bench(text + "\n" + "nop\n" * (distance - 1) + copy)
    core = b.run(START, MEMORY_START)
    if copy.startswith("vst"):
        return int.from_bytes(b.memory(BASE + 512, 32), "little")
    return core.read(copy.split()[1].rstrip(","))


@pytest.mark.parametrize(("text", "register", "copy", "latency"), LATENCIES)
def test_a_result_is_seen_after_its_latency_and_not_before(
    text: str, register: str, copy: str, latency: int
) -> None:
    core = bench(text).run(START, MEMORY_START)
    mask = (1 << 256) - 1 if copy.startswith("vst") else -1
    new = core.read(register) & mask
    old = START.get(register)
    if register == "wl1":
        old = START["x1"] & ((1 << 256) - 1)
    elif register == "wh1":
        old = START["x1"] >> 256
    elif register == "bml1":
        old = START["cm1"] & ((1 << 512) - 1)
    assert old is not None
    assert new != old & mask
    assert copied(text, copy, latency) == new
    if latency > 1:
        assert copied(text, copy, latency - 1) == old & mask


def test_multiplications_chain_every_two_cycles_and_float_every_four() -> None:
    chain = "vmac cm1, cm1, x0, x3, r4\nnop\nvmac cm1, cm1, x0, x3, r4"
    once = bench("vmac cm1, cm1, x0, x3, r4").run(START | {"cm1": 0}).read("cm1")
    twice = bench(chain).run(START | {"cm1": 0}).read("cm1")
    assert twice == bench("vadd cm1, cm2, cm3, r4").run(START | {"cm2": once, "cm3": once}).read(
        "cm1"
    )
    close = "vmac cm1, cm1, x0, x3, r4\nvmac cm1, cm1, x0, x3, r4"
    assert bench(close).run(START | {"cm1": 0}).read("cm1") == once
    one = START | {"x0": 0x3F80, "x3": 0x3F80, "cm1": 0}
    for distance, total in ((3, 0x3F800000), (4, 0x40000000)):
        text = "vmac.f bml1, bml1, x0, x3, r5\n" + "nop\n" * (distance - 1)
        core = bench(text + "vmac.f bml1, bml1, x0, x3, r5").run(one)
        assert core.read("amll1") & 0xFFFFFFFF == total


def test_all_slots_of_a_bundle_read_before_any_writes() -> None:
    core = bench("mova r1, #7; add r2, r1, #1; mov r3, r1").run({"r1": 1})
    assert [core.read(f"r{i}") for i in (1, 2, 3)] == [7, 2, 1]
    core = bench("add r1, r2, #0; mov r2, r1").run({"r1": 1, "r2": 2})
    assert (core.read("r1"), core.read("r2")) == (2, 1)
    text = "vlda wl0, [p0], #32; vldb wl1, [p1, #0]; st p0, [p1, #0]; mov p1, p0"
    core = bench(text).run({"p0": BASE, "p1": BASE + 64}, {BASE: bytes(96)})
    assert (core.read("p0"), core.read("p1")) == (BASE + 32, BASE)


def test_five_delay_slots() -> None:
    text = "movx r0, #0\nj #there\n" + "add r0, r0, #1\n" * 8 + ".p2align 4\nthere:\nadd r1, r0, #0"
    assert bench(text).run({}).read("r1") == 5


def test_a_call_returns_behind_its_delay_slots() -> None:
    text = (
        "movx r0, #0\njl #function\n" + "nop\n" * 5 + ".p2align 4\nadd r0, r0, #1\nj #end\n"
        + "nop\n" * 5 + ".p2align 4\nfunction:\nadd r0, r0, #16\nret lr\n" + "nop\n" * 5
        + ".p2align 4\nend:\nnop"
    )  # fmt: skip
    core = bench(text).run({})
    assert core.read("r0") == 17
    assert core.stats["branches"] == 3


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_loop_without_overhead_runs_its_count(count: int) -> None:
    full = "nopa; nopb; nopx; nopm; nops; nopv\n"
    text = (
        f"movxm ls, #start\nmovxm le, #last\nmovxm lc, #{count}\nmovx r0, #0\n" + full * 8
        + ".p2align 4\nstart:\nadd r0, r0, #1\n.p2align 4\nlast:\n"
        + "nopa; nopb; add r1, r0, #0; nopm; nops; nopv\nadd r2, r0, #0"
    )  # fmt: skip
    core = bench(text).run({})
    assert core.read("r0") == core.read("r2") == count
    assert core.read("lc") == 0


def test_a_counted_branch() -> None:
    text = (
        "movxm p0, #top\nmovx r0, #4\nmovx r1, #0\n.p2align 4\ntop:\njnzd r0, r0, p0\n"
        + "add r1, r1, #1\n" + "nop\n" * 4
    )  # fmt: skip
    core = bench(text).run({})
    assert (core.read("r0"), core.read("r1")) == (0, 4)


def test_bank_conflicts_stall_for_a_cycle() -> None:
    pair = "vlda wl0, [p0, #0]; vldb wl1, [p1, #0]"
    apart = bench(pair).run({"p0": BASE, "p1": BASE + 0x4000}, {BASE: bytes(64)})
    cycles = apart.cycle
    assert apart.stats["bank"] == 0
    together = bench(pair).run({"p0": BASE, "p1": BASE + 32}, {BASE: bytes(64)})
    assert together.stats["bank"] == 1
    assert together.cycle == cycles + 1


def test_locks_wait_for_an_answer_and_count_their_stall() -> None:
    code = machine_code("movx r0, #-1\nacq #49, r0\nmovx r1, #1\nrel #48, r1\ndone")
    core, _ = new_core(code)
    assert core.run(1000) is Reason.ACQUIRE
    assert (core.lock, core.value, core.cycle) == (49, -1, 1)
    assert "acq #49" in core.where()
    with pytest.raises(EmulationError, match="waiting"):
        core.run(1000)
    core.resume(101)
    assert core.run(1000) is Reason.RELEASE
    assert (core.lock, core.value) == (48, 1)
    core.resume(core.cycle)
    assert core.run(1000) is Reason.DONE
    assert core.state == "done"
    assert core.stats["lock"] == 100 + 2
    assert core.cycle == core.stats["bundles"] + core.stats["lock"]


def test_streams() -> None:
    code = machine_code("mov r1, SS\nmovx r2, #9\n" + "nop\n" * 6 + "mov.tlast ms, r1\ndone")
    core, _ = new_core(code)
    assert core.run(1000) is Reason.STREAM_READ
    core.resume(5, 0xDEADBEEF | 1 << 32)
    assert core.run(1000) is Reason.STREAM_WRITE
    assert (core.value, core.last) == (0xDEADBEEF, True)
    core.resume(core.cycle)
    assert core.run(1000) is Reason.DONE
    assert core.stats["stream"] == 5


def test_a_run_can_be_cut_anywhere() -> None:
    text = "movx r0, #0\n" + "add r0, r0, #1\n" * 40 + "vmac cm1, cm1, x0, x3, r4\nmul r5, r0, r0"
    whole = bench(text).run(START).read("cm1")
    b = Bench(text)
    b.core.reset()
    for name, value in START.items():
        b.core.write(name, value)
    until = 0
    while b.core.run(until) is Reason.LIMIT:
        assert b.core.cycle == until
        until += 1
    assert b.core.read("cm1") == whole
    assert b.core.read("r5") == 1600


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("add r1, r2, #1", "r2, which was never written"),
        ("j #64\nj #64\n" + "nop\n" * 40, "delay slots"),
        ("movxm r0, #0x7e\nvmul cm0, x0, x3, r0", "control word"),
        ("movx r0, #48\nvshuffle x1, x0, x3, r0", "shuffle mode 48"),
        ("mov crRnd, #4\nvsrs.s16.s32 wl0, bml0, s0", "mode 4 of crRnd"),
        ("st.s8 r3, [p0, #0]\nmovx r1, #1\nrel #48, r1", "store"),
        ("vldb.sparse.pop.8 qwl0, [p0]", "not modelled"),
        ("movxm p7, #0x3ffe\nj p7\n" + "nop\n" * 6, "cut off|outside|0x3ffe"),
    ],
)
def test_what_silicon_would_punish_stops_with_a_sentence(text: str, sentence: str) -> None:
    registers = {k: v for k, v in START.items() if k != "r2"}
    with pytest.raises(EmulationError, match=sentence) as error:
        Bench(text).run(registers, MEMORY_START)
    assert str(error.value).startswith("core (0, 2)")
    assert str(error.value).endswith(".")


def test_registers_by_their_address() -> None:
    core = bench("movx r5, #77\nmovxm p3, #0x71234\nmov crRnd, #9\nmov crSat, #3").run({})
    assert core.register(0x30C50) == 77
    assert core.register(0x31030) == 0x71234
    assert core.register(0x31170) & 0x3F == 9 << 2 | 3
    with pytest.raises(EmulationError, match="0x31ff0"):
        core.register(0x31FF0)
