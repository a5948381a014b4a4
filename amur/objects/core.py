"""What every operation of the store shares: its engine, data, clock, and the retry loop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from amur.clock import Clock
from amur.data.store import DataDamaged, DataFull, DataMissing, DataStore, DataUnavailable
from amur.limits import BUCKET_NAME_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Conflict, Engine, EngineDamaged, EngineFull, Entry, prefix_end
from amur.meta.records import BucketRecord, RecordDamaged, decode
from amur.meta.stamping import next_version
from amur.objects.errors import (
    BodyUnreachable,
    BucketClosed,
    InvalidRegion,
    NoSuchBucket,
    Overloaded,
    StorageDamaged,
    StorageFull,
)
from amur.objects.pull.flights import Flights
from amur.regions.link import Link
from amur.regions.topology import Region, Topology

T = TypeVar("T")

ATTEMPTS_MAX = 60
"""Tries of one operation against conflicting commits before the client is told to slow down."""

TIERS = ("inline", "pack", "block", "cache", "remote")

_BACKOFF_FREE_ATTEMPTS = 3
_BACKOFF_STEP_S = 0.002
_BACKOFF_MAX_S = 0.1
_BUCKETS_CACHED_MAX = 10_000


def storage_error(error: Exception) -> Exception:
    """What an engine's or data store's error is to the callers of the store.

    A failed engine or data store stays what it is: the process must stop, no request can help it.
    """
    if isinstance(error, EngineFull | DataFull):
        return StorageFull("There is no room left to write")
    if isinstance(error, EngineDamaged | RecordDamaged | DataDamaged | DataMissing):
        return StorageDamaged(str(error))
    if isinstance(error, DataUnavailable):
        return BodyUnreachable("The bytes can't be reached now")
    return error


class _Translation:
    """`with translation:` raises the store's own errors in place of those below it."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and (told := storage_error(error)) is not error:
            raise told from error


translation = _Translation()


def bucket_key(name: str) -> bytes:
    """Where a bucket's record lies; NoSuchBucket for what can't be the name of one."""
    if len(name) > BUCKET_NAME_BYTES_MAX or not name.isascii():
        raise NoSuchBucket(BucketName=name)
    return keys.bucket_key(name)


class Core:
    """One region's engine, data store and clock, and how operations use them."""

    def __init__(
        self,
        engine: Engine,
        data: DataStore,
        clock: Clock,
        region: str,
        topology: Topology | None = None,
    ) -> None:
        self.engine = engine
        self.data = data
        self.clock = clock
        self.region = region
        self.topology = topology or Topology(Region(region, 0))
        assert self.topology.me.name == region
        self.is_cluster = self.topology.is_cluster  # what is changed is told to peers
        self.has_joined = not self.is_cluster  # see replication/joining.py
        self.turns: dict[str, asyncio.Condition] = {}  # of peers' batches: see replica.py
        self.links: dict[str, Link] = {}  # to peers, by name; set by who opens them
        self.flights = Flights()  # bytes on their way here
        self.tiers = dict.fromkeys(TIERS, 0)  # reads by where the bytes came from
        self.reads: dict[tuple[bytes, bytes, int], list[int]] = {}  # see accesses.py
        self.cache_bytes = 0  # for pulled bytes, at most; 0: a tenth of what is free
        self.noted_packs: set[bytes] = set()  # where the last given-up body lay: see intake.release
        self._buckets: dict[str, tuple[int, BucketRecord]] = {}
        self._bucket_names: dict[bytes, str] = {}  # by id, for ever: ids are never used again

    async def transact(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run read-decide-commit until its commit meets no conflict."""
        for tries in range(ATTEMPTS_MAX):
            try:
                return await attempt()
            except Conflict:
                if tries >= _BACKOFF_FREE_ATTEMPTS:
                    ceiling = min(_BACKOFF_MAX_S, _BACKOFF_STEP_S * tries)
                    await asyncio.sleep(random.uniform(0, ceiling))  # noqa: S311 - jitter
            except (EngineFull, EngineDamaged, RecordDamaged) as error:
                raise storage_error(error) from error
        raise Overloaded("Too many writers of the same key")

    async def bucket(self, name: str) -> tuple[BucketRecord, tuple[bytes, int]]:
        """The bucket's record, to be read only, and the expectation that it has not changed."""
        key = bucket_key(name)
        entry = await self.engine.get(key)
        record = self.bucket_of(name, entry)
        return record, (key, entry.version if entry else 0)

    def check_open(self, bucket: BucketRecord) -> None:
        """Raise BucketClosed while the bucket is being deleted in every region."""
        if bucket.closing:
            raise BucketClosed(BucketName=bucket.name)

    def check_may_hold(self, bucket: BucketRecord, regions: str) -> None:
        """Raise InvalidRegion unless an object restricted to `regions` may be written here."""
        for restriction in (regions, bucket.regions):
            if restriction and not self.topology.may_hold(restriction):
                raise InvalidRegion(f"This is to be written in {restriction}, not here")

    def stamp(self, after: int) -> int:
        """A time for a change in place: later than `after`, and no other region's."""
        return next_version(self.clock.now_ns(), after, 0, self.topology.me.number)

    def bucket_seen(self, name: str) -> BucketRecord | None:
        """The bucket's record as last read: a hint where to look, never an answer."""
        cached = self._buckets.get(name)
        return cached[1] if cached is not None else None

    async def buckets_of(self, ids: set[bytes]) -> dict[bytes, BucketRecord]:
        """The current records of buckets by their ids; those that are gone are missing."""
        unknown = ids - self._bucket_names.keys()
        if unknown:
            for entry in await self.engine.scan(keys.BUCKETS, prefix_end(keys.BUCKETS), 1 << 31):
                self._bucket_names[decode(entry.value, BucketRecord).id] = entry.key[1:].decode()
        names = {self._bucket_names[each] for each in ids if each in self._bucket_names}
        found: dict[bytes, BucketRecord] = {}
        for name in names:
            here = await self.engine.get(keys.bucket_key(name))
            if here is not None:
                record = self.bucket_of(name, here)
                found[record.id] = record
        return {each: found[each] for each in ids if each in found}

    def bucket_of(self, name: str, entry: Entry | None) -> BucketRecord:
        """Decode a bucket's entry, once for each of its versions."""
        if entry is None:
            self._buckets.pop(name, None)
            raise NoSuchBucket(BucketName=name)
        cached = self._buckets.get(name)
        if cached is None or cached[0] != entry.version:
            if len(self._buckets) >= _BUCKETS_CACHED_MAX:
                self._buckets.clear()
            cached = self._buckets[name] = (entry.version, decode(entry.value, BucketRecord))
        return cached[1]
