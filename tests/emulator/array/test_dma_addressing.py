"""Access patterns of descriptors against numpy indexing, through the memtile and the shim."""

from __future__ import annotations

import numpy as np
import pytest
from board import CORE, MEM, MM2S, OWN, S2MM, SHIM, Board, through_memtile
from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_npu_cli.emulator.fault import EmulationError

FEW = settings(max_examples=15, deadline=None)


def numbered(count):
    return np.arange(1, count + 1, dtype=np.uint32)


def offsets(sizes, steps):
    """Word offsets of a pattern, sizes and steps innermost first, as numpy counts them."""
    places = np.zeros((1,) * len(sizes), np.int64)
    for d, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        shape = [1] * len(sizes)
        shape[-1 - d] = size
        places = places + (np.arange(size) * step).reshape(shape)
    return places.ravel()


def dims(sizes, steps, last):
    """BD fields: a wrap for every dimension but number `last`, which has none."""
    fields = {f"D{d}_Stepsize": step - 1 for d, step in enumerate(steps)}
    return fields | {f"D{d}_Wrap": size for d, size in enumerate(sizes) if d < last}


def patterns(most):
    def with_steps(sizes):
        steps = st.tuples(*(st.integers(1, 7) for _ in sizes))
        return st.tuples(st.just(sizes), steps)

    sizes = st.lists(st.integers(1, 4), min_size=most, max_size=most)
    return sizes.map(tuple).flatmap(with_steps)


@FEW
@given(patterns(4))
def test_memtile_reads_in_four_dimensions(pattern):
    sizes, steps = pattern
    places = offsets(sizes, steps)
    count, held = len(places), int(places.max()) + 1
    board = through_memtile(held, to_stream={"Buffer_Length": count, **dims(sizes, steps, 3)})
    board.transfer(MM2S, 0, 0, 0, held)
    board.transfer(S2MM, 0, 1, 1, count)
    board.sync()
    data = numbered(held)
    _, (_, out) = board.run(data, count)
    np.testing.assert_array_equal(out, data[places])


@FEW
@given(patterns(3))
def test_shim_writes_in_three_dimensions(pattern):
    sizes, steps = pattern
    places = offsets(sizes, steps)
    count = len(places)
    board = through_memtile(count)
    board.transfer(MM2S, 0, 0, 0, count)
    board.transfer(S2MM, 0, 1, 1, count, **dims(sizes, steps, 2))
    board.sync()
    data, expected = numbered(count), np.zeros(int(places.max()) + 1, np.uint32)
    expected[places] = data  # of several writes to a place the last one stays
    _, (_, out) = board.run(data, len(expected))
    np.testing.assert_array_equal(out, expected)


@FEW
@given(patterns(3), st.integers(1, 3), st.integers(1, 9))
def test_shim_iterates_with_the_repeat_count(pattern, times, step):
    sizes, steps = pattern
    once = offsets(sizes, steps)
    places = np.concatenate([once + i * step for i in range(times)])
    count = len(places)
    board = through_memtile(count)
    board.transfer(
        MM2S, 0, 0, 0, len(once), repeat=times, Iteration_Wrap=times - 1,
        Iteration_Stepsize=step - 1, **dims(sizes, steps, 2),
    )  # fmt: skip
    board.transfer(S2MM, 0, 1, 1, count)
    board.sync()
    data = numbered(int(places.max()) + 1)
    _, (_, out) = board.run(data, count)
    np.testing.assert_array_equal(out, data[places])


@FEW
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
def test_padding_is_that_of_numpy(sizes, zeros):
    before, after = zeros[:3], zeros[3:]
    block = numbered(int(np.prod(sizes))).reshape(sizes[::-1])
    expected = np.pad(block, [(before[d], after[d]) for d in (2, 1, 0)])
    steps = (1, sizes[0], sizes[0] * sizes[1])
    fields = dims(sizes, steps, 3)
    for d in range(3):
        fields[f"D{d}_Zero_Before"], fields[f"D{d}_Zero_After"] = before[d], after[d]
    board = through_memtile(block.size, to_stream={"Buffer_Length": expected.size, **fields})
    board.transfer(MM2S, 0, 0, 0, block.size)
    board.transfer(S2MM, 0, 1, 1, expected.size)
    board.sync()
    _, (_, out) = board.run(block.ravel(), expected.size)
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize("count", [5, 7, 8])
def test_a_pattern_may_end_inside_a_row(count):
    """Rows of 3 of which the last is cut off; the bound check must not count its missing words."""
    size = 0x80000 // 4
    board = through_memtile(
        count,
        to_memory={"Base_Address": 0x20000 + size - 2 - 100 * (count - 1) // 3, "D0_Wrap": 3,
                   "D1_Stepsize": 99},
        to_stream={"Base_Address": 0x20000 + size - 2 - 100 * (count - 1) // 3, "D0_Wrap": 3,
                   "D1_Stepsize": 99},
    )  # fmt: skip
    board.transfer(MM2S, 0, 0, 0, count)
    board.transfer(S2MM, 0, 1, 1, count)
    board.sync()
    if (count - 1) % 3 == 2:  # a whole last row reaches one word too far
        with pytest.raises(EmulationError, match="past the end of its memory"):
            board.run(numbered(count), count)
    else:
        _, (data, out) = board.run(numbered(count), count)
        np.testing.assert_array_equal(out, data)


