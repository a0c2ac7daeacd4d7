"""The emulator's compiled functions are kept between test runs, beside the sources."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[2] / "build" / "numba"))

# the first example of a session may compile for a minute
settings.register_profile("emulator", deadline=None, max_examples=30)
settings.load_profile("emulator")
