import copy
import importlib.util
import itertools
from pathlib import Path

import pytest

from whisper_npu_cli.aie.facts import core_registers, isa, slots, timing
from whisper_npu_cli.aie.facts.isa import OPCODES, REGISTER_CLASSES, Immediate, RegisterClass
from whisper_npu_cli.aie.facts.table import TABLE, TableError

ROOT = Path(__file__).parents[3]
SOURCES = ROOT.parent / "shared" / "aie2"


def entry(name):
    return copy.deepcopy(next(e for e in TABLE["instructions"] if e["name"] == name))


def test_the_whole_instruction_set_is_there():
    assert len(OPCODES) == 607
    assert len(slots.FORMATS) == 78
    assert len(timing.ITINERARIES) == 276
    assert sum(slots.SLOTS.values()) == 21 + 16 + 20 + 22 + 21 + 26 + 42 + 1


def change(**keys):
    def apply(e):
        e.update(keys)

    return apply


def operand(place, **keys):
    def apply(e):
        e["operands"][place].update(keys)

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        change(mask="0xf"),  # a bit that belongs to nothing
        change(mask="0x3f", value="0x1"),  # a bit that is opcode and operand
        change(value="0x21"),  # an opcode bit outside the mask
        change(ignored="0x1"),  # an opcode bit that is ignored
        change(colour="red"),  # a field that nobody reads
        change(itinerary="II_VCLR"),  # a timing class with fewer operands
        change(implicit=[{"register": "srCary", "write": 3}]),
        change(implicit=[{"register": "srCarry", "write": 1}]),  # the place of another operand
        operand(0, fields=[[10, 4, 0]]),  # a register number of 5 bits in 4
        operand(0, fields=[[5, 5, 0]]),  # two operands in one place
        operand(0, **{"class": "eQ"}),
        operand(0, colour="red"),
        lambda e: e.pop("slot"),
        lambda e: e["operands"].pop(),
    ],
)
def test_a_wrong_instruction_is_refused(damage):
    wrong = entry("ADD")
    isa._opcode(wrong)
    damage(wrong)
    with pytest.raises((TableError, KeyError)):
        isa._opcode(wrong)


@pytest.mark.parametrize(
    "damage",
    [
        change(mask="0xf80007fe"),  # a bit of nobody
        change(mask="0xffffffff"),  # bits of two
        change(slots={"ldb": 10}),
        change(slots={"ldb": 12}),
        change(value="0x800"),
        change(colour="red"),
    ],
)
def test_a_wrong_format_is_refused(damage):
    wrong = copy.deepcopy(next(e for e in TABLE["formats"] if e["name"] == "I32_LDB"))
    slots._load(wrong)
    damage(wrong)
    with pytest.raises((TableError, KeyError)):
        slots._load(wrong)


def test_formats_do_not_overlap_and_their_first_byte_tells_the_length():
    for layout in slots.FORMATS.values():
        assert slots.length(layout.value & 0xFF) == layout.size
    for a, b in itertools.combinations(slots.FORMATS.values(), 2):
        assert a.size != b.size or (a.value ^ b.value) & a.mask & b.mask


def test_length_of_every_first_byte():
    """FACTS 8.2: bit 0 clear is 16 bytes, 101 is 6, then by the low four bits."""
    by_nibble = {0b0001: 2, 0b1001: 4, 0b0011: 8, 0b1011: 10, 0b0111: 12, 0b1111: 14}
    for byte in range(256):
        expected = 16 if byte % 2 == 0 else 6 if byte & 7 == 5 else by_nibble[byte & 15]
        assert slots.length(byte) == expected


def test_results_come_before_sources_in_the_timing():
    """llvm-aie lists outputs, then inputs, then registers outside the text, each in one block."""
    for opcode in OPCODES.values():
        explicit = [*opcode.operands, *(i for i in opcode.implicit if i.register[0] == "r")]
        written = [
            p for o in explicit for p in (o.write, *getattr(o, "counts", ())) if p is not None
        ]
        read = [o.read for o in explicit if o.read is not None]
        hidden = [p for i in opcode.implicit if i.register[0] != "r" for p in (i.read, i.write)]
        order = [*sorted(written), *sorted(read), *sorted(p for p in hidden if p is not None)]
        assert order == sorted(order), opcode.name
        idle = opcode.store or opcode.delay_slots or not opcode.operands
        assert written or idle or opcode.mnemonic.split(".")[0] in NO_RESULT, opcode.name


