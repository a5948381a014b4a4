"""Wishes for what a listing names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from amur.meta import keys
from amur.meta.engine import Commit, prefix_end
from amur.meta.holdings import CACHED
from amur.objects.pull import prefetching
from amur.objects.pull.prefetching import prefetch, start
from amur.objects.pull.wanting import want
from amur.objects.types import Attributes, BucketRecord
from tests.support.gateways import Cluster, Running, calling, cluster, until

BIG = b"x" * 10_000  # no inline body: it stays where it was written


@pytest.fixture
async def three() -> AsyncIterator[Cluster]:
    async with cluster() as found:
        store = found["fra"].store
        for name, regions in (("bkt", ""), ("dual", "fra,ord")):
            await store.create_bucket(BucketRecord(name=name, owner="root", regions=regions))
            for number in range(450):
                await store.put(name, f"{number:04}", BIG if number < 300 else b"small")
        await store.put("bkt", "only", BIG, Attributes(regions="fra"))
        await found.settled()
        yield found


async def wishes(region: Running) -> dict[bytes, bytes]:
    found = await region.core.engine.scan(keys.WANTED, prefix_end(keys.WANTED), 10_000)
    return {entry.key: entry.value for entry in found}


async def test_what_is_not_here_is_wanted(three: Cluster) -> None:
    sjc = three["sjc"]
    page = (await sjc.store.list_objects("bkt")).entries
    names = [entry.key for entry in page] + ["none"]
    assert await prefetch(sjc.core, "bkt", names) == 300
    bucket_id = (await sjc.store.bucket("bkt")).id
    assert await wishes(sjc) == {
        keys.wanted_key(bucket_id, entry.key.encode(), entry.record.version): bytes([CACHED])
        for entry in page[:300]
        if entry.record is not None
    }
    assert await prefetch(sjc.core, "bkt", names) == 0, "asked once is asked"


async def test_where_the_bytes_are_nothing_is_wanted(three: Cluster) -> None:
    names = [f"{number:04}" for number in range(450)]
    assert await prefetch(three["fra"].core, "bkt", names) == 0


async def test_nothing_is_wanted_where_it_may_not_be(three: Cluster) -> None:
    assert await prefetch(three["sjc"].core, "dual", ["0001"]) == 0
    assert await prefetch(three["sjc"].core, "bkt", ["only"]) == 0
    assert await wishes(three["sjc"]) == {}


async def test_a_wish_for_a_durable_copy_stays_one(three: Cluster) -> None:
    core = three["sjc"].core
    bucket = await three["sjc"].store.bucket("bkt")
    version = (await three["sjc"].store.head("bkt", "0001")).version
    await core.engine.commit(Commit(put=[want(bucket.id, b"0001", version, durable=True)]))
    before = await wishes(three["sjc"])
    assert await prefetch(core, "bkt", ["0001"]) == 0
    assert await wishes(three["sjc"]) == before


@pytest.mark.parametrize("query", ["", "?list-type=2"])
@pytest.mark.parametrize(("header", "count"), [("true", 300), ("false", 0)])
async def test_by_a_listing(three: Cluster, query: str, header: str, count: int) -> None:
    async with calling(three["sjc"]) as call:
        answer = await call("GET", f"/bkt{query}", headers={"x-tigris-prefetch": header})
        assert answer.body.count(b"<Contents>") == 451
    await until(lambda: not prefetching._running)
    assert len(await wishes(three["sjc"])) == count


async def test_no_more_at_once_than_is_bearable(
    three: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetching, "PREFETCHES_MAX", 2)
    core = three["sjc"].core
    assert [start(core, "bkt", ["0001"]) for _ in range(3)] == [True, True, False]
    await until(lambda: not prefetching._running)
    assert len(await wishes(three["sjc"])) == 1
    assert start(core, "none", ["0001"])  # whose failure nobody hears
    await until(lambda: not prefetching._running)
