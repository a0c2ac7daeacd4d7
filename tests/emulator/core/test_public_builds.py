"""Public Peano-built kernels on one core, against models of what their C sources compute.

Needs a checkout of Unicorn-Commander/Unicorn-Amanuensis (folder `whisperx/npu/npu_optimization`);
set WHISPER_NPU_PUBLIC_BUILDS to it. Nothing of it is in this repository: the models below restate
the arithmetic, tables are read from the ELF files. Each lowered `main_input.ll` calls one function
of a linked object file; that function is what is compared, byte by byte.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from core_bench import MEMORY, new_core

from whisper_npu_cli.aie.asm.decode import decode
from whisper_npu_cli.aie.formats import elf
from whisper_npu_cli.emulator.reasons import Reason

VARIABLE = "WHISPER_NPU_PUBLIC_BUILDS"
FOLDER = os.environ.get(VARIABLE)
ENCODER, MEL = "whisper_encoder_kernels", "mel_kernels"
SOFTMAX = f"{ENCODER}/kernels_xdna1/build_softmax_bf16/softmax_bf16"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason=f"{VARIABLE} names no checkout of public builds"),
]

STACK, INPUT, OUTPUT = MEMORY + 0xC000, MEMORY + 0xA000, MEMORY + 0xB000
"""Away from the program's own data; the builds' own stacks run over their buffers (see below)."""


class Build:
    """One ELF file loaded into a core's program and data memory."""

    def __init__(self, name: str) -> None:
        assert FOLDER is not None
        path = Path(FOLDER) / "whisperx/npu/npu_optimization" / f"{name}.mlir.prj/main_core_0_2.elf"
        self.raw = path.read_bytes()
        self.code = elf.read(self.raw)[0]
        self.core, self.arena = new_core(self.code.data)
        self.load()

    def load(self) -> None:
        """Put the data segments into memory, everything else unwritten."""
        self.arena.bytes[:] = 0
        self.arena.known[:] = 0
        for address, data in segments(self.raw):
            if address >= MEMORY:
                self.arena.write(address - MEMORY, data)

    def data(self, address: int, size: int) -> bytes:
        """Bytes of the data segment."""
        return next(
            d[address - a :][:size] for a, d in segments(self.raw) if 0 <= address - a < len(d)
        )

    def call(self, function: str, data: bytes, size: int, count: int | None = None) -> bytes:
        """The bytes that a function(input, output[, count]) leaves in its output."""
        self.load()
        self.arena.write(INPUT - MEMORY, data)
        entry = next(a for a, name in self.code.symbols.items() if name == function)
        stop = next(
            d.address for d in decode(self.code.data) if "done" in d.bundle.text().split("; ")
        )
        self.core.reset(pc=entry)
        values = {"sp": STACK, "p0": INPUT, "p1": OUTPUT, "lr": stop, "r0": count or 0, "crRnd": 0}
        for register, value in values.items():
            self.core.write(register, value)
        for register in ["r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "p6", "p7"]:
            self.core.write(register, 0)
        assert self.core.run(1 << 40) is Reason.DONE
        at = OUTPUT - MEMORY
        assert self.arena.known[at : at + size].all()
        return self.arena.bytes[at : at + size].tobytes()

    def run_once(self, at_input: int, data: bytes, at_output: int, size: int) -> bytes:
        """The first output buffer of the whole program, its locks granted at once."""
        self.load()
        self.arena.write(at_input, data)
        self.core.reset()
        releases = 0
        while releases < 2:
            reason = self.core.run(1 << 40)
            releases += reason is Reason.RELEASE
            if reason in (Reason.ACQUIRE, Reason.RELEASE, Reason.EVENT):
                self.core.resume(self.core.cycle)
        return self.arena.bytes[at_output : at_output + size].tobytes()


def segments(raw: bytes) -> list[tuple[int, bytes]]:
    """(physical address, contents) of the loadable segments of an ELF file."""
    start, _, _, _, size, count = struct.unpack_from("<IIIHHH", raw, 28)
    found = []
    for i in range(count):
        kind, at, _, address, length, total = struct.unpack_from("<IIIIII", raw, start + i * size)
        if kind == 1:
            found.append((address, raw[at : at + length] + bytes(total - length)))
    return found


def random_bytes(rng: np.random.Generator, size: int) -> bytes:
    return rng.integers(0, 256, size, dtype=np.uint8).tobytes()


def int8(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.int8).astype(np.int64)


def as_int8(values: np.ndarray) -> bytes:
    return values.astype(np.int8).tobytes()


def matmul_32x32(data: bytes) -> bytes:
    """int8 product of two packed 32 x 32 matrices, shifted down by 7 and clamped."""
    a, b = int8(data).reshape(2, 32, 32)
    return as_int8(np.clip((a @ b) >> 7, -128, 127))


def layer_norm(data: bytes) -> bytes:
    """256 features, gamma, beta; integer mean and standard deviation, C's division to zero.

    The build is older than the source beside it: its code adds 128 to the variance (not 1), divides
    2**23 (not 2**15) by the root and shifts the product down by 15 (not 8).
    """
    x, gamma, beta = int8(data).reshape(3, 256)
    total = int(x.sum())
    mean = abs(total) // 256 * (1 if total >= 0 else -1)
    variance = int(((x - mean) ** 2).sum()) // 256
    root = int(np.sqrt(variance + 128))
    normal = ((x - mean) * (2**23 // root)) >> 15
    return as_int8(np.clip(((gamma * normal) >> 7) + beta, -128, 127))


def mel_int(data: bytes) -> bytes:
    """80 means of 10 absolute int16 samples, 5 apart, divided by 125, kept to int8, not below 0."""
    samples = np.frombuffer(data, "<i2")
    bins = []
    for start in range(0, 400, 5):
        energy = int(np.abs(samples[start : start + 10]).astype(np.int64).sum())
        mean = abs(energy) // 10 * (1 if energy >= 0 else -1)
        scaled = abs(mean) // 125 * (1 if mean >= 0 else -1)
        bins.append(max(0, (scaled + 128) % 256 - 128))
    return as_int8(np.array(bins))


def softmax(data: bytes) -> bytes:
    """1024 bfloat16; each float operation rounded to float32, conversions cut (crRnd is 0)."""
    f = np.float32

    def narrowed(values: np.ndarray) -> np.ndarray:
        return (values.astype(f).view(np.uint32) >> 16).astype(np.uint16)

    def widened(patterns: np.ndarray) -> np.ndarray:
        return (patterns.astype(np.uint32) << 16).view(f)

    x = widened(np.frombuffer(data, "<u2"))
    scaled = (x - x.max()) * f(1.442695040888963)
    whole = scaled.astype(np.int32)
    rest = scaled - whole.astype(f)
    power = ((whole + 127) << 23).view(f)
    series = (f(1) + f(0.6931471805599453) * rest) + f(0.2401598148889220) * rest * rest
    results = power * series
    total = f(0)
    for value in results:
        total = f(total + value)
    inverse = f(1) / f(total + f(1e-7))
    return narrowed(widened(narrowed(results)) * inverse).tobytes()


CALLS: list[tuple[str, str, Callable[[bytes], bytes], int, int]] = [
    (f"{ENCODER}/build_matmul_32x32/matmul_32x32", "matmul_int8_32x32_packed", matmul_32x32, 2048,
     1024),
    (f"{ENCODER}/build_layernorm/layernorm_simple", "layernorm_int8_256", layer_norm, 768, 256),
    (f"{MEL}/build_int/mel_int", "mel_kernel_simple", mel_int, 800, 80),
    (f"{MEL}/build_minimal/mel_minimal", "mel_kernel_simple", lambda data: data[:80], 800, 80),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "model", "size", "out"), CALLS)
def test_functions_of_bytes(
    name: str, function: str, model: Callable[[bytes], bytes], size: int, out: int
) -> None:
    build, rng = Build(name), np.random.default_rng(0)
    for _ in range(100 if "matmul" in name else 20):
        data = random_bytes(rng, size)
        assert build.call(function, data, out) == model(data)


def test_gelu_is_its_table() -> None:
    build, rng = Build(f"{ENCODER}/build_gelu/gelu_simple"), np.random.default_rng(0)
    table = np.frombuffer(build.data(0x70C00, 256), np.int8)
    data = bytes(range(256)) + random_bytes(rng, 256)
    expected = as_int8(table[(int8(data) + 128) % 256])
    assert build.call("gelu_int8_512", data, 512, 512) == expected
    assert build.run_once(0x800, data, 0x400, 512) == expected


def test_softmax() -> None:
    build, rng = Build(SOFTMAX), np.random.default_rng(0)
    for scale in (1.0, 8.0):
        values = (rng.standard_normal(1024) * scale).astype(np.float32)
        data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
        assert build.run_once(0x1400, data, 0x400, 2048) == softmax(data)


def test_the_matmul_build_overwrites_its_input_with_its_stack() -> None:
    """1024 int32 on a stack of 1 KiB: linked as it is, the program zeroes A and B first."""
    build = Build(f"{ENCODER}/build_matmul_32x32/matmul_32x32")
    data = random_bytes(np.random.default_rng(0), 2048)
    assert build.run_once(0x400, data, 0x1400, 1024) == bytes(1024)


def test_every_bundle_of_every_build_is_modelled() -> None:
    assert FOLDER is not None
    paths = sorted(Path(FOLDER).rglob("*.elf"))
    assert len(paths) == 49
    for path in paths:
        code = elf.read(path.read_bytes())[0]
        core, _ = new_core(code.data)
        address = 0
        for item in decode(code.data):
            address = item.address
            core.reset(pc=address)
            core.decode()
        assert address > 0