NO_RESULT = {"acq", "rel", "event", "mov", "vmov", "padda", "paddb"}  # locks, streams, sp


def test_register_numbers_are_one_to_one():
    for found in REGISTER_CLASSES.values():
        assert len(set(found.codes.values())) == len(found.codes)
        assert all(found.registers[code] == name for name, code in found.codes.items())
        assert all(code >> found.bits == 0 for code in found.registers)


def test_operands_of_one_word_never_need_more_bits_than_they_have():
    for opcode in OPCODES.values():
        for o in opcode.operands:
            assert sum(f.width for f in o.fields) == o.kind.bits
            assert isinstance(o.kind, (RegisterClass, Immediate))
            assert o.read is not None or o.write is not None


@pytest.mark.parametrize(
    ("register", "units"),
    [
        ("r5", {"r5"}),
        ("l2", {"r20", "r21"}),
        ("x3", {"wl3", "wh3"}),
        ("y4", {"wl8", "wh8", "wl9", "wh9"}),
        ("bmh2", {"amhl2", "amhh2"}),
        ("cm8", {"amll8", "amlh8", "amhl8", "amhh8"}),
        ("d2", {"m2", "dn2", "dj2", "dc2"}),
        ("d1_3d", {"m1", "dn1", "dj1", "dc1", "m5", "dn5", "dj5", "dc5"}),
        ("qx1", {"wl1", "wh1", "ql1", "qh1"}),
        ("qwh3", {"qh3", "wh3"}),
        ("lc", {"lc"}),
    ],
)
def test_registers_share_storage(register, units):
    """By hand from the SubRegs of llvm-aie's AIE2GenRegisterInfo.td."""
    assert set(core_registers.units(register)) == units


def test_every_register_of_every_class_has_a_storage_of_its_width():
    for found in REGISTER_CLASSES.values():
        for register in found.codes:
            pieces = core_registers.units(register)
            assert len(set(pieces)) == len(pieces)
            assert sum(map(core_registers.width, pieces)) == core_registers.width(register)


def test_registers_are_printed_as_llvm_names_them():
    """The names that AIE2GenRegisterInfo.td gives where ours differ."""
    assert core_registers.printed("l0") == "r17:r16"
    assert core_registers.printed("l7") == "r31:r30"
    assert core_registers.printed("d3_3d") == core_registers.printed("d3") == "d3"


@pytest.mark.parametrize("name", ["r32", "x12", "y1", "cm9", "d8", "d4_3d", "", "rr1", "r-1"])
def test_no_such_register(name):
    with pytest.raises(KeyError):
        core_registers.units(name)


def chained(first, result, second, source):
    """The distance from a result to its use, each given as (instruction, operand)."""
    a, b = OPCODES[first], OPCODES[second]
    before, after = timing.ITINERARIES[a.itinerary], timing.ITINERARIES[b.itinerary]
    write = a.operands[a.operand(result)].write
    read = b.operands[b.operand(source)].read
    return timing.latency(
        timing.Access("x", True, before.cycles[write], before.bypasses[write], result),
        timing.Access("x", False, after.cycles[read], after.bypasses[read], source),
    )


INT_MAC, BF_MAC = "VMAC_vmac_cm_core_dense", "VMAC_F_vmac_bm_core_dense"


