import struct

import golden_designs as golden
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_containers import pdi as written_pdi

from whisper_npu_cli.aie.formats import cdo, pdi
from whisper_npu_cli.aie.formats.registers import (
    BlockWrite,
    MaskWrite,
    RegisterError,
    Write,
    tile_of,
)
from whisper_npu_cli.aie.formats.view import FormatError


def words_in(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"<{len(data) // 4}I", data)


word = st.integers(0, 0xFFFFFFFF)
address = st.integers(0, 0x3FFFFFFF).map(lambda value: value * 4)
block = st.builds(BlockWrite, address, st.binary(max_size=1200).map(words_in))
register_op = st.builds(Write, address, word) | st.builds(MaskWrite, address, word, word) | block
any_op = (
    register_op
    | st.builds(cdo.MaskPoll, address, word, word, word)
    | st.builds(cdo.Fill, address, word, word)
    | st.builds(cdo.Delay, word)
    | st.builds(cdo.Nop, st.integers(0, 300))
)


def raw(*words: int) -> bytes:
    """A CDO whose commands are `words`, with a right header."""
    head = (4, 0x004F4443, 0x200, len(words))
    return struct.pack(f"<{5 + len(words)}I", *head, ~sum(head) & 0xFFFFFFFF, *words)


def test_the_header_of_a_published_design() -> None:
    # MM32 of the shared facts: 0x398 words, header checksum FFB0B620
    filler = (0x111,) * 0x398
    assert raw(*filler)[:20] == cdo.encode([cdo.Nop()] * 0x398)[:20]
    assert struct.unpack("<5I", raw(*filler)[:20])[-1] == 0xFFB0B620


def test_words_of_each_command() -> None:
    ops = [
        Write(0x21F000, 2), MaskWrite(0x232000, 1, 0), BlockWrite(0x21D000, (7, 8)), cdo.Nop(2),
        cdo.MaskPoll(0x232004, 1, 1, 9), cdo.Fill(0x200000, 64, 5), cdo.Delay(3), cdo.End(),
    ]  # fmt: skip
    expected = raw(
        0x20103, 0x21F000, 2,
        0x30102, 0x232000, 1, 0,
        0x40105, 0, 0x21D000, 7, 8,
        0x20111, 0, 0,
        0x40101, 0x232004, 1, 1, 9,
        0x4010C, 0, 0x200000, 64, 5,
        0x10104, 3,
        0x100,
    )  # fmt: skip
    assert cdo.encode(ops) == expected
    assert cdo.decode(expected, "x") == tuple(ops)


def test_a_long_block_states_its_length_in_a_word_of_its_own() -> None:
    for count, head in ((252, (0xFE0105, 0)), (253, (0xFF0105, 255))):
        data = cdo.encode([BlockWrite(0x220000, tuple(range(count)))])
        assert struct.unpack_from("<2I", data, 20) == head
        assert cdo.decode(data, "x")[0] == BlockWrite(0x220000, tuple(range(count)))


@settings(max_examples=50, deadline=None)
@given(st.lists(any_op, max_size=20))
def test_decode_inverts_encode(ops: list[cdo.CdoOp]) -> None:
    assert list(cdo.decode(cdo.encode(ops), "x")) == ops


