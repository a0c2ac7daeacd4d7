"""What `auto` learned: how long a window takes on each device, measured once for a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from whisper_npu_cli.cache import Store
from whisper_npu_cli.errors import DeviceError


@dataclass(frozen=True)
class Subject:
    """What is timed: `model` with its options for people, and the identities of both ends.

    checkpoint: of the weights, whatever their name; driver: of the device, driver and machine.
    """

    model: str
    checkpoint: str
    driver: str


@dataclass(frozen=True)
class Measured:
    """Seconds that a window of 30 s takes, by device, for a model on a machine with a driver."""

    model: str
    checkpoint: str
    driver: str
    seconds: dict[str, float]

    @property
    def device(self) -> str:
        """The fastest."""
        return min(self.seconds, key=lambda device: self.seconds[device])

    @property
    def reason(self) -> str:
        """Device and figures in a line."""
        ordered = sorted(self.seconds, key=lambda device: self.seconds[device])
        figures = ", ".join(f"{self.seconds[device]:.2f} s on the {device}" for device in ordered)
        return f"{self.device}: a window of {self.model} took {figures}"


@dataclass(frozen=True)
class Decision:
    """The device to take and why, in a line; `fresh` when it was measured just now."""

    device: str
    reason: str
    fresh: bool


def decide(
    subject: Subject,
    measure: Callable[[str], float],
    devices: tuple[str, ...] = ("npu", "cpu"),
) -> Decision:
    """The fastest of `devices` for a model: as remembered, else by `measure(device)` in seconds.

    Another checkpoint, option, driver or machine is measured again. A device whose measurement
    raises DeviceError is not taken, and asked again the next time. Raises that error when no device
    is left.
    """
    key = "\0".join((subject.model, subject.checkpoint, subject.driver, *devices))
    held = _measured(_store().get(key))
    if held:
        return Decision(held.device, f"{held.reason}, measured before", False)
    seconds: dict[str, float] = {}
    failures: list[DeviceError] = []
    for device in devices:
        try:
            seconds[device] = measure(device)
        except DeviceError as error:
            failures.append(error)
    if not seconds:
        raise failures[0]
    measured = Measured(**asdict(subject), seconds=seconds)
    if failures:
        return Decision(measured.device, f"{measured.device}: {failures[0]}", True)
    _store().put(key, asdict(measured))
    return Decision(measured.device, f"{measured.reason}, measured now", True)


def list_measured() -> list[Measured]:
    """All that is remembered."""
    return [held for held in map(_measured, _store().values()) if held]


def clear_measured() -> None:
    """Forget it: each model is measured again at its next use."""
    _store().clear()


def _measured(value: dict[str, Any] | None) -> Measured | None:
    """What was remembered, by this version."""
    try:
        return Measured(**value) if value else None
    except TypeError:
        return None


def _store() -> Store:
    return Store("choices")
