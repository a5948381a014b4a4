"""The placer pulls what is wanted, keeps what can't be had now, and clears up after the dead."""

from __future__ import annotations

import asyncio

import pytest

from amur.meta import keys
from amur.meta.engine import Commit
from amur.meta.holdings import CACHED, DURABLE, GONE, kind_in
from amur.objects.replication.answering import answer
from amur.objects.replication.batches import apply_items
from amur.objects.replication.digesting import END
from amur.objects.types import BucketRecord
from amur.regions.messages import Items, ItemsAsk
from amur.workers.place import AT_ONCE, Placer, want
from amur.workers.runner import run_until_idle
from amur.workers.worker import State
from tests.support.pulls import BUCKET, CHUNK, PACK, FakeCluster, FakeRegion, small_sizes


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    small_sizes(monkeypatch)
    cluster = FakeCluster()
    await cluster["sjc"].store.create_bucket(BUCKET)
    return cluster


async def wanted(region: FakeRegion, key: str, *, durable: bool) -> None:
    put = want(*await region.version(key), durable=durable)
    await region.engine.commit(Commit(put=[put]))


@pytest.mark.parametrize("durable", [False, True])
async def test_wanted_bodies_come(cluster: FakeCluster, durable: bool) -> None:
    bodies = {f"k{n}": cluster.body(size) for n, size in enumerate([5000, PACK, CHUNK * 2 + 1] * 7)}
    for key, body in bodies.items():
        await cluster["sjc"].put(key, body)
    bodies["m"] = await cluster["sjc"].multipart("m", [cluster.body(CHUNK + 1)] * 2)
    await cluster.push()
    fra = cluster["fra"]
    for key in bodies:
        await wanted(fra, key, durable=durable)
    assert len(bodies) > AT_ONCE
    await run_until_idle([Placer(fra.core)])
    assert await fra.table(keys.WANTED) == []
    fra.links["sjc"].is_down = fra.links["ord"].is_down = True
    for key, body in bodies.items():
        assert kind_in(await fra.record(key), "fra") == (DURABLE if durable else CACHED)
        assert await fra.get(key) == body
    await fra.assert_sound()


async def test_an_accelerated_bucket_is_everywhere(cluster: FakeCluster) -> None:
    await cluster["sjc"].store.create_bucket(BucketRecord(name="fast", owner="me", accelerate=True))
    body = cluster.body(PACK)
    await cluster["sjc"].store.put("fast", "k", body)
    await cluster.push()
    for name in ("ord", "fra"):
        await run_until_idle([Placer(cluster[name].core)])
        record = (await cluster[name].store.get("fast", "k")).record
        assert kind_in(record, name) == CACHED
        assert cluster[name].core.tiers["remote"] == 0


