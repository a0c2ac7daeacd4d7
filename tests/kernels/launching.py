"""Shipped XCLBINs through the surface of pyxrt, on the emulated NPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.formats import sequence
from whisper_npu_cli.emulator import pyxrt

FOLDER = Path(__file__).parents[2] / "xclbins"
UNTOUCHED = 0xA5


class Device:
    """A context with one XCLBIN; `run` launches it."""

    def __init__(self, path: Path) -> None:
        self.device = pyxrt.device(0)
        image = pyxrt.xclbin(str(path))
        self.context = pyxrt.hw_context(self.device, self.device.register_xclbin(image))
        self.columns = image.content.partition.column_width
        self.kernel = pyxrt.kernel(self.context, image.get_kernels()[0].get_name())

    def buffer(self, content: bytes, kind: pyxrt.bo.flags, argument: int) -> pyxrt.bo:
        bo = pyxrt.bo(self.device, len(content), kind, self.kernel.group_id(argument))
        bo.write(content, 0)
        bo.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE)
        return bo

    def run(
        self, ops: Sequence[sequence.SequenceOp], source: NDArray, result_bytes: int
    ) -> NDArray[np.uint8]:
        """bo1 after a launch with `source` in bo0."""
        words = sequence.encode(ops, self.columns)
        code = self.buffer(sequence.to_bytes(words), pyxrt.bo.cacheable, 1)
        given = self.buffer(source.tobytes(), pyxrt.bo.host_only, 3)
        result = self.buffer(bytes([UNTOUCHED]) * result_bytes, pyxrt.bo.host_only, 4)
        run = self.kernel(3, code, len(words), given, result)
        assert run.wait(0) == pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
        result.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE)
        return np.frombuffer(bytes(result.map()), np.uint8)


@cache
def opened(name: str) -> Device:
    """The shipped XCLBIN of that name, opened once."""
    return Device(FOLDER / f"{name}.xclbin")
