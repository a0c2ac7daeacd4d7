"""Which argument types each name of pyxrt takes: the overloads of pyxrt.pyi, as data.

Source: `pyxrt.pyi` of XRT 2.25 (Xilinx/XRT, MIT). pybind11 raises TypeError when none fits, and so
does `choose`. A type is the name of a class of pyxrt, or one of the words below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

INT_MAX = 2**31 - 1


def is_int(value: object) -> bool:
    """A Python int; numpy's integers are not taken (shared facts 6.1)."""
    return isinstance(value, int)


def is_buffer(value: object) -> bool:
    """Something with the buffer protocol."""
    try:
        memoryview(cast(Any, value))
    except TypeError:
        return False
    return True


WORDS: dict[str, Callable[[object], bool]] = {
    "SupportsInt": is_int,
    "int": is_int,
    "str": lambda value: isinstance(value, str),
    "dict": lambda value: isinstance(value, dict),
    "Any": lambda _: True,
    "Callable": callable,
    "ReadableBuffer": is_buffer,
}

_CONTEXT = [
    "", "device uuid", "device uuid access_mode", "device uuid dict", "device xclbin",
    "device xclbin access_mode", "device xclbin dict", "device str", "device str access_mode",
    "device str dict", "device dict access_mode", "device elf", "device elf dict access_mode",
]  # fmt: skip

# class.method -> its overloads, arguments without self
SIGNATURES: dict[str, list[str]] = {
    "uuid.__init__": ["str"],
    "uuid.to_string": [""],
    "hw_context.__init__": _CONTEXT,
    "hw_context.add_config": ["elf"],
    "hw_context.get_device": [""],
    "hw_context.get_xclbin_uuid": [""],
    "hw_context.get_xclbin": [""],
    "hw_context.get_mode": [""],
    "device.__init__": ["", "SupportsInt", "str"],
    "device.register_xclbin": ["xclbin"],
    "device.load_xclbin": ["str", "xclbin"],
    "device.get_xclbin_uuid": [""],
    "device.get_info": ["xrt_info_device"],
    "run.__init__": ["", "kernel"],
    "run.start": [""],
    "run.set_arg": ["SupportsInt bo", "SupportsInt SupportsInt"],
    "run.wait": ["", "SupportsInt"],
    "run.wait2": ["", "int"],
    "run.state": [""],
    "run.add_callback": ["ert_cmd_state Callable Any"],
    "kernel.__init__": [
        "device uuid str cu_access_mode", "device uuid str", "hw_context str",
    ],
    "kernel.group_id": ["SupportsInt"],
    "bo.__init__": [
        "device SupportsInt flags SupportsInt", "hw_context SupportsInt flags SupportsInt",
        "hw_context SupportsInt SupportsInt", "bo SupportsInt SupportsInt",
    ],
    "bo.write": ["ReadableBuffer SupportsInt"],
    "bo.read": ["SupportsInt SupportsInt"],
    "bo.sync": ["xclBOSyncDirection SupportsInt SupportsInt", "xclBOSyncDirection"],
    "bo.map": [""],
    "bo.size": [""],
    "bo.address": [""],
    "xclbin.__init__": ["", "str", "Any"],
    "xclbin.get_kernels": [""],
    "xclbin.get_xsa_name": [""],
    "xclbin.get_uuid": [""],
    "xclbin.get_mems": [""],
    "xclbin.get_axlf": [""],
    "runlist.__init__": ["", "hw_context"],
    "runlist.add": ["run"],
    "runlist.execute": [""],
    "runlist.wait": ["", "SupportsInt"],
    "elf.__init__": ["str", "Any SupportsInt"],
    "program.__init__": ["elf"],
    "program.get_partition_size": [""],
    "module.__init__": ["elf"],
    "module.get_hw_context": [""],
}  # fmt: skip


def fits(value: object, kind: str) -> bool:
    """Whether a value is of a type as SIGNATURES names it."""
    if kind in WORDS:
        return WORDS[kind](value)
    return any(base.__name__ == kind for base in type(value).__mro__)


def choose(name: str, *values: Any) -> str:
    """The overload of a method that takes these values. Raises TypeError as pybind11 does."""
    for overload in SIGNATURES[name]:
        kinds = overload.split()
        if len(kinds) == len(values) and all(map(fits, values, kinds)):
            return overload
    offered = "; ".join(f"({', '.join(o.split())})" for o in SIGNATURES[name])
    given = ", ".join(type(value).__name__ for value in values)
    raise TypeError(f"{name}(): incompatible arguments ({given}); it takes: {offered}")
