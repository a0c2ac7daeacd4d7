"""Readers against damaged files: a sentence or a result, within bounded time and memory."""

from __future__ import annotations

import random
import resource
import struct
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from time import perf_counter, process_time

import golden_designs as golden
import pytest
from made_containers import pdi as written_pdi
from made_containers import xclbin as written_xclbin
from mutators import MUTATORS, repair

from whisper_npu_cli.aie.formats import cdo, pdi, sequence, xclbin
from whisper_npu_cli.aie.formats.registers import BlockWrite, MaskWrite, Write
from whisper_npu_cli.aie.formats.view import FormatError

OPS = (
    cdo.Nop(), MaskWrite(0x232000, 1, 0), BlockWrite(0x220000, tuple(range(300))), cdo.Nop(2),
    BlockWrite(0x21D000, (0x400200, 0, 0, 0, 0, 0xE043FE0)), Write(0x21DE04, 0),
)  # fmt: skip
RARE = (cdo.Fill(0x200000, 64, 0), cdo.MaskPoll(0x232004, 1, 1, 9), cdo.Delay(5), cdo.End())
STREAM = (
    BlockWrite(0x1D000, (0x100, 0, 0, 0, 0x80000000, 0x2000000, 0, 0x2000000)),
    sequence.AddressPatch(0x1D004, 1, 0), MaskWrite(0x1D200, 0x1F00, 0xF00),
    Write(0x1D204, 0x80000000), sequence.Sync(0, 0, 0, 0), sequence.Noop(),
)  # fmt: skip
PDI = written_pdi(cdo.encode(OPS))


def read_xclbin(data: bytes) -> None:
    """Everything that a user of the reader does with a container."""
    box = xclbin.decode(data, "x.xclbin")
    for kernel in box.kernels[:4]:
        cdo.register_ops(box.pdi(kernel).decode().ops, "x.xclbin")


READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "cdo": (lambda data: cdo.decode(data, "x.bin"), cdo.encode(OPS + RARE)),
    "pdi": (lambda data: pdi.decode(data, "x.pdi"), PDI),
    "xclbin": (read_xclbin, written_xclbin(PDI)),
    "sequence": (
        lambda data: sequence.decode(data, "insts.bin"),
        sequence.to_bytes(sequence.encode(STREAM, 4)),
    ),
}


def damaged(count: int, seed: int) -> Counter[str]:
    """Read `count` damaged files; how many of each format were refused and how many were read.

    Every third file keeps right checksums and lengths, so that damage behind them is reached.
    """
    rng = random.Random(seed)
    originals = [data for _, data in READERS.values()]
    outcome: Counter[str] = Counter()
    for index in range(count):
        name, (reader, data) = rng.choice(list(READERS.items()))
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = rng.choice(MUTATORS)(data, originals, rng) or b"\0" * 16
            data += bytes(max(0, 16 - len(data)))
        if index % 3:
            data = repair(data)
        start = process_time()
        try:
            reader(data)
            outcome[f"{name} read"] += 1
        except FormatError as error:
            assert len(str(error)) < 500 and "\n" not in str(error)
            outcome[f"{name} refused"] += 1
        assert process_time() - start < 5, f"seed {seed}, file {index}: too slow"
    return outcome


def test_the_undamaged_files_are_read() -> None:
    for reader, data in READERS.values():
        reader(data)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_end_in_a_sentence(seed: int) -> None:
    outcome = damaged(1000, seed)
    for name in READERS:
        assert min(outcome[f"{name} refused"], outcome[f"{name} read"]) > 10


def test_damaged_files_take_little_memory() -> None:
    tracemalloc.start()
    try:
        damaged(300, 99)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_arrays_that_point_at_each_other_do_not_multiply() -> None:
    # 64 PDIs whose 64 groups are the same bytes, each with the same 64 ids: the most there can be
    data = bytearray(written_xclbin(PDI))
    start = struct.unpack_from("<Q", data, 0x1C8 + 40 + 0x18)[0]
    base = len(data)
    ids, groups, pdis = base, base + 64 * 8, base + 64 * 8 + 64 * 96
    data += bytes(64 * 8)
    group = struct.pack("<IIQIIII", 0x58, 1, 1, 64, ids - start, 64, ids - start) + bytes(64)
    data += group * 64
    data += (bytes(16) + struct.pack("<IIII", 16, 0, 64, groups - start) + bytes(64)) * 64
    struct.pack_into("<II", data, start + 0x78, 64, pdis - start)
    struct.pack_into("<Q", data, 0x1C8 + 40 + 0x20, len(data) - start)
    struct.pack_into("<Q", data, 0x130, len(data))
    before = process_time()
    box = xclbin.decode(bytes(data), "x")
    assert len(box.partition.pdis) == 64 and len(box.partition.pdis[63].groups) == 64
    assert process_time() - before < 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1010))
def test_a_hundred_thousand_damaged_files(seed: int) -> None:
    start = perf_counter()
    outcome = damaged(10_000, seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    rate = 10_000 / (perf_counter() - start)
    print(f"seed {seed}: {rate:.0f} files/s, peak {peak} MiB, {dict(outcome)}", file=sys.stderr)
    assert sum(outcome.values()) == 10_000
    assert peak < 1024


@golden.needs_golden
@pytest.mark.parametrize("name", golden.NAMES)
def test_damaged_public_streams(name: str) -> None:
    words = golden.stream_words(name)
    data, rng = sequence.to_bytes(words), random.Random(name)
    for _ in range(30):
        changed = repair(rng.choice(MUTATORS)(data, [PDI], rng))
        try:
            stream = sequence.decode(changed, name)
        except FormatError:
            continue
        assert len(sequence.to_bytes(sequence.encode(stream.ops, stream.columns))) == len(changed)
