"""Watches on the LMDB engine: told by this process' writer, and by the transaction counter.

LMDB tells nobody of a commit, so while somebody waits, the counter is read every `poll_seconds`;
transactions that this process did not make are another's, whose keys are not known: such a
wake-up may be spurious.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from amur.meta.engine import Watch

POLL_SECONDS = 0.05


class Watches:
    """The watches of one engine. `last_txn` reads LMDB's transaction counter."""

    def __init__(self, last_txn: Callable[[], int], poll_seconds: float = POLL_SECONDS) -> None:
        self.poll_seconds = poll_seconds
        self._last_txn = last_txn
        self._watches: set[LmdbWatch] = set()
        self._own_txns = 0

    def __bool__(self) -> bool:
        return bool(self._watches)

    def add(self, prefix: bytes) -> Watch:
        watch = LmdbWatch(self, prefix)
        self._watches.add(watch)
        return watch

    def discard(self, watch: LmdbWatch) -> None:
        self._watches.discard(watch)

    def committed(self, keys: list[bytes] | None) -> None:
        """Called in the writer's thread after a transaction; None when nobody watched it."""
        self._own_txns += 1
        for watch in tuple(self._watches):
            # A watch that came while the transaction ran can't know what it missed.
            if keys is None or any(key.startswith(watch.prefix) for key in keys):
                watch.notice()

    def foreign_txns(self) -> int:
        """How many transactions other processes made (and this one before it was opened)."""
        return self._last_txn() - self._own_txns


class LmdbWatch(Watch):
    def __init__(self, watches: Watches, prefix: bytes) -> None:
        self.prefix = prefix
        self._watches = watches
        self._foreign = watches.foreign_txns()
        self._noticed = False
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def notice(self) -> None:
        """Called in the writer's thread."""
        self._noticed = True
        if self._waiting:
            loop, event = self._waiting
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _is_due(self) -> bool:
        foreign = self._watches.foreign_txns()
        due = self._noticed or foreign > self._foreign
        self._noticed = False
        self._foreign = foreign
        return due

    async def wait(self, seconds: float) -> bool:
        """As `Watch.wait`; after another process' commit it may be True without a cause."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        event = asyncio.Event()
        self._waiting = (loop, event)
        try:
            while not self._is_due():
                left = deadline - loop.time()
                if left <= 0:
                    return False
                try:
                    async with asyncio.timeout(min(left, self._watches.poll_seconds)):
                        await event.wait()
                except TimeoutError:
                    continue
            return True
        finally:
            self._waiting = None

    def close(self) -> None:
        self._watches.discard(self)
