import struct

import golden_designs as golden
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, RegisterError, Write
from whisper_npu_cli.aie.formats.sequence import AddressPatch, MaskPoll, Noop, Sync
from whisper_npu_cli.aie.formats.view import FormatError

# The stream of a published 32x32 matrix multiply, as the shared facts print it (5.6)
PUBLISHED = """
6030100 104 8 12c
1 0 1d020 30 200 0 0 0 80000000 2000000 0 2000000
81 30 0 0 0 0 1d024 0 0 0 0 0
0 0 1d214 0 1 18
1 0 1d000 30 100 0 0 0 80000000 2000000 0 2000000
81 30 0 0 0 0 1d004 0 1 0 0 0
3 0 1d200 0 f00 1f00 1c
0 0 1d204 0 80000000 18
80 10 0 10100
"""
WORDS = tuple(int(text, 16) for text in PUBLISHED.split())


def words_in(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"<{len(data) // 4}I", data)


word, byte = st.integers(0, 0xFFFFFFFF), st.integers(0, 255)
address = st.integers(0, 0x3FFFFFFF).map(lambda value: value * 4)
op = (
    st.builds(Write, address, word)
    | st.builds(MaskWrite, address, word, word)
    | st.builds(BlockWrite, address, st.binary(max_size=40).map(words_in))
    | st.builds(AddressPatch, address, word, word)
    | st.builds(Sync, byte, byte, st.integers(0, 1), byte, byte, byte)
    | st.builds(MaskPoll, address, word, word)
    | st.just(Noop())
)


def test_a_published_stream_word_for_word() -> None:
    ops = (
        BlockWrite(0x1D020, (0x200, 0, 0, 0, 0x80000000, 0x2000000, 0, 0x2000000)),
        AddressPatch(0x1D024, 0, 0),
        Write(0x1D214, 1),
        BlockWrite(0x1D000, (0x100, 0, 0, 0, 0x80000000, 0x2000000, 0, 0x2000000)),
        AddressPatch(0x1D004, 1, 0),
        MaskWrite(0x1D200, 0x1F00, 0xF00),
        Write(0x1D204, 0x80000000),
        Sync(0, 0, sequence.S2MM, 0),
    )
    assert sequence.encode(ops, 4) == WORDS
    assert sequence.decode(sequence.to_bytes(WORDS), "x") == sequence.Stream(4, ops)


def test_a_sync_of_mlir_aies_own_tests() -> None:
    # shared facts 5.7: column 3, row 4, MM2S, channel 5, 2 rows, 1 column
    sync = Sync(column=3, row=4, direction=sequence.MM2S, channel=5, columns=1, rows=2)
    assert sequence.words_of(sync) == (0x80, 0x10, 0x30401, 0x5010200)


@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_public_streams_come_back_word_for_word(name: str) -> None:
    words = golden.stream_words(name)
    stream = sequence.decode(struct.pack(f"<{len(words)}I", *words), name)
    assert sequence.encode(stream.ops, stream.columns) == words
    assert not {type(op) for op in stream.ops} & {Noop, MaskPoll}


@settings(max_examples=50, deadline=None)
@given(st.lists(op, max_size=15), st.integers(1, 5))
def test_decode_inverts_encode(ops: list, columns: int) -> None:
    words = sequence.encode(ops, columns)
    assert sequence.decode(sequence.to_bytes(words), "x") == sequence.Stream(columns, tuple(ops))


def changed(index: int, value: int) -> bytes:
    """The published stream with one word replaced."""
    return sequence.to_bytes((*WORDS[:index], value, *WORDS[index + 1 :]))


@pytest.mark.parametrize(
    ("index", "value", "says"),
    [
        (0, 0x06040100, "not a stream for npu1"),
        (1, 0x204, "not a stream for npu1"),
        (1, 0x100, "0 columns"),
        (1, 0x106, "6 columns"),
        (2, 7, "states 7 operations, there are 8"),
        (3, 0x130, "states 304 bytes, there are 300"),
        (4, 0x42, "not known"),
        (4, 8, "LOADPDI"),
        (7, 0x2E, "46 bytes"),
        (7, 0xFFFFFFFC, "claims"),
        (7, 8, "states 8 bytes"),
        (17, 44, "states 44 bytes where 48 belong"),
        (21, 1, "beyond 32 bits"),
        (23, 1, "beyond 32 bits"),
        (25, 1, "beyond 32 bits"),
        (27, 1, "beyond 32 bits"),
        (61, 1, "beyond 32 bits"),
        (31, 1, "beyond 32 bits"),
        (33, 20, "states 20 bytes where 24 belong"),
        (30, 0x1D215, "multiple of 4"),
        (73, 2, "direction 0 or 1"),
    ],
)
def test_damaged_streams_are_refused(index: int, value: int, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        sequence.decode(changed(index, value), "x")


def test_a_stream_cut_short_is_refused_at_every_length() -> None:
    for size in range(300):
        data = bytearray(sequence.to_bytes(WORDS)[:size])
        with pytest.raises(FormatError):
            sequence.decode(bytes(data), "x")
        if size >= 16:  # and also when its header owns up to the new length
            data[12:16] = struct.pack("<I", size)
            with pytest.raises(FormatError):
                sequence.decode(bytes(data), "x")


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(FormatError, match="6 columns"):
        sequence.encode([], 6)
    for fields in ((0, 0, 2, 0), (256, 0, 0, 0), (0, 0, 0, -1)):
        with pytest.raises(RegisterError):
            Sync(*fields)
    with pytest.raises(RegisterError):
        AddressPatch(0x1D004, -1, 0)
