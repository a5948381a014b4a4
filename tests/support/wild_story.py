"""The random story of `regions_story.py` with all that clients can do: multipart uploads, copies,
renames, null versions, tags of old versions, ranges, bodies of all sizes, and a bucket that is
created and deleted on and on; while the workers pull, move, evict and collect.

Clocks are right here, so that what was overwritten or deleted must have been so by something later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator
from hashlib import md5
from random import Random

import pytest

from amur.data.memory import MemoryDataStore
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.records import ObjectRecord
from amur.objects.core import Core
from amur.objects.digests import multipart_etag
from amur.objects.errors import NoSuchBucket
from amur.objects.pull.bodies import has_bytes
from amur.objects.types import Attributes, ByteRange, CompletedPart, Reading
from amur.workers.collect import Collector
from amur.workers.worker import Worker
from tests.support.moving_story import BytesCluster
from tests.support.pulls import CHUNK, FILE, PACK, PIECE, body_of, small_sizes
from tests.support.regions_sim import NAMES, SimCluster, SimRegion
from tests.support.regions_story import BUCKETS, KEYS, Known, Story, Teller, versions
from tests.support.virtual_time import run_virtually

THIRD = "third"  # created and deleted all the time; client 0 does nothing else
THIRD_KEYS = ("x", "y")
SIZES = (5000, PACK - 1, PACK + 3000, 2 * CHUNK + 100)  # beside the short ones, which are inline
PART_SIZES = (10, PACK - 1, CHUNK + 3000)
RANGE_BYTES_MAX = 2 * PACK
GRACE_SECONDS = 30.0
NEVER_NS = 1 << 63
SLACK_NS = 10_000_000  # a version may be ahead of the clock that much

_OPERATIONS = (
    *("put",) * 6, *("big_put",) * 4, *("multipart",) * 2, *("delete",) * 3,
    *("delete_version",) * 2, "delete_null", "tag", "tag_version", "acl", "setting", "suspend",
    *("copy",) * 2, *("rename",) * 2, *("read",) * 6, "range",
)  # fmt: skip
_THIRD_OPERATIONS = (
    "create", "create", "drop", "drop", "force", "put", "put", "big_put", *("delete",) * 4,
)  # fmt: skip


class WildCluster(BytesCluster):
    """With a collector, too."""

    cache_bytes = 4 * CHUNK

    def __init__(self, chance: Random, names: tuple[str, ...], skews_s: list[float]) -> None:
        super().__init__(chance, names, skews_s)
        for region in self.regions.values():
            region.data = MemoryDataStore(
                chunk_bytes=PIECE, pack_bytes_max=PACK, file_bytes_max=FILE
            )

    def workers(self, core: Core, fence: asyncio.Lock) -> list[Worker]:
        return [*super().workers(core, fence), Collector(core, grace_seconds=GRACE_SECONDS)]

    def _has_bytes(self, record: ObjectRecord) -> bool:
        return has_bytes(record) or bool(record.manifest)  # whose parts are not looked at


class WildTeller(Teller):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.written: dict[str, bytes] = {}  # ETag to body, of all that anybody tried to write
        self.may_force = self.chance.random() < 0.3
        self.has_forced = False

    def _cluster(self) -> SimCluster:
        names = NAMES[: self.chance.choice((2, 3, 3, 4))]
        return WildCluster(self.chance, names, [0.0] * len(names))

    # --- what happens ---
    async def _prepare(self, first: SimRegion) -> None:
        """In half of the stories, what is written to one of the buckets is pulled everywhere."""
        await super()._prepare(first)
        if self.chance.random() < 0.5:
            name = self.chance.choice(BUCKETS)
            await first.store.update_bucket(
                name, lambda record: setattr(record, "accelerate", True)
            )

    async def _fault(self, name: str, number: int) -> None:
        if number == 3:  # no clock goes wrong; all are cut off more often than in the other story
            self.cluster.network.cut.clear()
        else:
            await super()._fault(name, number)

    def _next(self, number: int) -> tuple[str, str, str]:
        choice = self.chance.choice
        if number == 0:
            return THIRD, choice(THIRD_KEYS), choice(_THIRD_OPERATIONS)
        return choice(BUCKETS), choice(KEYS), choice(_OPERATIONS)

    @contextlib.contextmanager
    def _deleting(self, region: SimRegion, known: Known) -> Iterator[None]:
        """Note until when a null version may have been deleted, however it ends."""
        at = len(known.null_deletes)
        known.null_deletes.append(NEVER_NS)
        try:
            yield
        finally:
            known.null_deletes[at] = region.clock.now_ns() + SLACK_NS

    def _acknowledged(self, bucket: str, key: str, record: ObjectRecord) -> None:
        known = self._known(bucket, key)
        told = known.null_puts if record.is_null else known.puts
        told[record.version] = self.written[record.etag]

    def _check(self, reading: Reading, body: bytes) -> None:
        assert body == self.written[reading.record.etag][reading.start : reading.end], "wrong bytes"

    async def _put_body(self, region: SimRegion, bucket: str, key: str, body: bytes) -> None:
        self.written[md5(body).hexdigest()] = body
        self._acknowledged(bucket, key, await region.store.put(bucket, key, body))

    async def _put(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        self.bodies += 1
        await self._put_body(region, bucket, key, f"{self.bodies} {key}".encode())

    async def _big_put(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        body = self.chance.randbytes(self.chance.choice(SIZES))
        await self._put_body(region, bucket, key, body)

    async def _multipart(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        chance, store = self.chance, region.store
        count = chance.randint(1, 4)
        bodies = [chance.randbytes(chance.choice(PART_SIZES)) for _ in range(count)]
        etag = multipart_etag(md5(body).digest() for body in bodies)
        self.written[etag] = b"".join(bodies)
        upload = (await store.create_upload(bucket, key, Attributes())).id.hex()
        parts = []
        for number, body in enumerate(bodies, 1):
            part = await store.put_part(bucket, key, upload, number, body)
            parts.append(CompletedPart(number, part.etag, {}))
        self._acknowledged(bucket, key, await store.complete_upload(bucket, key, upload, parts))

    async def _delete(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        with self._deleting(region, known):
            await region.store.delete(bucket, key)

    async def _delete_null(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        with self._deleting(region, known):
            await region.store.delete(bucket, key, version_id="null")

    async def _tag_version(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        if not known.puts:
            return
        version = str(self.chance.choice(sorted(known.puts)))
        tags = {"n": str(self.chance.randrange(1000))}
        told = await region.store.update_object(
            bucket, key, lambda record: setattr(record, "tags", tags), version_id=version
        )
        name = ("tags_at", told.version)
        known.marks[name] = max(known.marks.get(name, 0), told.tags_at)

    async def _copy(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        to = self.chance.choice(BUCKETS), self.chance.choice(KEYS)
        if to != (bucket, key):
            record = await region.store.copy((bucket, key, ""), *to, None)
            self._acknowledged(*to, record)

    async def _rename(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        to = self.chance.choice(KEYS)
        if to != key:
            with self._deleting(region, known):
                record = await region.store.rename(bucket, key, to)
            self._acknowledged(bucket, to, record)

    async def _read(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        reading = await region.store.get(bucket, key)
        self._check(reading, await body_of(reading))

    async def _range(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        first = self.chance.randrange(max(SIZES))
        wanted = ByteRange(first, first + self.chance.randrange(RANGE_BYTES_MAX))
        reading = await region.store.get(bucket, key, byte_range=wanted)
        assert reading.start == first
        self._check(reading, await body_of(reading))

    async def _create(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        await region.store.create_bucket(bucket)

    async def _drop(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        await region.store.delete_bucket(bucket)

    async def _force(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        if self.may_force:
            self.has_forced = True
            await region.store.delete_bucket(bucket, force=True)

    # --- what must be true ---
    async def _wanted(self) -> list[bytes]:
        """Names of what some region is still to pull."""
        end, regions = prefix_end(keys.WANTED), self.cluster.regions.values()
        rows = [await region.engine.scan(keys.WANTED, end, 10) for region in regions]
        return [entry.key for found in rows for entry in found]

    async def _is_quiet(self) -> bool:
        return not await self._wanted() and await super()._is_quiet()

    async def _judge(self) -> None:
        """Every body can be read everywhere; that changes who has them, and then all agree again,
        with nothing lost."""
        self.cluster.network.delay_s = 0.001  # at its slowest it would be given up
        await asyncio.sleep(self.chance.choice((0, 300, 1000)))
        for region in self.cluster.regions.values():
            for bucket, key in self.known:
                await self._versions(region, bucket, key)
        await asyncio.sleep(60)
        await self._calm()
        assert not (left := await self._wanted()), f"still to be pulled: {left}"
        await super()._judge()

    async def _versions(
        self, region: SimRegion, bucket: str, key: str
    ) -> dict[int, tuple[ObjectRecord, bytes]]:
        """With the bodies that clients would read."""
        told = {}
        try:
            for _, record in await versions(region.core, bucket, key):
                reading = await region.store.get(bucket, key, version_id=record.version_id())
                body = await body_of(reading)
                assert reading.record.version == record.version
                self._check(reading, body)
                told[record.version] = record, body
        except NoSuchBucket:
            assert bucket == THIRD
        return told

    async def _judge_key(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        if bucket != THIRD or not self.has_forced:
            await super()._judge_key(region, bucket, key, known)

    def _may_be_gone(self, latest: int, later: list[ObjectRecord], known: Known) -> bool:
        is_overwritten = any(record.is_null for record in later)
        return is_overwritten or any(until >= latest for until in known.null_deletes)


def run_wild_story(seed: int) -> Story:
    state = random.getstate()
    random.seed(seed)  # jitter of retries
    try:
        with pytest.MonkeyPatch.context() as patch:
            small_sizes(patch)
            patch.setattr(os, "urandom", Random(seed).randbytes)  # ids, so that a seed repeats
            return run_virtually(WildTeller(seed).tell())
    finally:
        random.setstate(state)
