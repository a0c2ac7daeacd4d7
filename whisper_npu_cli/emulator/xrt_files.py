"""The part of the emulated `pyxrt` that needs no device: states, identities, XCLBIN files.

Source: as for pyxrt.py, which offers these names.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Any, NoReturn

from whisper_npu_cli.aie.formats import xclbin as container
from whisper_npu_cli.aie.formats.view import FormatError
from whisper_npu_cli.emulator.signatures import choose


class xclBOSyncDirection(IntEnum):  # the names are XRT's
    """Direction of bo.sync."""

    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1
    XCL_BO_SYNC_BO_GMIO_TO_AIE = 2
    XCL_BO_SYNC_BO_AIE_TO_GMIO = 3


class ert_cmd_state(IntEnum):
    """State of a run."""

    ERT_CMD_STATE_NEW = 1
    ERT_CMD_STATE_QUEUED = 2
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_ERROR = 5
    ERT_CMD_STATE_ABORT = 6
    ERT_CMD_STATE_SUBMITTED = 7
    ERT_CMD_STATE_TIMEOUT = 8
    ERT_CMD_STATE_NORESPONSE = 9
    ERT_CMD_STATE_SKERROR = 10
    ERT_CMD_STATE_SKCRASHED = 11


xrt_info_device = IntEnum(
    "xrt_info_device",
    "bdf interface_uuid kdma max_clock_frequency_mhz m2m name nodma offline electrical thermal "
    "mechanical memory platform pcie_info host dynamic_regions vmr",
    start=0,
)
xrt_msg_level = IntEnum(
    "xrt_msg_level", "emergency alert critical error warning notice info debug", start=0
)


def not_modelled(what: str) -> NoReturn:
    """Refuse a call that the emulator does not offer."""
    raise NotImplementedError(f"the emulated NPU does not offer {what}")


class uuid:
    """Identity of an XCLBIN."""

    def __init__(self, uuid_str: str) -> None:
        choose("uuid.__init__", uuid_str)
        self._text = uuid_str

    def to_string(self) -> str:
        """The usual text form."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, uuid) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


# XCLBIN ------------------------------------------------------------------------------------------


class xclbin:
    """An XCLBIN file, read and checked."""

    class xclbinip:
        """One entry of IP_LAYOUT."""

        def __init__(self, name: str = "") -> None:
            self._name = name

        def get_name(self) -> str:
            """Kernel and instance."""
            return self._name

    class xclbinkernel:
        """One kernel."""

        def __init__(self, name: str = "", arguments: int = 0) -> None:
            self._name, self._arguments = name, arguments

        def get_name(self) -> str:
            """Name to make a `kernel` with."""
            return self._name

        def get_num_args(self) -> int:
            """Number of arguments, scalars included."""
            return self._arguments

    class xclbinmem:
        """One memory bank."""

        def __init__(self, memory: container.Memory | None = None, index: int = 0) -> None:
            self._memory, self._index = memory, index

        def _bank(self) -> container.Memory:
            if self._memory is None:
                raise RuntimeError("empty memory object")
            return self._memory

        def get_tag(self) -> str:
            """Name of the bank."""
            return self._bank().tag

        def get_base_address(self) -> int:
            """Address as the file states it."""
            return self._bank().base

        def get_size_kb(self) -> int:
            """Size in KiB."""
            return self._bank().size_kib

        def get_used(self) -> bool:
            """Whether the design uses it."""
            return self._bank().used

        def get_index(self) -> int:
            """Number of the bank."""
            return self._index

    def __init__(self, *args: Any) -> None:
        overload = choose("xclbin.__init__", *args)
        if overload == "Any":
            not_modelled("an xclbin from memory; give a file name")
        self._file: container.Xclbin | None = None
        if overload == "str":
            try:
                self._file = container.read(Path(args[0]))
            except FormatError as refusal:
                raise RuntimeError(str(refusal)) from refusal

    @property
    def content(self) -> container.Xclbin:
        """The file as read; RuntimeError for an empty object."""
        if self._file is None:
            raise RuntimeError("empty xclbin object")
        return self._file

    def get_kernels(self) -> list[xclbinkernel]:
        """All kernels."""
        return [self.xclbinkernel(k.name, len(k.arguments)) for k in self.content.kernels]

    def get_xsa_name(self) -> str:
        """Empty for an NPU."""
        return ""

    def get_uuid(self) -> uuid:
        """The identity in the header."""
        return uuid(str(self.content.uuid))

    def get_mems(self) -> list[xclbinmem]:
        """Memory banks."""
        return [self.xclbinmem(m, n) for n, m in enumerate(self.content.memories)]

    def get_axlf(self) -> Any:
        """Not modelled."""
        not_modelled("the raw axlf pointer")
