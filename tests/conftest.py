"""What all tests share: no test may read or fill this user's caches, or reach the network."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Put every cache into a temporary folder and keep the hub's library offline."""
    folder = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPER_NPU_CACHE", str(folder / "whisper-npu"))
        patch.setenv("HF_HOME", str(folder / "huggingface"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield folder
