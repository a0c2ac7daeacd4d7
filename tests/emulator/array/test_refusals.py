"""Each thing that the emulator refuses, provoked once; none of its sentences is left untested."""

from __future__ import annotations

import numpy as np
import pytest
from board import CORE, MEM, MM2S, OWN, S2MM, SHIM, Board, address, through_memtile

from whisper_npu_cli.aie.facts.topology import Tile
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write
from whisper_npu_cli.aie.formats.sequence import AddressPatch, Sync
from whisper_npu_cli.emulator import strict
from whisper_npu_cli.emulator.fault import EmulationError

PROVOCATIONS = {}


def provokes(rule, sentence):
    """Register a function that must raise EmulationError with this text, for this rule."""

    def keep(function):
        PROVOCATIONS[rule] = (function, sentence)
        return function

    return keep


def raw(tile, offset, *values):
    board = Board()
    board.setup.append(BlockWrite(address(tile, offset), tuple(values)))
    board.machine()


def started(tile, **fields):
    """A descriptor with these fields, started on channel MM2S 0, and 1000 cycles."""
    board = Board()
    if tile is not SHIM:
        board.data(tile, 0, range(64))
    base = {"Base_Address": 0x20000} if tile is MEM else {}
    board.bd(tile, 0, **{"Buffer_Length": 8, **base, **fields})
    board.task(tile, MM2S, 0, 0)
    board.circuit(MEM, "DMA0", "South0")
    board.circuit(SHIM, "North0", "South2")
    board.shim_ports()
    board.machine().run(1000)


# while descriptors run


@provokes(strict.BD_NOT_VALID, "starts BD 0, whose valid bit is not set")
def _():
    started(MEM, Valid_BD=0)


@provokes(strict.BD_EMPTY, "starts BD 0, whose length is 0")
def _():
    started(MEM, Buffer_Length=0)


@provokes(strict.BD_COMPRESSED, "with compression")
def _():
    started(MEM, Enable_Compression=1)


@provokes(strict.BD_LOCK, "names a lock of a tile that does not exist")
def _():
    started(MEM, Lock_Acq_Enable=1, Lock_Acq_ID=3, Lock_Acq_Value=-1)


@provokes(strict.BD_NEIGHBOUR, "only channels 0 to 3 may")
def _():
    board = Board(2)
    board.bd(MEM, 0, Buffer_Length=8, Base_Address=2 * 0x20000)
    board.task(MEM, MM2S, 4, 0)
    board.machine().run(1000)


@provokes(strict.BD_BOUNDS, "BD 0 goes past the end of its memory of 524288 bytes")
def _():
    started(MEM, Base_Address=0x20000 + 0x1FFFC)


@provokes(strict.BD_NO_BUFFER, "lies in no buffer of the host")
def _():
    started(SHIM, Base_Address_Low=0x123)


@provokes(strict.LOCK_OVERFLOW, "changes lock 7 of memtile (0,1) to 64; a lock holds 0 to 63")
def _():
    board = through_memtile(8, to_memory={"Lock_Rel_ID": OWN + 7})
    board.lock(MEM, 7, 63)
    board.transfer(MM2S, 0, 0, 0, 8, token=True)
    board.sync(MM2S)
    machine = board.machine()
    board.run(np.arange(8, dtype=np.uint32), machine=machine)
    machine.run(machine.now + 1000)


@provokes(strict.UNWRITTEN, "BD 0 reads byte 0x100 of its memory, which nothing has written")
def _():
    started(MEM, Base_Address=0x20000 + 0x3C)


@provokes(strict.NO_ROUTE, "no stream route leads on; the stream stalls for ever")
def _():
    started(CORE)


@provokes(strict.CONTROL_PACKET, "control packets are not modelled")
def _():
    board = Board()
    board.data(CORE, 0, [1])
    board.circuit(CORE, "DMA0", "TileCtrl0")
    board.bd(CORE, 0, Buffer_Length=1)
    board.task(CORE, MM2S, 0, 0)
    board.machine().run(100)


@provokes(strict.TO_LOGIC, "sends to a shim port that leads to no DMA")
def _():
    board = Board()
    board.data(MEM, 0, [1])
    board.circuit(MEM, "DMA0", "South0")
    board.circuit(SHIM, "North0", "South2")  # and no demux
    board.bd(MEM, 0, Buffer_Length=1, Base_Address=0x20000)
    board.task(MEM, MM2S, 0, 0)
    board.machine().run(100)


@provokes(strict.PADDING, "zero padding at or above a dimension without a wrap")
def _():
    started(MEM, D0_Zero_After=1)


# while registers are written


@provokes("no tile", "0x00600000 addresses column 0, row 6; the partition has 1 columns and 6")
def _():
    raw(Tile(0, 6), 0, 0)


@provokes("unknown register", "memtile (0,1): there is no register at 0x90000")
def _():
    raw(MEM, 0x90000, 0)


@provokes("not modelled", "core tile (0,2): writing Tile_Control (0x36030) is not modelled")
def _():
    raw(CORE, 0x36030, 0)


@provokes("read only", "Core_Status (0x32004) is a status register")
def _():
    raw(CORE, 0x32004, 0)


