import random
from itertools import pairwise

import pytest
from aie_strategies import BY_SLOT, bundle
from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.aie.asm.bundle import Bundle
from whisper_npu_cli.aie.asm.decode import DecodeError, decode, decode_bundle, decode_slot
from whisper_npu_cli.aie.asm.instruction import Instruction
from whisper_npu_cli.aie.facts.slots import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_comes_back(name):
    source = random.Random(name)
    for _ in range(10):
        made = bundle(FORMATS[name], source)
        code = made.encode()
        assert len(code) == FORMATS[name].size
        assert decode_bundle(code) == (made, len(code))


def test_a_program_is_walked_bundle_by_bundle():
    source = random.Random(1)
    bundles = [bundle(layout, source) for layout in FORMATS.values()]
    code = b"".join(made.encode() for made in bundles)
    found = list(decode(code, 0x40))
    assert [item.bundle for item in found] == bundles
    assert found[0].address == 0x40
    assert all(b.address - a.address == a.size for a, b in pairwise(found))


@given(st.binary(min_size=1, max_size=64))
def test_any_bytes_decode_to_themselves_or_are_refused(code):
    offset = 0
    try:
        for item in decode(code):
            assert item.bundle.encode() == code[offset : offset + item.size]
            offset += item.size
    except DecodeError as error:
        assert f"{offset:#x}" in str(error)  # the address of the bundle that is at fault
    else:
        assert offset == len(code)


@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_bundle_is_refused(name):
    code = bundle(FORMATS[name], random.Random(name)).encode()
    for length in range(1, len(code)):
        with pytest.raises(DecodeError, match=f"at address 0x20 a bundle of {len(code)} bytes"):
            list(decode(code[:length], 0x20))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("f9 ff ff ff", "fit no bundle format"),
        ("01 80", "slot nop of I16_NOP holds 0x1"),
        ("0b 67 6e be 84 34 2d 91 58 60", "slot mv of I80_ST_MV_VEC holds 0x969a4"),
    ],
)
def test_unknown_encodings_are_named(code, reason):
    """The third is a bundle that llvm-mc, too, prints with an empty slot."""
    with pytest.raises(DecodeError, match=reason):
        list(decode(bytes.fromhex(code)))


def test_a_word_with_two_meanings_is_read_as_the_assembler_writes_it():
    """`vpack.d4.d8 wh0, x3` is also `vmov MCD, x9` with an ignored bit set; llvm-aie says vmov."""
    pack = next(o for o in BY_SLOT["st"] if o.name == "VPACK_D4_D8")
    made = Instruction(pack, ("wh0", "x3"))
    assert decode_slot("st", made.encode()) == made


def test_a_nop_bundle_of_every_size():
    sizes = {len(Bundle((), name).encode()) for name in FORMATS}
    assert sizes == {2, 4, 6, 8, 10, 12, 14, 16}
    for name in FORMATS:
        (item,) = decode(Bundle((), name).encode())
        assert all(i.opcode.name.startswith("NOP") for i in item.bundle.instructions)
