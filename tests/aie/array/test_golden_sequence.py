"""The runtime sequences of the twelve recorded designs, word for word, from their calls."""

from __future__ import annotations

import pytest
import recorded_arrays
from recorded_arrays import every_golden

from whisper_npu_cli.aie.array.access import Access
from whisper_npu_cli.aie.array.design import DesignError, Packet
from whisper_npu_cli.aie.array.fifo import HostPort
from whisper_npu_cli.aie.array.transfers import Launch, Piece
from whisper_npu_cli.aie.facts.topology import Direction, Tile
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write
from whisper_npu_cli.aie.formats.sequence import AddressPatch, Sync, encode


def ports(name: str) -> dict[str, HostPort]:
    """The recorded shim allocations as host ports."""
    return {
        a["name"]: HostPort(a["name"], Tile(*a["tile"]), Direction[a["direction"]], a["channel"])
        for a in recorded_arrays.read(name)["design"]["shim_allocations"]
    }


def access(call: dict) -> Access:
    offsets = call.get("offsets")
    offset = call.get("offset", 0)
    if offsets:
        offset = sum(o * s for o, s in zip(offsets, call["strides"], strict=True))
    sizes, strides = tuple(call["sizes"]), tuple(call["strides"])
    return Access(sizes, strides, offset, call["element_bytes"])


def play(launch: Launch, calls: list[dict], host: dict[str, HostPort]) -> None:
    tasks: dict = {}
    for c in calls:
        if c["op"] == "dma_memcpy_nd":
            port = host[c["metadata"]]
            tasks[c["metadata"]] = launch.transfer(port, Piece(c["arg"], access(c)), bd=c["id"])
        elif c["op"] == "dma_wait":
            launch.wait(tasks[c["symbol"]])
        elif c["op"] == "dma_configure_task_for":
            port = host[c["metadata"]]
            task = launch.configure(port, Piece(c["arg"], access(c)), token=c["issue_token"])
            tasks[c["task"]] = task
        elif c["op"] == "dma_start_task":
            launch.start(tasks[c["task"]])
        elif c["op"] == "dma_await_task":
            launch.wait(tasks[c["task"]])
        else:
            assert c["op"] == "dma_free_task"
            launch.release(tasks[c["task"]])


@every_golden
def test_same_words(name: str) -> None:
    launch = Launch()
    recorded = recorded_arrays.read(name)
    play(launch, recorded["sequence"]["calls"], ports(name))
    words = encode(launch.finish(), recorded["partition_columns"])
    assert [f"0x{w:08X}" for w in words] == recorded["sequence"]["words"]


IN, OUT = (
    HostPort("in", Tile(0, 0), Direction.MM2S, 0),
    HostPort("out", Tile(2, 0), Direction.S2MM, 0),
)


# expected words: mlir-aie test/Targets/NPU and test/Conversion/DmaToNpu at 9f977440
@pytest.mark.parametrize(
    ("port", "access", "packet", "words", "offset", "start"),
    [
        (
            IN, Access((1, 2, 32, 32), (4096, 2048, 64, 1), 4096), None,
            (0x800, 0, 0, 0x2000000, 0x8200003F, 0x7FF, 0, 0x2000000), 16384, 0,
        ),
        (
            OUT, Access((4, 4, 64, 64), (0, 64, 256, 1), element_bytes=2), None,
            (0x2000, 0, 0, 0x2000000, 0x8400007F, 0x1F, 0, 0x2000000), 0, 0x80030000,
        ),
        (
            IN, Access((1, 1, 16, 16), (0, 0, 64, 1)), Packet(2, 3),
            (0x100, 0, 0x40130000, 0x1000000, 0x8100003F, 0, 0, 0x2000000), 0, 0,
        ),
    ],
)  # fmt: skip
def test_published_vectors(port, access, packet, words, offset, start) -> None:
    launch = Launch()
    launch.transfer(port, Piece(0, access, packet))
    block, patch, *rest = launch.ops
    at = port.tile.column << 25 | 0x1D000
    cached = (*words[:5], words[5] | 2 << 24, *words[6:])  # AxCache 2: docs/array.md
    assert (block, patch) == (BlockWrite(at, cached), AddressPatch(at + 4, 0, offset))
    assert rest[-1].value == start
    if port is OUT:
        assert rest[0] == MaskWrite(at + 0x200, 0x1F00, 0xF00)


