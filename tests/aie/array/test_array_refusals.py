"""What does not fit the array is refused in one sentence that names the tile and the numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whisper_npu_cli.aie.array.access import Access, linear
from whisper_npu_cli.aie.array.design import Bd, Design, DesignError, End, LockUse, Packet, Program
from whisper_npu_cli.aie.array.lower import lower, start
from whisper_npu_cli.aie.array.place import place
from whisper_npu_cli.aie.array.route import Routes
from whisper_npu_cli.aie.array.transfers import Launch
from whisper_npu_cli.aie.facts.topology import Direction, Tile
from whisper_npu_cli.errors import WhisperNpuError

S2MM, MM2S = Direction.S2MM, Direction.MM2S
CORE, MEM, SHIM = Tile(0, 2), Tile(0, 1), Tile(0, 0)


def empty() -> Design:
    d = Design("d", 2)
    d.core(0, 2)
    return d


def configure(d: Design, text: int = 0, data: tuple = ()) -> None:
    lower(place(d), Routes(), {tile: Program(bytes(text), data) for tile in d.stacks})


def core_memory(d: Design) -> None:
    d.buffer("a", CORE, 40_000)
    d.buffer("b", CORE, 30_000)


def stack_and_buffer(d: Design) -> None:
    d.buffer("a", CORE, 64, address=1000)


def overlapping(d: Design) -> None:
    d.buffer("a", CORE, 64, address=2048)
    d.buffer("b", CORE, 64, address=2080)


def memtile_memory(d: Design) -> None:
    d.link([d.fifo("a", 300_000, SHIM, MEM)], [d.fifo("b", 300_000, MEM, SHIM)])


def locks(d: Design) -> None:
    for i in range(17):
        d.lock(f"l{i}", CORE)


def same_lock(d: Design) -> None:
    d.lock("a", CORE, id=3)
    d.lock("b", CORE, id=3)


def core_bds(d: Design) -> None:
    b = d.buffer("a", CORE, 64)
    d.dma(CORE, S2MM, 0, [Bd(b, linear(64))] * 9)
    d.dma(CORE, MM2S, 0, [Bd(b, linear(64))] * 8)


def memtile_bds(d: Design) -> None:
    b = d.buffer("a", MEM, 64)
    d.dma(MEM, S2MM, 1, [Bd(b, linear(64))] * 20)
    d.dma(MEM, MM2S, 3, [Bd(b, linear(64))] * 5)


def channels(d: Design) -> None:
    for name in "abc":
        d.fifo(name, 64, SHIM if name == "a" else Tile(1, 0), CORE)


def shim_channels(d: Design) -> None:
    for row in range(2, 5):
        d.fifo(f"f{row}", 64, d.core(1, row), SHIM)


def no_such_channel(d: Design) -> None:
    d.dma(CORE, S2MM, 2, [Bd(d.buffer("a", CORE, 64), linear(64))])


def channel_twice(d: Design) -> None:
    for name in "ab":
        d.dma(CORE, S2MM, 0, [Bd(d.buffer(name, CORE, 64), linear(64))])


def other_tile(d: Design) -> None:
    d.dma(CORE, S2MM, 0, [Bd(d.buffer("a", MEM, 64), linear(64))])


def other_lock(d: Design) -> None:
    a = d.buffer("a", CORE, 64)
    d.dma(CORE, S2MM, 0, [Bd(a, linear(64), LockUse(d.lock("l", MEM)))])


def lock_count(d: Design) -> None:
    a = d.buffer("a", CORE, 64)
    d.dma(CORE, S2MM, 0, [Bd(a, linear(64), LockUse(d.lock("l", CORE), 64))])


def beyond_the_buffer(d: Design) -> None:
    Bd(d.buffer("a", CORE, 64), Access((2, 8), (9, 1)))


def packet_in(d: Design) -> None:
    d.dma(CORE, S2MM, 0, [Bd(d.buffer("a", CORE, 64), linear(64), packet=Packet(3))])


def padding_in(d: Design) -> None:
    padded = Access((2, 8), (8, 1), before=(0, 1))
    d.dma(MEM, S2MM, 0, [Bd(d.buffer("a", MEM, 64), padded)])


def packet_id(d: Design) -> None:
    d.dma(CORE, MM2S, 0, [Bd(d.buffer("a", CORE, 64), linear(64), packet=Packet(32))])


def iteration(d: Design) -> None:
    d.dma(CORE, MM2S, 0, [Bd(d.buffer("a", CORE, 64), linear(4), iteration=(65, 1))])


def unlinked(d: Design) -> None:
    d.fifo("a", 64, SHIM, MEM)


def no_core(d: Design) -> None:
    d.fifo("a", 64, SHIM, Tile(0, 3))


def reuse_by_a_core(d: Design) -> None:
    d.fifo("a", 64, End(CORE, reuse=2), SHIM)


def too_much_reuse(d: Design) -> None:
    d.link([d.fifo("a", 64, SHIM, MEM)], [d.fifo("b", 64, End(MEM, reuse=40), CORE)])


def long_reuse(d: Design) -> None:
    d.link([d.fifo("a", 64, SHIM, MEM)], [d.fifo("b", 64, End(MEM, reuse=15), CORE)])


def short_pattern(d: Design) -> None:
    d.fifo("a", 64, SHIM, End(CORE, access=linear(60)))


def ragged_pattern(d: Design) -> None:
    a = d.fifo("a", 64, SHIM, MEM)
    d.link([a], [d.fifo("b", 64, End(MEM, access=linear(60)), CORE)])


def ragged_sizes(d: Design) -> None:
    d.link([d.fifo("a", 64, SHIM, MEM)], [d.fifo("b", 48, MEM, CORE)])


def pattern_over_parts(d: Design) -> None:
    d.core(0, 3)
    a = d.fifo("a", 64, SHIM, End(MEM, access=linear(64)))
    d.link([a], [d.fifo("b", 32, MEM, CORE), d.fifo("c", 32, MEM, Tile(0, 3))])


def unequal_split(d: Design) -> None:
    a = d.fifo("a", 64, SHIM, MEM)
    d.link([a], [d.fifo("b", 32, MEM, CORE), d.fifo("c", 16, MEM, CORE)])


def link_in_a_core(d: Design) -> None:
    d.link([d.fifo("a", 64, SHIM, CORE)], [d.fifo("b", 64, CORE, SHIM)])


def many_to_many(d: Design) -> None:
    a, b = (d.fifo(n, 64, SHIM, MEM) for n in "ab")
    d.link([a, b], [d.fifo(n, 64, MEM, SHIM) for n in "cd"])


def two_fifos(d: Design) -> None:
    d.fifo("a", 64, SHIM, CORE)
    d.fifo("a", 64, SHIM, CORE)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (core_memory, r"core tile \(0,2\): no room for buffer b of 30000 bytes; .* 71024 of 65536"),
        (stack_and_buffer, r"core tile \(0,2\): buffer a at bytes 1000 to 1064 overlaps the stack"),
        (overlapping, r"buffer b at bytes 2080 to 2144 overlaps buffer a at 2048"),
        (memtile_memory, r"memtile \(0,1\): no room for .* 600000 of 524288 bytes"),
        (locks, r"core tile \(0,2\): 17 locks are asked for; there are 16"),
        (same_lock, r"core tile \(0,2\): the numbers \[3, 3\] of locks have to be different"),
        (core_bds, r"core tile \(0,2\): 17 buffer descriptors of S2MM0, MM2S0 .*there are 16"),
        (memtile_bds, r"memtile \(0,1\): 25 buffer descriptors of S2MM1, MM2S3 .*there are 24"),
        (channels, r"core tile \(0,2\): fifo c needs one more S2MM channel; all 2 are taken"),
        (shim_channels, r"shim tile \(0,0\): fifo f4 needs one more S2MM channel; all 2"),
        (no_such_channel, r"core tile \(0,2\) S2MM2: the tile has 2 channels"),
        (channel_twice, r"core tile \(0,2\) S2MM0: two chains"),
        (other_tile, r"core tile \(0,2\) S2MM0: a is not declared in its tile"),
        (other_lock, r"core tile \(0,2\) S2MM0: l is not declared in its tile"),
        (lock_count, r"core tile \(0,2\) S2MM0: a lock is taken or given 64 times"),
        (beyond_the_buffer, r"core tile \(0,2\): .*\(0 1 2 .*\) ends at byte 68 .* has 64"),
        (packet_in, r"core tile \(0,2\): only an MM2S channel puts a packet header"),
        (padding_in, r"memtile \(0,1\): .*only an MM2S channel pads"),
        (packet_id, r"Packet_ID takes 0 to 31, not 32"),
        (iteration, r"core tile \(0,2\): an iteration of 65 by 1"),
        (unlinked, r"memtile \(0,1\): fifo a ends there, but no link"),
        (no_core, r"core tile \(0,3\): fifo a ends there, but no core is declared"),
        (reuse_by_a_core, r"core tile \(0,2\): fifo a: only a memtile sends objects again"),
        (too_much_reuse, r"memtile \(0,1\): b counts 80 objects .* at most 63"),
        (long_reuse, r"memtile \(0,1\): 30 buffer descriptors of MM2S\d are .* there are 24"),
        (short_pattern, r"core tile \(0,2\): .* moves 60 bytes of an object of 64"),
        (ragged_pattern, r"memtile \(0,1\): .* moves 60 bytes, no multiple of the 64 bytes .* b"),
        (ragged_sizes, r"memtile \(0,1\): a buffer moves 64 bytes, no multiple of the 48 bytes"),
        (pattern_over_parts, r"memtile \(0,1\): fifo a is split or joined part by part"),
        (unequal_split, r"link a to b\+c takes 64 bytes in and 48 out"),
        (link_in_a_core, r"has to meet in one memtile, not core tile \(0,2\)"),
        (many_to_many, r"link a\+b to c\+d is neither a split nor a join"),
        (two_fifos, r"two fifos are called a"),
        (lambda d: d.buffer("a", SHIM, 4), r"buffer a of 4 bytes .* cannot be in shim tile"),
        (lambda d: d.buffer("a", CORE, 4, 1026), r"cannot be in core tile \(0,2\) at 1026"),
        (lambda d: d.buffer("a", CORE, 8, 65532), r"would end at byte 65540; .* has 65536"),
        (lambda d: [d.buffer("a", CORE, 4) for _ in "ab"], r"two buffers called a"),
        (lambda d: [d.lock("a", CORE) for _ in "ab"], r"two locks called a"),
        (lambda d: d.lock("a", CORE, 64), r"cannot start at 64; locks hold 0 to 63"),
        (lambda d: d.lock("a", CORE, id=16), r"numbers \[16\] of locks .* among 0 to 15"),
        (lambda d: d.core(2, 2), r"no tile \(2,2\) in a partition of 2 columns"),
        (lambda d: d.core(0, 6), r"no tile \(0,6\)"),
        (lambda d: d.core(0, 1), r"memtile \(0,1\) runs no program"),
        (lambda d: d.core(1, 2, stack=70_000), r"the stack would end at byte 70000"),
        (lambda d: d.fifo("a", 6, SHIM, CORE), r"multiple of 4 bytes, not 1 and 6"),
        (lambda d: d.fifo("a", 8, SHIM), r"not 0 and 8"),
        (lambda d: d.fifo("a", 8, CORE, SHIM, Tile(1, 0)), r"\(1,0\): fifo a has two ends at the"),
        (lambda d: d.dma(CORE, S2MM, 0, []), r"core tile \(0,2\) S2MM0 needs descriptors"),
        (lambda d: Design("d", 5), r"1 to 4 columns, not 5"),
        (lambda d: place(d).core(CORE).buffer("x"), r"core tile \(0,2\) has no buffer called x"),
        (lambda d: place(d).core(CORE).fifo("x"), r"core tile \(0,2\) has no end of a fifo"),
        (lambda d: place(d).host("x"), r"fifo x does not reach the host"),
        (lambda d: start(MEM, S2MM, 0, 64), r"memtile \(0,1\) S2MM0: Start_BD_ID takes 0 to 63"),
        (lambda d: start(CORE, S2MM, 0, 0, 257), r"Repeat_Count takes 0 to 255, not 256"),
    ],
)
def test_refusal(build: Callable[[Design], object], says: str) -> None:
    d = empty()
    with pytest.raises(WhisperNpuError, match=says) as refused:
        build(d)
        configure(d)
    message = str(refused.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_just_what_fits_is_taken() -> None:
    d = empty()
    for i in range(16):
        d.lock(f"l{i}", CORE)
    b = d.buffer("a", CORE, 0x10000 - 1024)
    d.dma(CORE, S2MM, 0, [Bd(b, linear(64))] * 16)
    m = d.buffer("a", MEM, 0x80000)
    d.dma(MEM, S2MM, 1, [Bd(m, linear(64))] * 24)
    d.dma(MEM, S2MM, 0, [Bd(m, linear(64))] * 24)
    configure(d, text=0x4000)


@pytest.mark.parametrize(
    ("text", "data", "says"),
    [
        (0x4001, (), r"core tile \(0,2\): the program has 16385 bytes; .* holds 16384"),
        (4, ((1000, bytes(30)),), r"constants at 1000 to 1030 overlap the stack"),
        (4, ((2048, bytes(8)),), r"constants at 2048 to 2056 overlap a at 2048 to 2112"),
        (4, ((65532, bytes(8)),), r"end within 65536 bytes"),
        (4, ((4098, bytes(8)),), r"start at a multiple of 4"),
    ],
)
def test_programs_that_do_not_fit(text: int, data: tuple, says: str) -> None:
    d = empty()
    d.buffer("a", CORE, 64, address=2048)
    with pytest.raises(DesignError, match=says):
        configure(d, text, data)


def test_programs_belong_to_cores() -> None:
    placed = place(empty())
    with pytest.raises(DesignError, match=r"core tile \(0,2\) has no program"):
        lower(placed, Routes(), {})
    with pytest.raises(DesignError, match=r"core tile \(0,3\) is no declared core"):
        lower(placed, Routes(), {CORE: Program(b""), Tile(0, 3): Program(b"")})


def test_parameter_writes_stay_in_their_buffer() -> None:
    d = empty()
    d.buffer("p", CORE, 8)
    d.lock("go", CORE)
    placed, launch = place(d), Launch()
    for words, offset in (([1, 2, 3], 0), ([1], 8), ([1], 2), ([], 0), ([1], -4)):
        with pytest.raises(DesignError, match=r"core tile \(0,2\): .* buffer p of 8 bytes"):
            launch.write_buffer(placed, CORE, "p", words, offset)
    with pytest.raises(DesignError, match=r"lock go cannot be 64; it holds 0 to 63"):
        launch.set_lock(placed, CORE, "go", 64)
    assert launch.ops == []
