"""Processor, memory, model cache, OpenVINO."""

import shutil
from collections import namedtuple

import pytest

from whisper_npu_cli.npu.check import State


def test_processor(quiet):
    assert quiet.check("cpu").evidence == "AMD Ryzen 7 7840U, 1 threads, avx2 avx512f"
    quiet.write("/proc/cpuinfo", "model name : Old\nflags : sse2\nmodel name : Old\nflags : sse2\n")
    check = quiet.check("cpu")
    assert (check.state, check.evidence) == (State.WARN, "Old, 2 threads, no AVX2")


def test_memory(quiet):
    assert quiet.check("memory").evidence == "30.5 GiB, 19.1 GiB available"
    quiet.write("/proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 1000000 kB\n")
    assert quiet.check("memory").state is State.WARN


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HOME": "/home/ada"}, "/home/ada/.cache/huggingface/hub"),
        ({"HOME": "/x", "XDG_CACHE_HOME": "/home/ada/c"}, "/home/ada/c/huggingface/hub"),
        ({"HF_HOME": "/home/ada/hf"}, "/home/ada/hf/hub"),
        ({"HF_HOME": "/x", "HF_HUB_CACHE": "/home/ada/hub"}, "/home/ada/hub"),
        ({"HF_HUB_CACHE": "/x", "WHISPER_NPU_MODEL_DIR": "/home/ada/m"}, "/home/ada/m"),
    ],
)
def test_model_cache(quiet, environ, folder):
    quiet.change(environ=environ)
    assert quiet.check("model-cache").evidence.startswith(f"{folder}, 0 models, ")
    quiet.write(f"{folder}/models--openai--whisper-tiny/refs/main", "")
    assert quiet.check("model-cache").evidence.startswith(f"{folder}, 1 models, ")


def test_a_full_disk(quiet, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 1 << 30))
    check = quiet.check("model-cache")
    assert (check.state, "1.0 GiB free" in check.evidence) == (State.WARN, True)


def test_openvino_is_told_apart(quiet):
    assert quiet.check("openvino").state is State.OK
    quiet.write("/venv/openvino-2026.1.0.dist-info/METADATA", "Name: openvino\nVersion: 2026.1.0\n")
    quiet.change(module_path=(str(quiet.path("/venv")),))
    check = quiet.check("openvino")
    assert check.state is State.WARN
    assert 'OpenVINO 2026.1.0 is installed; its device "NPU" is Intel\'s' in check.evidence
