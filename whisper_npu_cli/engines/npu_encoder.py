"""Whisper's encoder as operations of the transformer overlay: buffers, weights, launches.

Buffer 0 of a launch holds activations, buffer 1 weights. A window is one launch for each two
layers; the first begins with the two convolutions, as matrix products, and the last ends with the
last normalisation. Nothing comes back to the host in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from whisper_npu_cli.engines.geometry import SOURCE_POSITIONS, Geometry
from whisper_npu_cli.errors import ModelError
from whisper_npu_cli.kernels.dispatch import Transfer
from whisper_npu_cli.kernels.gemm import MOST_PANELS, SECOND_TRANSPOSED
from whisper_npu_cli.kernels.layout import (
    NETS,
    TILE,
    TILE_WORDS,
    Activations,
    Order,
    from_bfloat16,
    to_bfloat16,
)
from whisper_npu_cli.kernels.operations import (
    Attention,
    Gemm,
    KeysValues,
    LayerNorm,
    Target,
    Weights,
    columns_of,
)

Array = npt.NDArray[np.float32]
Tensor = Callable[[str], Array]
"""A checkpoint's weights by name."""

FRAMES = 2 * SOURCE_POSITIONS
TAPS = 3
ROWS = 24
"""Row tiles of a window: 1536 rows, of which 1500 count."""
HEAD = 64
"""The only head size that the attention kernel has; every Whisper's."""
SCORE = float(np.log2(np.e)) / HEAD**0.5
"""Factor of the queries: scores are exponents of 2."""

LAYERS = 2
"""Of a launch: a launch costs 40 thousand cycles, and each one that is over is progress to show."""

ACTIVATIONS, WEIGHTS = 0, 1


@dataclass(frozen=True)
class Launch:
    """Stages in order, and what they leave behind. All of a stage may run at the same time."""

    stages: list[list[Packed]]
    output: Activations

    def transfers(self) -> list[list[Transfer]]:
        """The host's transfers, stage by stage."""
        return [[t for p in stage for t in p.operation.transfers()] for stage in self.stages]


@dataclass(frozen=True)
class Packed:
    """An operation with what makes its weights: uint8, as they lie in memory."""

    name: str
    operation: Gemm | LayerNorm | Attention
    make: Callable[[Tensor], npt.NDArray[np.uint8]]


