"""At the second region of a geography: what it is asked to have before the writer hears of it."""

from __future__ import annotations

import pytest

from amur.meta.engine import Commit, Entry, Put
from amur.meta.holdings import DURABLE, kind_in
from amur.meta.log import Changed
from amur.objects.replication.items import items_of
from amur.objects.replication.securing import COLLECTED_KEY, take_fetch
from amur.regions.messages import BodyName, Fetch, No, Yes
from tests.support.pulls import BUCKET, FakeCluster, FakeRegion

SIZE = 5_000  # more than is kept inline


async def asked(cluster: FakeCluster) -> Fetch:
    """For an object of sjc of which ord has not heard."""
    sjc = cluster["sjc"]
    await sjc.store.create_bucket(BUCKET)
    await sjc.put("a", cluster.body(SIZE))
    name = BodyName(*await sjc.version("a"))
    items = await items_of(sjc.core, [Changed(name.bucket_id, name.key, None)], "ord")
    return Fetch(name, items)


async def collect(region: FakeRegion, version: int) -> None:
    """A tombstone of that version was collected."""
    put = Put(COLLECTED_KEY, version.to_bytes(8, "big"))
    await region.engine.commit(Commit(put=[put]))


async def test_record_and_bytes_are_durable() -> None:
    cluster = FakeCluster()
    fetch = await asked(cluster)
    assert await take_fetch(cluster["ord"].core, fetch) == Yes()
    record = await cluster["ord"].record("a")
    assert record.extents
    assert kind_in(record, "ord") == DURABLE
    assert await take_fetch(cluster["ord"].core, fetch) == Yes(), "and again"
    await cluster["ord"].assert_sound()


async def test_what_may_be_dead_comes_by_a_stream_only() -> None:
    cluster = FakeCluster()
    fetch = await asked(cluster)
    await collect(cluster["ord"], fetch.name.version)
    assert isinstance(await take_fetch(cluster["ord"].core, fetch), No)


async def test_also_when_it_is_collected_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    fetch = await asked(cluster)
    there = cluster["ord"]
    plain = there.engine.get

    async def get(key: bytes) -> Entry | None:
        found = await plain(key)
        if key == COLLECTED_KEY and found is None:
            await collect(there, fetch.name.version)  # just after it was looked at
        return found

    monkeypatch.setattr(there.engine, "get", get)
    assert isinstance(await take_fetch(there.core, fetch), No)
