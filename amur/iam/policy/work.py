"""How much the linter may do for one document: anybody may ask, and others wait meanwhile."""

from __future__ import annotations

WORK_MAX = 10_000
"""Units of about a microsecond or two: pairs of resources that are compared. A document for people
has some hundreds; the worst of 20 KB could ask for 300,000."""
ADDRESS_UNITS = 8  # to read one
CHARS_PER_UNIT = 128  # of resources that are compared, beyond the first unit


class TooMuch(Exception):
    """What is beyond is not looked at."""


class Work:
    """What is left of it."""

    __slots__ = ("_left",)

    def __init__(self, units: int = WORK_MAX) -> None:
        self._left = units

    def spend(self, units: int = 1) -> None:
        """Raises TooMuch."""
        self._left -= units
        if self._left < 0:
            raise TooMuch
