import os
from pathlib import Path

import pytest
from made_up_laptop import Laptop


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    assert os.geteuid() != 54321
    return Laptop(tmp_path)


@pytest.fixture
def quiet(laptop: Laptop) -> Laptop:
    """The laptop without XRT's programs, for checks that need no child process."""
    laptop.remove("/usr/bin/xrt-smi", "/usr/lib/python3/dist-packages/pyxrt.py")
    return laptop
