"""One kernel run with a known answer: the proof that an NPU, or the emulator, computes right.

The calls are those of FACTS §6.1 (Xilinx/XRT pyxrt.cpp, whisper-xdna rawxrt.py), which exist
unchanged in XRT 2.19 to 2.26. The runtime replaces the body of `known_answer` once it has
contexts of its own; its meaning stays.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from whisper_npu_cli.npu.catalog import Argument, Golden
from whisper_npu_cli.pseudorandom import pseudorandom

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
        buffer = pyxrt.bo(device, argument.size, pyxrt.bo.host_only, kernel.group_id(3 + index))
        _send(pyxrt, buffer, _content(argument))
        buffers.append(buffer)
    run = kernel(OPCODE_TRANSACTION, instructions, len(words) // 4, *buffers)
    state = run.wait(WAIT_MS)
    if state != pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED:
        return f"the run ended in state {state}"
    for index, (argument, buffer) in enumerate(zip(golden.arguments, buffers, strict=True)):
        fault = _fault(pyxrt, buffer, argument) if argument.sha256 else ""
        if fault:
            return f"buffer {index}: {fault}"
    return ""


def _content(argument: Argument) -> bytes:
    if argument.sha256:
        return bytes([SENTINEL]) * argument.size
    return pseudorandom(argument.label, argument.size)


def _send(pyxrt: Any, buffer: pyxrt.bo, content: bytes) -> None:
    buffer.write(content, 0)
    buffer.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE)


def _fault(pyxrt: Any, buffer: pyxrt.bo, argument: Argument) -> str:
    buffer.sync(pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE)
    got = bytes(buffer.map())
    if hashlib.sha256(got).hexdigest() == argument.sha256:
        return ""
    if got == _content(argument):
        return "nothing was written"
    return f"its {argument.size} bytes are wrong, they begin with {got[:16].hex()}"
