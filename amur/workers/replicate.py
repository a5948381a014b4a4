"""Pushing metadata: one sender for each peer follows the log and tells what has changed.

A sender reads the names in the log behind its cursor, once each however often a thing was
changed, reads their state as it is now, sends it, and moves on when the peer has committed it. The
peer's own cursor is the truth: a sender that begins asks for it by a batch that the peer refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from amur.limits import MIB
from amur.meta import keys
from amur.meta.engine import STOP, Commit, EngineFull, Entry, Put, prefix_end
from amur.meta.log import Changed, parse
from amur.objects.core import Core
from amur.objects.replication.items import items_of, size_of
from amur.objects.replication.joining import log_start
from amur.objects.replication.peer_state import vector
from amur.regions.link import Link, LinkError, PeerUnreachable
from amur.regions.messages import UNKNOWN, Ack, Batch, Item

BATCH_ENTRIES_MAX = 6000  # log entries looked at for one batch: a round trip of 80 ms among them
BATCH_ENTRIES_MIN = 2  # a commit's own entries, or one large manifest
AGAIN_ENTRIES = 500  # after failures: what a line of 0.2 Mbit/s carries in time
BATCH_BYTES_MAX = 8 * MIB
LOOK_UP_ENTRIES = 250  # items built at a stretch: a few ms, then others get their turn
BATCHES_MAX = 6  # under way at once: one each PAUSE_SECONDS_MAX over a round trip of 0.3 s
BATCHES_LARGE_MAX = 2  # of BATCH_BYTES_MAX: one is taken in while the other is made and sent
PAUSE_SECONDS_MAX = 0.05  # between small ones: each costs some 3 ms of CPU, here and there
BEAT_SECONDS = 1.0  # an idle sender tells its vector this often
RETRY_SECONDS = 0.5  # after a peer did not answer
PUSH_TIMEOUT_SECONDS = 30.0  # for a batch; after a failure the next one is half as large
SAVE_SECONDS = 1.0  # how often the cursor is kept, for trimming

BACKLOG_COUNTED_MAX = 1_000_000
COUNT_STRETCH = 5_000  # entries counted before others get their turn

log = structlog.get_logger("amur.regions")


def cursor_key(peer: str) -> bytes:
    """Up to where a peer is known to have our log."""
    return keys.singleton_key(f"to/{peer}")


@dataclass(slots=True)
class Stretch:
    """Log entries that are sent together."""

    names: list[Changed]
    end: int
    oldest: int
    is_more: bool
    count: int  # entries, with those of a name that comes again


class Prepared(NamedTuple):
    """What the next batch says; `told` is older than its items."""

    told: dict[str, int]
    stretch: Stretch
    items: list[Item]


async def read_log(core: Core, cursor: int, limit: int = BATCH_ENTRIES_MAX) -> Stretch:
    """What was changed after `cursor`: whole commits only, each name once, at its last place."""
    entries = await core.engine.scan(keys.log_key(cursor + 1, 0), prefix_end(keys.LOG), limit)
    is_more = len(entries) == limit
    if is_more:  # the last commit may go on: leave it for the next time
        last = entries[-1].version
        whole = [entry for entry in entries if entry.version != last]
        entries = whole or await _commit_entries(core, last)
    names: dict[Changed, None] = {}
    for entry in entries:
        changed = parse(entry.value, entry.version)
        names.pop(changed, None)
        names[changed] = None
    end = entries[-1].version if entries else cursor
    return Stretch(list(names), end, entries[0].version if entries else 0, is_more,
                   len(entries))  # fmt: skip


async def _commit_entries(core: Core, version: int) -> list[Entry]:
    start, end = keys.log_key(version, 0), keys.log_key(version + 1, 0)
    return await core.engine.scan(start, end, 1 << 16)


class Sender:
    """To one peer. `run` until cancelled.

    Several batches may be under way, each beginning where the one before ends: the peer takes them
    in order or not at all, so a change needs not wait for the answer to what was sent before it.
    """

    def __init__(self, core: Core, link: Link) -> None:
        self._core = core
        self._link = link
        self._cursor = UNKNOWN
        self._saved = UNKNOWN
        self._saved_at = 0.0
        self._entries = BATCH_ENTRIES_MAX  # to look at for the next batch
        self._session = 0  # as the peer counts them; a failure ends it
        self._is_known = False  # whether the cursor is the peer's, as far as we know
        self._flying: deque[asyncio.Task[bool]] = deque()  # batches under way, in their order
        self._told_to = 0  # the end of the last of them
        self._counted, self._counted_to = 0, b""  # entries between the cursor and a place in L
        self.name = link.region.name
        self.lag_s = 0.0  # of the oldest change that the peer has not got
        self.is_reachable = False
        self._has_warned = False
        self.sent = 0  # items
        self.batches = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        await log_start(self._core)  # whether or not there is anybody to be told
        watch = self._core.engine.watch(keys.LOG)
        try:
            while True:
                try:
                    is_more = await self.step()
                except LinkError as error:
                    if self.is_reachable or not self._has_warned:
                        self._has_warned = True
                        log.warning("a peer does not take our changes", peer=self.name,
                                    error=str(error))  # fmt: skip
                    self.is_reachable = False
                    self._entries = min(self._entries, max(AGAIN_ENTRIES, self._entries // 2))
                    await self.measure()
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if loop.time() - self._saved_at > SAVE_SECONDS:
                    self._saved_at = loop.time()
                    await self._save()
                if not is_more:
                    if self._flying:
                        await asyncio.sleep(self._pause_s())
                    await watch.wait(BEAT_SECONDS)
        finally:
            watch.close()
            await self._abandon()

    def _pause_s(self) -> float:
        """Between two small batches: what comes meanwhile goes with the next one."""
        rtt_s = self._link.rtt_s
        return min(rtt_s / 2, PAUSE_SECONDS_MAX)

    async def step(self) -> bool:
        """Send one batch, without waiting for its answer when others may follow; whether there is
        more to send at once. Raises LinkError, also of a batch sent before."""
        core = self._core
        await self._reap()
        if not self._is_known:
            await self._send(Batch(core.region, UNKNOWN, UNKNOWN))
            self._is_known = True
            return True
        at = self._told_to if self._flying else self._cursor
        told, stretch, items = await self._prepare(at)
        if self._flying and stretch.end == at:
            return False
        start = await log_start(core)  # asked after the log was read, which is trimmed after it
        if at < start:
            await self._land()
            gap = Batch(core.region, at, start, vector=told, is_gap=True, session=self._session)
            self._is_known = self._is_known and await self._send(gap)
            return True
        now = core.clock.now_ns()
        batch = Batch(core.region, at, stretch.end, items, told, session=self._session)
        await self._room(BATCHES_LARGE_MAX if stretch.is_more else BATCHES_MAX)
        if not self._is_known:
            return True
        self._flying.append(asyncio.create_task(self._send(batch, stretch.count)))
        self._told_to = stretch.end
        if not items:  # a beat: nothing is late by waiting for it
            await self._land()
        self.lag_s = max(0.0, (now - stretch.oldest) / 1e9) if stretch.is_more else 0.0
        return stretch.is_more

    async def _reap(self) -> None:
        """Take notice of the answers that are there."""
        while self._flying and self._flying[0].done():
            await self._first()

    async def _room(self, most: int) -> None:
        while len(self._flying) >= most:
            await self._first()

    async def _land(self) -> None:
        while self._flying:
            await self._first()

    async def _first(self) -> None:
        """Wait for the oldest batch under way. When it did not come in, none behind it does."""
        try:
            is_applied = await self._flying[0]
        except LinkError:
            await self._abandon()
            raise
        self._flying.popleft()
        if not is_applied:
            await self._abandon()

    async def _abandon(self) -> None:
        """Ask for the peer's cursor next: what is under way may have come in all the same."""
        self._is_known = False
        flying = list(self._flying)
        self._flying.clear()
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)

    async def _prepare(self, cursor: int) -> Prepared:
        """As much of the log as makes a batch of a good size: learned from the one before."""
        told = await vector(self._core)
        while True:
            stretch = await read_log(self._core, cursor, self._entries)
            items: list[Item] = []
            for at in range(0, len(stretch.names), LOOK_UP_ENTRIES):
                some = stretch.names[at : at + LOOK_UP_ENTRIES]
                items += await items_of(self._core, some, self.name)
                await asyncio.sleep(0)
            size = sum(map(size_of, items))
            if size <= BATCH_BYTES_MAX or self._entries <= BATCH_ENTRIES_MIN:
                if size < BATCH_BYTES_MAX // 4:
                    self._entries = min(BATCH_ENTRIES_MAX, self._entries * 2)
                return Prepared(told, stretch, items)
            self._entries //= 2

    async def _send(self, batch: Batch, count: int = 0) -> bool:
        """Whether it came in; `count` is of the log entries that it speaks for."""
        reply = await self._link.call(batch, timeout_s=PUSH_TIMEOUT_SECONDS)
        if not isinstance(reply, Ack):
            raise PeerUnreachable(f"{self.name} answered {type(reply).__name__}: {reply}")
        self.is_reachable = True
        self.batches += 1
        if reply.is_applied:
            self._cursor = max(self._cursor, reply.cursor)
            self._counted -= count
            self.sent += len(batch.items)
        elif batch.start == UNKNOWN:
            self._cursor, self._session = reply.cursor, reply.session
        if not reply.is_applied or self._counted_to < keys.log_key(self._cursor + 1, 0):
            self._counted, self._counted_to = 0, b""
        return reply.is_applied

    async def measure(self) -> float:
        """Seconds since the oldest change that the peer has not got, as far as is known; a batch
        into a black hole is long on its way, and the peer falls behind meanwhile."""
        if self._cursor != UNKNOWN:
            oldest = await self._core.engine.scan(
                keys.log_key(self._cursor + 1, 0), prefix_end(keys.LOG), 1
            )
            now = self._core.clock.now_ns()
            self.lag_s = max(0.0, (now - oldest[0].version) / 1e9) if oldest else 0.0
        return self.lag_s

    async def _save(self) -> None:
        if self._cursor not in (UNKNOWN, self._saved):
            put = Put(cursor_key(self.name), self._cursor.to_bytes(8, "big"))
            with contextlib.suppress(EngineFull):
                await self._core.engine.commit(Commit(put=[put]))
            self._saved = self._cursor

    async def backlog(self) -> int:
        """Log entries that the peer has not got; counted up to BACKLOG_COUNTED_MAX, each once."""
        while self._counted < BACKLOG_COUNTED_MAX:
            begun, cursor = self._counted_to, self._cursor
            count, to = await self._count(begun or keys.log_key(max(cursor, 0) + 1, 0))
            if (self._counted_to, self._cursor) == (begun, cursor):
                self._counted, self._counted_to = self._counted + count, to
            if count < COUNT_STRETCH:
                break
            await asyncio.sleep(0)
        return self._counted

    async def _count(self, at: bytes) -> tuple[int, bytes]:
        """Entries from `at` on, at most COUNT_STRETCH, and the place behind them."""
        count = 0

        def visit(key: bytes, _value: memoryview, _version: int) -> bytes | None:
            nonlocal count, at
            count += 1
            at = key + b"\x00"
            return STOP if count == COUNT_STRETCH else None

        await self._core.engine.walk(at, prefix_end(keys.LOG), visit)
        return count, at
