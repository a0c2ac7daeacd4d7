"""A launch as a picture: events of cores, locks and channels in Chrome's and Perfetto's format."""

from __future__ import annotations

import json
from typing import Any

from numpy.typing import NDArray

from whisper_npu_cli.emulator.reasons import Reason
from whisper_npu_cli.emulator.state import (
    T_BD_END,
    T_BD_START,
    T_CORE_RUN,
    T_CORE_STOP,
    T_CORE_WAIT,
    T_CORE_WAITED,
    T_LOCK_FREED,
    T_LOCK_TAKEN,
    T_LOCK_WAIT,
    T_TASK_END,
    Layout,
)

CYCLES_A_MICROSECOND = 1028
"""Array clock of 1.028 GHz (timing.CLOCK_HZ); the format counts microseconds."""

OF_LOCKS = (T_LOCK_WAIT, T_LOCK_TAKEN, T_LOCK_FREED)
BEGINNINGS = {
    T_BD_START: "BD {}", T_LOCK_WAIT: "wait for {lock}", T_CORE_RUN: "run",
    T_CORE_WAIT: "wait for {reason}",
}  # fmt: skip
ENDS = (T_BD_END, T_CORE_STOP, T_CORE_WAITED)
MARKS = {T_LOCK_TAKEN: "take {lock}", T_LOCK_FREED: "release {lock}", T_TASK_END: "task {} done"}


class Trace:
    """Collects events; `text` writes them down. One row of the picture is one channel or core."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._names: dict[int, tuple[int, str]] = {}
        self._waiting: set[int] = set()

    def add(self, layout: Layout, rows: NDArray[Any]) -> None:
        """Take over rows of (cycle, agent, kind, value)."""
        for cycle, agent, kind, value in rows.tolist():
            self._names.setdefault(agent, (agent_row(layout, agent), layout.agent_name(agent)))
            lock = layout.lock_name(value) if kind in OF_LOCKS else ""
            reason = Reason(value).name.lower().replace("_", " ") if kind == T_CORE_WAIT else ""
            if kind in BEGINNINGS:
                name = BEGINNINGS[kind].format(value, lock=lock, reason=reason)
                self._event(cycle, agent, "B", name, value)
                if kind == T_LOCK_WAIT:
                    self._waiting.add(agent)
            elif kind in MARKS:
                if kind == T_LOCK_TAKEN and agent in self._waiting:
                    self._waiting.remove(agent)
                    self._event(cycle, agent, "E", "", value)
                self._event(cycle, agent, "i", MARKS[kind].format(value, lock=lock), value)
            elif kind in ENDS:
                self._event(cycle, agent, "E", "", value)

    def _event(self, cycle: int, agent: int, phase: str, name: str, value: int) -> None:
        event: dict[str, Any] = {
            "ph": phase, "ts": cycle / CYCLES_A_MICROSECOND, "pid": self._names[agent][0],
            "tid": agent, "args": {"cycle": cycle, "value": value},
        }  # fmt: skip
        if name:
            event["name"] = name
        if phase == "i":
            event["s"] = "t"
        self._events.append(event)

    def text(self) -> str:
        """The file's content."""
        names: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": tile, "tid": agent, "args": {"name": name}}
            for agent, (tile, name) in sorted(self._names.items())
        ]
        return json.dumps({"traceEvents": names + self._events})


def agent_row(layout: Layout, agent: int) -> int:
    """Number of the agent's tile, which groups its rows."""
    channels = len(layout.channels)
    tile = layout.channels[agent][0] if agent < channels else layout.cores[agent - channels]
    return layout.tile_index[tile]
