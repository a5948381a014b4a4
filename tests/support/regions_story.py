"""A random story of a cluster: clients, faults, and what must be true when all is quiet again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.records import BucketRecord, EntryRecord, ObjectRecord, decode, inline_body
from amur.objects.core import Core
from amur.objects.errors import StoreError
from amur.objects.invariants import violations
from amur.objects.locating import Found
from amur.objects.names import key_bytes
from amur.objects.registry import Registry, Transaction
from amur.objects.replication.digesting import END, marks
from tests.support.regions_sim import NAMES, SimCluster, SimRegion
from tests.support.virtual_time import run_virtually

KEYS = ("a", "b", "c/d", "c/e", "é", "\x00")
BUCKETS = ("plain", "versioned")
QUIET_SECONDS_MAX = 1000.0
STORY_SECONDS = 40.0


@dataclass
class Story:
    trace: str = ""
    events: int = 0
    ended_s: float = 0.0
    acknowledged: int = 0
    log: list[str] = field(default_factory=list)


@dataclass
class Known:
    """What clients were told of one key."""

    puts: dict[int, bytes] = field(default_factory=dict)  # version: body, acknowledged
    null_puts: dict[int, bytes] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)  # versions that somebody tried to delete
    null_deletes: list[int] = field(default_factory=list)  # clock when tried, ns; see `_judge`
    marks: dict[tuple[str, int], int] = field(default_factory=dict)  # latest tags_at, acl_at told
    maybe: int = 0  # writes whose answer never came


class Teller:
    """Runs one story."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.cluster = self._cluster()
        self.story = Story()
        self.known: dict[tuple[str, str], Known] = {}
        self.settings: dict[tuple[str, str], int] = {}  # latest change that was told
        self.entries: dict[bytes, dict[str, int]] = {}  # by path: field, latest change told
        self.gone: set[bytes] = set()  # entries of which the removal was told
        self.bodies = 0

    def _cluster(self) -> SimCluster:
        names = NAMES[: self.chance.choice((3, 3, 3, 4, 5))]
        wild = self.chance.random() < 0.5
        skews = [self.chance.choice((0.0, 0.1, -600.0, 600.0)) if wild else 0.0 for _ in names]
        return SimCluster(self.chance, names, skews)

    async def tell(self) -> Story:
        cluster, chance = self.cluster, self.chance
        cluster.pace = chance.choice((0.02, 0.1, 1.0))
        cluster.log_entries_max = chance.choice((8, 40, 1_000_000))
        cluster.start()
        await self._prepare(cluster.regions[cluster.names[0]])
        network = cluster.network
        network.loss = chance.choice((0.0, 0.0, 0.05, 0.3))
        network.repeat = chance.choice((0.0, 0.1, 0.5))
        network.stray = chance.choice((0.0, 0.01, 0.1))
        network.delay_s = chance.choice((0.001, 0.02, 0.1))
        clients = [asyncio.create_task(self._client(n)) for n in range(4)]
        faults = asyncio.create_task(self._faults())
        await asyncio.gather(*clients)
        await faults
        await self._calm()
        await self._judge()
        loop = asyncio.get_running_loop()
        self.story.trace = cluster.trace.hexdigest()
        self.story.events = cluster.trace.count
        self.story.ended_s = loop.time()
        await cluster.stop()
        return self.story

    # --- what happens ---
    async def _prepare(self, first: SimRegion) -> None:
        await first.store.create_bucket("plain")
        await first.store.create_bucket("versioned")
        await first.store.update_bucket("versioned", _set_versioning("Enabled"))

    async def _faults(self) -> None:
        chance, loop = self.chance, asyncio.get_running_loop()
        while loop.time() < STORY_SECONDS:
            await asyncio.sleep(chance.uniform(0.1, 6.0))
            name = chance.choice(self.cluster.names)
            await self._fault(name, chance.randrange(6))

    async def _fault(self, name: str, number: int) -> None:
        chance, cluster = self.chance, self.cluster
        match number:
            case 0:
                cluster.network.cut.add(frozenset((name, chance.choice(cluster.names))))
            case 1:
                cluster.network.cut.clear()
            case 2:
                others = [other for other in cluster.names if other != name]
                cluster.network.cut |= {frozenset((name, other)) for other in others}
            case 3:
                cluster.regions[name].clock.skew_s += chance.choice((-3600.0, -1.0, 5.0, 600.0))
            case _:
                await self._restart(cluster.regions[name])

    async def _restart(self, region: SimRegion) -> None:
        if region.is_up:
            await region.stop()
            await asyncio.sleep(self.chance.choice((0.0, 0.5, 5.0)))
            self.cluster.start_region(region)

    async def _calm(self) -> None:
        network = self.cluster.network
        network.loss = network.repeat = network.stray = 0.0
        self.cluster.pace = 0.3
        network.cut.clear()
        for _ in range(int(QUIET_SECONDS_MAX / 10)):
            await asyncio.sleep(10)
            assert not self.cluster.failures, self.cluster.failures
            if await self._is_quiet():
                return

    async def _is_quiet(self) -> bool:
        """Nothing is left to be told or collected, and the regions agree."""
        regions = list(self.cluster.regions.values())
        for region in regions:
            for table in (keys.TOMBSTONES, keys.LOG):
                if await region.engine.scan(table, prefix_end(table), 1):
                    return False
        first = await _state(regions[0].core)
        return all([await _state(region.core) == first for region in regions[1:]])

    async def _client(self, number: int) -> None:
        chance = self.chance
        loop = asyncio.get_running_loop()
        while loop.time() < STORY_SECONDS:
            await asyncio.sleep(chance.expovariate(1 / 0.4))
            region = self.cluster.regions[chance.choice(self.cluster.names)]
            if not region.is_up:
                continue
            bucket, key, operation = self._next(number)
            known = self._known(bucket, key)
            known.maybe += 1
            if await region.run(self._operate(operation, region, bucket, key, known)):
                known.maybe -= 1  # else the region stopped: nobody knows

    def _next(self, number: int) -> tuple[str, str, str]:
        """Bucket, key and operation of the client of this number."""
        bucket, key = self.chance.choice(BUCKETS), self.chance.choice(KEYS)
        return bucket, key, self.chance.choice(_OPERATIONS)

    def _known(self, bucket: str, key: str) -> Known:
        return self.known.setdefault((bucket, key), Known())

    async def _operate(
        self, operation: str, region: SimRegion, bucket: str, key: str, known: Known
    ) -> None:
        try:
            await getattr(self, f"_{operation}")(region, bucket, key, known)
        except StoreError:
            return
        self.story.acknowledged += 1

    async def _put(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        self.bodies += 1
        body = f"{self.bodies} {key}".encode()
        record = await region.store.put(bucket, key, body)
        (known.null_puts if record.is_null else known.puts)[record.version] = body

    async def _delete(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        known.null_deletes.append(0)
        await region.store.delete(bucket, key)

    async def _delete_version(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        if known.puts:
            version = self.chance.choice(sorted(known.puts))
            known.deleted.add(version)
            await region.store.delete(bucket, key, version_id=str(version))

    async def _tag(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        tags = {"n": str(self.chance.randrange(1000))}
        told = await region.store.update_object(
            bucket, key, lambda record: setattr(record, "tags", tags)
        )
        name = ("tags_at", told.version)
        known.marks[name] = max(known.marks.get(name, 0), told.tags_at)

    async def _acl(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        acl = self.chance.choice(("private", "public-read"))
        told = await region.store.update_object(
            bucket, key, lambda record: setattr(record, "acl", acl)
        )
        name = ("acl_at", told.version)
        known.marks[name] = max(known.marks.get(name, 0), told.acl_at)

    async def _setting(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        name = self.chance.choice(("tags", "public_list", "acl"))
        number = self.chance.randrange(1000)
        value: Any = {
            "tags": {"n": str(number)},
            "public_list": bool(number % 2),
            "acl": ("private", "public-read")[number % 2],
        }[name]
        told = await region.store.update_bucket(bucket, lambda record: setattr(record, name, value))
        before = self.settings.get((bucket, name), 0)
        self.settings[bucket, name] = max(before, told.changed.get(name, 0))

    async def _suspend(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        if bucket == "versioned":
            state = self.chance.choice(("Enabled", "Suspended"))
            await region.store.update_bucket(bucket, _set_versioning(state))

    async def _create(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        await region.store.create_bucket(self.chance.choice(("plain", "versioned", "third")))

    async def _entry(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        path = b"p" + str(self.chance.randrange(6)).encode()
        name, number = self.chance.choice(("one", "two")), self.chance.randrange(1000)
        removes = self.chance.random() < 0.05

        async def attempt(transaction: Transaction) -> EntryRecord | None:
            record = await transaction.get(path)
            if record is None:
                if await transaction.exists(path):
                    return None
                return await transaction.create(path, {"one": 0, "two": 0}, [b"of", b"by " + path])
            if removes:
                transaction.remove(path)
                return EntryRecord(gone=1)
            transaction.set(path, {name: number})
            return record

        told = await Registry(region.core).transact(attempt)
        if told is not None and told.gone:
            self.gone.add(path)
        elif told is not None:
            marks = self.entries.setdefault(path, {})
            for field_name, at in told.changed.items():
                marks[field_name] = max(marks.get(field_name, 0), at)

    async def _read(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        reading = await region.store.get(bucket, key)
        bodies = known.puts | known.null_puts
        body = bodies.get(reading.record.version)
        if body is not None:
            assert reading.body == body, "wrong bytes"

    # --- what must be true ---
    async def _judge(self) -> None:
        states = [await _state(region.core) for region in self.cluster.regions.values()]
        for name, state in zip(self.cluster.names[1:], states[1:], strict=True):
            assert state == states[0], (
                f"{name} differs from {self.cluster.names[0]}:" + _difference(states[0], state)
            )
        for region in self.cluster.regions.values():
            assert not (found := await violations(region.core)), found
            left = await region.engine.scan(keys.TOMBSTONES, prefix_end(keys.TOMBSTONES), 10)
            assert not left, f"{region.name} keeps tombstones: {left}"
            left = await region.engine.scan(keys.LOG, prefix_end(keys.LOG), 10)
            assert not left, f"{region.name} keeps its log: {left}"
        last = self.cluster.regions[self.cluster.names[-1]]
        for (bucket, key), known in self.known.items():
            await self._judge_key(last, bucket, key, known)
        for (bucket, name), at in self.settings.items():
            changed = (await last.store.bucket(bucket)).changed
            assert changed.get(name, 0) >= at, f"{bucket} lost a change of {name}"
        for region in self.cluster.regions.values():
            await self._judge_entries(region)

    async def _judge_entries(self, region: SimRegion) -> None:
        registry = Registry(region.core)
        living = dict(await registry.scan(b"", b"\xff", 1000))
        for path in self.gone:
            assert path not in living, f"{path!r} came back"
        for path, told in self.entries.items():
            for name, at in told.items():
                record = living.get(path)
                if record is None:  # or a removal that nobody was told of
                    entry = await region.engine.get(keys.entry_key(path))
                    assert entry is not None, f"{path!r} is lost"
                    assert decode(entry.value, EntryRecord).gone, f"{path!r} is lost"
                else:
                    assert record.changed[name] >= at, f"{path!r} lost a change of {name}"
        rows = await region.engine.scan(keys.ENTRY_INDEX, prefix_end(keys.ENTRY_INDEX), 1000)
        found = sorted(row.key for row in rows)
        expected = sorted(
            keys.entry_index_key(index, path)
            for path, record in living.items()
            for index in record.index
        )
        assert found == expected, "the index differs from the entries"

    async def _judge_key(self, region: SimRegion, bucket: str, key: str, known: Known) -> None:
        records = await self._versions(region, bucket, key)
        there = {version: body for version, (_, body) in records.items()}
        for version, body in known.puts.items():
            if version not in known.deleted:
                assert there.get(version) == body, f"{bucket}/{key} lost version {version}"
        for (name, version), at in known.marks.items():
            if version in records:
                assert getattr(records[version][0], name) >= at, f"{bucket}/{key} lost {name}"
        if known.null_puts:
            latest = max(known.null_puts)
            if latest in there:
                assert there[latest] == known.null_puts[latest]
            else:
                later = [record for version, (record, _) in records.items() if version >= latest]
                assert self._may_be_gone(latest, later, known), f"{bucket}/{key} lost {latest}"

    def _may_be_gone(self, latest: int, later: list[ObjectRecord], known: Known) -> bool:
        """Of the latest null version that was acknowledged; `later` ones are there."""
        return bool(later or known.null_deletes or known.maybe)

    async def _versions(
        self, region: SimRegion, bucket: str, key: str
    ) -> dict[int, tuple[ObjectRecord, bytes]]:
        """Version to record and body, of all that are no markers."""
        return {
            record.version: (record, inline_body(entry.value))
            for entry, record in await versions(region.core, bucket, key)
        }


_OPERATIONS = (
    *("put",) * 8, *("delete",) * 3, *("delete_version",) * 2, *("tag",) * 2, "acl", "setting",
    "suspend", "create", *("read",) * 3, *("entry",) * 2,
)  # fmt: skip


def _set_versioning(state: str) -> Any:
    return lambda record: setattr(record, "versioning", state)


async def _state(core: Core) -> dict[Any, Any]:
    """All that is replicated, as it is in one region."""
    state: dict[Any, Any] = {}
    rows = await core.engine.scan(keys.BUCKETS, prefix_end(keys.BUCKETS), 1000)
    for row in rows:
        record = decode(row.value, BucketRecord)
        state[row.key] = msgspec.structs.replace(record, version=0, closing="", closing_ns=0)
    found, cut = await marks(core, b"", END, 100_000)
    assert not cut
    for mark in found:
        changed = mark.changed
        if mark.state:
            state[changed] = mark.state, await _facts(core, changed.bucket, changed.key, mark)
    return state


async def _facts(core: Core, bucket_id: bytes, key: bytes, mark: Any) -> Any:
    if bucket_id == keys.ENTRIES_ID:
        entry = await core.engine.get(keys.entry_key(key))
        assert entry is not None
        return msgspec.structs.replace(decode(entry.value, EntryRecord), version=0)
    version = int(mark.state.split(b" ")[0])
    places = [
        keys.object_key(bucket_id, key),
        keys.marker_key(bucket_id, key),
        keys.version_key(bucket_id, key, version),
    ]
    for number, entry in enumerate(await core.engine.get_many(places)):
        if entry is not None:
            record = decode(entry.value, ObjectRecord)
            if record.version == version:
                record.extents = []  # of this region only
                return number, record, inline_body(entry.value)
    raise AssertionError("a mark without a record")


def _difference(one: dict[Any, Any], other: dict[Any, Any]) -> str:
    return "\n".join(
        f"{name}: {one.get(name)} / {other.get(name)}"
        for name in {*one, *other}
        if one.get(name) != other.get(name)
    )


async def versions(core: Core, bucket: str, key: str) -> list[Found]:
    """All that are no markers. Raises NoSuchBucket."""
    record = await core.bucket(bucket)
    bucket_id, raw = record[0].id, key_bytes(key)
    newest = await core.engine.get(keys.object_key(bucket_id, raw))
    prefix = keys.versions_prefix(bucket_id, raw)
    older = await core.engine.scan(prefix, prefix_end(prefix), 1000)
    entries = ([newest] if newest is not None else []) + older
    found = [Found(entry, decode(entry.value, ObjectRecord)) for entry in entries]
    return [each for each in found if not each.record.is_marker]


def run_story(seed: int) -> Story:
    state = random.getstate()
    random.seed(seed)  # jitter of retries
    try:
        return run_virtually(Teller(seed).tell())
    finally:
        random.setstate(state)