class EncoderPlan:
    """Where everything lies, and what is done, for a checkpoint's sizes.

    Raises ModelError for heads of another size than HEAD.
    """

    def __init__(self, sizes: Geometry) -> None:
        if sizes.d_model != HEAD * sizes.encoder_heads:
            raise ModelError(
                f"This model's heads have {sizes.d_model // sizes.encoder_heads} numbers; the NPU "
                f"engine knows heads of {HEAD} only: use --device cpu."
            )
        self.sizes = sizes
        self._room = {ACTIVATIONS: 0, WEIGHTS: 0}
        self.launches: list[Launch] = []
        self._stages: list[list[Packed]] = []
        width, wide = sizes.d_model // TILE, sizes.encoder_ffn // TILE
        self.mel = self._matrix(TAPS * ROWS, -(-(TAPS * sizes.n_mels + 2) // TILE), Order.STREAM)
        self._conv1 = self._matrix(TAPS * ROWS, width)
        self._x = [self._matrix(ROWS, width) for _ in range(LAYERS + 1)]
        self._y = self._matrix(ROWS, width)
        self._normal = self._matrix(ROWS, width, Order.STREAM)
        self._queries = self._matrix(ROWS, width)
        self._mixed = self._matrix(ROWS, width, Order.STREAM)
        self._wide = self._matrix(ROWS, wide)
        self._keys = KeysValues(ROWS, sizes.encoder_heads, ACTIVATIONS, self._room[ACTIVATIONS])
        self._take(ACTIVATIONS, self._keys.size)
        scratch = self._take(ACTIVATIONS, 8 * ROWS * TILE_WORDS)
        self._scratch = Target(scratch // 4, pair_step=4 * TILE_WORDS)
        self.positions = self._matrix(ROWS, width, argument=WEIGHTS)
        self.result = self._matrix(ROWS, width, Order.STREAM)
        self._build()

    # Memory --------------------------------------------------------------------------------------

    def _take(self, argument: int, size: int) -> int:
        at = self._room[argument]
        self._room[argument] = at + -(-size // 4096) * 4096
        return at

    def _matrix(
        self, rows: int, columns: int, order: Order = Order.PAIRS, argument: int = ACTIVATIONS
    ) -> Activations:
        made = Activations(rows, columns, order, argument)
        return replace(made, offset=self._take(argument, made.size))

    @property
    def bytes(self) -> tuple[int, int]:
        """Sizes of the buffers of activations and of weights."""
        return self._room[ACTIVATIONS], self._room[WEIGHTS]

    # Operations ----------------------------------------------------------------------------------

    def _build(self) -> None:
        sizes = self.sizes
        conv2 = replace(self._conv1, rows=ROWS, columns=TAPS * self._conv1.columns)
        self._gemm("conv1", self.mel, self._conv1, _conv1, gelu=True)
        self._gemm("conv2", conv2, self._x[0], _conv2, gelu=True, residual=self.positions)
        for n in range(sizes.encoder_layers):
            # a launch must not write where it reads: it may have to be repeated
            before, after = (self._x[k % (LAYERS + 1)] for k in (n, n + 1))
            scope = f"model.encoder.layers.{n}"
            self._norm(f"{scope}.self_attn_layer_norm", before, self._normal)
            self._project(f"{scope}.self_attn")
            self._attend(scope)
            out, fc1, fc2 = f"{scope}.self_attn.out_proj", f"{scope}.fc1", f"{scope}.fc2"
            self._gemm(out, self._mixed, self._y, _linear(out), residual=before)
            self._norm(f"{scope}.final_layer_norm", self._y, self._normal)
            self._gemm(fc1, self._normal, self._wide, _linear(fc1), gelu=True)
            self._gemm(fc2, self._wide, after, _linear(fc2), residual=self._y)
            if (n + 1) % LAYERS == 0 and n + 1 < sizes.encoder_layers:
                self._launch(after)
        self._norm("model.encoder.layer_norm", after, self.result)
        self._launch(self.result)

    def _launch(self, output: Activations) -> None:
        self.launches.append(Launch(self._stages, output))
        self._stages = []

    def _gemm(
        self,
        name: str,
        left: Activations,
        result: Activations,
        right: Callable[[Tensor], tuple[Array, Array]],
        gelu: bool = False,
        residual: Activations | None = None,
    ) -> None:
        self._products(name, left, columns_of(result), right, gelu, residual)

    def _products(
        self,
        name: str,
        left: Activations,
        targets: tuple[Target, ...],
        right: Callable[[Tensor], tuple[Array, Array]],
        gelu: bool = False,
        residual: Activations | None = None,
    ) -> None:
        """A product in as few operations as its panels allow, of about equal size."""
        stage = []
        for first, last in split_columns(len(targets), MOST_PANELS):
            part = None if residual is None else from_column(residual, first)
            made = Gemm(left, Weights(WEIGHTS, 0), left.columns, targets[first:last], part, gelu)
            at = self._take(WEIGHTS, made.size)
            made = replace(made, weights=Weights(WEIGHTS, at))
            stage.append(Packed(name, made, _packer(made, right, first * TILE, last * TILE)))
        self._stages.append(stage)

    def _norm(self, name: str, source: Activations, result: Activations) -> None:
        made = LayerNorm(source, result, Weights(WEIGHTS, 0))
        made = replace(made, weights=Weights(WEIGHTS, self._take(WEIGHTS, made.size)))
        self._stages.append(
            [Packed(name, made, lambda t: made.pack(t(f"{name}.weight"), t(f"{name}.bias")))]
        )

    def _project(self, scope: str) -> None:
        """Queries, keys and values in one product, each tile in the order of its reader."""
        heads = self.sizes.encoder_heads
        q = self._queries
        targets = [replace(t, order=SECOND_TRANSPOSED) for t in columns_of(q)[:heads]]
        targets += [self._keys.target(h, values) for values in (False, True) for h in range(heads)]
        targets += [self._scratch] * (-len(targets) % NETS)
        self._products(f"{scope}.qkv", self._normal, tuple(targets), _qkv(scope))

    def _attend(self, scope: str) -> None:
        made = Attention(
            self._queries, self._keys, self._mixed, self._scratch, Weights(WEIGHTS, 0),
            SOURCE_POSITIONS,
        )  # fmt: skip
        made = replace(made, weights=Weights(WEIGHTS, self._take(WEIGHTS, made.size)))
        self._stages.append([Packed(f"{scope}.attention", made, lambda _: made.pack())])

    # For the engine ------------------------------------------------------------------------------

    def weights(self, tensor: Tensor) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """(offset in the buffer of weights, bytes) of everything that a checkpoint fills in."""
        table = tensor("model.encoder.embed_positions.weight")
        yield self.positions.offset, self.positions.pack(table).view(np.uint8)
        for packed in (p for launch in self.launches for stage in launch.stages for p in stage):
            yield packed.operation.weights.offset, packed.make(tensor).ravel()

    def pack_mel(self, mel: Array) -> npt.NDArray[np.uint16]:
        """Log-mel float32[n_mels, 3000] as the first product reads it.

        Rows are the positions of the second convolution's taps: for tap j, frame 2 i - 1 + j. A row
        holds the three frames around its own and two ones, which add the bias to what is no
        padding.
        """
        channels = self.sizes.n_mels
        padded = np.zeros((FRAMES + 4, channels), np.float32)
        padded[2:-2] = mel.T
        around = np.concatenate([padded[k : k + FRAMES + 2] for k in range(TAPS)], axis=1)
        # around[f + 1] belongs to frame f
        full = np.zeros((TAPS, ROWS * TILE, self.mel.columns * TILE), np.float32)
        for tap in range(TAPS):
            part = full[tap, :SOURCE_POSITIONS]
            part[:, : TAPS * channels] = around[tap : tap + FRAMES : 2]
            frames = np.arange(SOURCE_POSITIONS) * 2 - 1 + tap
            part[frames >= 0, TAPS * channels : TAPS * channels + 2] = 1
            part[frames < 0] = 0
        return self.mel.pack(full.reshape(-1, full.shape[2]))

    def unpack_result(self, memory: npt.NDArray[np.uint16]) -> Array:
        """The encoder's output, float32[1500, d_model], from the buffer of activations."""
        start = self.result.offset // 2
        part = memory[start : start + self.result.size // 2]
        return self.result.unpack(part)[:SOURCE_POSITIONS, : self.sizes.d_model]


def split_columns(columns: int, most_panels: int) -> list[tuple[int, int]]:
    """First column of tiles, and the one behind the last, of each operation of a wide product."""
    panels = columns // NETS
    parts = np.array_split(np.arange(panels), -(-panels // most_panels))
    return [(int(part[0]) * NETS, int(part[-1] + 1) * NETS) for part in parts]


def from_column(matrix: Activations, first: int) -> Activations:
    """The columns of tiles from `first` on."""
    offset = matrix.offset + 4 * first * matrix.column_step
    return replace(matrix, columns=matrix.columns - first, offset=offset)


def _packer(
    made: Gemm, right: Callable[[Tensor], tuple[Array, Array]], first: int, last: int
) -> Callable[[Tensor], npt.NDArray[np.uint8]]:
    def make(tensor: Tensor) -> npt.NDArray[np.uint8]:
        matrix, bias = right(tensor)
        return made.pack(matrix[:, first:last], bias[first:last])

    return make


def _linear(scope: str) -> Callable[[Tensor], tuple[Array, Array]]:
    return lambda tensor: (tensor(f"{scope}.weight").T, tensor(f"{scope}.bias"))


def _qkv(scope: str) -> Callable[[Tensor], tuple[Array, Array]]:
    def right(tensor: Tensor) -> tuple[Array, Array]:
        q, k, v = (tensor(f"{scope}.{n}_proj.weight") for n in "qkv")
        bias = tensor(f"{scope}.q_proj.bias") * np.float32(SCORE)
        none = np.zeros_like(bias)
        matrix = np.concatenate([q * np.float32(SCORE), k, v]).T
        return matrix, np.concatenate([bias, none, tensor(f"{scope}.v_proj.bias")])

    return right


def _conv1(tensor: Tensor) -> tuple[Array, Array]:
    """Rows: frame before, frame, frame after; then the bias as a sum of two bfloat16."""
    weight, bias = (tensor(f"model.encoder.conv1.{part}") for part in ("weight", "bias"))
    high = from_bfloat16(to_bfloat16(bias))
    matrix = np.concatenate([*weight.transpose(2, 1, 0), high[None], (bias - high)[None]])
    return matrix, np.zeros_like(bias)


def _conv2(tensor: Tensor) -> tuple[Array, Array]:
    """Rows: for each 64 channels their three taps, since these alternate in conv1's result."""
    weight = tensor("model.encoder.conv2.weight")
    d = weight.shape[0]
    matrix = weight.transpose(1, 2, 0).reshape(d // TILE, TILE, TAPS, d).transpose(0, 2, 1, 3)
    return matrix.reshape(-1, d), tensor("model.encoder.conv2.bias")
