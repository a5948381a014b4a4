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

    It is the data directory of `amur serve`, and several processes may have it open at once. In
    that of a region among others what is written is told to them once they are served; bytes
    that lie elsewhere can't be read.
    Raises amur.serve.layout.Refusal, with one line that says what to do.
    """
    async with _opened(fspath(path), region) as store:
        yield store


def _opened(path: str, region: str) -> Store:
    # imported here, so that what uses a part of the package does not load the rest
    from pathlib import Path

    from amur.clock import SystemClock
    from amur.data.local import LocalDataStore
    from amur.meta.lmdb_engine import LmdbEngine
    from amur.objects.store import Store
    from amur.regions.topology import Topology
    from amur.serve.layout import Layout

    layout = Layout(Path(path).absolute())
    layout.create()
    layout.claim(region)
    clock = SystemClock()
    topology = Topology.of_numbers(region, layout.regions())
    number = topology.me.number if topology.is_cluster else None
    engine = LmdbEngine(layout.meta, clock, region_number=number)
    data = LocalDataStore(layout.data)
    return Store(engine, data, clock, region=region, topology=topology)
