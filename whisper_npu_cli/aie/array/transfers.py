"""One launch: host transfers, parameter blocks and waits, as operations of the instruction stream.

Keeps the books that a Phoenix punishes neglect of: a shim tile has 16 descriptors, and one that is
rewritten while in flight hangs some runs; a channel queues 4 tasks and drops the fifth silently; a
token that nobody takes stalls a later launch. So descriptors come free when a wait proves that
their task is over, or when the caller vouches for it with `release`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whisper_npu_cli.aie.array.access import Access
from whisper_npu_cli.aie.array.design import DesignError, Packet
from whisper_npu_cli.aie.array.dma import Fields, encode, packet_fields, pattern
from whisper_npu_cli.aie.array.fifo import HostPort
from whisper_npu_cli.aie.array.lower import address, lock_address, start
from whisper_npu_cli.aie.array.place import Placement
from whisper_npu_cli.aie.facts.tile_registers import control, register
from whisper_npu_cli.aie.facts.topology import (
    AX_CACHE,
    BURST_256,
    CONTROLLER_MASK,
    FACTS,
    ITERATIONS,
    MAX_LOCK,
    MAX_REPEAT,
    TASK_QUEUE,
    TOKEN_PACKET,
    Direction,
    Tile,
    TileKind,
)
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write
from whisper_npu_cli.aie.formats.sequence import AddressPatch, SequenceOp, Sync

KIND = TileKind.SHIM


@dataclass(frozen=True)
class Piece:
    """Part of a transfer: kernel buffer `argument` (0 = bo0), walked as `access` says."""

    argument: int
    access: Access
    packet: Packet | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """A configured transfer: the channel, its descriptors, and how often the queue repeats them."""

    port: HostPort
    bds: tuple[int, ...]
    repeat: int
    token: bool

    def __str__(self) -> str:
        p = self.port
        return f"{p.tile} {p.direction.name}{p.channel} (descriptor {self.bds[0]})"


class Launch:
    """Collects the operations of one launch in order; `ops` are ready for `formats.sequence`."""

    def __init__(self) -> None:
        self.ops: list[SequenceOp] = []
        self._live: dict[Tile, dict[int, Task]] = {}
        self._queued: dict[tuple[Tile, Direction, int], list[Task]] = {}

    def transfer(
        self,
        port: HostPort,
        *pieces: Piece,
        token: bool | None = None,
        bd: int | None = None,
        iterate: bool = False,
        repeat: int = 1,
    ) -> Task:
        """Configure a transfer and start it at once; see `configure`."""
        task = self.configure(port, *pieces, token=token, bd=bd, iterate=iterate, repeat=repeat)
        self.start(task)
        return task

    def configure(
        self,
        port: HostPort,
        *pieces: Piece,
        token: bool | None = None,
        bd: int | None = None,
        iterate: bool = False,
        repeat: int = 1,
    ) -> Task:
        """Write the descriptors of one task: its pieces, one after the other, `repeat` times.

        An outermost stride of 0 in a single piece becomes a repeat count, too. `token` None: only a
        transfer to the host issues one. `bd` None takes the lowest free numbers, a number stands
        for a single piece. `iterate` allows a fourth dimension through the iteration field, which
        one report saw time out on silicon. DesignError or AccessError when descriptors or
        dimensions do not suffice.
        """
        live = self._live.setdefault(port.tile, {})
        free = [n for n in range(FACTS[KIND].bds) if n not in live]
        numbers = free[: len(pieces)] if bd is None else [n for n in free if n == bd]
        if len(numbers) != len(pieces) or not pieces:
            raise DesignError(
                f"{port.tile}: no {len(pieces)} descriptors {'' if bd is None else f'{bd} '}are "
                f"free; {len(live)} of {FACTS[KIND].bds} are in flight, wait for a transfer first."
            )
        shapes = [_shape(port.tile, piece.access, iterate) for piece in pieces]
        repeat *= shapes[0][1]
        if repeat > MAX_REPEAT:
            raise DesignError(f"{port.tile}: {repeat} repetitions; {MAX_REPEAT} is most.")
        if len(pieces) > 1 and any(times != 1 for _, times in shapes):
            raise DesignError(f"{port.tile}: a piece of a longer task cannot be repeated.")
        wants_token = port.direction is Direction.S2MM if token is None else token
        task = Task(port, tuple(numbers), repeat, wants_token)
        for number, following, piece, (fields, _) in zip(
            numbers, [*numbers[1:], None], pieces, shapes, strict=True
        ):
            live[number] = task
            self.ops += _descriptor(port.tile, number, following, piece, fields)
        return task

    def start(self, task: Task) -> None:
        """Put a configured task into its channel's queue; DesignError when it may be full."""
        p = task.port
        queued = self._queued.setdefault((p.tile, p.direction, p.channel), [])
        if self._live.get(p.tile, {}).get(task.bds[0]) is not task or task in queued:
            raise DesignError(f"{task} was started or released before.")
        if len(queued) == TASK_QUEUE:
            raise DesignError(
                f"{task} would be task {TASK_QUEUE + 1} in a queue of {TASK_QUEUE}, where it is "
                "lost silently; wait for an earlier one."
            )
        queued.append(task)
        if task.token:
            at = address(p.tile, control(KIND, p.direction).at(p.channel))
            self.ops.append(MaskWrite(at, CONTROLLER_MASK, TOKEN_PACKET << 8))
        self.ops.append(start(p.tile, p.direction, p.channel, task.bds[0], task.repeat, task.token))

    def wait(self, task: Task) -> None:
        """Wait for a task's token; the tasks before it on its channel are over then too.

        DesignError when it issues none, or when an earlier token of the channel is untaken.
        """
        p = task.port
        queued = self._queued.get((p.tile, p.direction, p.channel), [])
        if task not in queued or not task.token:
            raise DesignError(f"{task} has no token to wait for.")
        earlier = queued[: queued.index(task)]
        if any(t.token for t in earlier):
            raise DesignError(f"{task}: an earlier transfer of the channel has a token to take.")
        self.ops.append(Sync(p.tile.column, p.tile.row, p.direction.value, p.channel))
        for t in [*earlier, task]:
            self.release(t)

    def release(self, task: Task) -> None:
        """Vouch that a task is over: its descriptor and its place in the queue are free again."""
        p = task.port
        queued = self._queued.get((p.tile, p.direction, p.channel), [])
        if task in queued:
            queued.remove(task)
        for bd in task.bds:
            if self._live.get(p.tile, {}).get(bd) is task:
                del self._live[p.tile][bd]

    def has_room(self, port: HostPort, pieces: int) -> bool:
        """Whether a task of so many pieces can be configured and started now."""
        queued = self._queued.get((port.tile, port.direction, port.channel), [])
        free = FACTS[KIND].bds - len(self._live.get(port.tile, {}))
        return len(queued) < TASK_QUEUE and pieces <= free

    def write_buffer(
        self, placement: Placement, tile: Tile, name: str, words: Sequence[int], offset: int = 0
    ) -> None:
        """Write 32-bit words into a buffer from byte `offset` on: a parameter block."""
        buffer = placement.buffer(tile, name)
        if offset % 4 or offset < 0 or offset + 4 * len(words) > buffer.size or not words:
            raise DesignError(
                f"{tile}: {len(words)} words from byte {offset} on do not fit buffer {name} of "
                f"{buffer.size} bytes."
            )
        at = address(tile, placement.addresses[buffer] + offset)
        single = len(words) == 1
        self.ops.append(Write(at, words[0]) if single else BlockWrite(at, tuple(words)))

    def set_lock(self, placement: Placement, tile: Tile, name: str, value: int) -> None:
        """Set a lock (0 to 63), for example to let a core read its parameter block."""
        if not 0 <= value <= MAX_LOCK:
            raise DesignError(f"{tile}: lock {name} cannot be {value}; it holds 0 to {MAX_LOCK}.")
        self.ops.append(Write(lock_address(placement, tile, name), value))

    def finish(self) -> tuple[SequenceOp, ...]:
        """The operations; DesignError when a token was never waited for."""
        left = [t for queue in self._queued.values() for t in queue if t.token]
        if left:
            raise DesignError(
                f"{left[0]} issues a token that the launch never takes; a later launch would stall."
            )
        return tuple(self.ops)


