"""Cores as the array drives them: locks, streams, cascade, neighbours' memory, several at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from board import CORE, MEM, MM2S, S2MM, SHIM, Board

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.trace import Trace

UPPER = Tile(0, 3)
NOPS = "nop\n" * 6
FREE_IN, FULL_IN, FREE_OUT, FULL_OUT = range(4)
SOURCE, TARGET = 0x400, 0x800

# for ever: add 1 to a word of SOURCE, into TARGET; locks as numbered from `base`
ADD_ONE = f"""
    movx r0, #-1
    movx r1, #1
    movxm p0, #{{source}}
    movxm p1, #{{target}}
.p2align 4
top:
    acq #{{locks_in}}+1, r0
    acq #{{locks_out}}+2, r0
    lda r2, [p0, #0]
    {NOPS}
    add r2, r2, #1
    st r2, [p1, #0]
    {NOPS}
    rel #{{locks_in}}+0, r1
    rel #{{locks_out}}+3, r1
    j #top
    {NOPS}
"""


def add_one(source=0x70000, target=0x70000, locks_in=48, locks_out=48):
    """The program with its windows and locks; sums written out, the assembler does not add."""
    text = ADD_ONE.format(
        source=source + SOURCE, target=target + TARGET, locks_in=locks_in, locks_out=locks_out
    )
    for base in {locks_in, locks_out}:
        for n in range(4):
            text = text.replace(f"#{base}+{n}", f"#{base + n}")
    return text


def program(board, tile, text):
    code = assemble(parse(text)).code
    code += bytes(-len(code) % 4)
    board.data(tile, 0x20000, np.frombuffer(code, "<u4"))
    board.write(tile, "Core_Control", Reset=1)
    board.write(tile, "Core_Control")
    board.write(tile, "Core_Control", Enable=1)


def streams(board, receiver=CORE, sender=CORE):
    """Host to the receiver's channel 0, the sender's channel 0 to the host."""
    board.shim_ports()
    board.token_route()
    board.circuit(SHIM, "South3", "North1")
    board.circuit(MEM, "South1", "North1")
    board.circuit(SHIM, "North0", "South2")
    board.circuit(MEM, "North0", "South0")
    if receiver == UPPER:
        board.circuit(CORE, "South1", "North1")
    if sender == UPPER:
        board.circuit(CORE, "North0", "South0")
    board.circuit(receiver, "South1", "DMA0")
    board.circuit(sender, "DMA0", "South0")


def buffers(board, receiver=CORE, sender=CORE):
    """One word at SOURCE and one at TARGET, each with a free and a full lock."""
    board.lock(receiver, FREE_IN, 1)
    board.lock(sender, FREE_OUT, 1)
    board.bd(
        receiver, 0, Buffer_Length=1, Base_Address=SOURCE // 4, Lock_Acq_Enable=1,
        Lock_Acq_ID=FREE_IN, Lock_Acq_Value=-1, Lock_Rel_ID=FULL_IN, Lock_Rel_Value=1,
        Use_Next_BD=1, Next_BD=0,
    )  # fmt: skip
    board.bd(
        sender, 1, Buffer_Length=1, Base_Address=TARGET // 4, Lock_Acq_Enable=1,
        Lock_Acq_ID=FULL_OUT, Lock_Acq_Value=-1, Lock_Rel_ID=FREE_OUT, Lock_Rel_Value=1,
        Use_Next_BD=1, Next_BD=1,
    )  # fmt: skip
    board.task(receiver, S2MM, 0, 0)
    board.task(sender, MM2S, 0, 1)


def through(board, count=6):
    board.transfer(MM2S, 0, 0, 0, count)
    board.transfer(S2MM, 0, 1, 1, count)
    board.sync()


def check(board, count=6):
    through(board, count)
    machine = board.machine()
    data = np.arange(1, count + 1, dtype=np.uint32)
    outcome, (_, out) = board.run(data, count, machine=machine)
    assert not outcome.hang, outcome.hang
    np.testing.assert_array_equal(out, data + 1)
    return machine


def test_a_core_between_two_buffers():
    board = Board()
    streams(board)
    buffers(board)
    program(board, CORE, add_one())
    machine = check(board)
    core = machine.cores.cores[CORE]
    assert core.stats["lock"] > 20_000  # it waited for the launch
    assert core.stats["bundles"] > 6 * 25


@pytest.mark.parametrize(
    ("core", "receiver", "sender", "windows"),
    [
        (UPPER, CORE, CORE, (0x40000, 0x40000, 0, 0)),  # both in the south
        (CORE, UPPER, CORE, (0x60000, 0x70000, 32, 48)),  # from the north
        (CORE, CORE, UPPER, (0x70000, 0x60000, 48, 32)),  # to the north
    ],
)
def test_a_core_with_a_neighbour_s_memory_and_locks(core, receiver, sender, windows):
    board = Board()
    streams(board, receiver, sender)
    buffers(board, receiver, sender)
    program(board, core, add_one(*windows))
    check(board)


def test_a_core_on_streams():
    board = Board()
    streams(board)
    board.circuit(CORE, "South1", "Core0")
    board.circuit(CORE, "Core0", "South0")
    program(
        board,
        CORE,
        f".p2align 4\ntop:\nmov r1, SS\n{NOPS}add r1, r1, #1\nmov ms, r1\nj #top\n{NOPS}",
    )
    machine = check(board)
    assert machine.cores.cores[CORE].stats["stream"] > 20_000


def test_a_cascade_between_two_cores():
    board = Board()
    board.data(UPPER, 0, range(100, 116))
    load = f"movxm p0, #0x70000\nvlda wl0, [p0, #0]\nvlda wh0, [p0, #32]\n{NOPS}"
    store = f"movxm p0, #0x70000\n{NOPS}vst wl0, [p0, #0]\nvst wh0, [p0, #32]\ndone\n"
    program(board, UPPER, load + "vmov MCD, x0\n" + NOPS + "done\n")
    program(board, CORE, "nop\n" + "vmov x0, SCD\n" + store)
    machine = board.machine(trace=Trace())
    machine.run(1000)
    base = machine.layout.memory_base[CORE] // 4
    found = machine.arena.bytes.view(np.uint32)[base : base + 16]
    assert found.tolist() == list(range(100, 116))
    assert {core.state for core in machine.cores.cores.values()} == {"done"}
    assert waited(machine, CORE) == machine.cores.cores[CORE].stats["cascade"] > 0


def waited(machine, tile):
    """Cycles that a core waits for cascade words, from the trace."""
    machine.drain_trace()
    agent = machine.layout.core_agent(tile)
    rows = [e for e in json.loads(machine.trace.text())["traceEvents"] if e["tid"] == agent]
    begins = [n for n, event in enumerate(rows) if event.get("name") == "wait for cascade read"]
    assert all(rows[n + 1]["ph"] == "E" for n in begins)
    return sum(rows[n + 1]["args"]["cycle"] - rows[n]["args"]["cycle"] for n in begins)


def test_a_core_that_waits_for_ever_is_named_with_its_place():
    board = Board()
    streams(board)
    buffers(board)
    board.lock(CORE, FREE_OUT, 0)  # nobody will ever read
    program(board, CORE, add_one())
    through(board)
    outcome, _ = board.run(np.zeros(6, np.uint32), 6)
    place = "core (0,2) waits at pc"
    line = next(line for line in outcome.hang.split("\n") if place in line)
    assert "`acq #50, r0`" in line
    assert line.endswith("for lock 2 of core tile (0,2) to reach 1; it is 0")


def test_a_program_is_not_written_while_it_runs():
    board = Board()
    program(board, CORE, f".p2align 4\ntop:\nj #top\n{NOPS}")
    board.data(CORE, 0x20000, [0])
    with pytest.raises(EmulationError, match="program memory is written while the core runs"):
        board.machine()


def test_a_core_without_locks_lets_the_others_run():
    """One that spins on a word of its memory until the host writes it."""
    board = Board()
    board.data(CORE, 0x400, [0])
    program(
        board, CORE,
        f"movxm p0, #0x70400\n.p2align 4\ntop:\nlda r1, [p0, #0]\n{NOPS}jz r1, #top\n{NOPS}done\n",
    )  # fmt: skip
    machine = board.machine()
    machine.run(30_000)
    assert machine.cores.cores[CORE].state == "running"
    board.setup.clear()
    board.data(CORE, 0x400, [1])
    machine.apply(board.setup[0], 30_000)
    machine.run(60_000)
    assert machine.cores.cores[CORE].state == "done"


def test_the_same_launch_takes_the_same_cycles():
    counts = set()
    for _ in range(2):
        board = Board()
        streams(board)
        buffers(board)
        program(board, CORE, add_one())
        through(board)
        counts.add(board.run(np.zeros(6, np.uint32), 6)[0].cycles)
    assert len(counts) == 1
