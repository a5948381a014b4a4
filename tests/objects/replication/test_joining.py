"""A region among others serves nothing before it knows what there is."""

from __future__ import annotations

import asyncio

import pytest

from amur.objects.errors import RegionUnreachable
from amur.objects.replication.joining import check_joined, has_joined, log_start
from amur.workers.reconcile import Reconciler
from tests.support.pulls import BUCKET, FakeCluster, FakeRegion


async def compare(region: FakeRegion) -> None:
    """One round with all peers."""
    reconciler = Reconciler(region.core, asyncio.Lock())
    while not reconciler.rounds:
        await reconciler.work()


async def test_the_region_that_had_data_has_joined() -> None:
    sjc = FakeCluster()["sjc"]
    await sjc.store.create_bucket(BUCKET)
    assert not await has_joined(sjc.core)
    await log_start(sjc.core)  # as the first sender does
    await check_joined(sjc.core)


async def test_an_empty_region_joins_by_comparing() -> None:
    cluster = FakeCluster()
    sjc, fra = cluster["sjc"], cluster["fra"]
    await sjc.store.create_bucket(BUCKET)
    await sjc.put("a", b"1")
    await log_start(sjc.core)
    await log_start(fra.core)
    with pytest.raises(RegionUnreachable):
        await check_joined(fra.core)
    await compare(fra)
    await check_joined(fra.core)
    assert await fra.get("a") == b"1"


async def test_it_must_have_compared_with_all_that_answer() -> None:
    """A second empty region tells it nothing of what a third one has."""
    cluster = FakeCluster()
    fra = cluster["fra"]
    reconciler = Reconciler(fra.core, asyncio.Lock())
    while not reconciler._compared:
        await reconciler.work()
    assert not await has_joined(fra.core)
    while not reconciler.rounds:
        await reconciler.work()
    assert await has_joined(fra.core)


async def test_alone_it_waits() -> None:
    cluster = FakeCluster()
    fra = cluster["fra"]
    for link in fra.links.values():
        link.is_down = True
    await compare(fra)
    assert not await has_joined(fra.core)
    fra.links["sjc"].is_down = False
    await compare(fra)
    assert await has_joined(fra.core)


async def test_a_filled_region_that_was_cut_off_has_not_joined() -> None:
    """What it has by now may be half of it."""
    cluster = FakeCluster()
    sjc, fra = cluster["sjc"], cluster["fra"]
    await sjc.store.create_bucket(BUCKET)
    await log_start(fra.core)
    await cluster.push()
    assert (await fra.store.bucket(BUCKET)).name == BUCKET
    assert not await has_joined(fra.core)


async def test_a_region_alone_serves() -> None:
    alone = FakeCluster(("sjc",))["sjc"]
    await check_joined(alone.core)
