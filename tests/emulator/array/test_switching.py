"""Stream switches: broadcast, back-pressure, packets, and routes that lead nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from board import CORE, MEM, MM2S, OWN, S2MM, SHIM, Board, through_memtile

from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.timing import CROSSING_WORDS, EGRESS_WORDS, INGRESS_WORDS


def numbered(count):
    return np.arange(1, count + 1, dtype=np.uint32)


def memory(machine, tile, base, count):
    at = machine.layout.memory_base[tile] // 4 + base
    return machine.arena.bytes.view(np.uint32)[at : at + count]


def broadcast(words, second_lock):
    """Shim to two channels of a memtile at once; the second needs lock 9 of the memtile."""
    board = Board()
    board.shim_ports()
    board.circuit(SHIM, "South3", "North0")
    board.circuit(MEM, "South0", "DMA0")
    board.circuit(MEM, "South0", "DMA2")
    board.lock(MEM, 9, second_lock)
    board.bd(MEM, 0, Buffer_Length=words, Base_Address=0x20000)
    board.bd(
        MEM, 1, Buffer_Length=words, Base_Address=0x20000 + 1000, Lock_Acq_Enable=1,
        Lock_Acq_ID=OWN + 9, Lock_Acq_Value=-1,
    )  # fmt: skip
    board.task(MEM, S2MM, 0, 0)
    board.task(MEM, S2MM, 2, 1)
    board.transfer(MM2S, 0, 0, 0, words, token=True)
    board.token_route()
    board.sync(MM2S)
    return board


def test_broadcast_reaches_everybody():
    board = broadcast(100, second_lock=1)
    machine = board.machine()
    _, (data,) = board.run(numbered(100), machine=machine)
    machine.run(machine.now + 1000)
    for base in (0, 1000):
        np.testing.assert_array_equal(memory(machine, MEM, base, 100), data)


def test_a_broadcast_waits_for_the_slowest():
    """A receiver that does not take words stops the source once the stream is full."""
    words = 100
    machine = (board := broadcast(words, second_lock=0)).machine()
    outcome, _ = board.run(numbered(words), machine=machine)
    held = EGRESS_WORDS + INGRESS_WORDS + 2 * CROSSING_WORDS
    arrived = int(machine.state.channels[machine.channel(MEM, S2MM, 0)]["words"])
    assert held <= arrived + 1 and arrived <= held < words
    assert "waits for room in the stream" in outcome.hang
    assert "lock 9 of memtile (0,1) to reach 1; it is 0" in outcome.hang


def test_a_full_stream_holds_its_source_back():
    """The source goes on when the receiver does: it ends as late as the missing lock makes it."""
    words = 300
    board = broadcast(words, second_lock=0)
    sync = board.launch.pop()
    board.lock(MEM, 9, 1)
    board.launch += [board.setup.pop(), sync]
    machine = board.machine()
    outcome, _ = board.run(numbered(words), machine=machine)
    assert not outcome.hang
    machine.run(machine.now + 1000)
    receiver = machine.state.channels[machine.channel(MEM, S2MM, 2)]
    began = int(receiver["stall_lock"])  # it asked for its lock at cycle 4
    ended = int(machine.state.channels[machine.channel(SHIM, MM2S, 0)]["clock"])
    held = EGRESS_WORDS + INGRESS_WORDS + 2 * CROSSING_WORDS
    assert began > 28_500
    assert ended >= began + words - held
    assert words <= int(receiver["clock"]) - began <= words * 1.06 + 10


def test_streams_move_one_word_a_cycle():
    """Twice the words take twice the cycles, give or take the shim's slip of one in twenty."""
    cycles = []
    for count in (2000, 4000):
        board = through_memtile(count // 4)
        board.transfer(MM2S, 0, 0, 0, count)
        board.transfer(S2MM, 0, 1, 1, count, token=True)
        board.sync()
        outcome, _ = board.run(numbered(count), count)
        cycles.append(outcome.cycles)
    assert 2000 <= cycles[1] - cycles[0] <= 2000 * 1.06 or cycles[0] == cycles[1]


def packets(drop):
    """Two core tiles send packets over one link to the memtile, which keeps 4 of them."""
    board = Board()
    board.shim_ports()
    from whisper_npu_cli.aie.facts.topology import Tile

    upper = Tile(0, 3)
    board.slot(upper, "DMA0", 0, packet=7, arbiter=0, msel=0)
    board.packet_master(upper, "South1", 0, 1, drop=False)
    board.slot(CORE, "North1", 0, packet=7, arbiter=2, msel=1)
    board.slot(CORE, "DMA0", 0, packet=3, arbiter=2, msel=1)
    board.packet_master(CORE, "South2", 2, 2, drop=drop)
    board.circuit(MEM, "North2", "DMA0")
    size = 8 if drop else 9
    board.bd(MEM, 0, Buffer_Length=size * 4, Base_Address=0x20000)
    board.task(MEM, S2MM, 0, 0)
    for tile, packet, first in ((upper, 7, 700), (CORE, 3, 300)):
        board.data(tile, 0, np.arange(first, first + 16))
        board.bd(
            tile, 0, Buffer_Length=8, Base_Address=0, Enable_Packet=1, Packet_ID=packet,
            Packet_Type=1, Use_Next_BD=1, Next_BD=1,
        )  # fmt: skip
        board.bd(tile, 1, Buffer_Length=8, Base_Address=8, Enable_Packet=1, Packet_ID=packet)
        board.task(tile, MM2S, 0, 0)
    machine = board.machine()
    machine.run(5000)
    return memory(machine, MEM, 0, size * 4).reshape(4, size)


def test_packets_are_never_mixed():
    rows = packets(drop=True)
    assert (np.diff(rows, axis=1) == 1).all()
    assert sorted(int(row[0]) for row in rows) == [300, 308, 700, 708]


def test_a_kept_header_has_odd_parity_type_source_and_id():
    for row in packets(drop=False):
        header, core_row = int(row[0]), 3 if row[1] >= 700 else 2
        assert header.bit_count() % 2 == 1
        assert header & 31 == (7 if core_row == 3 else 3)
        assert header >> 12 & 7 == (1 if row[1] in (300, 700) else 0)
        assert (header >> 21 & 127, header >> 16 & 31) == (1, core_row)


def test_a_channel_without_a_route_is_refused():
    board = Board()
    board.data(CORE, 0, [1])
    board.bd(CORE, 0, Buffer_Length=1)
    board.task(CORE, MM2S, 0, 0)
    with pytest.raises(EmulationError, match=r"core tile \(0,2\) MM2S channel 0 sends, and no"):
        board.machine().run(100)


def test_a_packet_id_without_a_slot_is_refused():
    board = Board()
    board.data(CORE, 0, [1])
    board.slot(CORE, "DMA0", 0, packet=3, arbiter=0, msel=0)
    board.packet_master(CORE, "South0", 0, 1, drop=True)
    board.circuit(MEM, "North0", "DMA0")
    board.bd(CORE, 0, Buffer_Length=1, Enable_Packet=1, Packet_ID=4)
    board.task(CORE, MM2S, 0, 0)
    with pytest.raises(EmulationError, match="no stream route leads on for packet id 4"):
        board.machine().run(100)
