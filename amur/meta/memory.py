"""The engine in memory: the reference for the contract, and the fast one for tests."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Sequence

from amur.clock import Clock, SystemClock
from amur.meta.engine import STOP, Commit, Conflict, Engine, Entry, Visitor, Watch
from amur.meta.keys import log_key
from amur.meta.stamping import next_version, stamped


class MemoryEngine(Engine):
    """A sorted list of keys and a dict of values. Nothing survives the process."""

    def __init__(self, clock: Clock | None = None, *, region_number: int | None = None) -> None:
        self._clock = clock or SystemClock()
        self._region_number = region_number
        self._keys: list[bytes] = []
        self._values: dict[bytes, tuple[bytes, int]] = {}
        self._last_version = 0
        self._watches: dict[_MemoryWatch, None] = {}  # in order, for simulations

    async def get(self, key: bytes) -> Entry | None:
        return self._get(key)

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        return [self._get(key) for key in keys]

    def _get(self, key: bytes) -> Entry | None:
        found = self._values.get(key)
        return Entry(key, *found) if found else None

    async def walk(
        self, start: bytes, end: bytes, visit: Visitor, *, reverse: bool = False
    ) -> None:
        (self._walk_back if reverse else self._walk)(start, end, visit)

    async def walk_many(self, walks: Sequence[tuple[bytes, bytes, Visitor]]) -> None:
        for start, end, visit in walks:
            self._walk(start, end, visit)

    def _walk(self, start: bytes, end: bytes, visit: Visitor) -> None:
        at = bisect_left(self._keys, start)
        while at < len(self._keys) and self._keys[at] < end:
            key = self._keys[at]
            value, version = self._values[key]
            answer = visit(key, memoryview(value), version)
            if answer == STOP:
                return
            if answer is None:
                at += 1
            else:
                assert answer > key, "a forward walk only seeks forward"
                at = bisect_left(self._keys, answer)

    def _walk_back(self, start: bytes, end: bytes, visit: Visitor) -> None:
        at = bisect_left(self._keys, end) - 1
        while at >= 0 and self._keys[at] >= start:
            key = self._keys[at]
            value, version = self._values[key]
            answer = visit(key, memoryview(value), version)
            if answer == STOP:
                return
            if answer is None:
                at -= 1
            else:
                assert answer <= key, "a backward walk only seeks backward"
                at = bisect_left(self._keys, answer) - 1

    async def commit(self, commit: Commit) -> int:
        for key, version in commit.expect:
            found = self._values.get(key)
            if (found[1] if found else 0) != version:
                raise Conflict
        for start, end in commit.expect_empty:
            at = bisect_left(self._keys, start)
            if at < len(self._keys) and self._keys[at] < end:
                raise Conflict
        now = self._clock.now_ns()
        version = next_version(now, self._last_version, commit.after, self._region_number)
        self._last_version = version
        for key in commit.delete:
            if self._values.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
        touched = [*commit.delete]
        for put in commit.put:
            key, value = stamped(put, version)
            self._store(key, value, version)
            touched.append(key)
        for sequence, value in enumerate(commit.log):
            self._store(log_key(version, sequence), value, version)
            touched.append(log_key(version, sequence))
        for watch in list(self._watches):
            watch.notice(touched)
        return version

    def _store(self, key: bytes, value: bytes, version: int) -> None:
        if key not in self._values:
            self._keys.insert(bisect_left(self._keys, key), key)
        self._values[key] = (value, version)

    def watch(self, prefix: bytes) -> Watch:
        watch = _MemoryWatch(self._watches, prefix)
        self._watches[watch] = None
        return watch

    async def close(self) -> None:
        """Nothing to release."""


class _MemoryWatch(Watch):
    def __init__(self, registry: dict[_MemoryWatch, None], prefix: bytes) -> None:
        self._registry = registry
        self._prefix = prefix
        self._event = asyncio.Event()

    def notice(self, keys: list[bytes]) -> None:
        if any(key.startswith(self._prefix) for key in keys):
            self._event.set()

    async def wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):  # wait_for may swallow a cancellation (3.11)
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def close(self) -> None:
        self._registry.pop(self, None)
