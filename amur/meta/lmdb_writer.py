"""The thread of a process that commits: many commits in one transaction with one fsync.

It starts at once when a commit arrives while it is idle. What arrives while another process has
LMDB's writer lock, or while this one writes, joins the same transaction: two workers that take
turns then fill their transactions instead of halving them.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import lmdb
from awscrt.checksums import crc64nvme

from amur.clock import Clock
from amur.meta.engine import (
    NO_STAMP,
    Commit,
    Conflict,
    EngineDamaged,
    EngineError,
    EngineFailed,
    EngineFull,
)
from amur.meta.keys import log_key
from amur.meta.lmdb_files import Files, read_state, translated, write_state
from amur.meta.lmdb_keyspace import CHUNK, NODE_BYTES, Txn
from amur.meta.sealing import version_of
from amur.meta.stamping import next_version, stamped

if TYPE_CHECKING:
    from amur.meta.lmdb_watch import Watches

BATCH_COMMITS_MAX = 256  # a batch this long costs a few ms; who comes later waits no longer
BATCH_BYTES_MAX = 16 << 20  # of values; keeps the dirty pages of one transaction bounded
READER_CHECK_SECONDS = 60.0  # slots of dead readers would keep old pages from being reused
ROOM_CHECK_SECONDS = 0.25

Outcome = int | EngineError


class Waiting(NamedTuple):
    commit: Commit
    future: asyncio.Future[int]


class WriterStats:
    """Counters since the process began, for metrics."""

    __slots__ = ("batch_largest", "batches", "commits", "conflicts")

    def __init__(self) -> None:
        self.batches = 0  # transactions that were synced
        self.commits = 0
        self.conflicts = 0
        self.batch_largest = 0


class Writer:
    """Owns the queue and the thread. `on_failure` hears of the error that ends all writing."""

    def __init__(
        self,
        files: Files,
        path: str,
        clock: Clock,
        reserve_bytes: int,
        watches: Watches,
        on_failure: Callable[[EngineError], None],
        region_number: int | None = None,
    ) -> None:
        self._env, self._main, self._space = files
        self._path = path
        self._clock = clock
        self._reserve_bytes = reserve_bytes
        self._watches = watches
        self._on_failure = on_failure
        self._region_number = region_number
        self._failure: EngineError | None = None
        self._next_node = 0
        self._reader_check_at = time.monotonic() + READER_CHECK_SECONDS
        self._room_check_at = 0.0
        self._has_room = True
        self.stats = WriterStats()
        self.queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="amur-meta-writer", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Carry out what was accepted, then end the thread. Blocks."""
        self.queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (waiting := self.queue.get()) is not None:
            batch = [waiting]
            self._settle(batch, self._outcomes(batch, joining=True))
            self._housekeeping()

    def _outcomes(self, batch: list[Waiting], *, joining: bool = False) -> list[Outcome]:
        """Carry the commits out in one transaction; if that fails, each in one of its own.

        With `joining`, the batch is lengthened by what arrives until the transaction ends: while
        another process has the lock, and while this one writes.
        """
        if self._failure:
            return [self._failure] * len(batch)
        try:
            return self._transaction(batch, joining)
        except lmdb.Error as error:
            failure = translated(error)
            if not isinstance(failure, EngineFull):
                self._fail(failure)
                return [failure] * len(batch)
        except EngineFailed as error:
            self._fail(error)
            return [error] * len(batch)
        except EngineDamaged as error:
            failure = error
        except Exception as error:
            failure = EngineError(f"commit not carried out: {error!r}")
            failure.__cause__ = error
        if len(batch) == 1:
            return [failure]
        return [self._outcomes([waiting])[0] for waiting in batch]

    def _joined(self, batch: list[Waiting], size: int) -> bool:
        """Take what waits into the batch, within its bounds; False when that is nothing."""
        queue, before = self.queue, len(batch)
        while queue.qsize() and len(batch) < BATCH_COMMITS_MAX and size < BATCH_BYTES_MAX:
            following = queue.get_nowait()
            if following is None:
                queue.put(None)
                break
            batch.append(following)
            size += _size(following)
        return len(batch) > before

    def _fail(self, failure: EngineError) -> None:
        self._failure = failure
        self._on_failure(failure)

    def _transaction(self, batch: list[Waiting], joining: bool) -> list[Outcome]:
        outcomes: list[Outcome] = []
        size = 0
        touched: list[bytes] | None = [] if self._watches else None
        txn = self._env.begin(self._space.keys, write=True, buffers=True)
        try:
            last, self._next_node, _ = read_state(txn, self._main)
            before = last
            while len(outcomes) < len(batch) or (joining and self._joined(batch, size)):
                waiting = batch[len(outcomes)]
                size += _size(waiting)
                outcome = self._apply(txn, waiting.commit, last, touched)
                outcomes.append(outcome)
                if type(outcome) is int:
                    last = outcome
            if last != before:
                write_state(txn, self._main, last, self._next_node)
        except BaseException:
            txn.abort()
            raise
        # Also when nothing changed: abort() would wait for a running backup.
        txn.commit()
        if last != before:
            self.stats.batches += 1
            self._watches.committed(touched)
        return outcomes

    def _apply(
        self,
        txn: Txn,
        commit: Commit,
        last: int,
        touched: list[bytes] | None,
    ) -> Outcome:
        """One commit: everything is checked before anything is changed."""
        try:
            self._check(txn, commit)
        except (Conflict, EngineDamaged, EngineFull) as error:
            return error
        version = next_version(self._clock.now_ns(), last, commit.after, self._region_number)
        for key in commit.delete:
            if len(key) <= CHUNK:
                txn.delete(key)
            else:
                self._space.delete_long(txn, key)
        version_bytes = version.to_bytes(8, "big")
        for put in commit.put:
            key, value = put.key, put.value
            if put.stamp != NO_STAMP or put.key_stamp != NO_STAMP:
                key, value = stamped(put, version)
            self._put(txn, key, version_bytes + value)
            if touched is not None:
                touched.append(key)
        for sequence, value in enumerate(commit.log):
            key = log_key(version, sequence)
            self._put(txn, key, version_bytes + value)
            if touched is not None:
                touched.append(key)
        if touched is not None:
            touched.extend(commit.delete)
        return version

    def _check(self, txn: Txn, commit: Commit) -> None:
        """Raise Conflict, EngineDamaged or EngineFull when the commit can't be carried out."""
        find = self._space.find
        for key, version in commit.expect:
            stored = find(txn, key)
            if (0 if stored is None else version_of(stored)[0]) != version:
                raise Conflict
        for start, end in commit.expect_empty:
            self._space.walk(txn, start, end, _conflict)
        if not self._has_room and commit.put and not commit.delete:
            raise EngineFull(f"{self._path}: the disk is full")

    def _put(self, txn: Txn, key: bytes, body: bytes) -> None:
        """Seal and store `body`, a version and a payload."""
        db = self._space.keys
        if len(key) > CHUNK:
            key, db = self._space.place(txn, key, self._new_node)
        checksum = crc64nvme(body, crc64nvme(key))
        txn.put(key, body + checksum.to_bytes(8, "little"), db=db)

    def _new_node(self) -> bytes:
        node = self._next_node.to_bytes(NODE_BYTES, "big")
        self._next_node += 1
        return node

    def _settle(self, batch: list[Waiting], outcomes: list[Outcome]) -> None:
        """Wake all waiters: one call into each event loop."""
        self.stats.batch_largest = max(self.stats.batch_largest, len(batch))
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[int], Outcome]]] = {}
        for item, outcome in zip(batch, outcomes, strict=True):
            if type(outcome) is int:
                self.stats.commits += 1
            else:
                self.stats.conflicts += type(outcome) is Conflict
            loops.setdefault(item.future.get_loop(), []).append((item.future, outcome))
        for loop, settled in loops.items():
            try:
                loop.call_soon_threadsafe(_wake, settled)
            except RuntimeError:
                assert loop.is_closed(), "only a closed loop refuses a call"

    def _housekeeping(self) -> None:
        now = time.monotonic()
        if now >= self._room_check_at:
            self._room_check_at = now + ROOM_CHECK_SECONDS
            disk = os.statvfs(self._path)
            room = disk.f_bavail * disk.f_frsize
            if room < self._reserve_bytes:
                room += self._free_bytes()
            self._has_room = room >= self._reserve_bytes
        if now >= self._reader_check_at:
            self._reader_check_at = now + READER_CHECK_SECONDS
            self._env.reader_check()

    def _free_bytes(self) -> int:
        """Of the file, which never shrinks: pages that deletes have left to be written again."""
        try:
            txn = self._env.begin()
        except lmdb.Error:
            return 0
        with txn:
            stats = [txn.stat(db) for db in (self._main, self._space.keys, self._space.tails)]
        used = sum(s["branch_pages"] + s["leaf_pages"] + s["overflow_pages"] for s in stats)
        return max(0, self._env.info()["last_pgno"] + 1 - used) * stats[0]["psize"]


def _size(waiting: Waiting) -> int:
    return sum(len(put.value) for put in waiting.commit.put)


def _conflict(key: bytes, value: memoryview, version: int) -> bytes | None:
    raise Conflict


def _wake(settled: list[tuple[asyncio.Future[int], Outcome]]) -> None:
    for future, outcome in settled:
        if future.done():  # its task was cancelled: the commit stands all the same
            continue
        if type(outcome) is int:
            future.set_result(outcome)
        else:
            assert isinstance(outcome, BaseException)
            future.set_exception(outcome)
