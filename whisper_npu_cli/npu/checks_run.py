"""Checks that touch the device: XCLBINs, open, context, a kernel with a known answer."""

from __future__ import annotations

from whisper_npu_cli.errors import DeviceError
from whisper_npu_cli.npu import faults, mends
from whisper_npu_cli.npu.catalog import read_catalog
from whisper_npu_cli.npu.check import EMULATED, Check, fail, ok, unchecked, warn
from whisper_npu_cli.npu.checks_driver import check_memlock, check_permission
from whisper_npu_cli.npu.checks_xrt import check_xrt
from whisper_npu_cli.npu.facts import Facts
from whisper_npu_cli.npu.trial import Trial

NOTHING_RUN = "nothing was run: no XCLBIN here has a golden vector"
REINSTALL = "Install whisper-npu again."
WAIT = "Use --device cpu until a version with tested NPU kernels is out."


def check_xclbins(facts: Facts) -> Check:
    """Whether the shipped XCLBINs are the ones of their manifest, and pyxrt accepts them."""
    if facts.xclbins is None:
        return warn("xclbins", "this version ships no XCLBINs yet", WAIT)
    try:
        overlays = read_catalog(facts.xclbins)
    except DeviceError as damage:
        return fail("xclbins", str(damage), REINSTALL)
    broken = next(filter(None, (overlay.fault() for overlay in overlays)), "")
    if broken:
        return fail("xclbins", broken, REINSTALL)
    count = f"{len(overlays)} XCLBINs as in their manifest"
    steps = facts.trial.started("accept") if facts.trial else []
    for step in steps:
        error = facts.trial.error(step) if facts.trial else ""
        if error:
            return fail("xclbins", f"pyxrt does not {step}: {error}", mends.install_xrt(facts.host))
    if not steps:
        return warn("xclbins", f"{count}, not shown to pyxrt", "Mend pyxrt first.")
    return ok("xclbins", f"{count}, accepted by pyxrt")


def check_open(facts: Facts) -> Check:
    """Whether XRT opens the NPU."""
    if facts.node is None or facts.trial is None:
        return unchecked("open", facts.blocker or "pyxrt")
    for step in ("node", "open"):
        error = facts.trial.error(step)
        if error:
            return _failed("open", f"{facts.node.path} does not open", error, facts)
    if facts.trial.error("open") is None:
        return unchecked("open", "xclbins" if facts.trial.started("accept") else "pyxrt")
    return ok("open", f"XRT opened {facts.node.path}")


def check_context(facts: Facts) -> Check:
    """Whether the NPU gives us a hardware context with an XCLBIN of ours."""
    return _of_every_overlay("context", "context", "has a context", facts)


def check_kernel_run(facts: Facts) -> Check:
    """Whether a kernel on the NPU gives the answer that is known to be right."""
    if facts.trial and facts.trial.started("context") and not facts.trial.started("run"):
        if any(facts.trial.error(step) for step in facts.trial.started("context")):
            return unchecked("kernel-run", "context")
        return warn("kernel-run", NOTHING_RUN, WAIT)
    return _of_every_overlay("kernel-run", "run", "gave the right answer", facts)


def _of_every_overlay(name: str, kind: str, success: str, facts: Facts) -> Check:
    if facts.node is None or facts.trial is None:
        return unchecked(name, facts.blocker or "pyxrt")
    if facts.xclbins is None:
        return unchecked(name, "xclbins")
    steps = facts.trial.started(kind)
    for step in steps:
        error = facts.trial.error(step)
        if error:
            return _failed(name, step.partition(" ")[2], error, facts)
    if not steps:
        return unchecked(name, "open" if kind == "context" else "context")
    return ok(name, f"{', '.join(step.partition(' ')[2] for step in steps)} {success}")


def _failed(name: str, what: str, error: str, facts: Facts) -> Check:
    fault, mend = faults.explain(error), ""
    meaning = fault.meaning
    if fault is faults.NO_XRT_DEVICE:
        culprits = (check_xrt(facts), check_permission(facts), check_memlock(facts))
        culprit = next((check for check in culprits if check.mend), None)
        if culprit:
            meaning, mend = f"{meaning} ({culprit.name})", f"Mend {culprit.name} first."
    elif fault is faults.PERMISSION:
        if not check_permission(facts).mend and facts.host.container:
            mend = f"Start the container with --device {facts.node.path if facts.node else ''}"
    elif fault in (faults.BUSY, faults.NO_CONTEXT) and facts.holders:
        meaning += f", held by {', '.join(map(str, facts.holders))}"
    elif fault is faults.MEMLOCK:
        mend = check_memlock(facts).mend
    told = f"{meaning}: {error}" if meaning else error
    return fail(name, f"{what}: {told}", mend or fault.mend)


def check_emulated(trial: Trial) -> Check:
    """The golden vectors on the emulator, which proves nothing about any NPU."""
    for step, error in {**trial.steps, trial.died_at: trial.death}.items():
        if error:
            return fail(EMULATED, f"{step}: {error}", "Report it: this is a fault of whisper-npu.")
    runs = len(trial.started("run"))
    if not runs:
        return warn(EMULATED, NOTHING_RUN, WAIT)
    return ok(EMULATED, f"{runs} kernels gave the right answer on the emulator, not on an NPU")
