"""The device node of an NPU: which one, who may open it, who has it open."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.npu.host import Host


@dataclass(frozen=True)
class Node:
    """A node such as /dev/accel/accel0; `path` is the machine's own name of it."""

    path: str
    mode: int
    uid: int
    gid: int
    group: str

    def __str__(self) -> str:
        group = self.group or "no name here"
        return f"{self.path}, mode {self.mode:04o}, owner {self.uid}, group {self.gid} ({group})"

    def opens_for(self, host: Host) -> bool:
        """Whether the host's user may read and write it.

        The kernel is asked when that is this process's own user, since access control lists may
        grant what the mode does not show.
        """
        if host.uid == os.geteuid():
            return os.access(host.at(self.path), os.R_OK | os.W_OK, effective_ids=True)
        shift = 6 if host.uid == self.uid else 3 if self.gid in host.gids else 0
        return host.uid == 0 or self.mode >> shift & 0o6 == 0o6


@dataclass(frozen=True)
class Holder:
    """A process that has the node open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"


def find_node(host: Host, address: str) -> Node | None:
    """The node of the NPU at a PCI address; where sysfs does not tell, the first that may be."""
    possible = []
    for path in host.glob("/dev/accel/accel*"):
        device = host.at(f"/sys/class/accel/{path.name}/device")
        owner = Path(os.readlink(device)).name if device.is_symlink() else ""
        if owner == address:
            return _node(host, host.inside(path))
        if not owner:
            possible.append(host.inside(path))
    return _node(host, possible[0]) if possible else None


def _node(host: Host, path: str) -> Node:
    status = host.at(path).stat()
    group = next((name for name, gid, _ in _groups(host) if gid == status.st_gid), "")
    return Node(path, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, group)


def is_member(host: Host, gid: int) -> bool:
    """Whether /etc/group lists the user in a group, though the process may not have it yet."""
    return any(host.user in members for _, number, members in _groups(host) if number == gid)


def _groups(host: Host) -> list[tuple[str, int, list[str]]]:
    fields = [line.split(":") for line in host.read("/etc/group").splitlines()]
    return [(f[0], int(f[2]), f[3].split(",")) for f in fields if len(f) == 4 and f[2].isdigit()]


def find_holders(host: Host, path: str) -> list[Holder]:
    """Other processes with the node open; those of other users only when we may look (root)."""
    pids = sorted(int(p.name) for p in host.glob("/proc/[0-9]*") if p.name.isdigit())
    return [
        Holder(pid, host.read(f"/proc/{pid}/comm") or "unknown")
        for pid in pids
        if pid != os.getpid() and path in _open_files(host.at(f"/proc/{pid}/fd"))
    ]


def _open_files(folder: Path) -> set[str]:
    """What a process has open; nothing when it is gone or another user's."""
    files = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):  # closed meanwhile
                files.add(os.readlink(folder / name))
    return files