@provokes("reserved bits", "0x00000040 sets bits of Lock3_value that do not exist")
def _():
    raw(CORE, 0x1F030, 0x40)


@provokes("queue full", "a task for MM2S channel 0 is lost, its queue holds 4 already")
def _():
    board = Board()
    board.bd(CORE, 0, Buffer_Length=1, Lock_Acq_Enable=1, Lock_Acq_Value=-1)
    for _ in range(6):
        board.task(CORE, MM2S, 0, 0)
    board.machine()


@provokes("no bd", "MM2S channel 1 cannot use BD 0; it may use 24 to 47")
def _():
    board = Board()
    board.task(MEM, MM2S, 1, 0)
    board.machine()


@provokes("bd in flight", "BD 0 is written while MM2S channel 0 still uses it")
def _():
    board = Board()
    board.bd(CORE, 0, Buffer_Length=1, Lock_Acq_Enable=1, Lock_Acq_Value=-1)
    board.task(CORE, MM2S, 0, 0)
    board.bd(CORE, 0, Buffer_Length=2)
    board.machine()


@provokes("mode", "finish on TLAST of S2MM channel 0 is not modelled")
def _():
    board = Board()
    board.write(CORE, "DMA_S2MM_{}_Ctrl", 0, FoT_Mode=1)
    board.machine()


@provokes("program end", "0x24000 is past the program memory")
def _():
    raw(CORE, 0x23FFC, 0, 0)


@provokes("connection", "the switch cannot connect South0 to North1")
def _():
    board = Board()
    board.circuit(MEM, "South0", "North1")
    board.machine()


@provokes("no slave", "master North0 names slave port 120")
def _():
    board = Board()
    board.write(MEM, "Stream_Switch_Master_Config_{}", 11, Master_Enable=1, Configuration=120)
    board.machine()


@provokes("slave off", "master North0 is fed by South0, which is not enabled")
def _():
    board = Board()
    board.write(MEM, "Stream_Switch_Master_Config_{}", 11, Master_Enable=1, Configuration=7)
    board.machine()


@provokes("two slots", "packet id 4 matches two slots of DMA0")
def _():
    board = Board()
    board.slot(CORE, "DMA0", 0, packet=4, arbiter=0, msel=0)
    board.slot(CORE, "DMA0", 1, packet=4, arbiter=1, msel=0)
    board.machine()


@provokes("loop", "core tile (0,3): a stream route runs in a circle through South0")
def _():
    """Up to the next core tile, down again, and up."""
    board = Board()
    for slave in ("DMA0", "North0"):
        board.slot(CORE, slave, 0, packet=3, arbiter=0, msel=0)
    board.packet_master(CORE, "North0", 0, 1, drop=False)
    board.circuit(Tile(0, 3), "South0", "South0")
    board.machine()


# while a launch runs


@provokes("token", "the completion token of S2MM channel 0 (controller id 15) finds no route")
def _():
    board = through_memtile(8)
    board.setup = [
        op for op in board.setup
        if not (isinstance(op, Write) and op.address == address(SHIM, 0x3F008))
    ]  # fmt: skip
    board.transfer(MM2S, 0, 0, 0, 8)
    board.transfer(S2MM, 0, 1, 1, 8)
    board.sync()
    board.run(np.arange(8, dtype=np.uint32), 8)


@provokes("patch", "an address patch at 0x1d008 is not at word 1 of a BD")
def _():
    board = through_memtile(8)
    board.launch.append(AddressPatch(address(SHIM, 0x1D008), 0, 0))
    board.run(1)


@provokes("argument", "patches the address of buffer 2, which the launch lacks")
def _():
    board = through_memtile(8)
    board.launch.append(AddressPatch(address(SHIM, 0x1D004), 2, 0))
    board.run(1)


@provokes("patch range", "patches offset 4 of buffer 0, which has 4 bytes")
def _():
    board = through_memtile(8)
    board.launch.append(AddressPatch(address(SHIM, 0x1D004), 0, 4))
    board.run(1)


@provokes("sync", "waits for a token of S2MM channel 2 of shim tile (0,0), which does not exist")
def _():
    board = through_memtile(8)
    board.launch.append(Sync(0, 0, S2MM.value, 2))
    board.run(1)


@provokes("columns", "made for 2 columns, the partition has 1")
def _():
    board = through_memtile(8)
    machine = board.machine()
    board.columns = 2
    board.run(1, machine=machine)


@provokes("switch in use", "is sending while a stream switch is written")
def _():
    board = through_memtile(8)
    board.lock(MEM, 0, 0)
    board.transfer(MM2S, 0, 0, 0, 200)
    board.launch += [MaskWrite(address(SHIM, 0x3F000), 0, 0)] * 200
    board.run(200)


@pytest.mark.parametrize("rule", PROVOCATIONS, ids=str)
def test_refused(rule):
    function, sentence = PROVOCATIONS[rule]
    with pytest.raises(EmulationError) as refusal:
        function()
    text = str(refusal.value)
    assert sentence in text
    assert "\n" not in text and text.endswith(".")


def test_every_rule_is_provoked():
    elsewhere = {"running program"}  # with a core: test_cores.py
    rules = {*strict.SENTENCES, *strict.REFUSALS}
    assert rules == set(PROVOCATIONS) | elsewhere
