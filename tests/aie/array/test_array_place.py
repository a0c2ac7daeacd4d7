"""Placement: no overlaps, banks, numbers, and what cores see of themselves and their neighbours."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whisper_npu_cli.aie.array.access import linear
from whisper_npu_cli.aie.array.design import Bd, Design, DesignError, LockUse
from whisper_npu_cli.aie.array.dma import decode
from whisper_npu_cli.aie.array.lower import lower
from whisper_npu_cli.aie.array.place import ALIGNMENT, place
from whisper_npu_cli.aie.array.route import Routes
from whisper_npu_cli.aie.facts.topology import FACTS, Direction, Tile, TileKind
from whisper_npu_cli.aie.formats.registers import BlockWrite, Write

CORE = Tile(1, 3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 30_000), max_size=8), st.sampled_from([CORE, Tile(1, 1)]))
def test_buffers_never_overlap_and_only_lack_of_room_is_refused(sizes, tile: Tile) -> None:
    d = Design("d")
    d.core(*CORE)
    for i, size in enumerate(sizes):
        d.buffer(f"b{i}", tile, size, group=f"g{i // 2}")
    used = [1024] if tile is CORE else []
    room = FACTS[tile.kind].data_bytes
    try:
        placed = place(d)
    except DesignError:
        assert sum(used) + sum(-(-s // ALIGNMENT) * ALIGNMENT for s in sizes) > room
        return
    ranges = sorted((a, a + b.size) for b, a in placed.addresses.items())
    ranges = [(0, sum(used)), *ranges]
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))
    assert ranges[-1][1] <= room
    assert all(a % ALIGNMENT == 0 for a in placed.addresses.values())


def test_groups_get_banks_of_their_own() -> None:
    d = Design("d")
    d.core(*CORE)
    for group in "abc":
        for i in range(2):
            d.buffer(f"{group}{i}", CORE, 6000, group=group)
    placed = place(d)
    banks: dict[str, set[int]] = {g: set() for g in "abc"}
    for b, at in placed.addresses.items():
        assert at // 0x4000 == (at + b.size - 1) // 0x4000
        banks[b.group].add(at // 0x4000)
    assert sorted(map(len, banks.values())) == [1, 1, 1]
    assert len(set.union(*banks.values())) == 3


def test_a_buffer_larger_than_a_bank_is_placed() -> None:
    d = Design("d")
    d.core(*CORE)
    d.buffer("small", CORE, 6000)
    d.buffer("large", CORE, 40_000)
    placed = place(d)
    assert placed.addresses[placed.buffer(CORE, "large")] == 1024


def test_memtile_chains_take_numbers_of_their_parity() -> None:
    d = Design("d")
    mem = d.mem(0)
    bd = Bd(d.buffer("a", mem, 64), linear(64))
    for channel in range(6):
        d.dma(mem, Direction.S2MM, channel, [bd] * 3)
    ids = place(d).bd_ids
    for channel in range(6):
        numbers = ids[mem, Direction.S2MM, channel]
        assert all((n >= 24) == (channel % 2 == 1) for n in numbers)
    assert len({n for numbers in ids.values() for n in numbers}) == 18


def test_given_numbers_are_kept_and_others_avoid_them() -> None:
    d = Design("d")
    tile = d.core(*CORE)
    b = d.buffer("a", tile, 64, address=4096)
    locks = [d.lock("x", tile), d.lock("y", tile, id=0), d.lock("z", tile)]
    d.dma(tile, Direction.S2MM, 0, [Bd(b, linear(4), id=1), Bd(b, linear(4))])
    placed = place(d)
    assert [placed.lock_ids[k] for k in locks] == [1, 0, 2]
    assert placed.bd_ids[tile, Direction.S2MM, 0] == (1, 0)
    assert placed.addresses[b] == 4096


def test_cores_see_neighbours_in_windows() -> None:
    """Windows and lock ids: shared facts 4.4 and 4.9 (AM020; llvm-aie and mlir-aie agree)."""
    d = Design("d")
    tiles = {"own": CORE, "south": Tile(1, 2), "west": Tile(0, 3), "north": Tile(1, 4)}
    for tile in tiles.values():
        d.core(*tile)
        d.buffer("b", tile, 64, address=0x2000)
        d.lock("l", tile, id=5)
    view = place(d).core(CORE)
    expected = {"south": (0x42000, 5), "west": (0x52000, 21), "north": (0x62000, 37)}
    expected["own"] = (0x72000, 53)
    for where, (address, lock) in expected.items():
        assert view.buffer("b", tiles[where]).address == address
        assert view.lock("l", tiles[where]) == lock
    assert view.buffer("b").address == 0x72000
    for out_of_reach in (Tile(2, 3), Tile(1, 1), Tile(0, 2)):
        if out_of_reach.kind is TileKind.CORE:
            d.core(*out_of_reach)
        d.buffer("b", out_of_reach, 64)
        with pytest.raises(DesignError, match=r"the core of core tile \(1,3\) cannot reach"):
            place(d).core(CORE).buffer("b", out_of_reach)


def test_a_memtile_sees_its_own_memory_and_locks_behind_its_west_neighbours() -> None:
    """Base 0x80000 and lock 64: shared facts 4.3, AM025, and every published memtile design."""
    d = Design("d")
    mem = d.mem(2)
    buffer = d.buffer("a", mem, 64, address=0x100)
    free, filled = d.lock("free", mem, 1, id=2), d.lock("filled", mem, id=5)
    d.dma(mem, Direction.S2MM, 0, [Bd(buffer, linear(64), LockUse(free), LockUse(filled))])
    ops = lower(place(d), Routes(), {}).init
    assert [op for op in ops if op.address == 0x41C0020] == [Write(0x41C0020, 1)]
    (block,) = [op for op in ops if isinstance(op, BlockWrite)]
    assert block.address == 0x41A0000
    fields = decode(TileKind.MEM, block.words)
    assert fields["Base_Address"] == 0x80100 // 4
    assert (fields["Lock_Acq_ID"], fields["Lock_Acq_Value"]) == (64 + 2, -1)
    assert (fields["Lock_Rel_ID"], fields["Lock_Rel_Value"]) == (64 + 5, 1)
