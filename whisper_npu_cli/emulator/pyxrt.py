"""The emulated NPU behind the names and signatures of XRT's `pyxrt`.

Runs XCLBINs and instruction sequences as a Phoenix would. A failed call raises RuntimeError, as
XRT's C++ exceptions arrive in Python; arguments of the wrong type raise TypeError. A launch that
hangs ends as ERT_CMD_STATE_TIMEOUT and logs who waits for what. What silicon would punish and
nobody would see raises EmulationError; what is not modelled raises NotImplementedError.

Source of names and behaviour: `pyxrt.pyi`, `pyxrt.cpp`, `xrt_kernel.cpp`, `xrt_bo.cpp` of XRT 2.25
(Apache-2.0) and shared facts 6.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from whisper_npu_cli.aie.formats import cdo, sequence
from whisper_npu_cli.aie.formats.view import FormatError
from whisper_npu_cli.emulator.buffers import HostMemory, Region
from whisper_npu_cli.emulator.device import PhysicalArray, Slot
from whisper_npu_cli.emulator.fault import EmulationError
from whisper_npu_cli.emulator.host import Outcome
from whisper_npu_cli.emulator.signatures import INT_MAX, choose
from whisper_npu_cli.emulator.xrt_files import (
    ert_cmd_state,
    not_modelled,
    uuid,
    xclbin,
    xclBOSyncDirection,
    xrt_info_device,
    xrt_msg_level,
)

__all__ = [
    "XCL_BO_FLAGS_NONE",
    "alert",
    "bo",
    "critical",
    "debug",
    "device",
    "elf",
    "emergency",
    "enumerate_devices",
    "error",
    "ert_cmd_state",
    "hw_context",
    "info",
    "kernel",
    "log_message",
    "module",
    "notice",
    "outcome_of",
    "program",
    "run",
    "runlist",
    "uuid",
    "warning",
    "xclBOSyncDirection",
    "xclbin",
    "xrt_info_device",
    "xrt_msg_level",
]  # fmt: skip

LOG = logging.getLogger(__name__)

XCL_BO_FLAGS_NONE = 0
MAX_CONTEXTS = 6  # of the firmware (shared facts 6.5)
TRANSACTION = 3  # opcode of a launch with an instruction stream, kernel argument 0
OPCODE, INSTRUCTIONS, COUNT, FIRST_BUFFER = range(4)  # kernel arguments
BANK_MASK = 0xFFFF  # of a group id; the context's slot stands above (shared facts 6.3)


emergency, alert, critical, error, warning, notice, info, debug = xrt_msg_level

INFO = {
    "bdf": "0000:00:00.0",
    "name": "NPU Phoenix (emulated)",
    "max_clock_frequency_mhz": "1028",
    "offline": "0",
}


def enumerate_devices() -> int:
    """Number of devices: one, emulated."""
    return 1


def log_message(level: Any, tag: str, message: str) -> None:
    """Pass a message to Python's logging."""
    levels = {**dict.fromkeys(range(4), logging.ERROR), 4: logging.WARNING, 7: logging.DEBUG}
    LOG.log(levels.get(int(level), logging.INFO), "%s: %s", tag, message)


# Device and context ------------------------------------------------------------------------------


class _Board:
    """What there is once in a process: host memory, the array, open contexts, registrations."""

    def __init__(self) -> None:
        self.memory = HostMemory()
        self.array = PhysicalArray()
        self.slots: set[int] = set()
        self.registered: dict[uuid, xclbin] = {}


_BOARD = _Board()


