"""One kernel run with a known answer: the proof that an NPU, or the emulator, computes right.

The calls are those of FACTS §6.1 (Xilinx/XRT pyxrt.cpp, whisper-xdna rawxrt.py), which exist
unchanged in XRT 2.19 to 2.26. The runtime replaces the body of `known_answer` once it has
contexts of its own; its meaning stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from whisper_npu_cli.npu.catalog import Argument, Golden

if TYPE_CHECKING:
    import pyxrt

OPCODE_TRANSACTION = 3
"""First kernel argument: run an instruction stream (FACTS §6.1)."""
WAIT_MS = 5000
"""Longer than the driver's own limit for a job, 2000 ms (tdr_timeout_ms)."""
SENTINEL = 0xA5
"""Fills expected buffers before the run: firmware may report a lost command as completed."""


def known_answer(
    pyxrt: Any, device: pyxrt.device, context: pyxrt.hw_context, image: pyxrt.xclbin, golden: Golden
) -> str:
    """Run `golden` in `context`; return what is wrong with the answer, empty when it is right.

    `pyxrt` is the module or its stand-in. Raises whatever that raises.
    """
    kernel = pyxrt.kernel(context, image.get_kernels()[0].get_name())
    words = golden.sequence.read_bytes()
    instructions = pyxrt.bo(device, len(words), pyxrt.bo.cacheable, kernel.group_id(1))
    _send(pyxrt, instructions, words)
    buffers = []
    for index, argument in enumerate(golden.arguments):
        content = argument.file.read_bytes()
        buffer = pyxrt.bo(device, len(content), pyxrt.bo.host_only, kernel.group_id(3 + index))
        _send(pyxrt, buffer, bytes([SENTINEL]) * len(content) if argument.expected else content)
        buffers.append(buffer)
    run = kernel(OPCODE_TRANSACTION, instructions, len(words) // 4, *buffers)
    state = run.wait(WAIT_MS)
    if state != pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED:
        return f"the run ended in state {state}"
    for argument, buffer in zip(golden.arguments, buffers, strict=True):
        difference = _difference(pyxrt, buffer, argument) if argument.expected else ""
        if difference:
            return f"{argument.file.name}: {difference}"
    return ""


def _send(pyxrt: Any, buffer: pyxrt.bo, content: bytes) -> None:
    buffer.write(content, 0)
    buffer.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE)


def _difference(pyxrt: Any, buffer: pyxrt.bo, argument: Argument) -> str:
    buffer.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE)
    got, expected = bytes(buffer.map()), argument.file.read_bytes()
    if got == expected:
        return ""
    if got == bytes([SENTINEL]) * len(expected):
        return "nothing was written"
    wrong = [at for at, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b]
    return f"{len(wrong)} of {len(expected)} bytes differ, the first at {wrong[0]}"
