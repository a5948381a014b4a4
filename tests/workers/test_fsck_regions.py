"""fsck and the scrubber in one of several regions: what lies elsewhere is no damage."""

from __future__ import annotations

import pytest

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.holdings import DURABLE, GONE, kind_in
from amur.meta.records import encode
from amur.objects.pull.localizing import make_local
from amur.objects.references import reference_deletes
from amur.workers.fsck import fsck
from amur.workers.scrub import Scrubber
from tests.support.pulls import BUCKET, CHUNK, PACK, FakeCluster, FakeRegion, small_sizes

KEYS = ("small", "large", "parts")


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    small_sizes(monkeypatch)
    cluster = FakeCluster()
    sjc = cluster["sjc"]
    await sjc.store.create_bucket(BUCKET)
    await sjc.put("inline", b"x")
    await sjc.put("small", cluster.body(PACK))
    await sjc.put("large", cluster.body(3 * CHUNK))
    await sjc.multipart("parts", [cluster.body(CHUNK + 5)] * 2)
    await cluster.push()
    return cluster


async def read_all(region: FakeRegion) -> list[bytes]:
    found = [await region.get(key) for key in KEYS]
    await region.quiet()
    return found


async def is_clean(region: FakeRegion) -> bool:
    report = await fsck(region.core)
    return report.is_clean()


async def test_what_lies_elsewhere_is_no_damage(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    assert await is_clean(fra)
    await fra.get("large", CHUNK, CHUNK)
    await fra.get("parts", 0, 0)
    await fra.quiet()
    assert await is_clean(fra)
    await read_all(fra)
    assert await is_clean(fra)
    for key in KEYS:
        await make_local(fra.core, *await fra.version(key), durable=True)
    assert await is_clean(fra)
    assert (await fsck(fra.core)).checked["O"] == 4


async def test_bytes_that_are_said_to_be_here_and_are_not(cluster: FakeCluster) -> None:
    """... are had from elsewhere, if somebody has them; then that is said."""
    fra, sjc = cluster["fra"], cluster["sjc"]
    bodies = await read_all(fra)
    await cluster.push()
    for region, key in ((fra, "small"), (sjc, "large")):
        bucket_id, raw, _ = await region.version(key)
        at = keys.object_key(bucket_id, raw)
        record = await region.record(key)
        deletes = reference_deletes(record, at)
        record.extents = []
        await region.engine.commit(Commit(put=[Put(at, encode(record))], delete=deletes))
        seen = await fsck(region.core)
        assert seen.counts == {"holding-wrong": 1}
        assert (await fsck(region.core, repair=True)).is_healthy()
        assert await is_clean(region)
        assert kind_in(await region.record(key), region.name) == GONE
        assert await read_all(region) == bodies
        await region.assert_sound()


async def test_bytes_that_nobody_has_are_lost(cluster: FakeCluster) -> None:
    sjc = cluster["sjc"]
    bucket_id, raw, _ = await sjc.version("small")
    at = keys.object_key(bucket_id, raw)
    record = await sjc.record("small")
    deletes = reference_deletes(record, at)
    record.extents = []
    await sjc.engine.commit(Commit(put=[Put(at, encode(record))], delete=deletes))
    assert (await fsck(sjc.core)).counts == {"size-mismatch": 1}
    assert not (await fsck(sjc.core, repair=True)).is_healthy()
    assert kind_in(await sjc.record("small"), "sjc") == DURABLE


async def test_the_scrubber_mends_from_a_copy(cluster: FakeCluster) -> None:
    sjc, fra = cluster["sjc"], cluster["fra"]
    bodies = await read_all(fra)
    await cluster.push()
    await sjc.store.copy((BUCKET, "small", ""), BUCKET, "copy", None)
    await cluster.push()
    await fra.get("copy")
    await cluster.push()
    for key in ("small", "large"):
        (extent,) = (await sjc.record(key)).extents
        sjc.data.rotten.add((extent.file, extent.offset))
    async for part in sjc.store.object_parts(await sjc.record("parts")):
        await sjc.data.unlink(part.extents[0].file)
    scrubber = Scrubber(sjc.core)
    worked = await scrubber.work()
    assert worked.counts["damaged"] == worked.counts["mended"] == 4
    assert scrubber.damaged == {}
    before = sum(len(link.reads) for link in sjc.links.values())
    assert await read_all(sjc) == bodies
    assert await sjc.get("copy") == bodies[0]
    assert sum(len(link.reads) for link in sjc.links.values()) == before
    await sjc.assert_sound()
    await sjc.collect()
    assert await is_clean(sjc)
    assert await read_all(sjc) == bodies


async def test_what_nobody_has_stays_damaged(cluster: FakeCluster) -> None:
    sjc = cluster["sjc"]
    (extent,) = (await sjc.record("small")).extents
    sjc.data.rotten.add((extent.file, extent.offset))
    scrubber = Scrubber(sjc.core)
    worked = await scrubber.work()
    assert (worked.counts["damaged"], worked.counts.get("mended", 0)) == (1, 0)
    assert len(scrubber.damaged) == 1


async def test_a_damaged_chunk_goes(cluster: FakeCluster) -> None:
    fra = cluster["fra"]
    bodies = await read_all(fra)
    rows = [keys.split_reference(key) for key in await fra.table(keys.REFERENCES)]
    chunks = [row for row in rows if row[2].startswith(keys.CHUNKS)]
    fra.data.rotten.add(chunks[0][:2])
    assert (await fsck(fra.core)).counts == {"copy-damaged": 1}
    await Scrubber(fra.core).work()
    assert len(await fra.table(keys.CHUNKS)) == len(chunks) - 1
    assert await is_clean(fra)
    await fra.assert_sound()
    assert await read_all(fra) == bodies
