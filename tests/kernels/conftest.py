"""The emulator's compiled functions are kept between test runs, beside the sources."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[2] / "build" / "numba"))
