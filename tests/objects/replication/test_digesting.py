"""Anti-entropy between two regions: a page fits an answer, whatever is in it."""

from __future__ import annotations

import pytest

from amur.objects.replication import digesting
from amur.objects.replication.answering import answer
from amur.objects.replication.batches import apply_items
from amur.objects.replication.digesting import END, marks
from amur.objects.types import Attributes
from amur.regions.messages import BucketsAsk, Items, ItemsAsk, encode
from tests.support.pulls import BUCKET, FakeCluster, FakeRegion, small_sizes

PAGE_BYTES = 4000
ITEM_BYTES = 1500  # the largest of these tests


@pytest.fixture
async def two(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    monkeypatch.setattr(digesting, "ITEMS_BYTES_MAX", PAGE_BYTES)
    monkeypatch.setattr(digesting, "PART_BYTES", 150)
    small_sizes(monkeypatch)
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BUCKET)
    await cluster.push()
    return cluster


async def versioned(region: FakeRegion) -> None:
    await region.store.update_bucket(
        BUCKET, lambda record: setattr(record, "versioning", "Enabled")
    )


async def taken_over(two: FakeCluster, *, limit: int = 500) -> list[int]:
    """Have fra take over all of sjc; sizes of the answers."""
    sjc, fra = two["sjc"], two["fra"]
    buckets = await answer(sjc.core, BucketsAsk("", 100))
    assert isinstance(buckets, Items)
    await apply_items(fra.core, buckets.items)
    start, after, sizes = b"", -1, []
    while True:
        page = await answer(sjc.core, ItemsAsk(start, END, limit, "fra", after))
        assert isinstance(page, Items)
        sizes.append(len(encode(page)))
        await apply_items(fra.core, page.items)
        if not page.next:
            break
        assert (page.next, page.after) > (start, after), "it goes on"
        start, after = page.next, page.after
    mine, theirs = [await marks(each.core, b"", END, 10_000) for each in (sjc, fra)]
    assert [mark.changed for mark in mine[0]] == [mark.changed for mark in theirs[0]]
    return sizes


def assert_bounded(sizes: list[int]) -> None:
    assert len(sizes) > 2
    assert max(sizes) <= PAGE_BYTES + ITEM_BYTES + 1000  # the bucket comes along


async def test_a_key_with_more_versions_than_an_answer_holds(two: FakeCluster) -> None:
    await versioned(two["sjc"])
    for _ in range(60):
        await two["sjc"].put("key", two.body(1000))
    await two["sjc"].put("later", b"x")
    assert_bounded(await taken_over(two))


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_null_versions_markers_and_tombstones_among_them(
    two: FakeCluster, limit: int
) -> None:
    store = two["sjc"].store
    await two["sjc"].put("key", b"null")
    await versioned(two["sjc"])
    versions = [(await two["sjc"].put("key", two.body(900))).version_id() for _ in range(20)]
    await store.delete(BUCKET, "key")
    for version in versions[::3]:
        await store.delete(BUCKET, "key", version_id=version)
    await two["sjc"].put("key\x00", two.body(900))
    await taken_over(two, limit=limit)


async def test_objects_of_many_parts(two: FakeCluster) -> None:
    for key in "abcdefgh":
        await two["sjc"].multipart(key, [two.body(100) for _ in range(8)])
    assert_bounded(await taken_over(two))


async def test_objects_with_large_records(two: FakeCluster) -> None:
    for number in range(40):
        attributes = Attributes(metadata={"note": "x" * 900})
        await two["sjc"].store.put(BUCKET, f"key {number}", b"body", attributes)
    assert_bounded(await taken_over(two))
