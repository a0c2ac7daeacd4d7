"""The process that touches the device for `trial`, since what it does may crash or hang.

One word on its command line, the JSON of a Plan; on its standard output one JSON object for each
step before it starts ({"step": NAME}) and after ({"step": NAME, "error": TEXT or ""}).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from whisper_npu_cli.npu.backend import Backend, emulator_backend, npu_backend
from whisper_npu_cli.npu.catalog import Golden, Overlay, read_catalog
from whisper_npu_cli.npu.context import Context
from whisper_npu_cli.npu.device import Device
from whisper_npu_cli.npu.selftest import known_answer

if TYPE_CHECKING:
    import pyxrt


T = TypeVar("T")


class StepFailed(Exception):
    """A step did not succeed and those after it make no sense."""


class Steps:
    """Tells of each step when it begins and how it ended."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def take(self, name: str, action: Callable[..., T], *arguments: Any) -> T:
        """Run one step and return its result. Raises StepFailed after telling the error."""
        self._tell(step=name)
        try:
            result = action(*arguments)
        except Exception as error:
            told = getattr(error, "reason", "") or str(error).strip() or type(error).__name__
            self._tell(step=name, error=told)
            raise StepFailed from error
        self._tell(step=name, error="")
        return result

    def _tell(self, **fields: str) -> None:
        print(json.dumps(fields), file=self.out, flush=True)


def main() -> None:
    """Take the steps of the plan until one fails."""
    plan = json.loads(sys.argv[1])
    steps = Steps(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # what XRT itself prints shall not mix with our report
    with contextlib.suppress(StepFailed):
        _take_all(steps, plan)


def _take_all(steps: Steps, plan: dict[str, Any]) -> None:
    backend = steps.take("import", _backend, plan["module"])
    overlays = read_catalog(Path(plan["xclbins"])) if plan["xclbins"] else []
    for overlay in overlays:
        steps.take(f"accept {overlay.path.name}", _image, backend.pyxrt, overlay)
    if plan["node"]:
        steps.take("node", _open_node, plan["node"])
    if not plan["device"]:
        return
    device = steps.take("open", _device, backend)
    if not plan["all"]:  # the first that proves something
        overlays = sorted(overlays, key=lambda overlay: overlay.golden is None)[:1]
    for overlay in overlays:
        context = steps.take(f"context {overlay.path.name}", device.untested, overlay)
        if overlay.golden:
            steps.take(f"run {overlay.path.name}", _run, context, overlay.golden)


def _backend(module: str) -> Backend:
    return npu_backend(Path(module)) if "/" in module else emulator_backend(module)


def _image(pyxrt: Any, overlay: Overlay) -> pyxrt.xclbin:
    return pyxrt.xclbin(str(overlay.path))


def _open_node(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))


def _device(backend: Backend) -> Device:
    return Device(backend, patience=0)  # who waits here is the person in front of the screen


def _run(context: Context, golden: Golden) -> None:
    wrong = known_answer(context, golden)
    if wrong:
        raise ValueError(f"wrong answer: {wrong}")


if __name__ == "__main__":
    main()
