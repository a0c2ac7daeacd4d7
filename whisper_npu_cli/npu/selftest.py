"""One kernel run with a known answer: the proof that an NPU, or the emulator, computes right."""

from __future__ import annotations

import hashlib

from whisper_npu_cli.cache import Store
from whisper_npu_cli.errors import WrongAnswer
from whisper_npu_cli.npu.buffer import Buffer
from whisper_npu_cli.npu.catalog import Argument, Golden
from whisper_npu_cli.npu.context import Context
from whisper_npu_cli.npu.job import Job
from whisper_npu_cli.pseudorandom import pseudorandom

UNTOUCHED = 0xA5
"""Fills expected buffers before the run, so that their hash tells what was left out."""


def known_answer(context: Context, golden: Golden) -> str:
    """Run `golden` once; return what is wrong with the answer, empty when it is right.

    Raises DeviceFault.
    """
    buffers = [context.buffer(a.size, n) for n, a in enumerate(golden.arguments)]
    for argument, buffer in zip(golden.arguments, buffers, strict=True):
        buffer.write(_content(argument))
    expected = [(a, b) for a, b in zip(golden.arguments, buffers, strict=True) if a.sha256]
    launch = context.launch(golden.sequence.read_bytes(), buffers, [b for _, b in expected])
    Job([launch]).attempt()
    return next(filter(None, (_fault(a, b, buffers.index(b)) for a, b in expected)), "")


def ensure_right(context: Context) -> None:
    """Run the known answer of a context's overlay unless this device has given it before.

    What was right is remembered for the device's identity and these very files. Raises WrongAnswer,
    which disables the overlay, and other DeviceFaults.
    """
    overlay, backend = context.overlay, context.opened.backend
    if overlay.golden is None:
        return
    passed = Store("selftest")
    key = f"{backend.name} {backend.identity} {overlay.sha256} {overlay.golden.sequence_sha256}"
    if backend.identity and passed.get(key):
        return
    wrong = known_answer(context, overlay.golden)
    if wrong:
        mend = backend.mend or "use --device cpu and tell us what whisper-npu doctor says"
        raise WrongAnswer(
            f"The {backend.title} computes {overlay.name} wrong ({wrong}); {mend}.", wrong
        )
    passed.put(key, {"device": backend.name, "overlay": overlay.name})


def _content(argument: Argument) -> bytes:
    if argument.path:
        return argument.path.read_bytes()
    if argument.label:
        return pseudorandom(argument.label, argument.size)
    return bytes([UNTOUCHED]) * argument.size


def _fault(argument: Argument, buffer: Buffer, index: int) -> str:
    got = buffer.read()
    if hashlib.sha256(got).hexdigest() == argument.sha256:
        return ""
    return f"buffer {index}: its {argument.size} bytes are wrong, they begin with {got[:16].hex()}"
