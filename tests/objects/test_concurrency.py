"""R3: many writers of few keys on one engine. Version order is the order of the register."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from amur.meta import keys
from amur.objects.errors import NoSuchBucket, NoSuchKey, PreconditionFailed, StoreError
from amur.objects.invariants import violations
from amur.objects.store import Store
from amur.objects.types import BucketRecord, Conditions
from tests.support.interleaving import InterleavedEngine


@pytest.fixture
def racing(store: Store) -> Store:
    """The store on an engine that lets others go first at every call, as a real one does."""
    store.core.engine = InterleavedEngine(store.core.engine, Random(7))
    return store


async def test_compare_and_swap_counts_exactly(racing: Store, bucket: str) -> None:
    await racing.put(bucket, "counter", b"0")

    async def increment() -> int:
        for tries in range(1000):
            now = await racing.get(bucket, "counter")
            assert now.body is not None
            condition = Conditions(if_match=[now.record.etag])
            try:
                body = b"%d" % (int(now.body) + 1)
                await racing.put(bucket, "counter", body, conditions=condition)
            except PreconditionFailed:
                continue
            return tries
        raise AssertionError("never won")

    tries = await asyncio.gather(*(increment() for _ in range(30)))
    assert (await racing.get(bucket, "counter")).body == b"30"
    assert sum(tries) > 0, "nobody met anybody: the test shows nothing"


@pytest.mark.parametrize("condition", [Conditions(if_none_match=["*"]), Conditions(if_match=[""])])
@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
async def test_one_creator_wins(
    racing: Store, bucket: str, condition: Conditions, versioning: str
) -> None:
    await racing.update_bucket(bucket, lambda record: setattr(record, "versioning", versioning))

    async def create(body: bytes) -> bool:
        try:
            await racing.put(bucket, "lock", body, conditions=condition)
        except PreconditionFailed:
            return False
        return True

    for _ in range(5):
        bodies = [b"%d" % i for i in range(20)]
        won = await asyncio.gather(*(create(body) for body in bodies))
        assert won.count(True) == 1
        assert (await racing.get(bucket, "lock")).body == bodies[won.index(True)]
        await racing.delete(bucket, "lock")
    assert await violations(racing.core) == []


@pytest.mark.parametrize("seed", range(20))
async def test_register_is_linearizable(racing: Store, bucket: str, seed: int) -> None:
    """Version order is the only order that can be, as every write has its own version: it must
    respect real time, and every read must see the newest of some moment within the read."""
    clock = 0
    writes: list[tuple[int, int, int]] = []  # version, begun, ended
    reads: list[tuple[int, int, int]] = []

    def tick() -> int:
        nonlocal clock
        clock += 1
        return clock

    async def client(chance: Random) -> None:
        for _ in range(20):
            begun = tick()
            roll = chance.random()
            if roll < 0.4:
                record = await racing.put(bucket, "register", chance.randbytes(8))
                writes.append((record.version, begun, tick()))
            elif roll < 0.6:
                try:
                    now = await racing.head(bucket, "register")
                    condition = Conditions(if_match=[now.etag])
                    record = await racing.put(
                        bucket, "register", chance.randbytes(8), conditions=condition
                    )
                    writes.append((record.version, begun, tick()))
                    others = [v for v, _, _ in writes if now.version < v < record.version]
                    assert not others, "a compare-and-swap overlooked a write"
                except (PreconditionFailed, NoSuchKey):
                    continue
            else:
                try:
                    reads.append(((await racing.head(bucket, "register")).version, begun, tick()))
                except NoSuchKey:
                    reads.append((0, begun, tick()))
            await asyncio.sleep(0)

    await asyncio.gather(*(client(Random(seed * 100 + i)) for i in range(8)))
    for version, begun, ended in writes:
        for other, other_begun, other_ended in writes:
            assert not (other_ended < begun and other > version), "written later, ordered before"
            assert not (ended < other_begun and version > other)
    known = {0, *(version for version, _, _ in writes)}
    for version, begun, ended in reads:
        assert version in known
        stale = [v for v, _, done in writes if done < begun and v > version]
        assert not stale, "a read missed a write that had ended before it began"
        future = [b for v, b, _ in writes if v == version and b > ended]
        assert not future, "a read saw a write that had not begun"


class Round:
    """A few writers of one key, and what they were told: checked when all have ended."""

    def __init__(self, store: Store, bucket: str, key: str, chance: Random) -> None:
        self._store = store
        self._bucket = bucket
        self._key = key
        self._chance = chance
        self._written: set[str] = set()
        self._removed: set[str] = set()

    async def writer(self) -> None:
        store, bucket, key = self._store, self._bucket, self._key
        for _ in range(3):
            try:
                match self._chance.randrange(6):
                    case 0 | 1:
                        body = bytes(self._chance.choice((10, 5000)))
                        self._written.add((await store.put(bucket, key, body)).version_id())
                    case 2:
                        self._written.add((await store.delete(bucket, key)).version_id)
                    case 3:
                        await store.update_object(
                            bucket, key, lambda record: record.tags.update(a="b")
                        )
                    case _:
                        await self._remove_one()
            except StoreError:
                continue

    async def _remove_one(self) -> None:
        page = await self._store.list_versions(self._bucket)
        records = [line.record for line in page.entries if line.record and line.key == self._key]
        if records:
            version = self._chance.choice(records[:2]).version_id()
            await self._store.delete(self._bucket, self._key, version_id=version)
            self._removed.add(version)

    async def check(self) -> None:
        page = await self._store.list_versions(self._bucket)
        ids = {line.record.version_id() for line in page.entries if line.record}
        assert ids == self._written - self._removed


@pytest.mark.parametrize("seed", range(10))
async def test_versions_told_are_kept_and_versions_removed_are_gone(
    racing: Store, versioned: str, seed: int
) -> None:
    chance = Random(seed)
    for i in range(25):
        race = Round(racing, versioned, f"key{i}", chance)
        await asyncio.gather(*(race.writer() for _ in range(4)))
        await race.check()
        assert await violations(racing.core) == []
        await racing.delete_bucket(versioned, force=True)
        await racing.create_bucket(BucketRecord(name=versioned, owner="me", versioning="Enabled"))


@pytest.mark.parametrize("seed", range(100))
async def test_everything_at_once_keeps_the_invariants(
    racing: Store, versioned: str, seed: int
) -> None:
    async def client(chance: Random) -> None:
        for _ in range(5):
            key, other = chance.choice("ab"), chance.choice("ab")
            try:
                match chance.randrange(6):
                    case 0 | 1:
                        await racing.put(versioned, key, bytes(chance.choice((10, 5000))))
                    case 2:
                        await racing.delete(versioned, key)
                    case 3:
                        await racing.copy((versioned, key, ""), versioned, other, None, tags={})
                    case 4:
                        await racing.rename(versioned, key, other)
                    case _:
                        await racing.update_bucket(versioned, _switch)
            except StoreError:
                continue

    await asyncio.gather(*(client(Random(seed * 100 + i)) for i in range(4)))
    assert await violations(racing.core) == []


def _switch(record: BucketRecord) -> None:
    record.versioning = "Suspended" if record.versioning == "Enabled" else "Enabled"


def before_call(
    store: Store, method: str, number: int, action: Callable[[], Awaitable[object]]
) -> None:
    """Let `action` happen just before the call of that number of an engine's method."""
    engine, calls = store.core.engine, 0
    original = getattr(engine, method)

    async def hooked(argument: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            setattr(engine, method, original)
            await action()
        return await original(argument)

    setattr(engine, method, hooked)


async def test_a_copy_is_of_what_the_source_is_when_it_is_committed(
    store: Store, bucket: str
) -> None:
    await store.put(bucket, "source", bytes(5000))

    async def tag() -> None:
        await store.update_object(bucket, "source", lambda record: record.tags.update(late="yes"))

    before_call(store, "commit", 1, tag)
    copied = await store.copy((bucket, "source", ""), bucket, "target", None)
    assert copied.tags == {"late": "yes"}


async def test_a_bucket_that_went_before_the_commit(store: Store, bucket: str) -> None:
    before_call(store, "commit", 1, lambda: store.delete_bucket(bucket))
    with pytest.raises(NoSuchBucket):
        await store.put(bucket, "key", b"body")
    assert await violations(store.core) == []


async def test_a_bucket_that_was_replaced_before_the_commit(store: Store, bucket: str) -> None:
    async def replace() -> None:
        await store.delete_bucket(bucket)
        await store.create_bucket(BucketRecord(name=bucket, owner="other"))

    before_call(store, "commit", 1, replace)
    await store.put(bucket, "key", b"body")
    assert (await store.get(bucket, "key")).body == b"body"
    assert await violations(store.core) == []


async def test_versioning_that_was_enabled_before_the_commit(store: Store, bucket: str) -> None:
    await store.put(bucket, "key", b"old")
    before_call(store, "commit", 1, lambda: store.update_bucket(bucket, _switch))
    await store.put(bucket, "key", b"new")
    assert (await store.get(bucket, "key", version_id="null")).body == b"old"


async def test_a_version_that_became_the_newest_between_the_reads(
    store: Store, versioned: str
) -> None:
    first = await store.put(versioned, "key", b"first")
    second = await store.put(versioned, "key", b"second")
    marker = await store.delete(versioned, "key")

    async def undelete() -> None:
        await store.delete(versioned, "key", version_id=marker.version_id)

    before_call(store, "get_many", 2, undelete)
    await store.delete(versioned, "key", version_id=second.version_id())
    assert (await store.head(versioned, "key")).version == first.version
    assert await violations(store.core) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("seed", range(60))
async def test_a_put_is_never_lost_in_a_bucket_that_goes(
    racing: Store, bucket: str, force: bool, seed: int
) -> None:
    """Either the write fails, or it was there when the bucket went (force), or the bucket stays."""
    chance = Random(seed)
    await racing.bucket(bucket)

    async def write(i: int) -> bool:
        for _ in range(chance.randrange(10)):
            await asyncio.sleep(0)
        try:
            await racing.put(bucket, f"key{i}", bytes(5000))
        except NoSuchBucket:
            return False
        return True

    async def delete() -> bool:
        for _ in range(chance.randrange(10)):
            await asyncio.sleep(0)
        try:
            await racing.delete_bucket(bucket, force=force)
        except StoreError:
            return False
        return True

    gone, *written = await asyncio.gather(delete(), *(write(i) for i in range(5)))
    if gone:
        assert force or not any(written)
        left = await racing.core.engine.scan(keys.OBJECTS, keys.OBJECTS + b"\xff" * 9, 10)
        assert left == []
        await racing.create_bucket(BucketRecord(name=bucket, owner="me"))
        assert (await racing.list_objects(bucket)).entries == []
    else:
        assert len((await racing.list_objects(bucket)).entries) == written.count(True)
    assert await violations(racing.core) == []