class device:
    """The emulated NPU: index 0."""

    def __init__(self, *args: Any) -> None:
        overload = choose("device.__init__", *args)
        self._open = overload != ""
        known = {"": True, "SupportsInt": args == (0,), "str": args == (INFO["bdf"],)}
        if not known[overload]:
            raise RuntimeError(f"No such device '{args[0]}'; the emulated NPU has index 0")

    def register_xclbin(self, xclbin: xclbin) -> uuid:
        """Remember an XCLBIN; nothing is loaded yet."""
        choose("device.register_xclbin", xclbin)
        if not self._open:
            raise RuntimeError("empty device object")
        identity = xclbin.get_uuid()
        _BOARD.registered[identity] = xclbin
        return identity

    def load_xclbin(self, xclbin: Any) -> uuid:
        """Deprecated: register a file or an xclbin object."""
        overload = choose("device.load_xclbin", xclbin)
        warnings.warn("load_xclbin is deprecated; use hw_context", DeprecationWarning, stacklevel=2)
        return self.register_xclbin(_xclbin(xclbin) if overload == "str" else xclbin)

    def get_xclbin_uuid(self) -> uuid:
        """Not modelled: on an NPU the identity belongs to a context."""
        not_modelled("device.get_xclbin_uuid; ask the hw_context")

    def get_info(self, key: Any) -> str:
        """Name, address, clock; everything else raises."""
        choose("device.get_info", key)
        if key.name not in INFO:
            not_modelled(f"get_info of {key.name}")
        return INFO[key.name]


_xclbin: TypeAlias = xclbin


class hw_context:
    """A partition of the array for one XCLBIN; at most six at a time."""

    class access_mode(IntEnum):
        """How the context shares the device."""

        exclusive = 0
        shared = 1

    exclusive, shared = access_mode

    def __init__(self, *args: Any) -> None:
        overload = choose("hw_context.__init__", *args)
        if "elf" in overload or overload == "device dict access_mode":
            not_modelled("contexts from ELF files")
        self._mode = next((a for a in args if isinstance(a, self.access_mode)), self.shared)
        self._slot: Slot | None = None
        if overload:
            self._device: device = args[0]
            self._xclbin = self._find(args[1])
            self._open()

    def _find(self, source: Any) -> xclbin:
        if isinstance(source, uuid):
            if source not in _BOARD.registered:
                raise RuntimeError(f"no xclbin with uuid {source.to_string()} is registered")
            return _BOARD.registered[source]
        found = source if isinstance(source, xclbin) else xclbin(source)
        self._device.register_xclbin(found)
        return found

    def _open(self) -> None:
        content = self._xclbin.content
        free = [n for n in reversed(range(MAX_CONTEXTS)) if n not in _BOARD.slots]
        if not free:
            raise RuntimeError(
                f"DRM_IOCTL_AMDXDNA_CREATE_HWCTX failed (err=22): all {MAX_CONTEXTS} are in use"
            )
        try:
            images = {
                k.name: cdo.register_ops(content.pdi(k).decode().ops, content.name)
                for k in content.kernels
            }
        except FormatError as refusal:
            raise RuntimeError(str(refusal)) from refusal
        self._slot = Slot(content.partition.column_width, images, _BOARD.memory)
        self._number = free[0]
        _BOARD.slots.add(self._number)
        weakref.finalize(self, _close, self._number, self._slot)

    def _live(self) -> Slot:
        if self._slot is None:
            raise RuntimeError("empty hw_context object")
        return self._slot

    def add_config(self, elf: Any) -> None:
        """Not modelled."""
        not_modelled("contexts from ELF files")

    def get_device(self) -> device:
        """The device."""
        self._live()
        return self._device

    def get_xclbin_uuid(self) -> uuid:
        """Identity of its XCLBIN."""
        return self.get_xclbin().get_uuid()

    def get_xclbin(self) -> xclbin:
        """Its XCLBIN."""
        self._live()
        return self._xclbin

    def get_mode(self) -> access_mode:
        """The mode it was opened with."""
        return self._mode


def _close(number: int, slot: Slot) -> None:
    _BOARD.slots.discard(number)
    _BOARD.array.forget(slot)


# Buffers -----------------------------------------------------------------------------------------