async def test_while_nobody_answers_it_is_tried_later(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.workers.place.RETRY_MIN_S", 0.05)
    body = cluster.body(PACK)
    await cluster["sjc"].put("k", body)
    await cluster.push()
    fra = cluster["fra"]
    await wanted(fra, "k", durable=True)
    fra.links["sjc"].is_down = fra.links["ord"].is_down = True
    placer = Placer(fra.core)
    assert (await placer.work()).counts == {"failed": 1}
    asked = len(fra.links["sjc"].reads)
    assert await placer.work() == (State.IDLE, {})
    assert len(fra.links["sjc"].reads) == asked
    assert len(await fra.table(keys.WANTED)) == 1
    fra.links["sjc"].is_down = False
    async with asyncio.timeout(10):
        while await fra.table(keys.WANTED):
            await asyncio.sleep(0.01)
            await placer.work()
    assert kind_in(await fra.record("k"), "fra") == DURABLE


async def test_one_that_fails_does_not_hold_up_others(cluster: FakeCluster) -> None:
    for number in range(3 * AT_ONCE):
        await cluster["sjc"].put(f"k{number:02}", cluster.body(5000))
    await cluster.push()
    fra = cluster["fra"]
    for number in range(3 * AT_ONCE):
        await wanted(fra, f"k{number:02}", durable=False)
    for number in range(AT_ONCE + 2):
        (extent,) = (await cluster["sjc"].record(f"k{number:02}")).extents
        cluster["sjc"].data.rotten.add((extent.file, extent.offset))
    placer = Placer(fra.core)
    for _ in range(40):
        await placer.work()
    held = [kind_in(await fra.record(f"k{n:02}"), "fra") for n in range(3 * AT_ONCE)]
    assert held == [GONE] * (AT_ONCE + 2) + [CACHED] * (2 * AT_ONCE - 2)
    assert len(await fra.table(keys.WANTED)) == AT_ONCE + 2


async def test_chunks_of_a_version_that_goes_are_cleared_up(cluster: FakeCluster) -> None:
    await cluster["sjc"].put("k", cluster.body(4 * CHUNK))
    await cluster["sjc"].multipart("m", [cluster.body(2 * CHUNK)] * 2)
    await cluster.push()
    fra = cluster["fra"]
    for key in ("k", "m"):
        await fra.get(key, CHUNK, CHUNK)
    await fra.quiet()
    assert len(await fra.table(keys.CHUNKS)) == 2
    await cluster["sjc"].put("k", b"newer")
    await cluster["sjc"].store.delete(BUCKET, "m")
    await cluster.push()
    await run_until_idle([Placer(fra.core)])
    assert await fra.table(keys.CHUNKS) == []
    assert await fra.table(keys.WANTED) == []
    await fra.collect()
    assert await fra.files_in_use() == set()
    await fra.assert_sound()


async def test_what_may_not_lie_here_is_not_wanted_for_ever(cluster: FakeCluster) -> None:
    await cluster["sjc"].put("k", cluster.body(PACK))
    await cluster["sjc"].store.update_bucket(
        BUCKET, lambda bucket: setattr(bucket, "regions", "sjc")
    )
    await cluster.push()
    fra = cluster["fra"]
    await wanted(fra, "k", durable=True)
    await run_until_idle([Placer(fra.core)])
    assert await fra.table(keys.WANTED) == []
    assert not any(fra.data.contents.values())


def emptied(cluster: FakeCluster, name: str) -> FakeRegion:
    """The region begins anew, with an empty data directory."""
    old = cluster[name]
    new = FakeRegion(name, list(cluster.regions), cluster.clock)
    new.links = old.links
    new.core.links.update(old.links)
    cluster.regions[name] = new
    for other in cluster.regions.values():
        if other is not new:
            other.links[name]._there = new
    return new


@pytest.mark.parametrize("size", [5000, CHUNK * 2 + 1])
async def test_a_home_that_lost_its_bytes_gets_them_from_a_copy(
    cluster: FakeCluster, size: int
) -> None:
    """Else nobody would have to keep them: a cached copy goes when its room is needed."""
    body = cluster.body(size)
    await cluster["sjc"].put("k", body)
    await cluster["sjc"].put("lost", body)
    await cluster.push()
    assert await cluster["fra"].get("k") == body
    await cluster.quiet()
    await cluster.push()
    sjc = emptied(cluster, "sjc")
    for other in ("ord", "fra"):
        page = await answer(cluster[other].core, ItemsAsk(b"", END, 500, "sjc"))
        assert isinstance(page, Items)
        await apply_items(sjc.core, page.items)
    await run_until_idle([Placer(sjc.core)])
    assert kind_in(await sjc.record("k"), "sjc") == DURABLE
    sjc.links["fra"].is_down = True
    assert await sjc.get("k") == body
    assert kind_in(await sjc.record("lost"), "sjc") == GONE
    assert await sjc.table(keys.WANTED) == [], "what nobody has is not looked for on and on"
    await sjc.assert_sound()
