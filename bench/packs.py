"""What packs and their compaction are worth: bodies of 16 KiB, written in random order of keys.

In process, without HTTP. Half of the bodies are deleted, then the compactor runs; the living are
read in the order of their keys before and after, with their pages dropped from the cache.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from amur.clock import SystemClock
from amur.data.local import LocalDataStore
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.store import Store
from amur.workers.compact import Compactor
from amur.workers.runner import run_until_idle

BODY_BYTES = 16 * 1024
WRITERS = 64
MB = 1e6


class Packs(NamedTuple):
    """MB/s of bodies: written, read in key order before and after compaction, rewritten."""

    write: float
    cold_before: float
    cold_after: float
    warm: float
    compaction: float


def measure(work: Path, count: int) -> Packs:
    return asyncio.run(_measure(work, count))


async def _measure(work: Path, count: int) -> Packs:
    for name in ("meta", "data"):
        (work / name).mkdir(parents=True)
    names = [f"key-{n:07d}" for n in range(count)]
    order = random.Random(7).sample(names, count)
    gone = set(order[::2])
    living = [name for name in names if name not in gone]
    data = work / "data"
    async with _opened(work) as store:
        await store.create_bucket("packs", owner="bench")
        began = time.perf_counter()
        await _each(order, lambda name: store.put("packs", name, _body(name)))
        write = _rate(names, began)
        await _each(sorted(gone), lambda name: store.delete("packs", name))
    async with _opened(work) as store:  # the packs of the process before are sealed
        before = await _read(store, living, data)
        began = time.perf_counter()
        await run_until_idle([Compactor(store.core)])
        compaction = _rate(living, began)
        after = await _read(store, living, data)
        return Packs(write, before, after, await _read(store, living, None), compaction)


@asynccontextmanager
async def _opened(work: Path) -> AsyncIterator[Store]:
    clock = SystemClock()
    engine, data = LmdbEngine(work / "meta", clock), LocalDataStore(work / "data")
    store = Store(engine, data, clock)
    try:
        yield store
    finally:
        await store.close()
        await data.close()
        await engine.close()


def _rate(names: list[str], began: float) -> float:
    return len(names) * BODY_BYTES / MB / (time.perf_counter() - began)


async def _read(store: Store, names: list[str], cold: Path | None) -> float:
    """MB/s of all bodies, one after the other; `cold` is the directory to drop from the cache."""
    for path in _files(cold) if cold is not None else ():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    began = time.perf_counter()
    for name in names:
        reading = await store.get("packs", name)
        assert reading.body == _body(name)
    return _rate(names, began)


async def _each(names: list[str], act: Callable[[str], Awaitable[object]]) -> None:
    """All of them, WRITERS at a time."""
    left = iter(names)

    async def one() -> None:
        for name in left:
            await act(name)

    await asyncio.gather(*(one() for _ in range(WRITERS)))


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _body(name: str) -> bytes:
    return (name.encode() * (BODY_BYTES // 8))[:BODY_BYTES]