class bo:
    """A buffer, twice: as the host sees it and as the device does; `sync` copies.

    On x86 the driver keeps both coherent; a program that relies on it fails elsewhere, so the
    emulator keeps them apart.
    """

    class flags(IntEnum):
        """Kinds of buffers; an NPU takes cacheable and host_only (shared facts 6.3)."""

        normal = 0
        cacheable = 1 << 24
        device_only = 1 << 28
        host_only = 1 << 29
        p2p = 1 << 30
        svm = 1 << 27

    normal, cacheable, device_only, host_only, p2p, svm = flags

    def __init__(self, *args: Any) -> None:
        overload = choose("bo.__init__", *args)
        if overload == "bo SupportsInt SupportsInt":
            self._share(*args)
        elif overload == "hw_context SupportsInt SupportsInt":
            self._make(args[1], self.flags.normal)
        else:
            self._make(args[1], args[2])

    def _make(self, size: int, flags: Any) -> None:
        if size <= 0:
            raise RuntimeError(f"Invalid buffer size '{size}'")
        if flags not in (self.flags.cacheable, self.flags.host_only):
            raise RuntimeError(f"an NPU has no {flags.name} buffers; use cacheable or host_only")
        try:
            region = _BOARD.memory.allocate(size, heap=flags == self.flags.cacheable)
        except MemoryError as full:
            raise RuntimeError(f"no room for {size} bytes in the 64 MiB heap (err=12)") from full
        weakref.finalize(self, _BOARD.memory.free, region)
        self._region = region
        self._host: NDArray[np.uint8] = np.zeros(size, np.uint8)
        self._parent: bo | None = None

    def _share(self, parent: bo, size: int, offset: int) -> None:
        if size <= 0 or offset < 0 or offset + size > parent.size():
            raise RuntimeError("sub buffer size and offset do not lie in the parent")
        whole = parent._region
        self._region = Region(whole.offset + offset, size, whole.address + offset)
        self._host = parent._host[offset : offset + size]
        self._parent = parent  # keeps the memory alive

    def _range(self, size: int, offset: int, what: str) -> slice:
        if size < 0 or offset < 0 or offset + size > self._region.size:
            raise RuntimeError(
                f"attempting to {what} past buffer size: {size} bytes at {offset} of "
                f"{self._region.size}"
            )
        return slice(offset, offset + size)

    def write(self, data: Any, seek: int) -> None:
        """Copy bytes into the host's view from byte `seek` on."""
        choose("bo.write", data, seek)
        source = np.frombuffer(memoryview(data).tobytes(), np.uint8)
        self._host[self._range(len(source), seek, "write")] = source

    def read(self, size: int, skip: int) -> NDArray[np.int8]:
        """Copy of bytes of the host's view."""
        choose("bo.read", size, skip)
        return self._host[self._range(size, skip, "read")].view(np.int8).copy()

    def sync(self, *args: Any) -> None:
        """Copy to or from the device: everything, or `size` bytes from `offset` on."""
        choose("bo.sync", *args)
        direction, size, offset = args if len(args) == 3 else (args[0], self._region.size, 0)
        part = self._range(size, offset, "sync")
        device = _BOARD.memory.bytes[self._region.offset :][: self._region.size]
        if direction == xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE:
            device[part] = self._host[part]
        elif direction == xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE:
            self._host[part] = device[part]
        else:
            raise RuntimeError("an NPU's buffers are synced to or from the device, not to GMIO")

    def map(self) -> memoryview:
        """The host's view, writable; keep the buffer alive while it is used."""
        return self._host.data

    def size(self) -> int:
        """Bytes."""
        return self._region.size

    def address(self) -> int:
        """Device address."""
        return self._region.address


# Running -----------------------------------------------------------------------------------------


