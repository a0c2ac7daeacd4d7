"""Finding `pyxrt`, also from inside a virtual environment, and loading it.

pyxrt is an extension module of the distribution or of AMD's packages, built for one minor version
of Python. A virtual environment hides it, but it is one file: it is loaded by its path, so that
nobody has to edit PYTHONPATH and no other system package leaks in.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu.host import Host

XILINX = "/opt/xilinx/xrt"
FOLDERS = (
    "/usr/lib/python3/dist-packages",  # Debian, Ubuntu
    "/usr/local/lib/python3*/dist-packages",
    "/usr/lib/python3*/site-packages",  # Arch
    "/usr/lib64/python3*/site-packages",  # Fedora
    f"{XILINX}/python",  # AMD's packages
)
X_RAY_TRACER = "xrt/backends/raycing"
"""A folder of Debian's unrelated python3-xrt 1.6.0, the X-ray tracer."""


@dataclass(frozen=True)
class Binding:
    """One pyxrt on this machine; `path` is its file under the root.

    `abi` is the tag in its name, for instance "cpython-313", empty when it has none; `on_path`
    says whether a plain `import pyxrt` finds it.
    """

    path: Path
    abi: str
    on_path: bool

    def fits(self, abi: str) -> bool:
        """Whether an interpreter with this tag can load it."""
        return self.abi in ("", "abi3", abi)

    @property
    def python(self) -> str:
        """The Python that it was built for, for instance "3.13"."""
        digits = self.abi.removeprefix("cpython-")
        return f"{digits[0]}.{digits[1:]}" if digits.isdigit() else "any version"


def find_bindings(host: Host) -> list[Binding]:
    """All pyxrt modules, those first that this interpreter would import."""
    found: dict[Path, Binding] = {}
    for entry in host.module_path:
        for path in _modules(Path(entry)):
            found.setdefault(path, Binding(path, _abi(path), on_path=True))
    for pattern in FOLDERS:
        for folder in host.glob(pattern):
            for path in _modules(folder):
                found.setdefault(path, Binding(path, _abi(path), on_path=False))
    return list(found.values())


def choose_binding(host: Host) -> Binding | None:
    """The first pyxrt that this interpreter can load; None when there is none."""
    return next((found for found in find_bindings(host) if found.fits(host.abi)), None)


def find_x_ray_tracer(host: Host) -> Path | None:
    """The folder of the package that has XRT's Debian name and is something else."""
    folders = [Path(entry) for entry in host.module_path]
    folders += [folder for pattern in FOLDERS for folder in host.glob(pattern)]
    return next((f / "xrt" for f in folders if (f / X_RAY_TRACER).is_dir()), None)


def load(path: Path) -> ModuleType:
    """Import the pyxrt at `path`, once for this process.

    Raises DeviceError when the interpreter cannot load it, a library of XRT being missing say.
    """
    if "pyxrt" in sys.modules:
        return sys.modules["pyxrt"]
    if path.is_relative_to(XILINX):
        _prepare_amd_packages()
    spec = importlib.util.spec_from_file_location("pyxrt", path)
    if spec is None or spec.loader is None:
        raise DeviceError(f"{path} is no Python module; install XRT's Python binding again.")
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError as error:
        raise DeviceError(f"{path} cannot be loaded ({error}); install XRT again.") from error
    sys.modules["pyxrt"] = module
    return module


def _prepare_amd_packages() -> None:
    """Do what their setup.sh does: name the folder, and make the libraries known to the loader.

    LD_LIBRARY_PATH would come too late in a running process, a library that is loaded already
    does not have to be found.
    """
    os.environ.setdefault("XILINX_XRT", XILINX)
    for library in sorted(Path(f"{XILINX}/lib").glob("libxrt_coreutil.so.*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _modules(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("pyxrt*.so")), *folder.glob("pyxrt.py")]


def _abi(path: Path) -> str:
    """pyxrt.cpython-313-x86_64-linux-gnu.so gives cpython-313, pyxrt.so gives nothing."""
    parts = path.name.split(".")
    if len(parts) < 3:
        return ""
    return "abi3" if parts[1] == "abi3" else "-".join(parts[1].split("-")[:2])
