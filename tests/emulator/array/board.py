"""Designs for tests, written register by register, and launches of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from whisper_npu_cli.aie.facts.tile_registers import bd_layout, control, queue, register
from whisper_npu_cli.aie.facts.topology import (
    FACTS,
    SHIM_DMA_PORTS,
    Direction,
    Port,
    Tile,
    TileKind,
    ports,
)
from whisper_npu_cli.aie.formats import cdo, sequence
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write
from whisper_npu_cli.aie.formats.sequence import AddressPatch, Stream, Sync
from whisper_npu_cli.emulator.buffers import HostMemory
from whisper_npu_cli.emulator.host import Launch
from whisper_npu_cli.emulator.machine import Machine

sys.path.append(str(Path(__file__).parents[2] / "aie" / "formats"))  # made_containers.py

S2MM, MM2S = Direction.S2MM, Direction.MM2S
SHIM, MEM, CORE = Tile(0, 0), Tile(0, 1), Tile(0, 2)
OWN = 64  # first own lock and, times 8 KiB, first own byte as a memtile's DMA counts


def address(tile, offset):
    return tile.column << 25 | tile.row << 20 | offset


def one(name):
    return ports(f"{name.rstrip('0123456789')}1")[0]._replace(number=int(name[-1]))


class Board:
    """Collects register operations: `setup` for the CDO, `launch` for the sequence."""

    def __init__(self, columns=1):
        self.columns = columns
        self.setup, self.launch = [], []

    # registers

    def write(self, tile, name, *numbers, into=None, **fields):
        line = register(tile.kind, name)
        value = 0
        for field, number in fields.items():
            value |= line.field(field).insert(number)
        (self.setup if into is None else into).append(
            Write(address(tile, line.at(*numbers)), value)
        )

    def lock(self, tile, number, value):
        self.write(tile, "Lock{}_value", number, Lock_value=value)

    def data(self, tile, offset, words):
        self.setup.append(BlockWrite(address(tile, offset), tuple(int(w) for w in words)))

    # streams

    def circuit(self, tile, slave, master):
        slave, master = one(slave), one(master)
        facts = FACTS[tile.kind]
        self.write(tile, "Stream_Switch_Slave_Config_{}", facts.slaves.index(slave), Slave_Enable=1)
        self.write(
            tile, "Stream_Switch_Master_Config_{}", facts.masters.index(master),
            Master_Enable=1, Configuration=facts.slaves.index(slave),
        )  # fmt: skip

    def slot(self, tile, slave, slot, packet, arbiter, msel, mask=31):
        index = FACTS[tile.kind].slaves.index(one(slave))
        self.write(tile, "Stream_Switch_Slave_Config_{}", index, Slave_Enable=1, Packet_Enable=1)
        self.write(
            tile, "Stream_Switch_Slave_{}_Slot{}", index, slot,
            id=packet, mask=mask, enable=1, msel=msel, arbit=arbiter,
        )  # fmt: skip

    def packet_master(self, tile, master, arbiter, msels, drop):
        self.write(
            tile, "Stream_Switch_Master_Config_{}", FACTS[tile.kind].masters.index(one(master)),
            Master_Enable=1, Packet_Enable=1, Drop_Header=int(drop),
            Configuration=msels << 3 | arbiter,
        )  # fmt: skip

    def token_route(self, tile=SHIM):
        self.slot(tile, "TileCtrl0", 0, 15, 5, 3)
        self.packet_master(tile, "South0", 5, 8, False)

    def shim_ports(self, tile=SHIM):
        for (direction, _), port in SHIM_DMA_PORTS.items():
            name = "Mux_Config" if direction is MM2S else "Demux_Config"
            line = register(TileKind.SHIM, name)
            field = line.field(str(port))
            self.setup.append(MaskWrite(address(tile, line.at()), field.mask, field.insert(1)))

    # descriptors

    def bd(self, tile, number, into=None, **fields):
        words = [0] * FACTS[tile.kind].bd_words
        for name, value in {"Valid_BD": 1, **fields}.items():
            word, field = bd_layout(tile.kind)[name]
            words[word] |= field.insert(value)
        line = register(tile.kind, "DMA_BD{}_0")
        (self.setup if into is None else into).append(
            BlockWrite(address(tile, line.at(number)), tuple(words))
        )

    def task(self, tile, direction, channel, bd, repeat=1, token=0, into=None):
        self.write(
            tile, queue(tile.kind, direction).name, channel, into=into,
            Start_BD_ID=bd, Repeat_Count=repeat - 1, Enable_Token_Issue=token,
        )  # fmt: skip

    # the host's side

    def transfer(
        self, direction, channel, bd, argument, words, token=None, offset=0, tile=SHIM, repeat=1,
        **fields,
    ):  # fmt: skip
        """What aiecc emits for one transfer; a token for writes unless said otherwise."""
        token = direction is S2MM if token is None else token
        self.bd(tile, bd, into=self.launch, Buffer_Length=words, **fields)
        at = register(TileKind.SHIM, "DMA_BD{}_1").at(bd)
        self.launch.append(AddressPatch(address(tile, at), argument, offset))
        if token:
            line = control(TileKind.SHIM, direction)
            field = line.field("Controller_ID")
            self.launch.append(
                MaskWrite(address(tile, line.at(channel)), field.mask, field.insert(15))
            )
        self.task(tile, direction, channel, bd, repeat, int(token), into=self.launch)

    def sync(self, direction=S2MM, channel=0, tile=SHIM):
        self.launch.append(Sync(tile.column, tile.row, direction.value, channel))

    # running

    def xclbin(self, name="demo"):
        """The bytes of an XCLBIN with this configuration and two buffer arguments."""
        import made_containers

        return made_containers.xclbin(
            made_containers.pdi(cdo.encode(self.setup)), name, columns=self.columns
        )

    def instructions(self):
        """The launch as 32-bit words."""
        return np.array(sequence.encode(self.launch, self.columns), np.uint32)

    def machine(self, **options):
        return Machine(self.columns, self.setup, HostMemory(), **options)

    def run(self, *buffers, machine=None, limit=10_000_000):
        """Launch with buffers of words (arrays: input and output; numbers: words of output).

        Returns the outcome and the buffers' contents after it.
        """
        machine = machine or self.machine()
        host, regions = machine.host, []
        for buffer in buffers:
            words = np.zeros(buffer, np.uint32) if isinstance(buffer, int) else buffer
            region = host.allocate(4 * len(words), heap=False)
            host.words[region.offset // 4 :][: len(words)] = words
            regions.append(region)
        outcome = Launch(machine, regions, limit).run(Stream(self.columns, tuple(self.launch)))
        results = [host.words[r.offset // 4 :][: r.size // 4].copy() for r in regions]
        for region in regions:
            host.free(region)
        return outcome, results


def through_memtile(words, to_memory=None, to_stream=None, columns=1):
    """Shim -> memtile -> shim, `words` words a buffer, single-buffered; BD fields may be given."""
    board = Board(columns)
    board.shim_ports()
    board.token_route()
    board.circuit(SHIM, "South3", "North0")
    board.circuit(MEM, "South0", "DMA0")
    board.circuit(MEM, "DMA0", "South0")
    board.circuit(SHIM, "North0", "South2")
    board.lock(MEM, 0, 1)
    for number, more in ((0, to_memory), (1, to_stream)):
        fields = {
            "Buffer_Length": words, "Base_Address": 0x20000, "Lock_Acq_Enable": 1,
            "Lock_Acq_ID": OWN + number, "Lock_Acq_Value": -1, "Lock_Rel_ID": OWN + 1 - number,
            "Lock_Rel_Value": 1, "Use_Next_BD": 1, "Next_BD": number,
        }  # fmt: skip
        board.bd(MEM, number, **{**fields, **(more or {})})
    board.task(MEM, S2MM, 0, 0)
    board.task(MEM, MM2S, 0, 1)
    return board


__all__ = ["Board", "Port"]
