"""How often hypothesis tries: each example runs a whole program on the emulated core."""

from __future__ import annotations

from hypothesis import settings

# the first example of a session may compile for a minute
settings.register_profile("emulator", deadline=None, max_examples=30)
settings.load_profile("emulator")
