"""How long one GET takes, by curl: to its first byte and as a whole."""

from __future__ import annotations

import subprocess
from typing import NamedTuple


class Fetched(NamedTuple):
    """Seconds."""

    first: float
    whole: float


def fetch(link: str) -> Fetched:
    """Fails on an error status."""
    command = ["curl", "-sS", "--fail", "-o", "/dev/null", "-w",
               "%{time_starttransfer} %{time_total}", link]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, whole = map(float, done.stdout.split())
    return Fetched(first, whole)
