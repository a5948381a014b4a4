"""Time as an interface, so that tests and simulations own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of wall-clock time; the only one the store's logic may ask."""

    def now_ns(self) -> int:
        """Nanoseconds since the UNIX epoch. May jump either way, as real clocks do."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        return time.time_ns()


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self.ns = start_ns

    def now_ns(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)
