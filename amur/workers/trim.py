"""Trimming the replication log: entries that every peer has go; so do the oldest when there are
too many, and the peers that have not got them are brought up by comparing (workers/reconcile.py).
"""

from __future__ import annotations

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, Put, prefix_end
from amur.objects.core import Core
from amur.objects.replication.joining import LOG_START_KEY, log_start
from amur.workers.replicate import cursor_key
from amur.workers.worker import Worked, Worker, counted, more

LOG_ENTRIES_MAX = 1_000_000  # about 150 MB of metadata
PAGE = 2_000


class Trimmer(Worker):
    """Entries are counted by walking the log, a page in each unit of work."""

    name = "trim"
    wait_seconds = 5.0

    def __init__(self, core: Core, *, entries_max: int = LOG_ENTRIES_MAX, page: int = PAGE) -> None:
        self._core = core
        self._entries_max = entries_max
        self._page = page
        self._position = keys.LOG
        self._counted = 0
        self._first: list[bytes] = []  # first keys of the pages counted: where to cut

    async def work(self) -> Worked:
        trimmed = await self._trim_known()
        if trimmed == self._page:
            self._position, self._counted, self._first = keys.LOG, 0, []
            return counted(more(True), trimmed=trimmed)
        dropped = await self._bound()
        return counted(more(self._position != keys.LOG), trimmed=trimmed, dropped=dropped)

    async def _trim_known(self) -> int:
        names = sorted(self._core.topology.peers)
        if not names:
            return 0
        entries = await self._core.engine.get_many([cursor_key(name) for name in names])
        if any(entry is None for entry in entries):
            return 0
        known = min(int.from_bytes(entry.value, "big") for entry in entries if entry is not None)
        page = await self._core.engine.scan(keys.LOG, keys.log_key(known + 1, 0), self._page)
        if page:
            await self._begin_after(page[-1].version)
            await self._core.engine.commit(Commit(delete=[entry.key for entry in page]))
        return len(page)

    async def _bound(self) -> int:
        """Count one more page; at the end, cut what is too much from the old end."""
        page = await self._core.engine.scan(self._position, prefix_end(keys.LOG), self._page)
        self._counted += len(page)
        if page:
            self._first.append(page[0].key)
        if len(page) == self._page:
            self._position = page[-1].key + b"\x00"
            return 0
        over = self._counted - self._entries_max
        cut = self._first[min(-(-over // self._page), len(self._first) - 1)] if over > 0 else b""
        self._position, self._counted, self._first = keys.LOG, 0, []
        return await self._drop_before(cut) if cut else 0

    async def _drop_before(self, cut: bytes) -> int:
        """Say first that the log begins later, then let the entries go."""
        engine = self._core.engine
        start = int.from_bytes(cut[1:9], "big") - 1
        if not await self._begin_after(start):
            return 0
        dropped = 0
        page: list[Entry]
        while page := await engine.scan(keys.LOG, keys.log_key(start + 1, 0), self._page):
            await engine.commit(Commit(delete=[entry.key for entry in page]))
            dropped += len(page)
        return dropped

    async def _begin_after(self, version: int) -> bool:
        """Say that the log is whole only behind `version`, before anything up to it goes."""
        engine = self._core.engine
        if version <= await log_start(self._core):
            return True
        before = await engine.get(LOG_START_KEY)
        assert before is not None, "log_start has made it"
        put = Put(LOG_START_KEY, version.to_bytes(8, "big"))
        try:
            await engine.commit(Commit(expect=[(LOG_START_KEY, before.version)], put=[put]))
        except Conflict:
            return False
        return True
