"""The process that touches the device for `trial`, since what it does may crash or hang.

One word on its command line, the JSON of a Plan; on its standard output one JSON object for each
step before it starts ({"step": NAME}) and after ({"step": NAME, "error": TEXT or ""}).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from whisper_npu_cli.npu.binding import load
from whisper_npu_cli.npu.catalog import Golden, Overlay, read_catalog
from whisper_npu_cli.npu.memlock import raise_limit
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
            self._tell(step=name, error=str(error).strip() or type(error).__name__)
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
    pyxrt = steps.take("import", _module, plan["module"])
    overlays = read_catalog(Path(plan["xclbins"])) if plan["xclbins"] else []
    images = [steps.take(f"accept {o.path.name}", _image, pyxrt, o) for o in overlays]
    if plan["node"]:
        steps.take("node", _open_node, plan["node"])
    if not plan["device"]:
        return
    raise_limit()
    device = steps.take("open", _device, pyxrt)
    pairs = list(zip(overlays, images, strict=True))
    if not plan["all"]:  # the first that proves something
        pairs = sorted(pairs, key=lambda pair: pair[0].golden is None)[:1]
    for overlay, image in pairs:
        context = steps.take(f"context {overlay.path.name}", _context, pyxrt, device, image)
        if overlay.golden:
            steps.take(
                f"run {overlay.path.name}", _run, pyxrt, device, context, image, overlay.golden
            )


def _module(name: str) -> Any:
    return load(Path(name)) if "/" in name else importlib.import_module(name)


def _image(pyxrt: Any, overlay: Overlay) -> pyxrt.xclbin:
    return pyxrt.xclbin(str(overlay.path))


def _open_node(path: str) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))


def _device(pyxrt: Any) -> pyxrt.device:
    return pyxrt.device(0)


def _context(pyxrt: Any, device: pyxrt.device, image: pyxrt.xclbin) -> pyxrt.hw_context:
    return pyxrt.hw_context(device, device.register_xclbin(image))


def _run(
    pyxrt: Any, device: pyxrt.device, context: pyxrt.hw_context, image: pyxrt.xclbin, golden: Golden
) -> None:
    wrong = known_answer(pyxrt, device, context, image, golden)
    if wrong:
        raise ValueError(f"wrong answer: {wrong}")


if __name__ == "__main__":
    main()
