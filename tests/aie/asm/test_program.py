"""The kernel language: what it accepts, what it refuses, and with which words."""

from __future__ import annotations

import pytest
from made_up import build

from whisper_npu_cli.aie.asm.link import compile_program
from whisper_npu_cli.aie.asm.modes import Rounding, Shape, product_mode
from whisper_npu_cli.aie.asm.program import Program
from whisper_npu_cli.aie.asm.select import SHAPES
from whisper_npu_cli.aie.asm.values import KernelError
from whisper_npu_cli.aie.facts.isa import OPCODES


def texts(program: Program) -> list[str]:
    return [str(node) for node in program.body]


def test_an_instruction_is_a_method_and_returns_its_result() -> None:
    p = Program("t")
    a, b = p.input("r", "a"), p.input("r", "b")
    total = p.add(a, b)
    p.add(total, 3, to=a)
    assert texts(p) == ["add add, a, b", "add a, add, #3"]
    assert p.body[1].forms[0].opcode.name == "ADD_add_r_ri"


def test_all_instructions_but_those_on_the_stack_are_within_reach() -> None:
    reached = {shape.opcode.name for shapes in SHAPES.values() for shape in shapes}
    assert {name for name in OPCODES if name not in reached} == {
        name for name, opcode in OPCODES.items() if "[sp" in opcode.asm
    }


def test_addresses_choose_the_form() -> None:
    p = Program("t")
    q, m = p.input("p", "q"), p.input("m", "m")
    d, d3 = p.input("d", "d"), p.input("d3", "d3")
    w = p.vector(256, "w")
    for address in (q[32], q.post(64), q.post(m), q.post(d), q.post(d3), q[p.input("dj", "dj")]):
        p.vlda(address, to=w)
    assert [node.forms[0].opcode.name for node in p.body] == [
        "VLDA_dmw_lda_w_ag_idx_imm",
        "VLDA_dmw_lda_w_ag_pstm_nrm_imm",
        "VLDA_dmw_lda_w_ag_pstm_nrm",
        "VLDA_2D_dmw_lda_w",
        "VLDA_3D_dmw_lda_w",
        "VLDA_dmw_lda_w_ag_idx",
    ]


def test_operations_that_several_slots_offer_keep_all_of_them() -> None:
    p = Program("t")
    q = p.input("p", "q")
    p.vld(q[32])
    p.const(5)
    p.const(5000)
    p.padd(q.post(32))
    slots = [[form.opcode.slot for form in node.forms] for node in p.body]
    assert slots == [["lda", "ldb"], ["lda", "alu", "mv", "lng"], ["lng"], ["lda", "ldb", "st"]]


def test_parts_of_registers() -> None:
    p = Program("t")
    c = p.accumulator(1024, "c")
    assert [repr(v) for v in (c.lo, c.hi, c.hi.lo, c.lo.hi)] == [
        "c.lo",
        "c.hi",
        "c.hi.lo",
        "c.lo.hi",
    ]
    assert c.hi.lo.on("cm3") == "amhl3"
    assert p.vector(512, "x").hi.on("x7") == "wh7"
    assert p.new("d", "d").dc.on("d2") == "dc2"
    assert p.new("l", "l").hi.on("l1") == "r19"
    with pytest.raises(AttributeError, match="has no part 'lo'"):
        _ = p.scalar("r").lo


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p, r, x: p.vmac_f(r, x, x, r), r"vmac_f\(r:r, x:x, x:x, r:r\) fits none of"),
        (lambda p, r, x: p.add(r, 64), r"add\(r:r, 64\) fits none of its forms: add"),
        (lambda p, r, x: p.vld(x.lo[0]), "not a pointer"),
        (lambda p, r, x: p.vclr(), "say which with to="),
        (lambda p, r, x: p.vector(300), "no value of 300 bits"),
        (lambda p, r, x: p.new("z"), "no kind of value 'z'"),
        (lambda p, r, x: p.new("r", "a", ["p1"]), "p1 cannot hold"),
        (lambda p, r, x: p.vlda(p.pointer("b")[48]), r"b\[48\]"),
        (lambda p, r, x: p.loop(0).__enter__(), "count of 1 or more"),
        (lambda p, r, x: p.loop(9, unroll=2).__enter__(), "unrolling divides"),
        (lambda p, r, x: p.otherwise().__enter__(), "does not follow an if"),
    ],
)
def test_mistakes_are_refused_where_they_are_made(write, message) -> None:
    p = Program("t")
    with pytest.raises(KernelError, match=message):
        write(p, p.input("r", "r"), p.input("x", "x"))


def test_an_unknown_instruction_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no AIE2 instruction 'vfoo'"):
        Program("t").vfoo()


