"""`xrt-smi`: where it is, and what its reports say, as JSON or as text.

Forms read: the tables of XRT 2.17 to 2.25 (Xilinx/XRT, tools/common/reports) and the JSON of the
same reports. XRT 2.25 without a device offers the text form alone. The driver's version is not
taken from here: for a driver that is not even loaded xrt-smi prints the kernel's release.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.process import Outcome, run_limited

ROW = re.compile(r"^\s*\|?\[([0-9a-fA-F:.]+)\]\s*[|:]\s*([^|\n]+?)\s*(?:\||$)", re.M)
"""A device in the table: [address] and name, with or without further columns."""
FOLDERS = ("/opt/xilinx/xrt/bin", "/usr/bin")
SECONDS_WITH_NPU, SECONDS_WITHOUT = 5.0, 1.0
"""How long one call may take; without an NPU it has nothing to ask and we want to be quick."""


@dataclass(frozen=True)
class SmiReport:
    """What xrt-smi told. `program` is None when there is none, `fault` says what went wrong.

    `devices` are (PCI address, name), `contexts` (process id, process name) of the hardware
    contexts; `version`, `firmware`, `power_mode` and `clocks` are empty when not told.
    """

    program: Path | None = None
    fault: str = ""
    hung: bool = False
    version: str = ""
    firmware: str = ""
    power_mode: str = ""
    clocks: str = ""
    devices: tuple[tuple[str, str], ...] = ()
    contexts: tuple[tuple[int, str], ...] = ()


def ask_smi(host: Host, address: str) -> SmiReport:
    """Run `xrt-smi examine`; `address` is the NPU's, empty when there is none to ask about."""
    program = host.find_program("xrt-smi", FOLDERS)
    if program is None:
        return SmiReport()
    report = SmiReport(program)
    if not address:
        return _text(report, _run(host, program, SECONDS_WITHOUT), SECONDS_WITHOUT)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        detail = ["-d", address, "-r", "host", "platform", "aie-partitions"]
        outcome = _run(host, program, SECONDS_WITH_NPU, *detail, "-f", "JSON", "-o", str(file))
        if outcome.code == 0 and file.exists():
            return _json(report, file.read_text(errors="replace"))
    if outcome.code is None:
        return _text(report, outcome, SECONDS_WITH_NPU)
    plain = _text(report, _run(host, program, SECONDS_WITH_NPU), SECONDS_WITH_NPU)
    if plain.fault:
        return plain
    more = _run(host, program, SECONDS_WITH_NPU, *detail)
    clocks = re.findall(r"^\s*(\S.*?)\s*:\s*(\d+) MHz", more.stdout, re.M)
    return replace(
        plain, power_mode=_value(more.stdout, "Power Mode"), clocks=_clocks(dict(clocks))
    )


def _run(host: Host, program: Path, seconds: float, *arguments: str) -> Outcome:
    environ = dict(host.environ)
    if "opt/xilinx" in str(program):  # AMD's own packages, which expect their setup.sh
        environ.setdefault("XILINX_XRT", str(program.parent.parent))
    try:
        return run_limited([str(program), "examine", *arguments], seconds, environ)
    except OSError as error:
        return Outcome(126, "", f"cannot be started ({error.strerror})")


def _text(report: SmiReport, outcome: Outcome, seconds: float) -> SmiReport:
    if outcome.code is None:
        return replace(report, hung=True, fault=f"no answer within {seconds:g} s")
    if outcome.code or not re.search(r"^Devices?(\(s\))? present", outcome.stdout, re.M | re.I):
        lines = [line.strip() for line in (outcome.stderr + outcome.stdout).splitlines()]
        said = next(filter(None, lines), "nothing")
        return replace(report, fault=f"exit code {outcome.code}: {said}")
    rows = ROW.findall(outcome.stdout)
    return replace(
        report,
        version=_value(outcome.stdout.partition("\nXRT")[2], "Version"),
        firmware=_value(outcome.stdout, "NPU Firmware Version", "Firmware Version"),
        devices=tuple(rows),
    )


def _value(text: str, *keys: str) -> str:
    """The value of the first line `key : value`; empty for N/A and the like."""
    for key in keys:
        match = re.search(rf"^\s*{re.escape(key)}\s*:\s*(.*?)\s*$", text, re.M)
        if match and match[1].lower() not in ("n/a", "unknown", "not supported"):
            return match[1]
    return ""


def _json(report: SmiReport, text: str) -> SmiReport:
    try:
        tree = json.loads(text)
    except ValueError:
        return replace(report, fault="its JSON report cannot be read")
    devices = list(_objects(tree, "devices"))
    return replace(
        report,
        version=next((str(x.get("version", "")) for x in _objects(tree, "xrt")), ""),
        firmware=_told(devices, "firmware_version"),
        power_mode=_told(_objects(tree, "status"), "power_mode"),
        clocks=_clocks({str(x.get("id")): x.get("freq_mhz") for x in _objects(tree, "clocks")}),
        devices=tuple((str(x["bdf"]), str(x.get("name", ""))) for x in devices if "bdf" in x),
        contexts=tuple(
            (int(x["pid"]), str(x.get("process_name", "")))
            for x in _objects(tree, "hw_contexts")
            if str(x.get("pid", "")).isdigit()
        ),
    )


def _clocks(megahertz: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value} MHz" for name, value in megahertz.items())


def _told(objects: Any, key: str) -> str:
    values = (str(x.get(key, "")) for x in objects)
    return next((v for v in values if v and v.lower() not in ("n/a", "unknown")), "")


def _objects(tree: Any, key: str) -> Iterator[dict[str, Any]]:
    """All JSON objects stored anywhere under `key`, alone or in a list.

    The nesting above them changed between releases; boost writes an empty list as "".
    """
    if isinstance(tree, list):
        for item in tree:
            yield from _objects(item, key)
    elif isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                items = value if isinstance(value, list) else [value]
                yield from (item for item in items if isinstance(item, dict))
            yield from _objects(value, key)
