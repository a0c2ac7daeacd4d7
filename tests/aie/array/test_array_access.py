"""Access patterns against numpy's strided views, and what descriptors make of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_npu_cli.aie.array.access import Access, AccessError, linear
from whisper_npu_cli.aie.array.design import DesignError
from whisper_npu_cli.aie.array.dma import decode, encode, pattern
from whisper_npu_cli.aie.array.explain import BdState, explain
from whisper_npu_cli.aie.facts.tile_registers import bd_layout, register
from whisper_npu_cli.aie.facts.topology import FACTS, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import BlockWrite

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TILES = {TileKind.SHIM: Tile(1, 0), TileKind.MEM: Tile(1, 1), TileKind.CORE: Tile(1, 2)}


def strided(access: Access) -> list[int]:
    """The same elements by numpy's own stride arithmetic."""
    span = np.arange(access.end // access.element_bytes)
    view = np.lib.stride_tricks.as_strided(
        span[access.offset :],
        access.sizes,
        tuple(s * span.itemsize for s in access.strides),
        writeable=False,
    )
    return view.ravel().tolist()


@st.composite
def accesses(draw, most: int = 4, element_bytes: int | None = None, least_stride: int = 0):
    rank = draw(st.integers(1, most))
    per = draw(st.sampled_from([1, 2, 4])) if element_bytes is None else 4 // element_bytes
    sizes = [draw(st.integers(1, 5)) for _ in range(rank)]
    strides = [draw(st.integers(least_stride, 30)) * per for _ in range(rank)]
    if per > 1:
        sizes[-1], strides[-1] = sizes[-1] * per, 1
    offset = draw(st.integers(0, 9)) * per
    return Access(tuple(sizes), tuple(strides), offset, 4 // per)


@QUICK
@given(accesses())
def test_indices_are_those_of_a_strided_view(access: Access) -> None:
    assert list(access.indices()) == strided(access)
    assert access.bytes == len(strided(access)) * access.element_bytes


@QUICK
@given(accesses())
def test_words_walk_the_same_bytes(access: Access) -> None:
    per = 4 // access.element_bytes
    words = [i * per + k for i in strided(access.words()) for k in range(per)]
    assert words == strided(access)


@QUICK
@given(accesses(), st.integers(1, 4), st.integers(1, 6))
def test_reduced_and_fitted_keep_the_order(access: Access, dimensions: int, wrap: int) -> None:
    reduced = access.reduced(dimensions)
    assert strided(reduced) == strided(access)
    assert len(reduced.sizes) <= len(access.sizes)
    fitted = reduced.fitted(dimensions, wrap)
    assert strided(fitted) == strided(access)
    assert len(fitted.sizes) <= max(dimensions, len(reduced.sizes))


def test_contiguous_becomes_one_dimension() -> None:
    assert Access((1, 4, 8), (99, 8, 1)).reduced(3) == linear(4 * 32)


def test_a_dimension_of_one_is_kept_where_there_is_room() -> None:
    """As published designs have it; outermost ones carry nothing and go."""
    access = Access((1, 32, 16, 1), (512, 1, 32, 1))
    assert access.reduced(3) == Access((32, 16, 1), (1, 32, 1))
    assert access.reduced(2) == Access((32, 16), (1, 32))


def test_too_many_dimensions_are_merged() -> None:
    access = Access((2, 3, 4, 5), (480, 160, 40, 8))
    assert access.reduced(4) == access
    assert access.reduced(3) == Access((120,), (8,))


@pytest.mark.parametrize("kind", list(TileKind))
@QUICK
@given(st.data())
def test_a_descriptor_walks_as_asked(kind: TileKind, data: st.DataObject) -> None:
    """Encode, write, read back through `explain`, walk: the elements are the pattern's."""
    access = data.draw(accesses(FACTS[kind].dimensions, least_stride=1))
    tile = TILES[kind]
    fields = pattern(tile, access)
    at = tile.column << 25 | tile.row << 20 | register(kind, "DMA_BD{}_0").at(3)
    (bd,) = explain([BlockWrite(at, encode(kind, fields))])[tile].bds
    assert walked(bd) == [i - access.words().offset for i in strided(access.words())]
    assert bd.length_bytes == access.bytes


def walked(bd: BdState) -> list[int]:
    offsets = np.zeros((1,), int)
    for size, step in bd.dims:
        offsets = (offsets[:, None] + step * np.arange(size)[None, :]).ravel()
    return offsets.tolist()


def test_a_long_row_is_split_where_a_dimension_is_left() -> None:
    fields = pattern(TILES[TileKind.SHIM], Access((64, 2560), (4096, 1)))
    assert (fields["D0_Wrap"], fields["D1_Wrap"]) == (640, 4)
    assert (fields["D0_Stepsize"], fields["D1_Stepsize"], fields["D2_Stepsize"]) == (0, 639, 4095)


@pytest.mark.parametrize("kind", list(TileKind))
@QUICK
@given(st.data())
def test_descriptor_fields_round_trip(kind: TileKind, data: st.DataObject) -> None:
    zero = decode(kind, (0,) * FACTS[kind].bd_words)
    fields = {name: data.draw(st.integers(*_range(kind, name)), label=name) for name in zero}
    assert decode(kind, encode(kind, fields)) == fields
    words = tuple(data.draw(st.integers(0, 2**32 - 1)) for _ in range(FACTS[kind].bd_words))
    again = encode(kind, decode(kind, words))
    assert decode(kind, again) == decode(kind, words)


def _range(kind: TileKind, name: str) -> tuple[int, int]:
    return bd_layout(kind)[name][1].range


def test_memtile_descriptor_of_mlir_aie() -> None:
    """Raw fields and words: mlir-aie test/Targets/NPU, as shared facts 5.7 quote them."""
    fields = {
        "Buffer_Length": 1, "Base_Address": 2, "Next_BD": 5, "Use_Next_BD": 1,
        "D0_Stepsize": 5, "D0_Wrap": 6, "D1_Stepsize": 7, "D1_Wrap": 8, "D2_Stepsize": 9,
        "Iteration_Current": 11, "Iteration_Wrap": 13, "Iteration_Stepsize": 12, "Valid_BD": 1,
        "Lock_Acq_Enable": 1, "Lock_Acq_ID": 1, "Lock_Acq_Value": 2, "Lock_Rel_ID": 3,
        "Lock_Rel_Value": 4,
    }  # fmt: skip
    expected = (0x1, 0x580002, 0xC0005, 0x100007, 0x9, 0x0, 0x59A000C, 0x84038201)
    assert encode(TileKind.MEM, fields) == expected
    at = 3 << 25 | 1 << 20 | register(TileKind.MEM, "DMA_BD{}_0").at(6)
    assert at == 0x61A00C0


@pytest.mark.parametrize(
    ("access", "says"),
    [
        (lambda: Access((3, 4), (1,)), "one stride for each size"),
        (lambda: Access((0,), (1,)), "sizes of 1 or more"),
        (lambda: Access((3,), (-1,)), "may not be negative"),
        (lambda: Access((3,), (1,), element_bytes=8), "1, 2 or 4 bytes"),
        (lambda: Access((3,), (1,), before=(1, 2)), "one number of zeros"),
        (lambda: Access((3,), (1,), element_bytes=2).words(), "cuts 32-bit words"),
        (lambda: Access((4,), (2,), element_bytes=2).words(), "0 2 4 6"),
        (lambda: linear(6), "multiples of 4"),
    ],
)
def test_contradictions_are_refused(access, says: str) -> None:
    with pytest.raises(AccessError, match=says):
        access()


@pytest.mark.parametrize(
    ("kind", "access", "says"),
    [
        (TileKind.CORE, Access((2, 2, 2, 2), (500, 200, 30, 3)), "needs 4 dimensions.* has 3"),
        (TileKind.MEM, Access((2,) * 5, (900, 300, 90, 20, 3)), "needs 5 dimensions.* has 4"),
        (TileKind.CORE, Access((2, 257), (1000, 2)), "D0_Wrap would be 257.* to 255"),
        (TileKind.CORE, Access((2, 4), (8193, 1)), "D1_Stepsize would be 8192"),
        (TileKind.CORE, Access((1 << 14,), (1,)), "Buffer_Length would be 16384"),
        (TileKind.CORE, Access((2, 3), (0, 1)), "D1_Stepsize would be -1"),
        (TileKind.CORE, Access((2, 3), (3, 1), before=(0, 1)), "only a memtile pads"),
        (TileKind.MEM, Access((2, 3), (3, 1), before=(0, 64)), "D0_Zero_Before would be 64"),
    ],
)
def test_patterns_beyond_the_hardware_are_refused(kind, access, says: str) -> None:
    with pytest.raises(DesignError, match=says) as refused:
        pattern(TILES[kind], access)
    assert str(TILES[kind]) in str(refused.value)


def test_picture() -> None:
    assert Access((2, 3), (8, 1), 4).picture() == "4 5 6 | 12 13 14"
    assert Access((1, 2), (8, 1), before=(0, 1)).picture() == "· 0 1"
    assert Access((99,), (1,)).picture(3) == "0 1 2 ..."
