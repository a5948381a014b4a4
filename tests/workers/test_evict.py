"""Pulled copies keep within their bytes; what is used stays, what must stay stays."""

from __future__ import annotations

import pytest

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.holdings import CACHED, DURABLE, GONE, holders, kind_in, set_kind
from amur.meta.records import encode
from amur.objects.pull.accesses import HALF_LIFE_SECONDS, accesses, flush
from amur.objects.pull.kept import kept_of, puts_of_cached
from amur.objects.pull.localizing import make_local
from amur.workers.evict import Evictor
from amur.workers.worker import State
from tests.support.pulls import BUCKET, CHUNK, PACK, FakeCluster, FakeRegion, small_sizes

COUNT = 20


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    small_sizes(monkeypatch)
    cluster = FakeCluster()
    await cluster["sjc"].store.create_bucket(BUCKET)
    for number in range(COUNT):
        await cluster["sjc"].put(f"k{number:02}", cluster.body(PACK))
    await cluster["sjc"].put("large", cluster.body(4 * CHUNK))
    await cluster.push()
    return cluster


async def until_idle(evictor: Evictor) -> None:
    for _ in range(100):
        if (await evictor.work()).state is State.IDLE:
            return
    raise AssertionError("the evictor does not come to rest")


async def held(region: FakeRegion) -> list[int]:
    """Numbers of the small objects that are here."""
    return [
        number
        for number in range(COUNT)
        if kind_in(await region.record(f"k{number:02}"), region.name) != GONE
    ]


async def read_all(cluster: FakeCluster, region: FakeRegion) -> None:
    for number in range(COUNT):
        cluster.clock.advance(0.01)
        await region.get(f"k{number:02}")


