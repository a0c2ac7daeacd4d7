"""EMBEDDED_METADATA, the XML section of an XCLBIN: which kernels it offers and their arguments.

xclbinutil writes it from its `--add-kernel` JSON. The XML parser is expat, stopped at document type
declarations, so no entity can be defined and nothing can grow. Source: xclbinutil
`KernelUtilities.cxx` (Xilinx/XRT 963c58ee) by way of shared facts 1.6, and published files.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.parsers import expat

from whisper_npu_cli.aie.formats.view import FormatError, View, printable

MAX_BYTES = 1 << 20  # a vendor overlay of 17 kernels has 24 kB
MAX_KERNELS = MAX_ARGUMENTS = MAX_INSTANCES = 256  # XRT has 32 kernels, real files 8 arguments
DPU = "dpu"  # the only kernel type that XRT runs on an NPU


@dataclass(frozen=True, slots=True)
class Argument:
    """One kernel argument: `is_buffer` says buffer or scalar, `offset` its byte in the command."""

    index: int
    name: str
    is_buffer: bool
    size: int
    offset: int
    type: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: its id as AIE_PARTITION and IP_LAYOUT give it, -1 where the XML has none."""

    name: str
    type: str
    dpu_kernel_id: int
    functional: int
    arguments: tuple[Argument, ...]
    instances: tuple[str, ...]


class _Kernels:
    """Collects kernels while expat walks the document."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path: list[str] = []
        self.kernels: list[Kernel] = []

    def number(self, text: str, what: str) -> int:
        """A number written as C does, at most 64 bits. Raises FormatError."""
        try:
            value = int(text, 0) if len(text) <= 20 else -1
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 64:
            raise FormatError(f"{self.name}: {what} {printable(text[:40])!r} is not a number.")
        return value

    def start(self, tag: str, fields: dict[str, str]) -> None:
        """An element opens: `fields` are its attributes."""
        parent = self.path[-1] if self.path else ""
        self.path.append(tag)
        if tag == "kernel" and parent == "core":
            if len(self.kernels) == MAX_KERNELS:
                raise FormatError(f"{self.name}: more than {MAX_KERNELS} kernels.")
            label, kind = fields.get("name", ""), fields.get("type", "")
            self.kernels.append(Kernel(printable(label), printable(kind), -1, 0, (), ()))
        elif parent == "kernel" and self.kernels:
            self.kernels[-1] = self.extended(self.kernels[-1], tag, fields)

    def extended(self, kernel: Kernel, tag: str, fields: dict[str, str]) -> Kernel:
        """`kernel` with what its child element says."""
        number, arguments, instances = kernel.dpu_kernel_id, kernel.arguments, kernel.instances
        functional = kernel.functional
        if tag == "extended-data" and "dpu_kernel_id" in fields:
            number = self.number(fields["dpu_kernel_id"], "the kernel id")
            functional = self.number(fields.get("functional", "0"), "the functional type")
        elif tag == "arg":
            if len(arguments) == MAX_ARGUMENTS:
                raise FormatError(f"{self.name}: more than {MAX_ARGUMENTS} arguments.")
            arguments = (*arguments, self.argument(fields))
        elif tag == "instance":
            if len(instances) == MAX_INSTANCES:
                raise FormatError(f"{self.name}: more than {MAX_INSTANCES} instances.")
            instances = (*instances, printable(fields.get("name", "")))
        return Kernel(kernel.name, kernel.type, number, functional, arguments, instances)

    def argument(self, fields: dict[str, str]) -> Argument:
        """One `arg` element."""
        return Argument(
            index=self.number(fields.get("id") or "0", "an argument's id"),
            name=printable(fields.get("name", "")),
            is_buffer=fields.get("addressQualifier") == "1",
            size=self.number(fields.get("size", "0"), "an argument's size"),
            offset=self.number(fields.get("offset", "0"), "an argument's offset"),
            type=printable(fields.get("type", "")),
        )

    def end(self, _tag: str) -> None:
        """An element closes."""
        self.path.pop()

    def doctype(self, *_: object) -> None:
        """A document type declaration, which xclbinutil never writes."""
        raise FormatError(f"{self.name}: the kernel metadata declares a document type.")


def decode(view: View) -> tuple[Kernel, ...]:
    """The kernels in an EMBEDDED_METADATA section. Raises FormatError for anything but its XML."""
    if len(view) > MAX_BYTES:
        raise FormatError(f"{view.name}: {len(view)} bytes of kernel metadata are too many.")
    found = _Kernels(view.name)
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = found.start, found.end
    parser.StartDoctypeDeclHandler = found.doctype
    try:
        parser.Parse(bytes(view.data), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise FormatError(f"{view.name}: the kernel metadata is not XML ({error}).") from error
    return tuple(found.kernels)
