import random

import pytest
from aie_strategies import instruction, operand
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.assemble import parse_instruction
from whisper_npu_cli.aie.asm.decode import decode_slot
from whisper_npu_cli.aie.asm.fields import EncodingError
from whisper_npu_cli.aie.asm.instruction import Instruction, make
from whisper_npu_cli.aie.facts.isa import OPCODES, Immediate
from whisper_npu_cli.aie.facts.slots import SLOTS

EVERY = sorted(OPCODES)
TRIALS = 6  # operand sets for each instruction, extremes of immediates among them


@given(st.sampled_from(EVERY), st.randoms(use_true_random=False))
def test_decoding_undoes_encoding(name, source):
    made = instruction(OPCODES[name], source)
    assert decode_slot(made.opcode.slot, made.encode()) == made


def test_every_instruction_survives_encoding_and_text():
    source = random.Random(2)
    for name in EVERY:
        for _ in range(TRIALS):
            made = instruction(OPCODES[name], source)
            word = made.encode()
            assert word >> SLOTS[made.opcode.slot] == 0
            assert decode_slot(made.opcode.slot, word) == made
            assert parse_instruction(made.text()) == made


def test_every_operand_matters():
    """A changed operand changes the word, except where two operands are one by rule."""
    source = random.Random(3)
    for name in EVERY:
        opcode = OPCODES[name]
        for place, one in enumerate(opcode.operands):
            if one.tied or any(o.tied == one.name for o in opcode.operands):
                continue
            first = instruction(opcode, source)
            values = list(first.values)
            while values[place] == first.values[place]:
                values[place] = operand(one.kind, source)
            assert Instruction(opcode, tuple(values)).encode() != first.encode()


def test_ignored_bits_are_kept_as_they_were_found():
    source = random.Random(4)
    seen = 0
    for name in EVERY:
        opcode = OPCODES[name]
        plain = instruction(opcode, source)
        for bit in range(SLOTS[opcode.slot]):
            if opcode.ignored >> bit & 1:
                word = plain.encode() ^ 1 << bit
                found = decode_slot(opcode.slot, word)
                assert found == Instruction(opcode, plain.values, 1 << bit)
                assert found.encode() == word
                assert found.text() == plain.text()
                seen += 1
    assert seen > 50


def test_numbers_beyond_the_field_are_refused():
    source = random.Random(5)
    for name in EVERY:
        opcode = OPCODES[name]
        for place, one in enumerate(opcode.operands):
            if not isinstance(one.kind, Immediate):
                continue
            wrong = [one.kind.low - one.kind.step, one.kind.high + one.kind.step, "r1", None]
            wrong += [one.kind.low + 1] * (one.kind.step > 1)
            for value in wrong:
                values = list(instruction(opcode, source).values)
                values[place] = value
                with pytest.raises(EncodingError, match=rf"\${one.name}"):
                    Instruction(opcode, tuple(values)).encode()


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: make("ADD", "r0", "r1"), "3 operands"),
        (lambda: make("ADDD", "r0"), "no AIE2 instruction"),
        (lambda: make("ADD", "r0", "r1", "r32"), r"\$mRy r32 is none of r0, r1 ... r31"),
        (lambda: make("ADD", "r0", "r1", 3), r"\$mRy 3 is none of"),
        (lambda: make("ADD", "p0", "r1", "r2"), r"\$mRx p0"),
        (lambda: make("J_jump_imm", "loop"), "a label needs an assembler run"),
        (
            lambda: make("VADDMAC_vmac_bm_core_dense", "cm0", "cm1", "cm2", "x0", "x1", "r0"),
            "must be the same register",
        ),
        (
            lambda: make("VST_dmw_sts_w_ag_spill", "wl0", 0),
            "0 is not within -131072 to -32 in steps of 32",
        ),
    ],
)
def test_what_cannot_be_encoded_says_why(made, reason):
    with pytest.raises(EncodingError, match=reason):
        made().encode()


def read_and_written(made):
    accesses = made.accesses()
    return (
        sorted((a.register, a.cycle) for a in accesses if not a.write),
        sorted((a.register, a.cycle) for a in accesses if a.write),
    )