async def test_the_first_that_came_go_first(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    await read_all(cluster, fra)
    evictor = Evictor(fra.core)
    fra.core.cache_bytes = 5 * PACK
    await until_idle(evictor)
    assert await held(fra) == [15, 16, 17, 18, 19]
    assert evictor.cached_bytes == 5 * PACK
    await cluster.push()
    assert holders(await cluster["ord"].record("k00")) == ["sjc"]
    assert holders(await cluster["ord"].record("k19")) == ["sjc", "fra"]
    await fra.assert_sound()
    await fra.collect()
    assert await held(fra) == [15, 16, 17, 18, 19]
    await fra.assert_sound()


async def test_a_scan_does_not_push_out_what_is_used(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    fra.core.cache_bytes = 4 * PACK
    evictor = Evictor(fra.core)
    for _ in range(2):  # the second time from the copy
        await fra.get("k00")
        await fra.get("k01")
        cluster.clock.advance(1)
    await flush(fra.core)
    for number in range(2, COUNT):
        await fra.get(f"k{number:02}")
        cluster.clock.advance(1)
        await flush(fra.core)
        await until_idle(evictor)
    assert {0, 1} < set(await held(fra))
    assert evictor.cached_bytes <= 4 * PACK


async def test_what_was_used_once_goes_in_the_end(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    fra.core.cache_bytes = 4 * PACK
    evictor = Evictor(fra.core)
    for _ in range(2):
        await fra.get("k00")
        cluster.clock.advance(1)
    for _ in range(3):
        for number in range(1, COUNT):
            await fra.get(f"k{number:02}")
            cluster.clock.advance(1)
            await fra.get(f"k{number:02}")
            await flush(fra.core)
            await until_idle(evictor)
    assert 0 not in await held(fra)


async def test_chunks_go_one_by_one(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    body = await fra.get("large")
    await fra.quiet()
    assert kind_in(await fra.record("large"), "fra") == CACHED
    fra.core.cache_bytes = 3 * CHUNK
    await until_idle(Evictor(fra.core))
    assert len(await fra.table(keys.CHUNKS)) == 3
    assert kind_in(await fra.record("large"), "fra") == GONE
    await fra.assert_sound()
    assert await fra.get("large") == body
    await fra.quiet()
    assert len(fra.links["sjc"].reads) == 5
    assert kind_in(await fra.record("large"), "fra") == CACHED


async def test_the_home_and_durable_copies_stay(cluster: FakeCluster) -> None:
    fra, sjc = cluster["fra"], cluster["sjc"]
    parts = await sjc.multipart("m", [cluster.body(CHUNK + 1)] * 2)
    await cluster.push()
    await read_all(cluster, fra)
    for key in ("k03", "large", "m"):
        await fra.get(key)
        await make_local(fra.core, *await fra.version(key), durable=True)
    for region in (fra, sjc):
        region.core.cache_bytes = 1
        await until_idle(Evictor(region.core))
    assert await held(fra) == [3]
    assert await held(sjc) == list(range(COUNT))
    for key in ("k03", "large", "m"):
        assert kind_in(await fra.record(key), "fra") == DURABLE
    fra.links["sjc"].is_down = fra.links["ord"].is_down = True
    assert await fra.get("m") == parts
    assert await fra.table(keys.KEPT) == []
    await fra.assert_sound()


async def test_parts_that_a_copy_needs_stay(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    body = await cluster["sjc"].multipart("m", [cluster.body(CHUNK + 1)] * 2)
    await cluster.push()
    await fra.store.copy((BUCKET, "m", ""), BUCKET, "copy", None)
    fra.core.cache_bytes = 1
    for _ in range(5):
        await Evictor(fra.core).work()
    fra.links["sjc"].is_down = fra.links["ord"].is_down = True
    assert await fra.get("copy") == body
    await fra.assert_sound()
    await fra.store.delete(BUCKET, "copy")
    await until_idle(Evictor(fra.core))
    assert kind_in(await fra.record("m"), "fra") == GONE
    await fra.collect()
    await fra.assert_sound()
    assert await fra.files_in_use() == set()


async def test_parts_that_several_cached_versions_share_go_for_all(cluster: FakeCluster) -> None:
    sjc, fra = cluster["sjc"], cluster["fra"]
    body = await sjc.multipart("m", [cluster.body(CHUNK + 1)] * 2)
    await sjc.store.copy((BUCKET, "m", ""), BUCKET, "copy", None)
    await cluster.push()
    for key in ("m", "copy"):
        await make_local(fra.core, *await fra.version(key), durable=False)
    assert fra.links["sjc"].sent == len(body)
    fra.core.cache_bytes = 1
    await until_idle(Evictor(fra.core))
    for key in ("m", "copy"):
        assert kind_in(await fra.record(key), "fra") == GONE
    await fra.assert_sound()
    await fra.collect()
    assert await fra.files_in_use() == set()
    assert await fra.get("copy") == body


@pytest.mark.parametrize("key", ["k00", "large", "m"])
async def test_a_home_that_moved_away_leaves_a_cached_copy(cluster: FakeCluster, key: str) -> None:
    sjc = cluster["sjc"]
    await sjc.multipart("m", [cluster.body(CHUNK + 1)] * 2)
    await cluster.push()
    await make_local(cluster["fra"].core, *await cluster["fra"].version(key), durable=True)
    await cluster.push()
    bucket_id, raw, _ = await sjc.version(key)
    at = keys.object_key(bucket_id, raw)
    record = await sjc.record(key)
    set_kind(record, "sjc", CACHED)
    puts = await puts_of_cached(sjc.core, at, record)
    await sjc.engine.commit(Commit(put=[*puts, Put(at, encode(record))]))
    sjc.core.cache_bytes = 1
    await until_idle(Evictor(sjc.core))
    assert kind_in(await sjc.record(key), "sjc") == GONE
    await sjc.assert_sound()
    await sjc.collect()
    await sjc.assert_sound()
    assert await sjc.get(key) == await cluster["fra"].get(key)


async def test_a_new_evictor_counts_what_is_there(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.workers.evict.COUNTED_AT_ONCE", 3)
    fra = cluster["fra"]
    await read_all(cluster, fra)
    await fra.get("large", 0, 0)
    await fra.quiet()
    evictor = Evictor(fra.core)
    await evictor.work()
    assert evictor.cached_bytes == COUNT * PACK + CHUNK
    await fra.get("large")
    await fra.quiet()
    await evictor.work()
    assert evictor.cached_bytes == COUNT * PACK + 4 * CHUNK
    assert evictor.report()["bytes"] == evictor.cached_bytes


async def test_entries_of_what_is_gone_are_cleaned(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    await read_all(cluster, fra)
    await fra.get("large")
    await fra.quiet()
    for number in range(10):
        await cluster["sjc"].store.delete(BUCKET, f"k{number:02}")
    await cluster["sjc"].store.delete(BUCKET, "large")
    await cluster.push()
    evictor = Evictor(fra.core)
    await until_idle(evictor)
    assert evictor.cached_bytes == 10 * PACK
    rows = await fra.engine.scan(keys.KEPT, keys.KEPT + b"\xff" * 20, 1000)
    assert {kept_of(row.value).key for row in rows} == {b"k%02d" % n for n in range(10, COUNT)}
    assert await fra.table(keys.CHUNKS) == []
    await fra.assert_sound()


async def test_a_full_disk_lets_go_of_copies(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    await read_all(cluster, fra)
    fra.core.cache_bytes = 1 << 40
    fra.data.capacity = 0
    evictor = Evictor(fra.core)
    await evictor.work()
    assert len(await held(fra)) == COUNT - 1


async def test_reads_are_counted_and_fade(cluster: FakeCluster) -> None:
    fra, sjc = cluster["fra"], cluster["sjc"]
    for _ in range(3):
        await fra.get("k00")
    await sjc.get("k00")
    assert await flush(fra.core) == 1
    assert await flush(fra.core) == 0
    await flush(sjc.core)
    name = await fra.version("k00")
    (access,) = await accesses(fra.core, [name])
    assert access.count == 3
    assert access.hit_ns == cluster.clock.now_ns()
    later = cluster.clock.now_ns() + int(HALF_LIFE_SECONDS * 1e9)
    assert access.count_at(later) == pytest.approx(1.5)
    (at_home,) = await accesses(sjc.core, [name])
    assert (at_home.count, at_home.hit_ns) == (1, 0)
    assert fra.core.tiers["remote"] == 1
    assert fra.core.tiers["cache"] == 2
    assert sjc.core.tiers["pack"] == 1
    cluster.clock.advance(20 * HALF_LIFE_SECONDS)
    await Evictor(fra.core).work()
    assert await fra.table(keys.ACCESSES) == []
