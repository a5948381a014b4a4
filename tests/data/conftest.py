"""Stores of every kind, with small sizes so that every edge is cheap to meet."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from amur.clock import SystemClock
from amur.data import bucket_service
from amur.data.bucket import BucketDataStore
from amur.data.bucket_service import ObstoreBucket
from amur.data.fake_disk import FakeDisk
from amur.data.local import LocalDataStore
from amur.data.memory import MemoryDataStore
from amur.data.read_cache import ReadCache
from amur.data.store import DataStore

SIZES = {"chunk_bytes": 1024, "pack_bytes_max": 1024, "file_bytes_max": 4096}
PART_BYTES = 1500  # of an upload in parts to a bucket


@pytest.fixture
def sizes() -> dict[str, int]:
    return dict(SIZES)


@pytest.fixture
def fake_store() -> Callable[..., LocalDataStore]:
    """A local store on a fake disk, all in the event loop: deterministic."""

    def make(disk: FakeDisk, **changes: int) -> LocalDataStore:
        return LocalDataStore("/store", disk=disk, threaded=False, **{**SIZES, **changes})

    return make


KINDS = ["memory", "real", "fake", "fake-threads", "bucket", "bucket-local", "bucket-cached"]


@pytest.fixture(params=KINDS)
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DataStore]:
    made: DataStore
    if request.param == "memory":
        made = MemoryDataStore(**SIZES)
    elif request.param == "real":
        made = LocalDataStore(tmp_path, **SIZES)
    elif request.param.startswith("bucket"):
        monkeypatch.setattr(bucket_service, "SETTLE_SECONDS", 0.0)  # this process goes on
        in_files = request.param == "bucket-local"
        bucket = ObstoreBucket(
            LocalStore(tmp_path / "bucket", mkdir=True) if in_files else MemoryStore()
        )
        cache = ReadCache(tmp_path / "cache", 50_000, SystemClock())
        made = BucketDataStore(
            bucket,
            SystemClock(),
            cache=cache if request.param == "bucket-cached" else None,
            part_bytes=PART_BYTES,
            **SIZES,
        )
    else:
        threaded = request.param == "fake-threads"
        made = LocalDataStore("/store", disk=FakeDisk(1), threaded=threaded, **SIZES)
    yield made
    await made.close()


@pytest.fixture
def bodies() -> Callable[..., list[bytes]]:
    """Random bodies whose sizes love the edges of chunks and files."""

    def make(seed: int, count: int, *, chunk: int = 1024, limit: int = 9000) -> list[bytes]:
        rng = random.Random(seed)
        edges = [n * chunk + d for n in (0, 1, 2, 4, 8) for d in (-1, 0, 1)]
        edges = [edge for edge in edges if 0 < edge <= limit]
        return [
            rng.randbytes(rng.choice([rng.choice(edges), rng.randint(1, limit)]))
            for _ in range(count)
        ]

    return make