def test_iteration_has_to_be_asked_for() -> None:
    four = Access((3, 4, 5, 6), (1000, 100, 10, 1))
    with pytest.raises(DesignError, match="needs 4 dimensions"):
        Launch().configure(IN, Piece(0, four))
    launch = Launch()
    launch.transfer(IN, Piece(0, four), iterate=True)
    words = launch.ops[0].words
    assert words[0] == 4 * 5 * 6
    assert words[6] == 2 << 20 | 999
    assert launch.ops[-1] == Write(0x1D214, 2 << 16)


def linear(offset: int = 0) -> Piece:
    return Piece(0, Access((4,), (1,), offset))


def test_a_seventeenth_descriptor_in_flight_is_refused() -> None:
    launch = Launch()
    for _ in range(16):
        launch.configure(IN, linear())
    with pytest.raises(DesignError, match="16 of 16 are in flight"):
        launch.configure(IN, linear())


def test_a_fifth_task_in_a_queue_is_refused() -> None:
    launch = Launch()
    tasks = [launch.transfer(IN, linear()) for _ in range(4)]
    with pytest.raises(DesignError, match="queue of 4"):
        launch.transfer(IN, linear())
    launch.release(tasks[0])
    launch.transfer(IN, linear())


def test_a_wait_frees_all_that_came_before_on_the_channel() -> None:
    launch = Launch()
    launch.transfer(IN, linear())
    second = launch.transfer(IN, linear(), token=True)
    launch.wait(second)
    assert launch.ops[-1] == Sync(0, 0, 1, 0)
    assert [launch.configure(IN, linear()).bds[0] for _ in range(2)] == [0, 1]


def test_tokens_are_taken_once_in_order_and_all() -> None:
    launch = Launch()
    first, second = (launch.transfer(OUT, linear()) for _ in range(2))
    with pytest.raises(DesignError, match="earlier"):
        launch.wait(second)
    launch.wait(first)
    with pytest.raises(DesignError, match="no token"):
        launch.wait(first)
    with pytest.raises(DesignError, match="never takes"):
        launch.finish()
    launch.wait(second)
    assert len(launch.finish()) == 10


def test_a_number_in_use_is_refused() -> None:
    launch = Launch()
    launch.configure(IN, linear(), bd=3)
    with pytest.raises(DesignError, match="no 1 descriptors 3 are free"):
        launch.configure(IN, linear(), bd=3)


def test_a_task_runs_once() -> None:
    launch = Launch()
    task = launch.transfer(IN, linear())
    with pytest.raises(DesignError, match="started or released before"):
        launch.start(task)


@pytest.mark.parametrize(
    "access",
    [
        Access((300, 4), (0, 1)),  # repeated too often
        Access((4, 3), (1, 0)),  # the inner dimension stands still
        Access((2, 1031), (2000, 1), 0),  # a prime beyond the wrap counter
        Access((2, 2), (1 << 21, 1)),  # a step beyond its field
        Access((3, 4, 5, 6), (0, 0, 7, 0)),
    ],
)
def test_patterns_that_do_not_fit_are_refused(access: Access) -> None:
    with pytest.raises(DesignError, match=r"shim tile \(0,0\)"):
        Launch().configure(IN, Piece(0, access))


def test_pieces_of_a_task_are_chained_and_started_once() -> None:
    launch = Launch()
    task = launch.transfer(IN, linear(), linear(4), linear(8))
    blocks = [op.words for op in launch.ops if isinstance(op, BlockWrite)]
    assert [w[7] >> 26 for w in blocks] == [1 << 1 | 1, 2 << 1 | 1, 0]
    assert [op.offset for op in launch.ops if isinstance(op, AddressPatch)] == [0, 16, 32]
    assert [op for op in launch.ops if isinstance(op, Write)] == [Write(0x1D214, 0)]
    assert task.bds == (0, 1, 2)
    launch.release(task)
    assert launch.configure(IN, linear()).bds == (0,)
    with pytest.raises(DesignError, match="cannot be repeated"):
        launch.configure(IN, linear(), Piece(0, Access((2, 4), (0, 1))))