class kernel:
    """A kernel of a context."""

    class cu_access_mode(IntEnum):
        """Has no meaning on an NPU."""

        exclusive = 0
        shared = 1
        none = 2

    exclusive, shared, none = cu_access_mode

    def __init__(self, *args: Any) -> None:
        overload = choose("kernel.__init__", *args)
        if overload != "hw_context str":
            not_modelled("the deprecated kernel(device, uuid, name); make a hw_context")
        self._context: hw_context = args[0]
        self._context._live()
        content = self._context.get_xclbin().content
        try:
            self._kernel = content.kernel(args[1])
        except FormatError as missing:
            raise RuntimeError(f"No such kernel '{args[1]}'") from missing
        self._ip = next(
            (n for n, ip in enumerate(content.ips) if ip.kernel_id == self._kernel.dpu_kernel_id), 0
        )

    def __call__(self, *args: Any) -> run:
        """Run with these arguments; one that is neither bo nor int is silently left out."""
        started = run(self)
        for index, value in enumerate(args):
            if isinstance(value, bo) or (
                isinstance(value, int) and -INT_MAX - 1 <= value <= INT_MAX
            ):
                started.set_arg(index, value)
        started.start()
        return started

    def group_id(self, index: int) -> int:
        """Memory bank of an argument, with the context's slot in the upper half."""
        choose("kernel.group_id", index)
        for connection in self._context.get_xclbin().content.connections:
            if connection.arg_index == index and connection.m_ip_layout_index == self._ip:
                return connection.mem_data_index | self._context._number << 16
        raise RuntimeError(f"argument {index} of {self._kernel.name} has no memory bank")


class run:
    """One execution of a kernel; may be started again and again."""

    def __init__(self, *args: Any) -> None:
        overload = choose("run.__init__", *args)
        self._kernel: kernel | None = args[0] if overload else None
        self._args: dict[int, Any] = {}
        self._state = ert_cmd_state.ERT_CMD_STATE_NEW
        self._list: weakref.ref[runlist] | None = None  # weak: lists hold their runs
        self._callbacks: list[tuple[Any, Callable[..., None], Any]] = []
        self._outcome: Outcome | None = None

    def _live(self) -> kernel:
        if self._kernel is None:
            raise RuntimeError("empty run object")
        return self._kernel

    def set_arg(self, index: int, value: Any) -> None:
        """Set a buffer or an integer argument."""
        choose("run.set_arg", index, value)
        live = self._live()
        if not 0 <= index < len(live._kernel.arguments):
            raise RuntimeError(f"Bad argument index '{index}'")
        if isinstance(value, int) and not -INT_MAX - 1 <= value <= INT_MAX:
            raise TypeError(f"run.set_arg(): {value} does not fit a C int")
        self._args[index] = value

    def start(self) -> None:
        """Execute; the emulator has finished when this returns."""
        self._live()
        if self._list is not None and self._list() is not None:
            raise RuntimeError("Run object belongs to a runlist and cannot be explicitly started")
        self._execute()

    def _execute(self) -> None:
        live = self._live()
        self._state = ert_cmd_state.ERT_CMD_STATE_ERROR  # unless it ends otherwise
        stream, buffers = self._stream(live), self._buffers(live)
        slot = live._context._live()
        self._outcome = _BOARD.array.launch(slot, live._kernel.name, stream, buffers)
        self._state = ert_cmd_state.ERT_CMD_STATE_COMPLETED
        if self._outcome.hang:
            self._state = ert_cmd_state.ERT_CMD_STATE_TIMEOUT
            LOG.error("%s hangs: %s", live._kernel.name, self._outcome.hang)
        for state, callback, data in self._callbacks:
            if state == self._state:
                callback(None, self._state, data)

    def _stream(self, live: kernel) -> sequence.Stream:
        opcode, source, count = (self._args.get(n) for n in (OPCODE, INSTRUCTIONS, COUNT))
        if opcode != TRANSACTION:
            raise EmulationError(
                f"kernel {live._kernel.name}: opcode (argument 0) is {opcode}, not {TRANSACTION}."
            )
        if not isinstance(source, bo) or not isinstance(count, int):
            raise EmulationError(
                f"kernel {live._kernel.name}: arguments 1 and 2 must be the instruction buffer and "
                "its number of words; a value of another type was left out."
            )
        # a count of words; public programs that run on a Phoenix give bytes, which it takes as well
        size = 4 * count if 4 * count <= source.size() else count
        if not 0 < size <= source.size():
            raise EmulationError(
                f"kernel {live._kernel.name}: {count} instruction words in a buffer of "
                f"{source.size()} bytes."
            )
        data = _BOARD.memory.bytes[source._region.offset :][:size].tobytes()
        return sequence.decode(data, f"the instructions of kernel {live._kernel.name}")

    def _buffers(self, live: kernel) -> list[Region | None]:
        values = [self._args.get(n) for n in range(FIRST_BUFFER, len(live._kernel.arguments))]
        return [value._region if isinstance(value, bo) else None for value in values]

    def wait(self, *timeout_ms: int) -> ert_cmd_state:
        """State at the end; the time limit is the device's own 2 seconds of emulated time."""
        choose("run.wait", *timeout_ms)
        self._live()
        return self._state

    def wait2(self, *timeout: int) -> ert_cmd_state | None:
        """As `wait`, but a run that failed raises RuntimeError."""
        overload = choose("run.wait2", *timeout)
        self._live()
        _check(self._state)
        return self._state if overload else None

    def state(self) -> ert_cmd_state:
        """Current state."""
        return self._state

    def add_callback(self, state: Any, callback: Callable[..., None], data: Any) -> None:
        """Call `callback(key, state, data)` when the run reaches a state."""
        choose("run.add_callback", state, callback, data)
        self._callbacks.append((state, callback, data))

    def get_ctrl_scratchpad_bo(self) -> bo:
        """Not modelled."""
        not_modelled("control scratchpads")


