"""The embedded engine: LMDB, opened by every worker process for itself.

Reads run in the caller's thread, in microseconds, each in a transaction of its own that is over
when the call returns. Commits go to the process' writer thread (lmdb_writer.py). Every commit is
synced in full before it is acknowledged. `docs/decisions/0001-engine-contract.md` says why.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Sequence
from typing import NoReturn

import lmdb
from awscrt.checksums import crc64nvme

from amur.clock import Clock, SystemClock
from amur.limits import MIB, TIB
from amur.meta.engine import (
    Commit,
    Engine,
    EngineError,
    EngineFailed,
    EngineFull,
    Entry,
    Visitor,
    Watch,
)
from amur.meta.lmdb_files import copy_to, open_files, translated
from amur.meta.lmdb_keyspace import CHUNK
from amur.meta.lmdb_watch import POLL_SECONDS, Watches
from amur.meta.lmdb_writer import Waiting, Writer
from amur.meta.sealing import RESIDUE, damaged, version_of

KEY_BYTES_MAX = 2200
VALUE_BYTES_MAX = 16 * MIB
LOG_VALUES_MAX = 1 << 16
MAP_BYTES = 1 * TIB  # address space, not disk: a bound that nobody meets
RESERVE_BYTES = 64 * MIB  # free on the disk: below it only commits that delete something go on

_new = tuple.__new__


class LmdbEngine(Engine):
    """Opened in the directory `path`, once in a process, never before a fork.

    `reserve_bytes` of free disk are left to commits that delete. With `region_number` the versions
    are that region's. `poll_seconds` is how late a watch may notice another process' commit.
    Raises EngineRefused when the files can't be used, EngineFailed when they are damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Clock | None = None,
        *,
        map_bytes: int = MAP_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        region_number: int | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.path = os.fspath(path)
        self._pid = os.getpid()
        self._files = open_files(self.path, map_bytes)
        self._env, _, self._space = self._files
        self._keys = self._space.keys
        self._failure: EngineError | None = None
        self._begin = self._env.begin
        self._watches = Watches(self._last_txn, poll_seconds)
        self._writer = Writer(
            self._files,
            self.path,
            clock or SystemClock(),
            reserve_bytes,
            self._watches,
            self._fail,
            region_number,
        )
        self._submit = self._writer.queue.put
        self._closing: asyncio.Task[None] | None = None
        _open_engines.add(self)

    # --- reading ---

    async def get(self, key: bytes) -> Entry | None:
        return self.get_now(key)

    def get_now(self, key: bytes) -> Entry | None:
        """`get` without a coroutine around it."""
        try:
            txn = self._begin(self._keys)
            try:
                return self._read(txn, key)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise self._failed(error) from error

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return self.get_many_now(keys)

    def get_many_now(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """`get_many` without a coroutine around it."""
        try:
            txn = self._begin(self._keys)
            try:
                return [self._read(txn, key) for key in keys]
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise self._failed(error) from error

    def _read(self, txn: lmdb.Transaction[bytes], key: bytes) -> Entry | None:
        if len(key) <= CHUNK:
            stored = txn.get(key)
            if stored is not None and crc64nvme(stored, crc64nvme(key)) != RESIDUE:
                raise damaged(key)
        else:
            stored = self._space.find(txn, key)
        if stored is None:
            self._space.prove_absent(txn, key)
            return None
        return _new(Entry, (key, stored[8:-8], version_of(stored)[0]))

    async def walk(
        self, start: bytes, end: bytes, visit: Visitor, *, reverse: bool = False
    ) -> None:
        space = self._space
        try:
            txn = self._begin(self._keys, buffers=True)
            try:
                (space.walk_back if reverse else space.walk)(txn, start, end, visit)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise self._failed(error) from error

    async def walk_many(self, walks: Sequence[tuple[bytes, bytes, Visitor]]) -> None:
        try:
            txn = self._begin(self._keys, buffers=True)
            try:
                for start, end, visit in walks:
                    self._space.walk(txn, start, end, visit)
            finally:
                txn.abort()
        except lmdb.Error as error:
            raise self._failed(error) from error

    # --- writing ---

    async def commit(self, commit: Commit) -> int:
        """As the contract says. A task cancelled here leaves open whether it was carried out."""
        if self._failure:
            self._refuse()
        for put in commit.put:
            assert 0 < len(put.key) <= KEY_BYTES_MAX, "key length out of the contract"
            assert len(put.value) <= VALUE_BYTES_MAX, "value too long"
        assert len(commit.log) < LOG_VALUES_MAX, "too many log values in one commit"
        future = asyncio.get_running_loop().create_future()
        self._submit(_new(Waiting, (commit, future)))
        version: int = await future
        return version

    def watch(self, prefix: bytes) -> Watch:
        """After commits of other processes it may wake without a cause under `prefix`."""
        return self._watches.add(prefix)

    # --- operating ---

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """A consistent, compacted copy to the new directory `path`, while serving."""
        if self._failure:
            self._refuse()
        try:
            await asyncio.to_thread(copy_to, self._env, os.fspath(path))
        except lmdb.Error as error:
            failure = translated(error)
            raise (
                failure
                if isinstance(failure, EngineFull)
                else EngineError(f"backup failed: {error}")
            ) from error

    def stats(self) -> dict[str, int]:
        """Gauges and counters for metrics; sizes in bytes."""
        if self._failure:
            self._refuse()
        info, writer = self._env.info(), self._writer
        with self._begin() as txn:
            tables = txn.stat(self._keys), txn.stat(self._space.tails)
        return {
            "entries": tables[0]["entries"],
            "tail_entries": tables[1]["entries"],
            "depth": tables[0]["depth"],
            "map_bytes": info["map_size"],
            "used_bytes": (info["last_pgno"] + 1) * tables[0]["psize"],
            "readers": info["num_readers"],
            "last_txn": info["last_txnid"],
            "queued_commits": writer.queue.qsize(),
            "batches": writer.stats.batches,
            "commits": writer.stats.commits,
            "conflicts": writer.stats.conflicts,
            "batch_largest": writer.stats.batch_largest,
        }

    async def close(self) -> None:
        """Finish what was accepted, then release everything. Idempotent."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._failure is None:
            self._fail(EngineFailed("the metadata engine is closed"))
        await asyncio.to_thread(self._writer.finish)
        _open_engines.discard(self)
        if self._pid == os.getpid():
            self._env.close()

    def _last_txn(self) -> int:
        return self._env.info()["last_txnid"]

    def _failed(self, error: lmdb.Error) -> EngineError:
        """The error to raise for LMDB's; when it means that LMDB can't go on, for ever."""
        if self._failure:
            return self._failure
        failure = translated(error)
        if isinstance(error, lmdb.ReadersFullError):
            return EngineError("too many readers of the metadata at once")
        self._fail(failure)
        return failure

    def _fail(self, failure: EngineError) -> None:
        """Refuse every later call. Nothing is checked on the way of the calls that work."""
        self._failure = failure
        self._begin = self._refuse

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        assert self._failure
        raise type(self._failure)(*self._failure.args)


_open_engines: weakref.WeakSet[LmdbEngine] = weakref.WeakSet()


def _refuse_after_fork() -> None:
    for engine in _open_engines:
        engine._fail(EngineFailed("the metadata engine was opened before a fork"))


os.register_at_fork(after_in_child=_refuse_after_fork)
