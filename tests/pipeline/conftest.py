"""The profile of all tests again: the emulator's, loaded before, has fewer examples."""

from __future__ import annotations

from hypothesis import settings

settings.load_profile("patient")
