"""What each operation of the encoder costs on a device: cycles, multiplications, bytes, dispatch.

Cycles do not depend on the numbers, so weights are random. Layers are alike, so the first launch,
one in the middle and the last are run for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.engines import models
from whisper_npu_cli.engines.checkpoint import expected
from whisper_npu_cli.engines.geometry import PUBLISHED, Geometry
from whisper_npu_cli.engines.kernel_cases import BF16_MACS, CORES
from whisper_npu_cli.engines.npu import OVERLAY
from whisper_npu_cli.engines.npu_encoder import LAYERS, EncoderPlan, Packed
from whisper_npu_cli.errors import ModelError
from whisper_npu_cli.kernels import transformer
from whisper_npu_cli.kernels.layout import TILE
from whisper_npu_cli.kernels.operations import Attention, Gemm, LayerNorm
from whisper_npu_cli.kernels.streams import Operations, Streams, traffic
from whisper_npu_cli.npu.buffer import Buffer
from whisper_npu_cli.npu.context import Context, Launch
from whisper_npu_cli.npu.device import Device, open_device
from whisper_npu_cli.npu.job import Job

CLOCK = 1e9
"""Cycles a second, where a device tells seconds only."""
RUNS = 31
"""Of a launch, where it is measured: the median counts."""
LAUNCHES_RUN = 3
PAGE = 4096


@dataclass(frozen=True)
class Cost:
    """An operation, or a launch: all of one window.

    count: how often it is done. cycles: as launches of their own for operations, of the array;
    emulated, or measured seconds at CLOCK. macs: multiply-accumulates that cores do, padding
    included. bytes: between host memory and the array. dispatch: cycles for which the controller
    is busy, as modelled; cores work meanwhile.
    """

    name: str
    count: int
    cycles: int
    macs: int
    bytes: int
    dispatch: int

    @property
    def mac_utilisation(self) -> float:
        """Part of the multiplications that 16 cores could do in these cycles."""
        return self.macs / (self.cycles * CORES * BF16_MACS)

    @property
    def dispatch_share(self) -> float:
        """Part of the cycles for which the controller is busy."""
        return self.dispatch / self.cycles

    def times(self, count: int) -> Cost:
        """So many of it."""
        return Cost(
            self.name,
            self.count * count,
            *(count * n for n in (self.cycles, self.macs, self.bytes, self.dispatch)),
        )

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        shares = {"mac_utilisation": self.mac_utilisation, "dispatch_share": self.dispatch_share}
        return asdict(self) | {name: round(share, 4) for name, share in shares.items()}


def measure(model: str, name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """The figures of docs/cli.md for a model's encoder on the device `name`; `tell` hears how far.

    Raises ModelError and DeviceError.
    """
    sizes = _geometry(model)
    left_out = max(0, -(-sizes.encoder_layers // LAYERS) - LAUNCHES_RUN)
    short = replace(sizes, encoder_layers=sizes.encoder_layers - LAYERS * left_out)
    device = open_device(name)
    bench = EncoderBench(device, EncoderPlan(short), _random(short))
    launches = []
    for number in range(len(bench.plan.launches)):
        tell(f"launch {number + 1} of {len(bench.plan.launches)}")
        launches.append(bench.launch(number))
    counts = [1] * len(launches)
    counts[len(launches) // 2] += left_out
    window = _sum("window", [cost.times(n) for cost, n in zip(launches, counts, strict=True)])
    operations = []
    for operation, stage in bench.stages().items():
        tell(operation)
        operations.append(bench.stage(operation, stage).times(_count(bench, operation, counts)))
    return {
        "model": model,
        "device": name,
        "emulated": name == "emulator",
        "layers": sizes.encoder_layers,
        "layers_run": short.encoder_layers,
        "launches": window.count,
        "window": window.figures() | {"needed_macs": sizes.encoder_macs},
        "operations": [cost.figures() for cost in operations],
    }


class EncoderBench:
    """A plan on a device with random weights; runs whole launches, and stages alone."""

    def __init__(self, device: Device, plan: EncoderPlan, tensor: Callable[[str], Any]) -> None:
        self.plan = plan
        self._streams = Streams(transformer.design())
        self._context: Context = device.context(OVERLAY)
        self._buffers: list[Buffer] = [
            self._context.buffer(size, n) for n, size in enumerate(plan.bytes)
        ]
        activations, weights = self._buffers
        memory = weights.array()
        for at, data in plan.weights(tensor):
            memory[at : at + data.size] = data
        weights.to_device()
        activations.to_device()

    def stages(self) -> dict[str, list[Packed]]:
        """One stage of each kind, by the name that all layers share."""
        found: dict[str, list[Packed]] = {}
        for launch in self.plan.launches:
            for stage in launch.stages:
                found.setdefault(kind(stage), stage)
        return found

    def launch(self, number: int) -> Cost:
        """A whole launch. Raises DeviceFault."""
        launch = self.plan.launches[number]
        macs = sum(map(_macs, (p for stage in launch.stages for p in stage)))
        place = (launch.output.offset, launch.output.size)
        return self._cost("launch", launch.transfers(), macs, place)

    def stage(self, name: str, stage: Sequence[Packed]) -> Cost:
        """A stage as a launch of its own. Raises DeviceFault."""
        transfers = [t for packed in stage for t in packed.operation.transfers()]
        return self._cost(name, [transfers], sum(map(_macs, stage)), _last_written(transfers))

    def _cost(self, name: str, work: Operations, macs: int, output: tuple[int, int]) -> Cost:
        offset, size = output
        written = self._buffers[0].part(offset, size)
        launch = self._context.launch(self._streams.stream(work), self._buffers, [written])
        return Cost(
            name, 1, cycles_of(launch), macs, traffic(work), self._streams.dispatch_cycles(work)
        )


def cycles_of(launch: Launch) -> int:
    """Cycles of the array for a launch: the emulator's, or measured seconds at CLOCK.

    Raises DeviceFault.
    """
    job = Job([launch])
    (cycles,) = job.run().cycles
    if cycles is not None:
        return cycles
    return round(median(job.run().seconds for _ in range(RUNS)) * CLOCK)


def kind(stage: Sequence[Packed]) -> str:
    """The name of a stage without its layer."""
    name = stage[0].name.removeprefix("model.encoder.")
    return ".".join(part for part in name.split(".") if part != "layers" and not part.isdigit())


def _count(bench: EncoderBench, operation: str, counts: Sequence[int]) -> int:
    """How often a kind of stage is done in a window."""
    found: Counter[str] = Counter()
    for launch, count in zip(bench.plan.launches, counts, strict=True):
        for stage in launch.stages:
            found[kind(stage)] += count
    return found[operation]


def _sum(name: str, costs: Sequence[Cost]) -> Cost:
    names = ("count", "cycles", "macs", "bytes", "dispatch")
    return Cost(name, *(sum(getattr(cost, n) for cost in costs) for n in names))


def _macs(packed: Packed) -> int:
    made = packed.operation
    if isinstance(made, Gemm):
        columns = len(made.targets)
        return made.left.rows * made.depth * columns * TILE**3
    if isinstance(made, Attention):
        return CORES * made.steps * 2 * made.keys.rows * TILE**3
    assert isinstance(made, LayerNorm)
    return 0


def _last_written(transfers: Sequence[Any]) -> tuple[int, int]:
    """Offset and size of whole pages that end where the last result does."""
    end = next(t for t in reversed(transfers) if t.port.startswith("out")).pieces[-1].access.end
    start = max(0, end - 1) // PAGE * PAGE
    return start, end - start


def _geometry(model: str) -> Geometry:
    """Sizes of a model on this machine, else of OpenAI's model of that name."""
    try:
        return Geometry.read(models.path(model))
    except ModelError:
        name = {"turbo": "large-v3-turbo", "large": "large-v3"}.get(model, model)
        if name not in PUBLISHED:
            raise
        return PUBLISHED[name]


def _random(sizes: Geometry) -> Callable[[str], npt.NDArray[np.float32]]:
    """Weights of a checkpoint that does not exist."""
    shapes, random = dict(expected(sizes)), np.random.default_rng(0)

    def tensor(name: str) -> npt.NDArray[np.float32]:
        return random.standard_normal(shapes[name], np.float32) / np.float32(
            shapes[name][-1] ** 0.5
        )

    return tensor