@pytest.mark.parametrize(
    ("text", "reads", "writes"),
    [
        ("add r1, r2, #3", [("r2", 1)], [("r1", 1), ("srCarry", 1)]),
        ("lda r1, [p0], #4", [("p0", 1)], [("p0", 1), ("r1", 7)]),
        (
            "vlda.3d wl3, [p2], d1",
            [("d1_3d", 1), ("p2", 1)],
            [("dc1", 1), ("dc5", 1), ("p2", 1), ("wl3", 7)],
        ),
        (
            "vst.srs.d16.s32 bml0, s1, [p0, #32]",
            [
                ("bml0", 1),
                ("crRnd", 1),
                ("crSRSSign", 1),
                ("crSat", 1),
                ("p0", 1),
                ("s1", 1),
            ],
            [("srSRS_of", 3)],
        ),
        (
            "vst.srs.s16.s32 bml0, s1, [p0, #32]",
            [("bml0", 1), ("crRnd", 1), ("crSat", 1), ("p0", 1), ("s1", 1)],
            [("srSRS_of", 3)],
        ),
        ("divs r3, r31, r4, r5", [("r31", 1), ("r4", 1), ("r5", 1)], [("r3", 1), ("r31", 1)]),
        ("sel.nez r3, r4, r5, r27", [("r27", 1), ("r4", 1), ("r5", 1)], [("r3", 1)]),
        ("jl p3", [("p3", 1)], [("lr", 4)]),
        ("ret lr", [("lr", 1)], []),
        ("paddb [sp], #64", [("sp", 1)], [("sp", 1)]),
        ("st r0, [sp, #-32]", [("r0", 1), ("sp", 1)], []),
        ("jnzd r0, r1, p2", [("p2", 1), ("r1", 1)], [("r0", 1), ("srCarry", 1)]),
        ("movxm lc, #5", [], [("lc", 1)]),
    ],
)
def test_accesses_include_what_the_text_leaves_out(text, reads, writes):
    """By hand from llvm-aie's TableGen (Defs, Uses, Constraints) and its itineraries."""
    assert read_and_written(parse_instruction(text)) == (sorted(reads), sorted(writes))


class Stand:
    """A register that is not chosen yet."""

    def __init__(self, file):
        self.file = file

    def __str__(self):
        return f"%{self.file}"

    def count(self, dimension):
        return (self, dimension)


def test_stand_ins_take_part_until_they_are_encoded():
    row, modifier = Stand("wl"), Stand("d_3d")
    made = make("VLDA_3D_dmw_lda_w", row, Stand("p"), modifier)
    assert str(made) == "vlda.3d %wl, [%p], %d_3d"
    written = [a.register for a in made.accesses() if a.write]
    assert row in written
    assert (modifier, 1) in written
    with pytest.raises(EncodingError):
        made.encode()


@pytest.mark.parametrize(
    ("text", "itinerary"),
    [
        ("lda r1, [p0, #4]", "II_LDA_R"),
        ("lda p1, [p0, #4]", "II_LDA_P"),
        ("lda lr, [p0, #4]", "II_LDA"),
        ("mov s1, r0", "II_MOV_SCL_RS"),
        ("mov lc, r0", "II_MOV_SCL"),
        ("vmov wl1, amll2", "II_VMOV_W_WML_CM"),
        ("vmov amhh0, wh3", "II_VMOV_W_CM_WMH"),
        ("vmov q0, wl3", "II_VMOV_W_Q_WML"),
        ("vmov x1, bmh2", "II_VMOV_X_XM_BM"),
        ("vmov cm1, cm2", "II_VMOV_CM"),
        ("vconv.fp32.bf16 bml0, wl2", "II_VCONVfp32bf16_WL"),
        ("vconv.fp32.bf16 bml0, wh2", "II_VCONVfp32bf16"),
    ],
)
def test_timing_depends_on_the_register_files(text, itinerary):
    """By hand from the ItineraryRegPairs of llvm-aie's TableGen."""
    assert parse_instruction(text).itinerary().name == itinerary
