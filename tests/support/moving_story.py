"""A random story about bytes: written here, read there, moved, evicted, while regions stop and
messages are lost. At every moment the home of every version must have its bytes.
"""

from __future__ import annotations

import asyncio
import random
from random import Random

from amur.meta import keys
from amur.meta.engine import Commit
from amur.meta.holdings import DURABLE, home_of, kind_in
from amur.meta.records import ObjectRecord, decode
from amur.objects.core import Core
from amur.objects.errors import StoreError
from amur.workers.accesses import keep_counts
from amur.workers.evict import Evictor
from amur.workers.move import Mover
from amur.workers.place import Placer
from amur.workers.worker import Worker
from tests.support.regions_sim import NAMES, SimCluster, SimRegion
from tests.support.virtual_time import run_virtually

KEYS = ("a", "b", "c")
BODY_BYTES = 5000  # more than is kept inline
CACHE_BYTES = 12_000
STORY_SECONDS = 60.0
CALM_SECONDS = 120.0
BUCKET = "photos"


class BytesCluster(SimCluster):
    """With the workers that pull, evict and move; looks at homes after each commit."""

    moves = 0
    cache_bytes = CACHE_BYTES

    def workers(self, core: Core, fence: asyncio.Lock) -> list[Worker]:
        return [*super().workers(core, fence), Placer(core), Evictor(core), Mover(core)]

    def start(self) -> None:
        for region in self.regions.values():
            region.engine.committed = self._committed  # type: ignore[method-assign]
        super().start()

    def start_region(self, region: SimRegion) -> None:
        region.start()
        region.core.cache_bytes = self.cache_bytes
        region.spawn(keep_counts(region.core, 1.0))

    def _committed(self, commit: Commit) -> None:
        for put in commit.put:
            if put.key.startswith((keys.OBJECTS, keys.VERSIONS)):
                self._check(*keys.owner_name(put.key))

    def _check(self, bucket_id: bytes, key: bytes) -> None:
        """Of the newest version of a key in each region (the bucket keeps no others)."""
        at = keys.object_key(bucket_id, key)
        there: dict[str, ObjectRecord] = {}
        for name, region in self.regions.items():
            entry = region.engine._get(at)
            if entry is not None:
                there[name] = decode(entry.value, ObjectRecord)
        for version in {record.version for record in there.values()}:
            same = {name: r for name, r in there.items() if r.version == version}
            latest = max(same.values(), key=lambda record: record.home_epoch)
            self.moves = max(self.moves, latest.home_epoch)
            home = home_of(latest)
            # where the home has dropped the version, it was overwritten or deleted
            has_not = f"{home} must keep {key!r}, and has not"
            assert home not in same or self._has_bytes(same[home]), has_not

    def _has_bytes(self, record: ObjectRecord) -> bool:
        return bool(record.extents)


class BytesTeller:
    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.cluster = BytesCluster(self.chance, NAMES[:3], [0.0, 0.0, 0.0])
        self.cluster.pace = 0.1
        self.bodies: dict[int, bytes] = {}
        self.reads = self.failed_reads = 0

    async def tell(self) -> BytesTeller:
        cluster, chance = self.cluster, self.chance
        cluster.start()
        first = cluster.regions[cluster.names[0]]
        await first.store.create_bucket(BUCKET)
        await asyncio.sleep(2)
        network = cluster.network
        network.loss, network.repeat = chance.choice((0.0, 0.1, 0.3)), chance.choice((0.0, 0.3))
        network.stray = chance.choice((0.0, 0.02))
        favourite = {key: chance.choice(cluster.names) for key in KEYS}
        await asyncio.gather(self._clients(favourite), self._clients(favourite), self._faults())
        network.loss = network.repeat = network.stray = 0.0
        network.cut.clear()
        await asyncio.sleep(CALM_SECONDS)
        assert not cluster.failures, cluster.failures
        await self._judge()
        await cluster.stop()
        return self

    async def _clients(self, favourite: dict[str, str]) -> None:
        chance, loop = self.chance, asyncio.get_running_loop()
        while loop.time() < STORY_SECONDS:
            await asyncio.sleep(chance.expovariate(8.0))
            key = chance.choice(KEYS)
            if chance.random() < 0.03:
                favourite[key] = chance.choice(self.cluster.names)
            name = favourite[key] if chance.random() < 0.9 else chance.choice(self.cluster.names)
            region = self.cluster.regions[name]
            if not region.is_up:
                continue
            work = self._write(region, key) if chance.random() < 0.03 else self._read(region, key)
            await region.run(work)

    async def _write(self, region: SimRegion, key: str) -> None:
        body = self.chance.randbytes(BODY_BYTES)
        try:
            record = await region.store.put(BUCKET, key, body)
        except StoreError:
            return
        self.bodies[record.version] = body

    async def _read(self, region: SimRegion, key: str) -> None:
        self.reads += 1
        try:
            reading = await region.store.get(BUCKET, key)
        except StoreError:
            self.failed_reads += 1
            return
        body = reading.body
        if body is None:
            assert reading.stream is not None
            try:
                body = b"".join([piece async for piece in reading.stream])
            except StoreError:
                self.failed_reads += 1
                return
        expected = self.bodies.get(reading.record.version)
        assert expected is None or body == expected, "wrong bytes"

    async def _faults(self) -> None:
        chance, cluster, loop = self.chance, self.cluster, asyncio.get_running_loop()
        while loop.time() < STORY_SECONDS:
            await asyncio.sleep(chance.uniform(0.2, 6.0))
            region = cluster.regions[chance.choice(cluster.names)]
            match chance.randrange(4):
                case 0:
                    pair = frozenset((region.name, chance.choice(cluster.names)))
                    cluster.network.cut.add(pair)
                case 1:
                    cluster.network.cut.clear()
                case _:
                    await region.stop()
                    await asyncio.sleep(chance.choice((0.0, 0.3, 3.0)))
                    cluster.start_region(region)

    async def _judge(self) -> None:
        """Everything can be read everywhere, and its home says that it must stay."""
        for region in self.cluster.regions.values():
            for key in KEYS:
                before = self.failed_reads
                await self._read(region, key)
                try:
                    record = await region.store.head(BUCKET, key)
                except StoreError:
                    continue  # never written
                assert self.failed_reads == before, f"{key} can't be read in {region.name}"
                assert kind_in(record, home_of(record)) >= DURABLE, record


def run_bytes_story(seed: int) -> BytesTeller:
    state = random.getstate()
    random.seed(seed)  # jitter of retries
    try:
        return run_virtually(BytesTeller(seed).tell())
    finally:
        random.setstate(state)
