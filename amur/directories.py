"""Directories that are still there after a power cut."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def make_durable(path: Path) -> None:
    """Make the directory, for its owner alone, and what is missing above it; raises OSError.

    Its name is on stable storage on return even if it was there: who made it may have been cut off
    before saying so.
    """
    path = path.absolute()
    made = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in made or (path,):
        with contextlib.suppress(PermissionError):  # the parent may be another user's
            sync(place.parent)


def sync(path: Path) -> None:
    """Names in the directory are on stable storage on return."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
