import random

import pytest
from aie_strategies import bundle, instruction
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.assemble import Align, Label, SyntaxFault, assemble, parse
from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.decode import decode
from whisper_npu_cli.aie.asm.fields import EncodingError
from whisper_npu_cli.aie.asm.instruction import make
from whisper_npu_cli.aie.facts.isa import OPCODES
from whisper_npu_cli.aie.facts.slots import FORMATS, formats_holding


@pytest.mark.parametrize("name", FORMATS)
def test_a_bundle_takes_the_shortest_format_that_fits(name):
    source = random.Random(name)
    made = bundle(FORMATS[name], source)
    free = Bundle(tuple(source.sample(made.instructions, len(made.instructions))))
    assert free.encode() == made.encode()  # no shorter one holds what this one holds


def test_empty_slots_are_filled_with_nops():
    two = Bundle((make("VADD_8", "x1", "x2", "x3"), make("PADDA_sp_imm", 64)))
    assert two.layout().name == "I48_LDA_MV"
    three = Bundle((*two.instructions, make("NOPV")))
    assert three.layout().name == "I80_LDA_MV_VEC"
    four = Bundle((*two.instructions, make("NOPS"), make("NOPX")))
    assert str(next(decode(four.encode())).bundle) == (
        "padda [sp], #64; nops ; nopx ; vadd.8 x1, x2, x3"
    )


@pytest.mark.parametrize(
    ("instructions", "layout", "reason"),
    [
        (("add r0, r1, r2", "sub r0, r1, r2"), None, "both need the slot alu"),
        (("add r0, r1, r2", "movxm r3, #5"), None, r"no bundle holds alu \+ lng"),
        (("add r0, r1, r2",), "I32_MV", "I32_MV does not hold alu"),
        (("add r0, r1, r2",), "I33_MV", "I33_MV does not hold alu"),
    ],
)
def test_impossible_bundles_say_why(instructions, layout, reason):
    (made,) = parse("; ".join(instructions))
    with pytest.raises(EncodingError, match=reason):
        Bundle(made.instructions, layout).encode()


@given(st.lists(st.sampled_from(sorted(FORMATS)), min_size=1, max_size=8), st.integers())
def test_text_of_a_decoded_program_assembles_to_its_bytes(names, seed):
    source = random.Random(seed)
    code = b"".join(bundle(FORMATS[name], source).encode() for name in names)
    text = "\n".join(str(item.bundle) for item in decode(code))
    assert assemble(parse(text)).code == code


def test_every_instruction_survives_a_line_of_its_own():
    source = random.Random(6)
    for opcode in OPCODES.values():
        made = instruction(opcode, source)
        (item,) = parse(f"  {made.text().replace(',', ' ,  ')}  // a comment")
        assert item == Bundle((made,))


PROGRAM = """
start:  movxm p0, #table      // the address of a label that comes later
        movxm lc, #0x10
loop: lda r0, [p0], #4; add r1, r1, r0
        j #loop; nopa
end: table:
        .p2align 4
back:   jnz r0, #start
"""


def test_labels_become_addresses():
    made = assemble(parse(PROGRAM), origin=0x100)
    assert made.labels == {
        "start": 0x100, "loop": 0x10C, "end": 0x120, "table": 0x120, "back": 0x120,
    }  # fmt: skip
    values = [i.values for _, b in made.bundles for i in b.instructions]
    assert ("p0", 0x120) in values
    assert (0x10C,) in values
    assert ("r0", 0x100) in values
    assert str(next(decode(made.code, 0x100)).bundle) == "movxm p0, #288"


def test_an_alignment_costs_no_cycle_where_bundles_can_grow():
    items = parse("add r0, r0, r1\nmov r1, r2\n.p2align 4\nhere: st r0, [p0, #0]")
    made = assemble(items)
    assert made.labels["here"] == 16
    assert [address for address, _ in made.bundles][-1] == 16
    assert len(made.bundles) == 3


@given(st.lists(st.sampled_from(sorted(FORMATS)), max_size=6), st.sampled_from((4, 8, 16, 64)))
def test_alignments_hold_and_change_nothing_else(names, bytes_):
    source = random.Random(0)
    before = [Bundle(bundle(FORMATS[name], source).instructions) for name in names]
    made = assemble([*before, Align(bytes_), Label("here"), Bundle()])
    assert made.labels["here"] % bytes_ == 0
    assert made.labels["here"] == made.bundles[-1][0]
    kept = [b.instructions for _, b in made.bundles if b.instructions]
    assert kept == [b.instructions for b in before]
    assert b"".join(item.bundle.encode() for item in decode(made.code)) == made.code


@given(
    st.lists(st.tuples(st.sampled_from(sorted(FORMATS)), st.sampled_from((1, 8, 16))), max_size=9)
)
def test_a_later_alignment_leaves_an_earlier_one_alone(steps):
    source, items, wanted = random.Random(0), [], {}
    for number, (name, bytes_) in enumerate(steps):
        items += [Align(bytes_), Label(f"at{number}")]
        items.append(Bundle(bundle(FORMATS[name], source).instructions))
        wanted[f"at{number}"] = bytes_
    made = assemble(items, origin=0x30)
    assert all(made.labels[label] % bytes_ == 0 for label, bytes_ in wanted.items())
    assert made.labels.keys() == wanted.keys()


def test_a_bundle_with_a_chosen_format_keeps_it():
    wide = "I128_LDB_LDA_ST_ALU_MV_VEC"
    made = assemble([Bundle((make("ADD", "r0", "r0", "r1"),), wide), Bundle(), Align(16), Bundle()])
    assert [b.layout().size for _, b in made.bundles] == [16, 16, 2]


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("nop\nadd r0, r1", SyntaxFault, r"line 2: `add r0, r1` .* form of add"),
        ("addd r0, r1, r2", SyntaxFault, "line 1: there is no AIE2 instruction addd"),
        ("add r0, r1, r32", SyntaxFault, "r32 is none of"),
        ("add r0, r1, #64", SyntaxFault, "64 is not within -64 to 63"),
        ("add r0, r1, #here", SyntaxFault, "too short for an address"),
        (".text", SyntaxFault, "no AIE2 instruction .text"),
        ("j #nowhere", EncodingError, "no label nowhere"),
        ("a:\na: nop", EncodingError, "label a stands twice"),
        ("j #0x100000", SyntaxFault, "1048576 is not within 0 to 1048575"),
    ],
)
def test_wrong_text_is_refused_with_its_line(text, error, reason):
    with pytest.raises(error, match=reason):
        assemble(parse(text))


def test_formats_exclude_each_other_only_where_slots_do():
    assert formats_holding({"lng", "mv"}) == ()
    assert formats_holding({"lng", "alu"}) == ()
    assert [f.name for f in formats_holding({"lda", "ldb", "st", "alu", "mv", "vec"})] == [
        "I128_LDB_LDA_ST_ALU_MV_VEC"
    ]
