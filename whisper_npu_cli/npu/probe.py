"""All checks of `whisper-npu doctor`, in the order in which a person mends them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from whisper_npu_cli.npu import checks_computer, checks_driver, checks_run, checks_xrt
from whisper_npu_cli.npu.backend import EMULATOR
from whisper_npu_cli.npu.check import EMULATED, Check, Report, fail, unchecked
from whisper_npu_cli.npu.checks_run import check_emulated
from whisper_npu_cli.npu.facts import SELFTEST_SECONDS, Facts, gather
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.trial import Plan, try_out

CHECKS: tuple[Callable[[Facts], Check], ...] = (
    checks_computer.check_cpu,
    checks_computer.check_memory,
    checks_driver.check_npu,
    checks_driver.check_kernel,
    checks_driver.check_driver,
    checks_driver.check_firmware,
    checks_driver.check_device,
    checks_driver.check_permission,
    checks_driver.check_memlock,
    checks_driver.check_busy,
    checks_driver.check_container,
    checks_xrt.check_xrt,
    checks_xrt.check_smi,
    checks_xrt.check_power,
    checks_xrt.check_pyxrt,
    checks_run.check_xclbins,
    checks_run.check_open,
    checks_run.check_context,
    checks_run.check_kernel_run,
    checks_computer.check_models,
    checks_computer.check_openvino,
)


def examine(host: Host, xclbins: Path | None, selftest: str = "") -> Report:
    """Look at the machine and judge it; never raises for what it finds there.

    `xclbins` is the folder of the shipped XCLBINs, None when there are none. `selftest` "npu" runs
    all golden vectors on the NPU in place of the first one, "emulator" runs them there as well.
    """
    facts = gather(host, xclbins, every_kernel=selftest == "npu")
    checks = [check(facts) for check in CHECKS]
    if selftest == "emulator":
        checks.append(_emulated(host, xclbins))
    return Report(tuple(checks))


def _emulated(host: Host, xclbins: Path | None) -> Check:
    if not _has_emulator():
        return fail(EMULATED, "this version has no emulator", "Leave --device emulator out.")
    if xclbins is None:
        return unchecked(EMULATED, "xclbins")
    plan = Plan(module=EMULATOR, xclbins=str(xclbins), device=True, all=True)
    return check_emulated(try_out(host, plan, SELFTEST_SECONDS["emulator"]))


def _has_emulator() -> bool:
    try:
        return find_spec(EMULATOR) is not None
    except ModuleNotFoundError:
        return False
