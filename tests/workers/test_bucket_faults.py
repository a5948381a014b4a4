"""The bytes in a bucket whose service fails at every call in turn, or whose client dies there.

Whatever fails: what was acknowledged reads back whole, what was not is not there, and what the
failure left behind is found a day later.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from obstore.store import MemoryStore

from amur.clock import FakeClock
from amur.data.bucket import ORPHAN_SECONDS, BucketDataStore
from amur.data.bucket_service import ObstoreBucket
from amur.data.store import DataUnavailable
from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.records import ObjectRecord, decode, encode
from amur.objects.errors import BodyUnreachable, NoSuchKey
from amur.objects.store import Store
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.fsck import fsck
from amur.workers.sweep import Sweeper
from tests.support.flaky_bucket import FlakyBucket, When

PACK = 16 * 1024
FILE = 128 * 1024
PART = 40_000
GRACE = 100.0
PLACES_MAX = 200

Place = Callable[[], Any]


@pytest.fixture
async def place(new_world: Any) -> AsyncIterator[Place]:
    opened: list[BucketDataStore] = []

    def make() -> Any:
        """A world whose bytes are in a bucket; the bucket's clock is the real one."""
        world = new_world(1)
        world.clock = FakeClock(time.time_ns())
        world.engine = type(world.engine)(world.clock)
        world.bytes = FlakyBucket(ObstoreBucket(MemoryStore()))
        reopen(world)
        return world

    def reopen(world: Any) -> None:
        world.data = BucketDataStore(
            world.bytes,
            world.clock,
            chunk_bytes=PACK,
            pack_bytes_max=PACK,
            file_bytes_max=FILE,
            part_bytes=PART,
        )
        opened.append(world.data)
        world.store = Store(world.engine, world.data, world.clock)
        core = world.core = world.store.core
        world.workers = [
            Collector(core, grace_seconds=GRACE),
            Sweeper(core),
            Compactor(core, file_bytes_max=FILE),
        ]

    yield make
    for data in opened:
        await data.close()


async def stream(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 10_000):
        yield body[at : at + 10_000]


class Diary:
    """What the store has acknowledged; None: deleted."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.said: dict[str, bytes | None] = {}
        self.asked: set[str] = set()

    async def put(self, key: str, size: int) -> None:
        body = self.world.body(size)
        whole = body if size <= PACK else stream(body)
        self.asked.add(key)
        with contextlib.suppress(BodyUnreachable):
            await self.world.store.put("bucket", key, whole)
            self.said[key] = body

    async def multipart(self, key: str) -> None:
        bodies = [self.world.body(size) for size in (FILE + 5, 30_000, 7_000)]
        self.asked.add(key)
        with contextlib.suppress(BodyUnreachable):
            self.said[key] = await self.world.multipart(key, bodies)

    async def delete(self, key: str) -> None:
        await self.world.store.delete("bucket", key)
        self.said[key] = None

    async def all(self) -> None:
        await asyncio.gather(*(self.put(f"small/{n}", 6_000) for n in range(5)))
        await self.put("large", 2 * FILE + 5_000)
        await self.multipart("parts")
        await self.put("small/1", 7_000)
        await self.put("large", FILE)
        await self.delete("small/2")

    async def check(self) -> None:
        """An operation that failed left nothing: it said so before any record was there."""
        for key in self.asked:
            try:
                found = await self.world.get(key)
            except NoSuchKey:
                found = None
            assert found == self.said.get(key), key


@pytest.mark.parametrize("when", When)
async def test_a_failure_at_every_call(place: Place, when: When) -> None:
    failed: set[str] = set()
    for at in range(1, PLACES_MAX):
        world = place()
        await world.bucket()
        world.bytes.at, world.bytes.when = at, when
        diary = Diary(world)
        await diary.all()
        if not world.bytes.failed:
            break
        failed.add(world.bytes.failed)
        world.bytes.at = 0
        await diary.check()
        await world.rest()
        await diary.check()
        report = await fsck(world.core)
        assert report.is_healthy(), [finding.text() for finding in report.findings]
        world.clock.advance(ORPHAN_SECONDS + 1)
        await world.rest()
        await diary.check()
        await world.assert_nothing_left()
    assert failed >= {"put", "put_stream", "piece"}
    assert 20 < at < PLACES_MAX - 1


async def test_an_outage_in_the_middle_of_everything(place: Place) -> None:
    """Errors while it lasts, all well when it is over, and no process ends."""
    world = place()
    await world.bucket()
    diary = Diary(world)
    await diary.all()
    world.bytes.is_away = True
    for key in diary.said:
        if diary.said[key] is not None:
            with pytest.raises(BodyUnreachable):
                await world.get(key)
    await diary.put("while-away", 6_000)
    await diary.put("while-away-large", FILE)
    for worker in world.workers:
        with contextlib.suppress(Exception):
            await worker.work()
    assert world.data.failure is None
    world.bytes.is_away = False
    assert "while-away" not in diary.said
    await diary.check()
    world.clock.advance(ORPHAN_SECONDS + 1)
    await world.rest()
    await diary.check()
    await world.assert_nothing_left()


async def test_fsck_gives_nothing_up_during_an_outage(place: Place) -> None:
    world = place()
    await world.bucket()
    diary = Diary(world)
    await diary.all()
    world.bytes.is_away = True
    with pytest.raises(DataUnavailable):
        await fsck(world.core, repair=True, accept_loss=True)
    world.bytes.is_away = False
    assert (await fsck(world.core)).is_healthy()
    await diary.check()


async def test_a_wrong_size_is_not_judged_during_an_outage(place: Place) -> None:
    """Whether the record or the bytes are right is asked of the bytes."""
    world = place()
    await world.bucket()
    diary = Diary(world)
    await diary.all()
    key = next(key for key in await world.table(keys.OBJECTS) if b"small/0" in key)
    entry = await world.engine.get(key)
    record = decode(entry.value, ObjectRecord)
    record.size += 1
    await world.engine.commit(Commit(put=[Put(key, encode(record, b""))]))
    world.bytes.is_away = True
    with pytest.raises(DataUnavailable):
        await fsck(world.core, repair=True, accept_loss=True)
    world.bytes.is_away = False
    report = await fsck(world.core, repair=True)
    assert [finding.kind for finding in report.findings] == ["size-wrong"]
    await diary.check()
