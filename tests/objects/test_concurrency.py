"""R3: many writers of few keys on one engine. Version order is the order of the register."""

from __future__ import annotations

import asyncio
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


@pytest.mark.parametrize("seed", range(15))
async def test_everything_at_once_keeps_the_invariants(
    racing: Store, bucket: str, seed: int
) -> None:
    async def client(chance: Random) -> None:
        for _ in range(25):
            key, other = chance.choice("abc"), chance.choice("abc")
            large = bytes(chance.choice((10, 5000)))
            try:
                match chance.randrange(9):
                    case 0 | 1:
                        await racing.put(bucket, key, large)
                    case 2:
                        await racing.delete(bucket, key)
                    case 3 | 4:
                        page = await racing.list_versions(bucket)
                        line = chance.choice(page.entries) if page.entries else None
                        if line is not None and line.record is not None:
                            version = line.record.version_id()
                            await racing.delete(bucket, line.key, version_id=version)
                    case 5:
                        await racing.copy((bucket, key, ""), bucket, other, None, tags={})
                    case 6:
                        await racing.rename(bucket, key, other)
                    case 7:
                        state = chance.choice(("Enabled", "Suspended"))
                        await racing.update_bucket(
                            bucket, lambda record, to=state: setattr(record, "versioning", to)
                        )
                    case _:
                        await racing.update_object(
                            bucket, key, lambda record: setattr(record, "tags", {"a": "b"})
                        )
            except StoreError:
                continue

    await asyncio.gather(*(client(Random(seed * 100 + i)) for i in range(6)))
    assert await violations(racing.core) == []


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("seed", range(10))
async def test_a_put_is_never_lost_in_a_bucket_that_goes(
    racing: Store, bucket: str, force: bool, seed: int
) -> None:
    """Either the write fails, or it was there when the bucket went (force), or the bucket stays."""
    chance = Random(seed)

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
