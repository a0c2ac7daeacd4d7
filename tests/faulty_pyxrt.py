"""The emulator's pyxrt with faults at its surface, as XRT would show them.

`Faulty()` stands for the module. `plan` says what goes wrong: a place ("context", "bo", "start",
"wait", "state", "lost") and the numbers of the calls there, counted from 1, at which it does.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from types import SimpleNamespace

from whisper_npu_cli.emulator import pyxrt
from whisper_npu_cli.npu.backend import Backend

ERRORS = {
    "device": "No such device with index '0'",
    "context": "DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22): Invalid argument",
    "bo": "DRM_IOCTL_AMDXDNA_CREATE_BO IOCTL failed (err=-12): Cannot allocate memory",
    "start": "DRM_IOCTL_AMDXDNA_EXEC_CMD IOCTL failed (err=-19): No such device",
    "list": "runlist failed execution (ERT_CMD_STATE_TIMEOUT)",
}


class Faulty(SimpleNamespace):
    """Names of pyxrt; `alive` counts objects of a class that still exist."""

    def __init__(self, runlists: bool = True, tells: bool = True) -> None:
        super().__init__(**{name: getattr(pyxrt, name) for name in pyxrt.__all__})
        self.plan: dict[str, set[int]] = {}
        self.calls: Counter[str] = Counter()
        self._alive: dict[str, weakref.WeakSet] = {}
        for name in ("bo", "hw_context", "run", "runlist", "device"):
            setattr(self, name, self._counted(name))
        if not runlists:
            del self.runlist
        if not tells:
            del self.outcome_of

    def fail(self, place: str, *calls: int) -> None:
        """Let calls fail from now on; none given: the next one."""
        self.calls[place] = 0
        self.plan[place] = set(calls or {1})

    def alive(self, name: str) -> int:
        """How many objects of a class there are, without help of the garbage collector."""
        return len(self._alive[name])

    def due(self, place: str) -> bool:
        self.calls[place] += 1
        return self.calls[place] in self.plan.get(place, ())

    def at(self, place: str) -> None:
        if self.due(place):
            raise RuntimeError(ERRORS[place])

    def _counted(self, name: str) -> type:
        alive = self._alive[name] = weakref.WeakSet()
        faulty = self
        place = {"hw_context": "context"}.get(name, name)

        def made(self, *args):
            faulty.at(place)
            getattr(pyxrt, name).__init__(self, *args)
            alive.add(self)

        members = {"__init__": made, "__hash__": object.__hash__, **FAULTS.get(name, _none)(faulty)}
        return type(name, (getattr(pyxrt, name),), members)


def _none(faulty: Faulty) -> dict:
    return {}


def _run(faulty: Faulty) -> dict:
    def execute(self):  # also when a runlist does it
        if faulty.due("lost"):
            self._state = pyxrt.ert_cmd_state.ERT_CMD_STATE_COMPLETED
        else:
            pyxrt.run._execute(self)
        if faulty.due("state"):
            self._state = pyxrt.ert_cmd_state.ERT_CMD_STATE_ERROR
        if faulty.due("wait"):
            self._state = pyxrt.ert_cmd_state.ERT_CMD_STATE_TIMEOUT

    def start(self):
        faulty.at("start")
        pyxrt.run.start(self)

    def wait(self, timeout_ms):
        assert 0 < timeout_ms < 2000
        return pyxrt.run.wait(self, timeout_ms)

    return {"_execute": execute, "start": start, "wait": wait}


def _runlist(faulty: Faulty) -> dict:
    def wait(self):  # the real one takes no number, whatever its stub says
        faulty.at("list")
        pyxrt.runlist.wait(self)

    return {"wait": wait}


FAULTS = {"run": _run, "runlist": _runlist}


def backend(module: Faulty) -> Backend:
    gc.collect()  # what earlier tests left in their tracebacks
    return Backend("emulator", "emulated NPU", module, mend="report it")
