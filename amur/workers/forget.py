"""Drops events that are as old as events are kept. Each region does so by itself: the age stands in
the path, and an old one is not taken in again (objects/registry.py)."""

from __future__ import annotations

from amur.meta import keys
from amur.meta.engine import Commit
from amur.objects.core import Core
from amur.objects.registry import EVENTS, event_end
from amur.workers.worker import Worked, Worker, counted, more

EVENTS_MAX = 1000  # dropped in one commit


class Forgetter(Worker):
    """The events at the beginning of the table are the oldest."""

    name = "forget"
    wait_seconds = 3600.0

    def __init__(self, core: Core) -> None:
        self._core = core

    async def work(self) -> Worked:
        end = keys.entry_key(event_end(self._core.clock.now_ns()))
        page = await self._core.engine.scan(keys.entry_key(EVENTS), end, EVENTS_MAX)
        if page:
            await self._core.engine.commit(Commit(delete=[entry.key for entry in page]))
        return counted(more(len(page) == EVENTS_MAX), events=len(page))
