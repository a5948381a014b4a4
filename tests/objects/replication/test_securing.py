"""Buckets of a geography: a second copy before success."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from amur.objects.errors import RegionUnreachable
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord
from amur.regions.link import PeerRefused, PeerUnreachable
from amur.regions.messages import Fetch, No, Yes
from tests.support.gateways import CalledLink, Cluster, cluster


@pytest.fixture
async def four() -> AsyncIterator[Cluster]:
    async with cluster(("sjc", "ord", "iad", "fra")) as found:
        store = found["sjc"].store
        for name, regions in (
            ("multi", "usa"),
            ("global", ""),
            ("dual", "sjc,ord"),
            ("one", "sjc"),
        ):
            await store.create_bucket(BucketRecord(name=name, owner="root", regions=regions))
        for peer, rtt in (("ord", 0.2), ("iad", 0.1), ("fra", 0.01)):
            link = found["sjc"].link(peer)
            link.rtt = rtt
            link.replies[Fetch] = Yes()
        yield found


def fetches(four: Cluster) -> dict[str, int]:
    return {peer: len(four["sjc"].link(peer).fetches()) for peer in ("ord", "iad", "fra")}


async def test_the_nearest_of_the_geography_is_asked(four: Cluster) -> None:
    store = four["sjc"].store
    record = await store.put("multi", "key", b"body")
    assert fetches(four) == {"ord": 0, "iad": 1, "fra": 0}
    asked = four["sjc"].link("iad").fetches()[0]
    assert (asked.name.key, asked.name.version) == (b"key", record.version)
    assert (asked.items[0].bucket_id, asked.items[0].key) == (b"", b"multi")
    assert asked.items[-1].state.endswith(b"body"), "the item comes along"


async def test_every_way_to_write(four: Cluster) -> None:
    store: Store = four["sjc"].store
    await store.put("multi", "a", b"body")
    await store.copy(("multi", "a", ""), "multi", "b", Attributes())
    await store.rename("multi", "b", "c")
    upload = (await store.create_upload("multi", "d", Attributes())).id.hex()
    part = await store.put_part("multi", "d", upload, 1, b"x")
    assert fetches(four)["iad"] == 3, "parts wait for their object"
    await store.complete_upload("multi", "d", upload, [CompletedPart(1, part.etag, {})])
    keys = [asked.name.key for asked in four["sjc"].link("iad").fetches()]
    assert keys == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("bucket", ["global", "dual", "one"])
async def test_other_buckets_wait_for_nobody(four: Cluster, bucket: str) -> None:
    await four["sjc"].store.put(bucket, "key", b"body")
    assert fetches(four) == {"ord": 0, "iad": 0, "fra": 0}


@pytest.mark.parametrize("failure", [No("full"), PeerUnreachable(), PeerRefused()])
async def test_the_next_one_when_one_can_not(four: Cluster, failure: object) -> None:
    four["sjc"].link("iad").replies[Fetch] = failure  # type: ignore[assignment]
    await four["sjc"].store.put("multi", "key", b"body")
    assert fetches(four) == {"ord": 1, "iad": 1, "fra": 0}


async def test_when_none_can_the_writer_hears_it(four: Cluster) -> None:
    for peer in ("ord", "iad"):
        four["sjc"].link(peer).replies[Fetch] = PeerUnreachable()
    with pytest.raises(RegionUnreachable):
        await four["sjc"].store.put("multi", "key", b"body")
    assert fetches(four) == {"ord": 1, "iad": 1, "fra": 0}


async def test_an_objects_own_regions_count(four: Cluster) -> None:
    await four["sjc"].store.put("multi", "key", b"x", Attributes(regions="sjc,ord"))
    assert fetches(four) == {"ord": 1, "iad": 0, "fra": 0}


async def test_what_was_overwritten_meanwhile_needs_no_copy(four: Cluster) -> None:
    """While iad fails, the next write comes: ord is not asked for the one that is gone."""
    store, link = four["sjc"].store, four["sjc"].link("iad")

    class Overwriting(CalledLink):
        async def call(self, request: object, *, timeout_s: float = 0) -> No:  # type: ignore[override]
            if isinstance(request, Fetch) and not self.asked:
                self.asked.append(request)
                store.core.links["iad"] = link
                await store.put("multi", "key", b"later")
            return No("busy")

    store.core.links["iad"] = Overwriting(link.region)
    store.core.links["iad"].rtt = 0.1
    await store.put("multi", "key", b"first")
    assert fetches(four) == {"ord": 0, "iad": 1, "fra": 0}
    assert link.fetches()[0].name.version == (await store.head("multi", "key")).version


async def test_a_geography_of_one_region_has_one_copy() -> None:
    async with cluster(("sjc", "fra")) as two:
        store = two["sjc"].store
        await store.create_bucket(BucketRecord(name="multi", owner="root", regions="usa"))
        await store.put("multi", "key", b"body")
        assert not two["sjc"].link("fra").fetches()