def _descriptor(
    tile: Tile, number: int, following: int | None, piece: Piece, fields: Fields
) -> tuple[BlockWrite, AddressPatch]:
    """The write of one descriptor and the patch of its address."""
    fields = fields | packet_fields(piece.packet)
    fields |= {"Burst_Length": BURST_256, "AxCache": AX_CACHE, "Valid_BD": 1}
    if following is not None:
        fields |= {"Next_BD": following, "Use_Next_BD": 1}
    at = address(tile, register(KIND, "DMA_BD{}_0").at(number))
    offset = piece.access.offset * piece.access.element_bytes
    return BlockWrite(at, encode(KIND, fields)), AddressPatch(at + 4, piece.argument, offset)


def _shape(tile: Tile, access: Access, iterate: bool) -> tuple[Fields, int]:
    """Descriptor fields and repeat count of an access pattern in host memory."""
    walked = access.words().squeezed()
    if access.padded:
        return pattern(tile, access), 1
    times, step = walked.sizes[0], walked.strides[0]
    if times > 1 and step == 0 and len(walked.sizes) > 1:
        if times > MAX_REPEAT:
            raise DesignError(f"{tile}: {access} repeats {times} times; {MAX_REPEAT} is most.")
        return pattern(tile, _inner(walked)), times
    dimensions = len(walked.reduced(FACTS[KIND].dimensions).sizes)
    if dimensions <= FACTS[KIND].dimensions:
        return pattern(tile, walked), 1
    if not iterate or times > ITERATIONS:
        raise DesignError(
            f"{tile}: {access} ({access.picture()}) needs {dimensions} dimensions; a shim "
            f"descriptor has {FACTS[KIND].dimensions}, and iteration (of {times}, up to "
            f"{ITERATIONS}) has to be asked for."
        )
    return pattern(tile, _inner(walked), iteration=(times, step)), times


def _inner(access: Access) -> Access:
    return Access(access.sizes[1:], access.strides[1:], access.offset)
