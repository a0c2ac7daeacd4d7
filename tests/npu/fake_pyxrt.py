"""A pyxrt whose kernel adds one to every byte, and which fails as FAKE_PYXRT says.

FAKE_PYXRT is JSON: "import", "xclbin", "device" and "context" hold the text of the error to raise,
"crash" or "hang" the place to do that in, "answer" is "wrong", "lost" or "timeout". What XRT prints
by itself goes to standard output, as the real one's does.
"""

import json
import os
import resource
import signal
import time
from enum import IntEnum

BEHAVIOUR = json.loads(os.environ.get("FAKE_PYXRT", "{}"))


def at(place):
    print(f"[XRT] {place}", flush=True)
    if BEHAVIOUR.get("crash") == place:
        os.kill(os.getpid(), signal.SIGSEGV)
    if BEHAVIOUR.get("hang") == place:
        time.sleep(60)
    if place in BEHAVIOUR:
        raise (ImportError if place == "import" else RuntimeError)(BEHAVIOUR[place])


at("import")


class ert_cmd_state(IntEnum):
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_TIMEOUT = 8


class xclBOSyncDirection(IntEnum):
    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1


class xclbin:
    class _Kernel:
        def get_name(self):
            return "MLIR_AIE"

    def __init__(self, path):
        at("xclbin")
        with open(path, "rb") as file:
            if file.read(7) != b"xclbin2":
                raise RuntimeError("Invalid axlf: bad magic")

    def get_kernels(self):
        return [self._Kernel()]


class device:
    def __init__(self, index):
        assert index == 0
        soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        assert soft == hard
        at("device")

    def register_xclbin(self, image):
        assert isinstance(image, xclbin)
        return "uuid"


class hw_context:
    alive = 0

    def __init__(self, dev, uuid):
        assert isinstance(dev, device) and uuid == "uuid"
        at("context")
        hw_context.alive += 1
        if hw_context.alive > 6:
            raise RuntimeError("DRM_IOCTL_AMDXDNA_CREATE_HWCTX IOCTL failed (err=-22)")

    def __del__(self):
        hw_context.alive -= 1


class kernel:
    def __init__(self, context, name):
        assert isinstance(context, hw_context) and name == "MLIR_AIE"

    def group_id(self, index):
        return 1 if index == 1 else 0x10000 * index


class bo:
    normal, cacheable, host_only = 0, 1 << 24, 1 << 29

    def __init__(self, dev, size, flags, group):
        assert isinstance(dev, device)
        self.flags, self.group, self.memory = flags, group, bytearray(size)
        self.on_device = b""

    def write(self, data, offset):
        self.memory[offset : offset + len(data)] = data

    def sync(self, direction, size, offset):
        part = slice(offset, offset + size)
        if direction == xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE:
            before = self.on_device or bytes(len(self.memory))
            self.on_device = before[:offset] + self.memory[part] + before[offset + size :]
        else:
            self.memory[part] = self.on_device[part]

    def map(self):
        return memoryview(self.memory)


class run:
    def __init__(self, of):
        assert isinstance(of, kernel)
        self.arguments = {}

    def set_arg(self, index, value):
        self.arguments[index] = value

    def start(self):
        at("run")
        opcode, instructions, words, source, target = (self.arguments[n] for n in range(5))
        assert opcode == 3 and instructions.flags == bo.cacheable
        assert words * 4 == len(instructions.memory) and instructions.group == 1
        assert instructions.on_device
        assert all(b.on_device and b.flags == bo.host_only for b in (source, target))
        answer = BEHAVIOUR.get("answer")
        step = 2 if answer == "wrong" else 1
        if answer != "lost":
            target.on_device = bytes((byte + step) % 256 for byte in source.on_device)
        self.state = 8 if answer == "timeout" else 4

    def wait(self, timeout_ms):
        assert timeout_ms > 0
        return ert_cmd_state(self.state)