def test_a_value_has_to_be_set_before_it_is_read() -> None:
    p = Program("t")
    with p.if_nonzero(p.input("r", "condition")):
        value = p.const(3)
    p.st(value, p.pointer("out", 0x70000)[0])
    with pytest.raises(KernelError, match="may not have set all of const before `st const"):
        compile_program(p)


def test_half_of_a_vector_is_enough_only_where_the_program_says_so() -> None:
    def half(p: Program, whole: bool) -> Program:
        x, acc = p.vector(512, "x"), p.accumulator(1024, "acc")
        p.vld(p.pointer("in", 0x70000)[0], to=x.lo)
        other, mode = p.input("x", "other"), p.product_mode(Shape.INT8_4X8X8)
        p.vmul(x if whole else x.lower, other, mode, to=acc)
        p.vst(acc.lo.lo, p.pointer("out", 0x74000)[0])
        return p

    build(half(Program("t"), whole=False))
    with pytest.raises(KernelError, match="may not have set all of x before"):
        compile_program(half(Program("t"), whole=True))


def test_modes_have_no_default() -> None:
    p = Program("t")
    p.vst_conv_bf16_fp32(p.input("bm", "acc"), p.pointer("out", 0x70000)[0])
    with pytest.raises(KernelError, match=r"t sets no rounding mode \(crRnd\) before `vst.conv"):
        compile_program(p)
    p = Program("t")
    p.rounding(Rounding.HALF_TO_EVEN)
    p.vst_conv_bf16_fp32(p.input("bm", "acc"), p.pointer("out", 0x70000)[0])
    build(p)


def test_registers_without_a_field_are_bound() -> None:
    p = Program("t")
    a, b, condition = p.input("r", "a"), p.input("r", "b"), p.input("r", "condition")
    p.st(p.sel_nez(a, b, condition), p.pointer("out", 0x70000)[0])
    code = build(p)
    assert code.inputs["condition"] == "r27"
    p.st(p.acq_cond(49, a, condition) or a, p.pointer("out", 0x70000)[0])
    with pytest.raises(KernelError, match="No register can hold condition for all its uses"):
        compile_program(p)


def test_accumulate_in_place_names_both() -> None:
    p = Program("t")
    a, b, x = p.input("cm", "a"), p.input("cm", "b"), p.input("x", "x")
    assert p.vaddmac(a, b, x, x, p.input("r", "mode")) == a
    with pytest.raises(KernelError, match="first accumulator in place: b must be a"):
        p.vaddmac(a, b, x, x, p.input("r", "mode"), to=b)


def test_product_modes_are_those_of_the_open_compiler() -> None:
    # 28, 60 and 776 stand before vmac.f, vmac.f (lanes) and vmac in public Peano-built programs
    assert product_mode(Shape.BF16_4X8X4) == 28
    assert product_mode(Shape.BF16_LANES_16X2) == 60
    assert product_mode(Shape.INT8_4X8X8) == 776
    assert product_mode(Shape.INT8_4X8X8, signed_first=False, zero_accumulator=True) == 265


def test_symbols_and_offsets_are_filled_in() -> None:
    p = Program("t")
    p.st(p.const(1), p.pointer("out", "result+64")[0])
    code = compile_program(p, {"result": 0x71000})
    assert any("movxm p0, #462912" in str(bundle) for _, bundle in code.assembly.bundles)


def test_checkpoints_name_the_register_of_a_value() -> None:
    p = Program("t")
    a = p.input("x", "a")
    with p.loop(3):
        p.vadd_16(a, a, to=a)
    p.checkpoint("sum", a)
    p.vst(a.lo, p.pointer("out", 0x70000)[0])
    code = build(p)
    (found,) = code.checkpoints
    assert (found.name, found.register) == ("sum", code.inputs["a"])


def test_a_pattern_of_three_dimensions() -> None:
    p = Program("t")
    q = p.pointer("in", 0x70000)
    d = p.dimensions(step=-96, inner=32, count=2, middle=64, middle_count=3)
    target = p.pointer("out", 0x74000)
    with p.loop(6):
        p.vst(p.vld(q.post(d)), target.post(32))
    build(p)


def test_a_modifier_steps_one_pointer() -> None:
    """Two would count in the same register, and each would turn around at the wrong place."""
    p = Program("t")
    first, second = p.pointer("a", 0x70000), p.pointer("b", 0x71000)
    steps = p.dimensions(step=64, inner=32, count=4)
    data = p.load_x(first, steps)
    p.vst(data.lo, first.post(steps))
    with pytest.raises(
        KernelError, match=r"counts the steps of the pointer a, so it cannot step b"
    ):
        p.vst(data.lo, second.post(steps))
