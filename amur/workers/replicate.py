"""Pushing metadata: one sender for each peer follows the log and tells what has changed.

A sender reads the names in the log behind its cursor, once each however often a thing was
changed, reads their state as it is now, sends it, and moves on when the peer has committed it. The
peer's own cursor is the truth: a sender that begins asks for it by a batch that the peer refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import structlog

from amur.limits import MIB
from amur.meta import keys
from amur.meta.engine import STOP, Commit, Conflict, EngineFull, Entry, Put, prefix_end
from amur.meta.log import Changed, parse
from amur.objects.core import Core
from amur.objects.items import items_of, size_of
from amur.objects.peer_state import vector
from amur.regions.link import Link, LinkError, PeerUnreachable
from amur.regions.messages import Ack, Batch, Item

BATCH_ENTRIES_MAX = 2000  # log entries looked at for one batch
BATCH_ENTRIES_MIN = 2  # a commit's own entries, or one large manifest
BATCH_BYTES_MAX = 4 * MIB
LOOK_UP_ENTRIES = 250  # items built at a stretch: a few ms, then others get their turn
BEAT_SECONDS = 1.0  # an idle sender tells its vector this often
RETRY_SECONDS = 0.5  # after a peer did not answer
PUSH_TIMEOUT_SECONDS = 30.0  # a batch is up to 4 MiB, over a slow line
SAVE_SECONDS = 1.0  # how often the cursor is kept, for trimming

BACKLOG_COUNTED_MAX = 1_000_000
COUNT_STRETCH = 5_000  # entries counted before others get their turn

UNKNOWN = -1
"""A start that no peer has: asks for its cursor."""

log = structlog.get_logger("amur.regions")


def cursor_key(peer: str) -> bytes:
    """Up to where a peer is known to have our log."""
    return keys.singleton_key(f"to/{peer}")


LOG_START_KEY = keys.singleton_key("log-start")
"""The log is whole behind this version; what is before was trimmed, or never logged."""


async def log_start(core: Core) -> int:
    """Where the log begins; at the first call in a region's life, here and now."""
    entry = await core.engine.get(LOG_START_KEY)
    if entry is None:
        with contextlib.suppress(Conflict):
            put = Put(LOG_START_KEY, b"")
            await core.engine.commit(Commit(expect=[(LOG_START_KEY, 0)], put=[put]))
        entry = await core.engine.get(LOG_START_KEY)
        assert entry is not None
    return int.from_bytes(entry.value, "big") if entry.value else entry.version


@dataclass(slots=True)
class Stretch:
    """Log entries that are sent together."""

    names: list[Changed]
    end: int
    oldest: int
    is_more: bool


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
    return Stretch(list(names), end, entries[0].version if entries else 0, is_more)


async def _commit_entries(core: Core, version: int) -> list[Entry]:
    start, end = keys.log_key(version, 0), keys.log_key(version + 1, 0)
    return await core.engine.scan(start, end, 1 << 16)


class Sender:
    """To one peer. `run` until cancelled; `step` is one batch, for simulations."""

    def __init__(self, core: Core, link: Link) -> None:
        self._core = core
        self._link = link
        self._cursor = UNKNOWN
        self._saved = UNKNOWN
        self._saved_at = 0.0
        self._entries = BATCH_ENTRIES_MAX  # to look at for the next batch
        self.name = link.region.name
        self.lag_s = 0.0  # of the oldest change that the peer has not got
        self.is_reachable = False
        self.sent = 0  # items
        self.batches = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        watch = self._core.engine.watch(keys.LOG)
        try:
            while True:
                try:
                    is_more = await self.step()
                except LinkError as error:
                    if self.is_reachable or not self.batches:
                        log.warning("a peer does not take our changes", peer=self.name,
                                    error=str(error))  # fmt: skip
                    self.is_reachable = False
                    await self._measure()
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if loop.time() - self._saved_at > SAVE_SECONDS:
                    self._saved_at = loop.time()
                    await self._save()
                if not is_more:
                    await watch.wait(BEAT_SECONDS)
        finally:
            watch.close()

    async def step(self) -> bool:
        """Send one batch; whether there is more to send at once. Raises LinkError."""
        core = self._core
        if self._cursor == UNKNOWN:
            await self._send(Batch(core.region, UNKNOWN, UNKNOWN))
            return True
        told = await vector(core)
        stretch, items = await self._next()
        start = await log_start(core)  # asked after the log was read, which is trimmed after it
        if self._cursor < start:
            await self._send(Batch(core.region, self._cursor, start, vector=told, is_gap=True))
            return True
        now = core.clock.now_ns()
        await self._send(
            Batch(core.region, self._cursor, stretch.end, items, told, False, now, stretch.oldest)
        )
        self.lag_s = max(0.0, (now - stretch.oldest) / 1e9) if stretch.is_more else 0.0
        return stretch.is_more

    async def _next(self) -> tuple[Stretch, list[Item]]:
        """As much of the log as makes a batch of a good size: learned from the one before."""
        while True:
            stretch = await read_log(self._core, self._cursor, self._entries)
            items: list[Item] = []
            for at in range(0, len(stretch.names), LOOK_UP_ENTRIES):
                some = stretch.names[at : at + LOOK_UP_ENTRIES]
                items += await items_of(self._core, some, self.name)
                await asyncio.sleep(0)
            size = sum(map(size_of, items))
            if size <= BATCH_BYTES_MAX or self._entries <= BATCH_ENTRIES_MIN:
                if size < BATCH_BYTES_MAX // 4:
                    self._entries = min(BATCH_ENTRIES_MAX, self._entries * 2)
                return stretch, items
            self._entries //= 2

    async def _send(self, batch: Batch) -> None:
        reply = await self._link.call(batch, timeout_s=PUSH_TIMEOUT_SECONDS)
        if not isinstance(reply, Ack):
            raise PeerUnreachable(f"{self.name} answered {type(reply).__name__}: {reply}")
        self.is_reachable = True
        self.batches += 1
        self._cursor = reply.cursor
        if reply.is_applied:
            self.sent += len(batch.items)

    async def _measure(self) -> None:
        """How late the peer is, while it does not answer."""
        if self._cursor != UNKNOWN:
            oldest = await self._core.engine.scan(
                keys.log_key(self._cursor + 1, 0), prefix_end(keys.LOG), 1
            )
            now = self._core.clock.now_ns()
            self.lag_s = max(0.0, (now - oldest[0].version) / 1e9) if oldest else 0.0

    async def _save(self) -> None:
        if self._cursor not in (UNKNOWN, self._saved):
            put = Put(cursor_key(self.name), self._cursor.to_bytes(8, "big"))
            with contextlib.suppress(EngineFull):
                await self._core.engine.commit(Commit(put=[put]))
            self._saved = self._cursor

    async def backlog(self) -> int:
        """Log entries that the peer has not got; counted up to BACKLOG_COUNTED_MAX."""
        count = 0
        at, end = keys.log_key(max(self._cursor, 0) + 1, 0), prefix_end(keys.LOG)
        last = at

        def visit(key: bytes, _value: memoryview, _version: int) -> bytes | None:
            nonlocal count, last
            count += 1
            last = key + b"\x00"
            return STOP if not count % COUNT_STRETCH else None

        while count < BACKLOG_COUNTED_MAX:
            before = count
            await self._core.engine.walk(last, end, visit)
            if count - before < COUNT_STRETCH:
                break
            await asyncio.sleep(0)
        return count
