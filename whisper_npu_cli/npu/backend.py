"""Which pyxrt: the only place that chooses between the real one and the emulator's."""

from __future__ import annotations

import importlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_npu_cli.cache import digest_of_sources
from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu.binding import choose_binding, load
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.memlock import raise_limit
from whisper_npu_cli.npu.pci import find_npus

EMULATOR = "whisper_npu_cli.emulator.pyxrt"
"""The emulator's stand-in for pyxrt."""


@dataclass(frozen=True)
class Backend:
    """A module `pyxrt` and what the runtime has to know of it beyond the module's surface.

    `name` is the device's name for users, `title` the same inside of sentences. `identity` changes
    whenever a device may compute differently (machine, kernel, driver, firmware, XRT). `turn` is
    the file that processes lock while they use the device, None when nobody else can use it. `mend`
    goes in place of the mends that XRT's errors have.
    """

    name: str
    title: str
    pyxrt: Any
    identity: str = ""
    turn: Path | None = None
    mend: str = ""

    def cycles(self, run: Any) -> int | None:
        """Array cycles of a run's last execution, where the device tells them: the emulator does.

        `outcome_of` is the one name of the emulator's module that pyxrt does not have.
        """
        outcome = self._outcome(run)
        return None if outcome is None else int(outcome.cycles)

    def hang(self, run: Any) -> str:
        """Why a run hangs, in one line; empty where the device does not tell."""
        outcome = self._outcome(run)
        return "" if outcome is None else str(outcome.hang).partition("\n")[0]

    def _outcome(self, run: Any) -> Any:
        outcome_of = getattr(self.pyxrt, "outcome_of", None)
        return outcome_of(run) if outcome_of else None


def choose_backend(device: str) -> Backend:
    """The backend of the device `npu` or `emulator`. Raises DeviceError when it is not here."""
    if device == "emulator":
        return emulator_backend()
    if device != "npu":
        raise DeviceError(f"The device {device} has no runtime: choose npu or emulator.")
    binding = choose_binding(Host())
    if binding is None:
        raise DeviceError(
            "The NPU cannot be used, there is no pyxrt for this Python: whisper-npu doctor tells "
            "what to install."
        )
    return npu_backend(binding.path)


def npu_backend(path: Path) -> Backend:
    """The NPU through the pyxrt at `path`. Raises DeviceError when that does not load."""
    module = load(path)
    raise_limit()
    return Backend("npu", "NPU", module, _identity(Host(), path), _turn())


def emulator_backend(module: str = EMULATOR) -> Backend:
    """The emulated NPU; `module` is its pyxrt."""
    return Backend(
        name="emulator",
        title="emulated NPU",
        pyxrt=importlib.import_module(module),
        identity=digest_of_sources(*(Path(__file__).parents[1] / "emulator").glob("*.py")),
        mend="report it, this is a fault of whisper-npu",
    )


def _turn() -> Path:
    folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    return Path(folder) / f"whisper-npu-{os.getuid()}.lock"


def _identity(host: Host, path: Path) -> str:
    npu = next((npu for npu in find_npus(host) if npu.supported), None)
    return " ".join(
        (
            host.read("/etc/machine-id") or host.read("/proc/sys/kernel/hostname"),
            host.kernel,
            host.read("/sys/module/amdxdna/version"),
            npu.attribute("fw_version") if npu else "",
            f"{path.stat().st_size} {path.stat().st_mtime_ns}",
        )
    )
