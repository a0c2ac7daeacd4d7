"""What a check found: its state, the evidence for it, and one mend where something is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

UNCHECKED = "not checked"
"""The evidence where another check has to pass first."""


class State(str, Enum):
    """OK needs nothing; WARN works with a loss or is not known; FAIL keeps the NPU from work."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One line of the report. `mend` is one instruction, empty exactly when the state is OK.

    Raises ValueError when state and mend contradict each other.
    """

    name: str
    state: State
    evidence: str
    mend: str = ""

    def __post_init__(self) -> None:
        if (self.state is State.OK) == bool(self.mend):
            raise ValueError(f"check {self.name}: {self.state.value} with mend {self.mend!r}")


def ok(name: str, evidence: str) -> Check:
    """Nothing to mend."""
    return Check(name, State.OK, evidence)


def warn(name: str, evidence: str, mend: str) -> Check:
    """Works with a loss, or could not be found out."""
    return Check(name, State.WARN, evidence, mend)


def fail(name: str, evidence: str, mend: str) -> Check:
    """Keeps the NPU from working."""
    return Check(name, State.FAIL, evidence, mend)


def unchecked(name: str, blocker: str) -> Check:
    """Not looked at, because the check called `blocker` has to pass first."""
    return warn(name, UNCHECKED, f"Mend {blocker} first.")


EMULATED = "self-test-emulated"

FLM_KEYS = {
    "amd_device_found": "npu",
    "kernel_ok": "kernel",
    "npu_driver_ok": "driver",
    "all_fw_ok": "firmware",
    "memlock_ok": "memlock",
}
"""Keys of `flm validate --json` (FastFlowLM, read by lemonade), and the check that answers each."""


@dataclass(frozen=True)
class Report:
    """All checks, in the order in which the NPU path needs them."""

    checks: tuple[Check, ...]

    def __getitem__(self, name: str) -> Check:
        """The check called `name`. Raises KeyError when there is none."""
        return {check.name: check for check in self.checks}[name]

    @property
    def ready(self) -> bool:
        """Whether a kernel ran on the NPU with the right answer and nothing else failed."""
        failed = any(check.state is State.FAIL for check in self.checks)
        return not failed and self["kernel-run"].state is State.OK

    @property
    def emulator_right(self) -> bool:
        """Whether all golden vectors were run on the emulator and gave the right answers."""
        return any(c.name == EMULATED and c.state is State.OK for c in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The object of `doctor --json`, as docs/doctor.md and doctor.schema.json describe it."""
        return {
            "ready": self.ready,
            **{key: self[name].state is State.OK for key, name in FLM_KEYS.items()},
            "checks": [asdict(check) | {"state": check.state.value} for check in self.checks],
        }
