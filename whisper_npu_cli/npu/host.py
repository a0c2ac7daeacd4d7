"""The machine as the probes see it: a root folder that tests can set, and who is asking."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

UNLIMITED = resource.RLIM_INFINITY


def _user() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or str(os.getuid())


@dataclass(frozen=True)
class Host:
    """Root folder, identity, limits and interpreter; by default those of this very process.

    `memlock` is RLIMIT_MEMLOCK as (soft, hard) in bytes, `abi` the tag of extension modules that
    this interpreter loads (PEP 3149, for instance "cpython-313"), `module_path` its sys.path.
    """

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    user: str = field(default_factory=_user)
    uid: int = field(default_factory=os.geteuid)
    gids: frozenset[int] = field(default_factory=lambda: frozenset({os.getegid(), *os.getgroups()}))
    memlock: tuple[int, int] = field(
        default_factory=lambda: resource.getrlimit(resource.RLIMIT_MEMLOCK)
    )
    abi: str = sys.implementation.cache_tag or ""
    module_path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    in_venv: bool = sys.prefix != sys.base_prefix

    def at(self, path: str | Path) -> Path:
        """Where the absolute `path` of the machine lies under the root."""
        return self.root / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        """Text of a file without surrounding blanks; empty when it cannot be read."""
        try:
            return self.at(path).read_text(errors="replace").strip("\0 \t\r\n")
        except OSError:
            return ""

    def glob(self, pattern: str) -> list[Path]:
        """Paths under the root that match, sorted; folders that may not be read hold nothing."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def inside(self, path: Path) -> str:
        """The machine's own name of a path under the root."""
        return "/" + str(path.relative_to(self.root))

    def find_program(self, name: str, folders: tuple[str, ...] = ()) -> Path | None:
        """First executable `name` in PATH, then in `folders`; a path under the root."""
        searched = [*self.environ.get("PATH", "").split(os.pathsep), *folders]
        for folder in filter(None, searched):
            program = self.at(folder) / name
            if program.is_file() and os.access(program, os.X_OK):
                return program
        return None

    @property
    def kernel(self) -> str:
        """Release of the running kernel, as `uname -r` gives it."""
        return self.read("/proc/sys/kernel/osrelease")

    @property
    def container(self) -> str:
        """Name of the container engine that this process runs in; empty outside of one."""
        if self.at("/run/.containerenv").exists():
            return "podman"
        if self.at("/.dockerenv").exists():
            return "docker"
        return self.environ.get("container", "")

    @property
    def may_lock_memory(self) -> bool:
        """Whether this process has CAP_IPC_LOCK (bit 14), which no memlock limit binds."""
        for line in self.read("/proc/self/status").splitlines():
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> 14 & 1)
        return False
