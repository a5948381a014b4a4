"""The evictor: keeps pulled copies within their bytes, the useful ones longest.

Copies stand in two queues (table K, after S3-FIFO). A new one is on probation: when its turn comes
and it was read again since, it moves to the end of the second queue, else it goes. So a scan, which
reads everything once, passes through the first queue and pushes out nothing that is used. In the
second queue, too, a copy that was read since it was put there goes to its end. The first has a
tenth of the bytes when there are too many. Copies that this region must keep are in no queue.
"""

from __future__ import annotations

import asyncio

from amur.meta import keys
from amur.meta.engine import STOP, Commit, Conflict, Entry, prefix_end
from amur.objects.core import Core
from amur.objects.pull.accesses import access_of, accesses
from amur.objects.pull.kept import (
    PROBATION,
    PROVEN,
    Dropped,
    drop,
    is_stale,
    keep_longer,
    kept_of,
)
from amur.workers.worker import State, Worked, Worker, counted, more

PROBATION_FRACTION = 0.1
DISK_FRACTION = 0.1  # of what is free, where no budget is set
FULL_FRACTION = 0.05  # of the copies that go when the disk is full
BATCH = 256  # copies looked at together
COUNTED_AT_ONCE = 10_000
CHECKED = 500  # entries looked at in one unit of work, for those that are stale
FORGOTTEN_COUNT = 0.01  # decayed reads below which they are not worth a row


class Evictor(Worker):
    """`cached_bytes` are what the copies take, those included that are gone unnoticed."""

    name = "evict"
    wait_seconds = 5.0

    def __init__(self, core: Core) -> None:
        self._core = core
        self._bytes = {PROBATION: 0, PROVEN: 0}
        self._seen = {queue: prefix_end(keys.KEPT + queue) for queue in self._bytes}
        self._check_at = keys.KEPT
        self._accesses_at = keys.ACCESSES

    @property
    def cached_bytes(self) -> int:
        return sum(self._bytes.values())

    @property
    def budget(self) -> int:
        free = self._core.data.free_bytes()
        return self._core.cache_bytes or int((free + self.cached_bytes) * DISK_FRACTION)

    def report(self) -> dict[str, object]:
        return {"bytes": self.cached_bytes, "budget": self.budget}

    def gauges(self) -> dict[str, float]:
        return {"cache_used": self.cached_bytes, "cache_budget": self.budget}

    async def work(self) -> Worked:
        for queue in self._bytes:
            await self._count_new(queue)
        over = self.cached_bytes - self.budget
        if not self._core.data.free_bytes():
            over = max(over, int(self.cached_bytes * FULL_FRACTION))
        if over <= 0:
            stale = await self._check()
            return counted(State.IDLE, stale=stale, forgotten=await self._forget())
        evicted, stale, kept = await self._evict(over)
        return counted(more(evicted + stale + kept > 0), evicted=evicted, stale=stale, kept=kept)

    # --- counting ---
    async def _count_new(self, queue: bytes) -> None:
        """Those put since the last time: they stand before what was seen then."""
        start, end = keys.KEPT + queue, self._seen[queue]
        newest = b""
        while True:
            seen, last = 0, b""

            def visit(at: bytes, value: memoryview, _version: int) -> bytes | None:
                nonlocal seen, last
                seen, last = seen + 1, at
                self._bytes[queue] += kept_of(value).size
                return STOP if seen >= COUNTED_AT_ONCE else None

            await self._core.engine.walk(start, end, visit)
            if not newest and seen:
                newest = await self._first(start, end)
            if seen < COUNTED_AT_ONCE:
                break
            start = last + b"\x00"
            await asyncio.sleep(0)
        if newest:
            self._seen[queue] = newest

    async def _first(self, start: bytes, end: bytes) -> bytes:
        found = await self._core.engine.scan(start, end, 1)
        return found[0].key if found else b""

    # --- evicting ---
    async def _evict(self, over: int) -> tuple[int, int, int]:
        """Copies that went, that had gone before, and that got another chance."""
        is_new = self._bytes[PROBATION] > PROBATION_FRACTION * self.budget
        queue = PROBATION if is_new or not self._bytes[PROVEN] else PROVEN
        prefix = keys.KEPT + queue
        oldest = await self._core.engine.scan(prefix, prefix_end(prefix), BATCH, reverse=True)
        if not oldest:
            self._bytes[queue] = 0
            return 0, 0, 0
        told = [kept_of(entry.value) for entry in oldest]
        read = await accesses(
            self._core, [(each.bucket_id, each.key, each.version) for each in told]
        )
        victims: list[Entry] = []
        useful: list[Entry] = []
        for entry, kept, access in zip(oldest, told, read, strict=True):
            if over <= 0:
                break
            if access.hit_ns > keys.kept_version(entry.key):
                useful.append(entry)
            else:
                victims.append(entry)
                over -= kept.size
        gone = await asyncio.gather(*(self._drop(queue, entry) for entry in victims))
        longer = await asyncio.gather(*(self._keep_longer(queue, entry) for entry in useful))
        return gone.count(Dropped.GONE), gone.count(Dropped.STALE), sum(longer)

    async def _drop(self, queue: bytes, entry: Entry) -> Dropped | None:
        try:
            done = await drop(self._core, entry)
        except Conflict:  # the next time
            return None
        if done is Dropped.NEEDED:
            await self._keep_longer(queue, entry)
        else:
            self._bytes[queue] -= kept_of(entry.value).size
        return done

    async def _keep_longer(self, queue: bytes, entry: Entry) -> bool:
        try:
            await keep_longer(self._core, entry)
        except Conflict:
            return False
        self._bytes[queue] -= kept_of(entry.value).size
        return True

    # --- cleaning ---
    async def _check(self) -> int:
        """Look at some entries; those that have outlived their copy go."""
        end = prefix_end(keys.KEPT)
        page = await self._core.engine.scan(self._check_at, end, CHECKED)
        self._check_at = page[-1].key + b"\x00" if len(page) == CHECKED else keys.KEPT
        stale = 0
        for entry in page:
            queue = entry.key[1:2]
            # what was put just now is counted later
            if entry.key >= self._seen[queue] and await is_stale(self._core, kept_of(entry.value)):
                await self._drop(queue, entry)
                stale += 1
        return stale

    async def _forget(self) -> int:
        """Counts of accesses that have decayed to nothing."""
        now, end = self._core.clock.now_ns(), prefix_end(keys.ACCESSES)
        page = await self._core.engine.scan(self._accesses_at, end, CHECKED)
        self._accesses_at = page[-1].key + b"\x00" if len(page) == CHECKED else keys.ACCESSES
        old = [entry for entry in page if access_of(entry.value).count_at(now) < FORGOTTEN_COUNT]
        if old:
            expect = [(entry.key, entry.version) for entry in old]
            try:
                await self._core.engine.commit(Commit(expect, delete=[entry.key for entry in old]))
            except Conflict:
                return 0
        return len(old)