def test_a_chain_visits_its_descriptors_in_turn():
    """Two receiving buffers of a core tile in a ring, sent back as one."""
    board = Board()
    board.shim_ports()
    board.token_route()
    for tile, into, out in ((SHIM, "South3", "North0"), (MEM, "South0", "North0")):
        board.circuit(tile, into, out)
    board.circuit(CORE, "South0", "DMA0")
    board.circuit(CORE, "DMA1", "South0")
    board.circuit(MEM, "North0", "South0")
    board.circuit(SHIM, "North0", "South2")
    board.lock(CORE, 0, 2)
    for n, base in ((0, 0x100), (1, 0x200)):
        board.bd(
            CORE, n, Buffer_Length=4, Base_Address=base, Lock_Acq_Enable=1, Lock_Acq_ID=0,
            Lock_Acq_Value=-1, Lock_Rel_ID=1, Lock_Rel_Value=1, Use_Next_BD=1, Next_BD=1 - n,
        )  # fmt: skip
        board.bd(
            CORE, 2 + n, Buffer_Length=4, Base_Address=base, Lock_Acq_Enable=1, Lock_Acq_ID=1,
            Lock_Acq_Value=-1, Lock_Rel_ID=0, Lock_Rel_Value=1, Use_Next_BD=1, Next_BD=3 - n,
        )  # fmt: skip
    board.task(CORE, S2MM, 0, 0)
    board.task(CORE, MM2S, 1, 2)
    board.transfer(MM2S, 0, 0, 0, 24)
    board.transfer(S2MM, 0, 1, 1, 24)
    board.sync()
    machine = board.machine()
    _, (data, out) = board.run(numbered(24), 24, machine=machine)
    np.testing.assert_array_equal(out, data)
    base = machine.layout.memory_base[CORE] // 4
    held = machine.arena.bytes.view(np.uint32)
    np.testing.assert_array_equal(held[base + 0x100 :][:4], data[16:20])
    np.testing.assert_array_equal(held[base + 0x200 :][:4], data[20:24])


def test_a_memtile_reaches_its_neighbour():
    """Column 0 writes into column 1's memory, under column 1's locks; column 1 sends it down."""
    from whisper_npu_cli.aie.facts.topology import Tile

    east_shim, east = Tile(1, 0), Tile(1, 1)
    board = Board(2)
    board.shim_ports()
    board.shim_ports(east_shim)
    board.token_route(east_shim)
    board.circuit(SHIM, "South3", "North0")
    board.circuit(MEM, "South0", "DMA0")
    board.circuit(east, "DMA0", "South0")
    board.circuit(east_shim, "North0", "South2")
    board.lock(east, 5, 1)
    board.bd(
        MEM, 0, Buffer_Length=16, Base_Address=2 * 0x20000 + 7, Lock_Acq_Enable=1,
        Lock_Acq_ID=2 * OWN + 5, Lock_Acq_Value=-1, Lock_Rel_ID=2 * OWN + 6, Lock_Rel_Value=1,
    )  # fmt: skip
    board.bd(
        east, 0, Buffer_Length=16, Base_Address=0x20000 + 7, Lock_Acq_Enable=1,
        Lock_Acq_ID=OWN + 6, Lock_Acq_Value=-1,
    )  # fmt: skip
    board.task(MEM, S2MM, 0, 0)
    board.task(east, MM2S, 0, 0)
    board.transfer(MM2S, 0, 0, 0, 16)
    board.transfer(S2MM, 0, 1, 1, 16, tile=east_shim)
    board.sync(tile=east_shim)
    _, (data, out) = board.run(numbered(16), 16)
    np.testing.assert_array_equal(out, data)
