"""Amur: a globally distributed, S3-compatible object store that anyone can run.

async with amur.open("data") as store:
    await store.create_bucket("photos")
    await store.put("photos", "cat.jpg", body)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from os import PathLike, fspath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amur.objects.store import Store


@asynccontextmanager
async def open(  # noqa: A001 - it reads as amur.open
    path: str | PathLike[str], *, region: str = "local"
) -> AsyncIterator[Store]:
    """The store in directory `path` (created when absent), for use without a server.

    It is the data directory of `amur serve`, and several processes may have it open at once.
    """
    async with _opened(fspath(path), region) as store:
        yield store


def _opened(path: str, region: str) -> Store:
    # imported here, so that what uses a part of the package does not load the rest
    from pathlib import Path

    from amur.clock import SystemClock
    from amur.data.local import LocalDataStore
    from amur.directories import make_durable
    from amur.meta.lmdb_engine import LmdbEngine
    from amur.objects.store import Store

    meta, data = Path(path, "meta"), Path(path, "data")
    make_durable(Path(path))
    for directory in (meta, data):  # synced by who opens them
        directory.mkdir(mode=0o700, exist_ok=True)
    clock = SystemClock()
    return Store(LmdbEngine(meta, clock), LocalDataStore(data), clock, region=region)
