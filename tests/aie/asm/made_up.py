"""Random kernel programs for the scheduler's tests, and the check that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.link import Code, compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Saturation
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.values import Value
from whisper_npu_cli.aie.asm.verify import verify

BUFFERS = ("one", "two", "")


def check(program: Program, code: Code, **options) -> int:
    """Verify compiled code against its program; the cycles of the run."""
    return verify(
        program,
        code.assembly,
        inputs=code.inputs,
        origins=code.origins,
        checkpoints=[(c.name, c.address, c.register) for c in code.checkpoints],
        **options,
    )


def build(program: Program, **options) -> Code:
    """Compile and verify, so that branches go more ways than one."""
    code = compile_program(program)
    for world in range(3):
        check(program, code, world=world, **options)
    return code


@dataclass
class Pool:
    """Values by kind that a random program may use next."""

    draw: Callable
    program: Program
    values: dict[str, list[Value]] = field(default_factory=dict)
    scalar_step: int = 4
    """Bytes that a pointer moves on after a scalar."""

    def pick(self, kind: str) -> Value:
        return self.values[kind][self.draw(st.integers(0, len(self.values[kind]) - 1))]

    def add(self, value: Value) -> None:
        """Keep a value among the last few of its kind, or write it over an older one."""
        known = self.values.setdefault(value.file, [])
        known.append(value)
        if len(known) > 4 and value.file != "p":
            known.pop(0)


def start(draw: Callable) -> Pool:
    """A program with modes, pointers and one value of each kind."""
    p = Program("random")
    p.rounding(Rounding.HALF_TO_EVEN)
    p.saturation(Saturation.SATURATE)
    p.set_mode("crVaddSign", 1)
    pool = Pool(draw, p)
    for number, buffer in enumerate(BUFFERS):
        pool.add(p.pointer(buffer, 0x70000 + 0x1000 * number))
    for kind in ("r", "s", "w", "x", "bm", "cm", "m"):
        pool.add(p.input(kind, f"{kind}_in"))
    return pool


def _choose(pool: Pool, *names: str) -> str:
    return names[pool.draw(st.integers(0, len(names) - 1))]


def _into(pool: Pool, kind: str) -> Value | None:
    """A fresh result, or now and then an existing variable written again."""
    return pool.pick(kind) if pool.draw(st.integers(0, 3)) == 0 else None


def scalar(pool: Pool) -> None:
    name = _choose(pool, "add", "sub", "and_", "mul", "lt", "eq", "abs", "const", "sel_nez")
    p, a, b = pool.program, pool.pick("r"), pool.pick("r")
    if name == "const":
        pool.add(p.const(pool.draw(st.sampled_from((0, 5, 700, 100_000)))))
    elif name == "abs":
        pool.add(p.abs(a))
    elif name == "sel_nez":
        condition = p.mov(pool.pick("r"), to=p.scalar("condition"))
        pool.add(p.sel_nez(a, b, condition))
    else:
        into = _into(pool, "r")
        pool.add(getattr(p, name)(a, b, to=into))


def address(pool: Pool, step: int = 32):
    pointer = pool.pick("p")
    which = pool.draw(st.integers(0, 2))
    if which == 0:
        return pointer.post(pool.pick("m"))
    return pointer.post(step) if which == 1 else pointer[step * pool.draw(st.integers(0, 3))]


def load(pool: Pool) -> None:
    p = pool.program
    match pool.draw(st.integers(0, 4)):
        case 0:
            pool.add(p.lda(address(pool, pool.scalar_step), to=p.scalar("loaded")))
        case 1:
            pool.add(p.load_x(pool.pick("p"), 64, to=_into(pool, "x")))
        case 2:
            pool.add(p.vlda_conv_fp32_bf16(address(pool), to=_into(pool, "bm")))
        case 3:
            pool.add(p.vlda_ups_s32_s8(pool.pick("s"), address(pool), to=_into(pool, "cm")))
        case _:
            pool.add(p.vld(address(pool), to=_into(pool, "w")))


def store(pool: Pool) -> None:
    p = pool.program
    match pool.draw(st.integers(0, 4)):
        case 0:
            p.st(pool.pick("r"), address(pool, pool.scalar_step))
        case 1:
            p.vst_conv_bf16_fp32(pool.pick("bm"), address(pool))
        case 2:
            p.vst_srs_s8_s32(pool.pick("cm"), pool.pick("s"), address(pool))
        case 3:
            p.st_s8(pool.pick("r"), pool.pick("p").post(1))
        case _:
            p.vst(pool.pick("w"), address(pool))


def vector(pool: Pool) -> None:
    p, a, b = pool.program, pool.pick("x"), pool.pick("x")
    match pool.draw(st.integers(0, 6)):
        case 0:
            pool.add(p.vadd_16(a, b, to=_into(pool, "x")))
        case 1:
            pool.add(p.vshuffle(a, b, pool.pick("r"), to=p.vector(512)))
        case 2:
            pool.add(p.vsel_16(a, b, p.vlt_s16(a, b)))
        case 3:
            pool.add(p.vbcst_16(pool.pick("r")))
        case 4:
            low, _ = p.vmax_lt_bf16(a, b)
            pool.add(low)
        case 5:
            pool.add(p.vmov(pool.pick("w"), to=p.vector(256)))
        case _:
            index = p.mov(pool.pick("r"), to=p.scalar("index"))
            pool.add(p.vextract_s16(a, index, to=p.scalar("element")))


def accumulate(pool: Pool) -> None:
    p, a, b, mode = pool.program, pool.pick("x"), pool.pick("x"), pool.pick("r")
    match pool.draw(st.integers(0, 6)):
        case 0:
            pool.add(p.vmul_f(a, b, mode, to=p.accumulator(512)))
        case 1:
            acc = pool.pick("bm")
            pool.add(p.vmac_f(acc, a, b, mode, to=acc))
        case 2:
            acc = pool.pick("cm")
            pool.add(p.vmac(acc, a.lower, b, mode, to=_into(pool, "cm")))
        case 3:
            pool.add(p.vups_s32_s16(a, pool.pick("s"), to=_into(pool, "cm")))
        case 4:
            pool.add(p.vsrs_s16_s32(pool.pick("cm"), pool.pick("s"), to=_into(pool, "x")))
        case 5:
            pool.add(p.vconv_bf16_fp32(pool.pick("bm")))
        case _:
            pool.add(p.vadd_f(pool.pick("bm"), pool.pick("bm"), mode))


def sync(pool: Pool) -> None:
    p = pool.program
    getattr(p, _choose(pool, "acq", "rel"))(48, pool.pick("r"))


MENU = (scalar, load, load, store, vector, vector, accumulate, accumulate)


def operations(pool: Pool, most: int, menu=MENU) -> None:
    for choice in pool.draw(st.lists(st.sampled_from(menu), min_size=1, max_size=most)):
        choice(pool)


def loop(pool: Pool, most: int) -> None:
    """A loop over random operations, with a fixed count or one from memory."""
    p = pool.program
    unroll = pool.draw(st.sampled_from((1, 1, 2)))
    options = {"pipelined": pool.draw(st.booleans())}
    if pool.draw(st.booleans()):
        count: int | Value = unroll * pool.draw(st.integers(1, 5))
        options["unroll"] = unroll
    else:
        count = p.lda(pool.pick("p")[0], to=p.scalar("count"))
        options["at_least"] = pool.draw(st.integers(1, 2))
    if pool.draw(st.booleans()):
        options["independent"] = ("one", "two")
    with p.loop(count, **options):
        operations(pool, most)


def save(pool: Pool) -> None:
    """Store what the program computed, so that every result counts."""
    p = pool.program
    target = p.pointer("result", 0x7C000)
    for value in pool.values["w"] + [h for x in pool.values["x"] for h in (x.lo, x.hi)]:
        p.vst(value, target.post(32))
    for value in pool.values["bm"]:
        p.vst(value.lo, target.post(32))
    for value in pool.values["cm"]:
        p.vst(value.hi.lo, target.post(32))
    for value in pool.values["r"]:
        p.st(value, target.post(4))


@st.composite
def straight(draw) -> Program:
    pool = start(draw)
    operations(pool, 24, (*MENU, sync))
    save(pool)
    return pool.program


@st.composite
def looping(draw) -> Program:
    pool = start(draw)
    operations(pool, 4)
    loop(pool, 10)
    save(pool)
    return pool.program


@st.composite
def structured(draw) -> Program:
    """Loops in loops, branches, endless loops."""
    pool = start(draw)
    p = pool.program
    operations(pool, 4)
    with p.loop(draw(st.integers(1, 3))):
        operations(pool, 3)
        loop(pool, 5)
        operations(pool, 3, (*MENU, sync))
        with p.if_nonzero(pool.pick("r")):
            # values made on one side only must not be used after it
            before = {kind: list(values) for kind, values in pool.values.items()}
            operations(pool, 4)
            if draw(st.booleans()):
                loop(pool, 4)
            save(pool)
            pool.values = before
        if draw(st.booleans()):
            with p.otherwise():
                before = {kind: list(values) for kind, values in pool.values.items()}
                operations(pool, 4)
                save(pool)
                pool.values = before
    save(pool)
    return p
