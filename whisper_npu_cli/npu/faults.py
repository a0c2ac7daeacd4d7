"""What an error of XRT or of the driver means, and what mends it.

The texts are those that users reported and the sources that throw them: amd/xdna-driver src/shim
(`shim_err` ends every text with `(err=NUMBER)`, of either sign) and Xilinx/XRT
core/pcie/linux/system_linux.cpp.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

from whisper_npu_cli.npu import mends


@dataclass(frozen=True)
class Fault:
    """A meaning in words and the mend."""

    meaning: str
    mend: str


MEMLOCK = Fault("the memlock limit is too low", mends.MEMLOCK)
PERMISSION = Fault("no permission", "Mend permission first.")
NO_CONTEXT = Fault(
    "the NPU has no free context, or does not take this XCLBIN",
    "Close the programs that hold the NPU (six contexts at most); if none does: "
    + mends.RELOAD_DRIVER,
)
BUSY = Fault("busy", "Close the programs that hold the NPU.")
NO_IOMMU = Fault("the driver cannot use the IOMMU for this process", mends.ENABLE_IOMMU)
HUNG = Fault("the NPU hangs", mends.RELOAD_DRIVER)
MISMATCH = Fault(
    "the driver does not know this request",
    f"Bring the driver and XRT to versions that belong together: {mends.DRIVER_SOURCE}",
)
NO_MEMORY = Fault("no memory for the NPU", "Close other programs.")
NO_XRT_DEVICE = Fault(
    "XRT finds no NPU: no plug-in, no permission or no memory to lock",
    mends.DRIVER_LOG,
)
UNKNOWN = Fault("", mends.DRIVER_LOG)

BY_ERRNO = {
    errno.EPERM: PERMISSION,
    errno.ENOENT: NO_XRT_DEVICE,
    errno.EAGAIN: MEMLOCK,
    errno.ENOMEM: NO_MEMORY,
    errno.EACCES: PERMISSION,
    errno.EBUSY: BUSY,
    errno.ENODEV: NO_IOMMU,
    errno.EINVAL: NO_CONTEXT,
    errno.ETIME: HUNG,
    errno.EOPNOTSUPP: MISMATCH,
}
BY_TEXT = {
    "No such device with index": NO_XRT_DEVICE,
    "no answer within": HUNG,
    "ERT_CMD_STATE_TIMEOUT": HUNG,
    **{os.strerror(number): fault for number, fault in BY_ERRNO.items()},
}


def explain(error: str) -> Fault:
    """The meaning of an error text."""
    number = re.search(r"\berr(?:or|no)?\s*[= ]\s*-?(\d+)\b", error, re.IGNORECASE)
    if number and int(number[1]) in BY_ERRNO:
        return BY_ERRNO[int(number[1])]
    return next((fault for text, fault in BY_TEXT.items() if text in error), UNKNOWN)