def test_wide_addresses_are_read_as_the_short_forms() -> None:
    data = raw(0x30108, 0, 0x21F000, 2, 0x40107, 0, 0x232000, 1, 0, 0x50106, 0, 0x232004, 1, 1, 9)
    assert cdo.decode(data, "x") == (
        Write(0x21F000, 2),
        MaskWrite(0x232000, 1, 0),
        cdo.MaskPoll(0x232004, 1, 1, 9),
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((0x20199, 0, 0), "not known"),
        ((0x10103, 0), "1 words where 2"),
        ((0x30103, 0, 0, 0), "3 words where 2"),
        ((0x20103, 0x21F000), "claims 2 words; 1 are left"),
        ((0xFF0105,), "ends before its length"),
        ((0xFF0105, 0xFFFFFFFF, 0, 0), "4294967295 words"),
        ((0x30108, 1, 0x21F000, 2), "beyond the 32 bits"),
        ((0x20103, 0x21F001, 2), "multiple of 4"),
    ],
)
def test_wrong_commands_are_refused(words: tuple[int, ...], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        cdo.decode(raw(*words), "x")


@pytest.mark.parametrize("index", range(20))
def test_every_bit_of_the_header_is_checked(index: int) -> None:
    data = bytearray(raw(0x20103, 0x21F000, 2))
    data[index] ^= 1
    with pytest.raises(FormatError):
        cdo.decode(bytes(data), "x")


def test_only_register_writes_set_up_an_array() -> None:
    write = Write(0x21F000, 2)
    assert cdo.register_ops([cdo.Nop(3), write, cdo.End(), write], "x") == (write,)
    with pytest.raises(FormatError, match="Delay"):
        cdo.register_ops([cdo.Delay(1)], "x")


def pad_once(ops: list, sizes: dict, head: int, long: int, target) -> list:
    """One padding stage of the shared facts (3.3): NOPs so that payloads begin where `target` says.

    `sizes` gives the words of a write and a masked write, `long` the least data length, the two
    words of address included, that takes a length word of its own.
    """
    out, position = [], 5
    for op in ops:
        if isinstance(op, BlockWrite):
            before = head + (len(op.words) + 2 >= long)
            missing = (target(op) - position - before) % 4
            if missing:
                out.append(cdo.Nop(missing - 1))
            position += missing + before + len(op.words)
        else:
            position += sizes[type(op)] if type(op) in sizes else 1 + op.filler
        out.append(op)
    return out


def padded_twice(ops: list) -> list:
    wide = pad_once([cdo.Nop(), *ops], {Write: 4, MaskWrite: 5}, 3, 256, lambda op: 0)
    narrow = {Write: 3, MaskWrite: 4}
    return pad_once(wide, narrow, 3, 255, lambda op: op.address >> 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(register_op, max_size=12))
def test_padding_is_that_of_two_stages_one_after_the_other(ops: list) -> None:
    assert list(cdo.phase(ops)) == padded_twice(ops)


@pytest.mark.parametrize("count", range(250, 258))
def test_padding_around_the_lengths_where_the_stages_differ(count: int) -> None:
    ops = [BlockWrite(0x220000 + 4 * count, (0,) * count), Write(0, 0)] * 3
    assert list(cdo.phase(ops)) == padded_twice(ops)


def test_another_version_is_refused() -> None:
    head = (4, 0x004F4443, 0x201, 0)
    with pytest.raises(FormatError, match="version 0x201"):
        cdo.decode(struct.pack("<5I", *head, ~sum(head) & 0xFFFFFFFF), "x")


@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_public_designs_give_a_pdi_of_the_published_size(name: str) -> None:
    ops = golden.config(name)
    parts = golden.phases(ops)
    data = cdo.encode(op for part in parts for op in cdo.phase(part))
    assert len(written_pdi(data)) == golden.design(name)["pdi"]["bytes"]
    decoded = pdi.decode(written_pdi(data), name)
    assert list(cdo.register_ops(decoded.ops, name)) == ops


def test_tiles_of_addresses() -> None:
    assert tile_of(0x61A00C0) == (3, 1, 0xA00C0)
    assert tile_of(0x0021F010) == (0, 2, 0x1F010)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Write(1 << 32, 0),
        lambda: Write(-4, 0),
        lambda: Write(2, 0),
        lambda: Write(0, 1 << 32),
        lambda: MaskWrite(0, -1, 0),
        lambda: BlockWrite(0, (0, 1 << 32)),
        lambda: cdo.Fill(0, -1, 0),
    ],
)
def test_operations_that_do_not_fit_are_refused(make) -> None:
    with pytest.raises(RegisterError):
        make()
