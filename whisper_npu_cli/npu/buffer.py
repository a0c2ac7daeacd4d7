"""Memory that host and device share."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyxrt
    from numpy.typing import DTypeLike, NDArray


class Buffer:
    """A buffer of `size` bytes, or a part of one, resident as long as it is referred to.

    The host works on a view and says when it has written (`to_device`) and when it wants to see
    what the device wrote (`from_device`); the device alone needs neither between its own launches.
    """

    def __init__(
        self, pyxrt: Any, bo: pyxrt.bo, size: int, whole: Buffer | None = None, offset: int = 0
    ) -> None:
        self.pyxrt = pyxrt
        self.bo: pyxrt.bo = bo
        self.size = size
        self.offset = offset
        self._whole = whole

    @property
    def whole(self) -> Buffer:
        """The buffer that this is a part of, itself when it is no part; `offset` lies in it."""
        return self._whole or self

    @property
    def view(self) -> memoryview:
        """The host's bytes, writable; only while the buffer is referred to."""
        return self.bo.map()

    def array(
        self, dtype: DTypeLike = "uint8", shape: tuple[int, ...] | None = None, offset: int = 0
    ) -> NDArray[Any]:
        """The host's bytes from `offset` on as an array without a copy; keeps the buffer alive.

        Without `shape` it has one dimension and reaches to the end. Raises ValueError when it does
        not fit.
        """
        import numpy as np

        whole: NDArray[np.uint8] = np.asarray(_Mapped(self))
        itemsize = np.dtype(dtype).itemsize
        count = (self.size - offset) // itemsize if shape is None else prod(shape)
        if offset < 0 or count < 0 or offset + count * itemsize > self.size:
            raise ValueError(f"{shape} of {dtype} at {offset} in a buffer of {self.size} bytes")
        flat = whole[offset : offset + count * itemsize].view(dtype)
        return flat if shape is None else flat.reshape(shape)

    def to_device(self, offset: int = 0, size: int | None = None) -> None:
        """Show the device what the host wrote: everything, or `size` bytes from `offset` on."""
        length = self.size - offset if size is None else size
        self.bo.sync(self.pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE, length, offset)

    def from_device(self, offset: int = 0, size: int | None = None) -> None:
        """Show the host what the device wrote: everything, or `size` bytes from `offset` on."""
        length = self.size - offset if size is None else size
        self.bo.sync(self.pyxrt.xclBOSyncDirection.XCL_BO_SYNC_BO_FROM_DEVICE, length, offset)

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Put bytes at the beginning and show them to the device."""
        data = memoryview(content).cast("B")
        self.view[: len(data)] = data
        self.to_device(0, len(data))

    def read(self) -> bytes:
        """All bytes as the device has them."""
        self.from_device()
        return bytes(self.view)

    def part(self, offset: int, size: int) -> Buffer:
        """A part that can be a kernel's argument; shares the memory."""
        bo = self.pyxrt.bo(self.bo, size, offset)
        return Buffer(self.pyxrt, bo, size, self.whole, self.offset + offset)

    def overlaps(self, other: Buffer) -> bool:
        """Whether the two have bytes in common."""
        return (
            self.whole is other.whole
            and self.offset < other.offset + other.size
            and other.offset < self.offset + self.size
        )


class _Mapped:
    """Hands numpy the address of a buffer's bytes, and itself to hold on to."""

    def __init__(self, buffer: Buffer) -> None:
        import numpy as np

        self.buffer = buffer
        self.__array_interface__ = np.frombuffer(buffer.view, np.uint8).__array_interface__
