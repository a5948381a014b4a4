"""The one shape of background work: a name, one bounded unit of work, and how long to wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import NamedTuple


class State(Enum):
    BUSY = "busy"  # there is more to do at once
    IDLE = "idle"  # nothing to do for `wait_seconds`
    DONE = "done"  # nothing to do ever again


class Worked(NamedTuple):
    """What one unit of work did: counts by name, added up in the status."""

    state: State
    counts: dict[str, int]


class Worker(ABC):
    """Each `work` is bounded in time and memory, and may be cut off anywhere: what it leaves is
    found by the next one, in this process or after a restart."""

    name: str
    wait_seconds: float = 60.0

    @abstractmethod
    async def work(self) -> Worked:
        """One unit of work. What it raises is logged, and tried again later."""

    def gauges(self) -> dict[str, float]:
        """Numbers for the metrics, by name without `amur_`."""
        return {}

    def report(self) -> dict[str, object]:
        """What there is to say besides the counts, for the status."""
        return {}


def counted(state: State, **counts: int) -> Worked:
    return Worked(state, {name: count for name, count in counts.items() if count})


def more(is_more: bool) -> State:
    return State.BUSY if is_more else State.IDLE
