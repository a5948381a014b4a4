"""Of all tests."""

from __future__ import annotations

from hypothesis import settings

# a loaded machine must not make a property fail
settings.register_profile("amur", deadline=None, print_blob=True)
settings.load_profile("amur")
