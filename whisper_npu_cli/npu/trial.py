"""Trying the device out in a process of its own: import, open, context, a kernel run."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.process import run_limited

CHILD = "whisper_npu_cli.npu.trial_child"
SECONDS = 10.0
"""For everything up to one kernel; opening takes milliseconds unless the device is wedged."""


@dataclass(frozen=True)
class Plan:
    """What the child process shall do.

    `module` is a pyxrt file (with slashes) or a dotted name, `xclbins` the folder of the manifest
    or empty, `node` a device node to open by itself or empty; without `device` it stops before
    opening one; `all` tries every XCLBIN in place of the first with a golden vector.
    """

    module: str
    xclbins: str = ""
    node: str = ""
    device: bool = False
    all: bool = False


@dataclass(frozen=True)
class Trial:
    """How far the child came: error of each step that it finished, empty for success.

    `died_at` is the step during which it crashed or was stopped, with `death` saying how.
    """

    steps: dict[str, str]
    died_at: str = ""
    death: str = ""

    def error(self, step: str) -> str | None:
        """Why a step failed: empty when it succeeded, None when it was not reached."""
        return self.death if step == self.died_at else self.steps.get(step)

    def started(self, kind: str) -> list[str]:
        """Names of the steps of a kind, in order, for instance "context" for all contexts."""
        names = [*self.steps, self.died_at]
        return list(dict.fromkeys(n for n in names if n == kind or n.startswith(kind + " ")))


def try_out(host: Host, plan: Plan, seconds: float = SECONDS) -> Trial:
    """Run the plan in a child process for at most `seconds`."""
    package_parent = str(Path(__file__).parents[2])
    search = [package_parent, host.environ.get("PYTHONPATH", "")]
    environ = {**host.environ, "PYTHONPATH": os.pathsep.join(filter(None, search))}
    command = [sys.executable, "-m", CHILD, json.dumps(asdict(plan))]
    outcome = run_limited(command, seconds, environ)
    steps: dict[str, str] = {}
    begun = "start"
    for line in outcome.stdout.splitlines():
        told = json.loads(line)
        if "error" in told:
            steps[told["step"]] = told["error"]
            begun = ""
        else:
            begun = told["step"]
    if outcome.code == 0:
        return Trial(steps)
    return Trial(steps, begun or "end", _death(outcome.code, outcome.stderr, seconds))


def _death(code: int | None, stderr: str, seconds: float) -> str:
    if code is None:
        return f"no answer within {seconds:g} s"
    if code < 0:
        return f"the process was killed by signal {-code}"
    last = stderr.strip().splitlines()[-1:] or ["nothing said"]
    return f"the process ended with code {code} ({last[0]})"
