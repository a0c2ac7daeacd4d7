"""A made-up laptop with a Phoenix NPU on which all is well, to be broken in one place."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from whisper_npu_cli.npu.facts import gather
from whisper_npu_cli.npu.host import UNLIMITED, Host
from whisper_npu_cli.npu.probe import CHECKS, examine
from whisper_npu_cli.pseudorandom import pseudorandom

NPU = "0000:c4:00.1"
KERNEL = "6.14.0-15-generic"
TEXT_REPORT = """\
System Configuration
  OS Name              : Linux
  Processor            : AMD Ryzen 7 7840U

XRT
  Version              : 2.21.75
  amdxdna Version      : 6.14.0-15-generic
  NPU Firmware Version : 1.5.5.391

Device(s) Present
|BDF             |Name          |
|----------------|--------------|
|[0000:c4:00.1]  |RyzenAI-npu1  |
"""
JSON_REPORT = {
    "schema_version": {"schema": "JSON"},
    "system": {
        "host": {
            "xrt": {"version": "2.25.00", "drivers": [{"name": "amdxdna", "version": "unknown"}]},
            "devices": [{"bdf": NPU, "name": "RyzenAI-npu1", "firmware_version": "1.5.5.391"}],
        }
    },
    "devices": [
        {
            "device_id": NPU,
            "platforms": [{"static_region": {"name": "NPU"}, "status": {"power_mode": "Default"}}],
            "aie_partitions": {"partitions": ""},
        }
    ],
}


class Laptop:
    """The tree under `root`, and the host that looks at it."""

    def __init__(self, root: Path):
        self.root = root
        self.write(
            "/proc/cpuinfo", "model name\t: AMD Ryzen 7 7840U\nflags\t\t: fpu avx2 avx512f\n"
        )
        self.write("/proc/meminfo", "MemTotal:  32000000 kB\nMemAvailable: 20000000 kB\n")
        self.write("/proc/sys/kernel/osrelease", KERNEL)
        self.write("/proc/self/status", "CapInh:\t0\nCapEff:\t0000000000000000\n")
        self.write("/etc/os-release", 'ID=debian\nVERSION_CODENAME="trixie"\n')
        self.pci(NPU, "0x1502", fw_version="1.5.5.391")
        self.link(f"/sys/bus/pci/devices/{NPU}/driver", "../../drivers/amdxdna")
        self.write("/sys/module/amdxdna/refcnt", "0")
        self.link("/sys/class/accel/accel0/device", f"../../../bus/pci/devices/{NPU}")
        node = self.write("/dev/accel/accel0", "")
        node.chmod(0o660)
        if os.geteuid() == 0:  # who owns what does not tell root apart from its own group
            os.chown(node, 0, 992)
        self.gid = node.stat().st_gid
        self.write("/etc/group", f"root:x:4711:\nrender:x:{self.gid}:bob\n")
        for library in ("libxrt_coreutil", "libxrt_driver_xdna"):
            self.write(f"/usr/lib/x86_64-linux-gnu/{library}.so.2.25.00", "")
        self.smi(JSON_REPORT)
        self.pyxrt = self.path("/usr/lib/python3/dist-packages/pyxrt.py")
        self.pyxrt.parent.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("fake_pyxrt.py"), self.pyxrt)
        self.xclbins = self.path("/xclbins")
        self.manifest(1)
        self.path("/home/ada").mkdir(parents=True)
        self.host = Host(
            root=root,
            environ={"PATH": "/usr/bin:/bin", "HOME": "/home/ada"},
            user="ada",
            uid=54321,
            gids=frozenset({self.gid}),
            memlock=(8 << 20, UNLIMITED),
            abi="cpython-313",
            module_path=(),
            in_venv=True,
        )

    def path(self, name: str) -> Path:
        return self.root / name.lstrip("/")

    def write(self, name: str, text: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def link(self, name: str, target: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    def remove(self, *names: str) -> None:
        for name in names:
            path = self.path(name)
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def pci(self, address: str, device: str, revision: str = "0x00", **attributes: str) -> None:
        ids = {"vendor": "0x1022", "device": device, "revision": revision, **attributes}
        for name, value in ids.items():
            self.write(f"/sys/bus/pci/devices/{address}/{name}", value + "\n")

    def no_driver(self) -> None:
        self.remove(f"/sys/bus/pci/devices/{NPU}/driver", "/sys/class/accel", "/dev/accel")

    def program(self, name: str, script: str) -> None:
        self.write(name, f"#!/bin/sh\n{script}\n").chmod(0o755)

    def smi(self, report: dict | str, platform: str = "") -> None:
        """An xrt-smi that writes this JSON, or prints these texts and knows no JSON."""
        text = self.write("/report.txt", TEXT_REPORT if isinstance(report, dict) else report)
        detail = self.write("/platform.txt", platform)
        json_form = 'echo "ERROR: Unrecognized arguments" >&2; exit 1'
        if isinstance(report, dict):
            json_form = f'cp {self.write("/report.json", json.dumps(report))} "$last"'
        self.program(
            "/usr/bin/xrt-smi",
            f'for last; do :; done\ncase "$*" in *JSON*) {json_form};; '
            f"*platform*) cat {detail};; *) cat {text};; esac",
        )

    def manifest(self, count: int, golden: bool = True) -> None:
        """XCLBINs with golden vectors of a kernel that adds one."""
        entries = []
        for index in range(count):
            image = self.write(f"/xclbins/overlay{index}.xclbin", f"xclbin2 number {index}")
            words = self.write("/xclbins/words.bin", "12345678")
            answer = bytes((byte + 1) % 256 for byte in pseudorandom("made up", 100))
            entry = {
                "file": image.name,
                "sha256": hashlib.sha256(image.read_bytes()).hexdigest(),
                "golden": {
                    "sequence": words.name,
                    "sequence_sha256": hashlib.sha256(words.read_bytes()).hexdigest(),
                    "arguments": [
                        {"random": "made up", "size": 100},
                        {"expect_sha256": hashlib.sha256(answer).hexdigest(), "size": 100},
                    ],
                },
            }
            entries.append(entry if golden else {k: entry[k] for k in ("file", "sha256")})
        self.write("/xclbins/manifest.json", json.dumps({"xclbins": entries}))

    def change(self, **fields) -> None:
        self.host = replace(self.host, **fields)

    def behave(self, **behaviour: str) -> None:
        """Let the fake pyxrt fail."""
        self.change(environ={**self.host.environ, "FAKE_PYXRT": json.dumps(behaviour)})

    def hold(self, pid: int, name: str, target: str = "/dev/accel/accel0") -> None:
        """A process that has a file open."""
        self.write(f"/proc/{pid}/comm", name + "\n")
        self.link(f"/proc/{pid}/fd/7", target)

    def examine(self, selftest: str = ""):
        return examine(self.host, self.xclbins, selftest)

    def check(self, name: str):
        """One check of all, without those that start programs where it needs none."""
        facts = gather(self.host, self.xclbins)
        return {check(facts).name: check(facts) for check in CHECKS}[name]
