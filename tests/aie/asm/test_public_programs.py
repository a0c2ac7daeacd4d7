"""Programs that another compiler built: every one must decode and encode to the same bytes.

WHISPER_NPU_AIE_ELF_FOLDER names a folder of ELF files of AIE2 cores, searched with its
subfolders. Development used those of github.com/Unicorn-Commander/Unicorn-Amanuensis at commit
6eb47b82: `main_core_*.elf`, 50,967 bundles.
"""

import os
from pathlib import Path

import pytest

from whisper_npu_cli.aie.asm.assemble import assemble, parse
from whisper_npu_cli.aie.asm.decode import decode
from whisper_npu_cli.aie.asm.listing import check
from whisper_npu_cli.aie.formats import elf

VARIABLE = "WHISPER_NPU_AIE_ELF_FOLDER"


@pytest.fixture(scope="module")
def programs():
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder of AIE2 ELF files")
    found = [
        code for path in sorted(Path(folder).rglob("*.elf")) for code in elf.read(path.read_bytes())
    ]
    assert found, f"no ELF file in {folder}"
    return found


def test_they_encode_to_the_same_bytes(programs):
    bundles = sum(check(code.data, code.address) for code in programs)
    print(f"{len(programs)} programs, {bundles} bundles")
    assert bundles > 0


def test_their_text_assembles_to_the_same_bytes(programs):
    done = set()
    for code in programs:
        for item in decode(code.data, code.address):
            if item.bundle not in done and not any(i.spare for i in item.bundle.instructions):
                done.add(item.bundle)
                assert assemble(parse(str(item.bundle))).code == item.bundle.encode()
    print(f"{len(done)} different bundles")
