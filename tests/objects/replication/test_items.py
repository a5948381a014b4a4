"""What leaves a region of a version, and what another one takes in."""

from __future__ import annotations

import pytest

from amur.meta import keys
from amur.meta.engine import Commit, prefix_end
from amur.meta.log import Changed
from amur.objects.pull.bodies import find_body
from amur.objects.pull.localizing import make_local
from amur.objects.replication.batches import apply_items
from amur.objects.replication.items import items_of
from amur.objects.types import BucketRecord
from tests.support.pulls import BUCKET, CHUNK, FakeCluster, FakeRegion, small_sizes

BODY = b"bytes that may lie in sjc only"


@pytest.fixture
async def two() -> FakeCluster:
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BucketRecord(name="only", owner="me", regions="sjc"))
    await cluster.push()
    return cluster


async def written(sjc: FakeRegion) -> Changed:
    await sjc.store.put("only", "key", BODY)
    return Changed((await sjc.store.bucket("only")).id, b"key", None)


async def is_on_disk(region: FakeRegion) -> bool:
    return any(BODY in entry.value for entry in await region.engine.scan(b"", b"\xff", 1_000_000))


async def test_a_restricted_body_stays(two: FakeCluster) -> None:
    changed = await written(two["sjc"])
    items = await items_of(two["sjc"].core, [changed], "fra")
    assert not any(BODY in item.state for item in items)


async def test_and_when_its_bucket_was_deleted_meanwhile(two: FakeCluster) -> None:
    """The change of the object is sent before that of the bucket, of which only the id is left."""
    sjc = two["sjc"]
    changed = await written(sjc)
    await sjc.store.delete_bucket("only", force=True)
    assert await sjc.engine.scan(keys.OBJECTS, prefix_end(keys.OBJECTS), 1), "not yet emptied"
    items = await items_of(sjc.core, [changed], "fra")
    await apply_items(two["fra"].core, items)
    assert not any(BODY in item.state for item in items)
    assert not await is_on_disk(two["fra"])


async def test_a_body_that_comes_all_the_same_is_not_kept(two: FakeCluster) -> None:
    """From a region that has other settings, say."""
    sjc, fra = two["sjc"], two["fra"]
    changed = await written(sjc)
    items = await items_of(sjc.core, [changed], "sjc")
    assert any(BODY in item.state for item in items)
    await apply_items(fra.core, items)
    assert not await is_on_disk(fra)
    found = await find_body(fra.core, changed.bucket, b"key", items[-1].version or 0)
    assert found is None or not found.record.is_inline
    reading = await fra.store.get("only", "key")
    assert reading.body == BODY, "passed through"
    assert not await is_on_disk(fra)


async def test_a_manifest_is_not_put_over_one_that_came_meanwhile(
    two: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an object and its copy, taken in at the same time; the one that was first is pulled."""
    small_sizes(monkeypatch)
    sjc, fra = two["sjc"], two["fra"]
    await sjc.store.create_bucket(BUCKET)
    body = await sjc.multipart("one", [two.body(CHUNK)] * 2)
    await sjc.store.copy((BUCKET, "one", ""), BUCKET, "copy", None)
    bucket_id = (await sjc.store.bucket(BUCKET)).id
    names = [Changed(bucket_id, key, None) for key in (b"one", b"copy")]
    bucket, one, copy = await items_of(sjc.core, names, "fra")
    await apply_items(fra.core, [bucket])
    commit, is_first = fra.engine.commit, True

    async def slow(what: Commit) -> int:
        nonlocal is_first
        if is_first:
            is_first = False
            await apply_items(fra.core, [one])
            await make_local(fra.core, *await fra.version("one"), durable=True)
        return await commit(what)

    monkeypatch.setattr(fra.engine, "commit", slow)
    await apply_items(fra.core, [copy])
    await fra.assert_sound()
    fra.links["sjc"].is_down = True
    assert await fra.get("one") == await fra.get("copy") == body