@pytest.mark.parametrize(
    ("first", "result", "second", "source", "cycles"),
    [
        (INT_MAC, "dst", INT_MAC, "acc1", 2),
        (BF_MAC, "dst", BF_MAC, "acc1", 4),
        ("VLDA_dmw_lda_w_ag_idx_imm", "dst", INT_MAC, "s1", 7),
        ("VLDB_dmw_ldb_ag_idx_imm", "dst", BF_MAC, "s2", 7),
        ("VLDA_UPS_S32_S16_ag_idx_imm", "dst", "VSRS_S16_S32_mv_w_srs", "src", 9),
        ("ADD", "mRx", "ADD", "mRx0", 1),
        ("MUL_mul_r_rr", "mRx", "ADD", "mRx0", 2),
        ("VUPS_S32_S16_mv_ups_w2b", "dst", "VSRS_S16_S32_mv_w_srs", "src", 3),
        ("VSRS_S16_S32_mv_w_srs", "dst", "VST_dmw_sts_w_ag_idx_imm", "src", 4),
        (INT_MAC, "dst", "VSRS_S8_S32_mv_w_srs", "src", 5),
        (BF_MAC, "dst", "VST_CONV_BF16_FP32_ag_idx_imm", "src", 6),
        ("PADDA_lda_ptr_inc_idx_imm", "ptr", "LDA_dms_lda_idx_imm", "ptr", 1),
    ],
)
def test_latencies_are_those_of_the_facts(first, result, second, source, cycles):
    """FACTS 8.3, whose figures were read apart from the table."""
    assert chained(first, result, second, source) == cycles


def test_order_of_writes_and_memory():
    late = timing.Access("r0", True, 7, None, "load")
    early = timing.Access("r0", True, 1, None, "add")
    read = timing.Access("r0", False, 1, None, "use")
    assert timing.latency(late, early) == 7  # the load's value must not come after the sum
    assert timing.latency(read, late) == -6
    with pytest.raises(ValueError, match="two reads"):
        timing.latency(read, read)
    load, store = timing.ITINERARIES["II_LDA"], timing.ITINERARIES["II_ST"]
    assert timing.memory_latency(store, load) == 1
    with pytest.raises(ValueError, match="II_ADD"):
        timing.memory_latency(timing.ITINERARIES["II_ADD"], load)


def test_units_in_use_conflict_unless_both_are_weak():
    strong = timing.Stage("PART_WORD_STORE", 1, 7)
    weak = timing.Stage("PART_WORD_STORE", 1, 1, reserved=True)
    assert timing.conflict(strong, strong)
    assert timing.conflict(strong, weak)
    assert not timing.conflict(weak, weak)
    assert not timing.conflict(strong, timing.Stage("LOAD_UNIT_A", 1, 1))


def test_the_shipped_table_is_what_the_sources_make():
    if not SOURCES.is_dir():
        pytest.skip(f"the AIE2 facts are not beside this checkout ({SOURCES})")
    path = ROOT / "scripts" / "gen_facts.py"
    spec = importlib.util.spec_from_file_location("gen_facts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.table(SOURCES) == module.TABLE.read_text()


@pytest.mark.slow
def test_no_slot_word_has_two_meanings():
    """Every word of every slot but lng and vec, against every encoding of the slot."""
    import numpy as np

    twice = {}
    for slot in ("alu", "lda", "ldb", "st", "mv"):
        owners = np.zeros(1 << slots.SLOTS[slot], np.uint8)
        for opcode in (o for o in OPCODES.values() if o.slot == slot):
            words = np.array([opcode.value], np.uint32)
            for bit in range(slots.SLOTS[slot]):
                if not opcode.mask >> bit & 1:
                    words = np.concatenate([words, words | np.uint32(1 << bit)])
            for o in opcode.operands:
                if isinstance(o.kind, RegisterClass):
                    valid = np.zeros(1 << o.kind.bits, bool)
                    valid[list(o.kind.registers)] = True
                    number = sum(
                        ((words >> f.lsb) & ((1 << f.width) - 1)) << f.at for f in o.fields
                    )
                    words = words[valid[number]]
            owners[words] += 1
        twice[slot] = int((owners > 1).sum())
    # `vpack.d4.d8 wh0, xN` is `vmov MCD, xM` with an ignored bit set: decision 4
    assert twice == {"alu": 0, "lda": 0, "ldb": 0, "st": 12, "mv": 0}