def _check(state: ert_cmd_state) -> None:
    if state not in (ert_cmd_state.ERT_CMD_STATE_COMPLETED, ert_cmd_state.ERT_CMD_STATE_NEW):
        raise RuntimeError(f"the command ended in state {state.name}")


class runlist:
    """Runs of one context, executed in order."""

    def __init__(self, *args: Any) -> None:
        overload = choose("runlist.__init__", *args)
        self._context: hw_context | None = args[0] if overload else None
        self._runs: list[run] = []
        self._failed: run | None = None

    def add(self, run: run) -> None:
        """Append a run that is not started and in no other list."""
        choose("runlist.add", run)
        if self._context is None:
            raise RuntimeError("empty runlist object")
        if run._live()._context is not self._context:
            raise RuntimeError("runlist and run object do not share a hw_context")
        if run._list is not None and run._list() is not None:
            raise RuntimeError("Run object already belongs to a runlist")
        run._list = weakref.ref(self)
        self._runs.append(run)

    def execute(self) -> None:
        """Execute all; the first that fails ends it."""
        if self._context is None:
            raise RuntimeError("empty runlist object")
        self._failed = None
        for each in self._runs:
            each._execute()
            if each._state != ert_cmd_state.ERT_CMD_STATE_COMPLETED:
                self._failed = each
                return

    def wait(self, *timeout: int) -> ert_cmd_state | None:
        """Raises RuntimeError when a run has failed."""
        overload = choose("runlist.wait", *timeout)
        if self._failed is not None:
            _check(self._failed._state)
        return ert_cmd_state.ERT_CMD_STATE_COMPLETED if overload else None


def outcome_of(run: run) -> Outcome | None:
    """Not of pyxrt: cycles and hang report of a run's last execution."""
    return run._outcome


# Not modelled ------------------------------------------------------------------------------------


class elf:
    """Not modelled."""

    def __init__(self, *args: Any) -> None:
        choose("elf.__init__", *args)
        not_modelled("ELF configurations")


class program:
    """Not modelled."""

    def __init__(self, elf: Any) -> None:
        not_modelled("ELF configurations")

    def get_partition_size(self) -> int:
        """Not modelled."""
        not_modelled("ELF configurations")


class module:
    """Not modelled."""

    def __init__(self, elf: Any) -> None:
        not_modelled("ELF configurations")

    def get_hw_context(self) -> hw_context:
        """Not modelled."""
        not_modelled("ELF configurations")
