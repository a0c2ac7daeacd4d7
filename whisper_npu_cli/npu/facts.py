"""Everything that the checks judge, looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from whisper_npu_cli.npu.binding import Binding, choose_binding
from whisper_npu_cli.npu.host import Host
from whisper_npu_cli.npu.node import Holder, Node, find_holders, find_node
from whisper_npu_cli.npu.pci import PciDevice, find_npus
from whisper_npu_cli.npu.smi import SmiReport, ask_smi
from whisper_npu_cli.npu.trial import SECONDS, Plan, Trial, try_out

SELFTEST_SECONDS = {"npu": 60.0, "emulator": 3600.0}
"""For the golden vectors of all XCLBINs; the emulator is slower than silicon by far."""


@dataclass(frozen=True)
class Facts:
    """One look at the machine; `npus` lists all AMD NPUs, driven by us or not.

    `xclbins` is the folder of the manifest, None when this version ships none. `trial` is None
    when there is no pyxrt to try.
    """

    host: Host
    npus: tuple[PciDevice, ...]
    node: Node | None
    holders: tuple[Holder, ...]
    smi: SmiReport
    binding: Binding | None
    xclbins: Path | None
    trial: Trial | None

    @property
    def npu(self) -> PciDevice | None:
        """The NPU that we drive."""
        return next((npu for npu in self.npus if npu.supported), None)

    @property
    def blocker(self) -> str:
        """The check that has to pass before the device can be touched; empty when none does."""
        return "npu" if self.npu is None else "device-node" if self.node is None else ""


def gather(host: Host, xclbins: Path | None, every_kernel: bool = False) -> Facts:
    """Look at everything; `every_kernel` runs all golden vectors in place of the first one."""
    npus = tuple(find_npus(host))
    npu = next((npu for npu in npus if npu.supported), None)
    node = find_node(host, npu.address) if npu else None
    holders = tuple(find_holders(host, node.path)) if node else ()
    smi = ask_smi(host, npu.address if npu and node else "")
    binding = choose_binding(host)
    trial = None
    if binding:
        plan = Plan(
            module=str(binding.path),
            xclbins=str(xclbins or ""),
            node=str(host.at(node.path)) if node else "",
            device=node is not None,
            all=every_kernel,
        )
        trial = try_out(host, plan, SELFTEST_SECONDS["npu"] if every_kernel else SECONDS)
    return Facts(host, npus, node, holders, smi, binding, xclbins, trial)
