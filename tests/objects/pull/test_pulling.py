"""Reading what lies in another region: right bytes or an error, once for all, and kept."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from amur.data.store import DataFull
from amur.meta import keys
from amur.meta.holdings import CACHED, DURABLE, GONE, holders, kind_in
from amur.objects.errors import BodyUnreachable, InvalidRequest, StorageDamaged, StorageFull
from amur.objects.pull.fetching import Version, from_peers, sources
from amur.objects.pull.flights import GATHERED_MAX, Flight
from amur.objects.pull.localizing import is_local, make_local
from amur.objects.pull.pulling import READ_AHEAD
from amur.objects.store import Store
from amur.objects.types import Attributes, BucketRecord
from tests.support.pulls import (
    BUCKET,
    CHUNK,
    PACK,
    FakeCluster,
    FakeRegion,
    body_of,
    joined,
    small_sizes,
)
from tests.support.virtual_time import run_virtually


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    small_sizes(monkeypatch)
    return await new_cluster()


async def new_cluster() -> FakeCluster:
    cluster = FakeCluster()
    await cluster["sjc"].store.create_bucket(BUCKET)
    await cluster.push()
    return cluster


def reads(region: FakeRegion) -> int:
    return sum(len(link.reads) for link in region.links.values())


async def pushed(cluster: FakeCluster, key: str, size: int) -> bytes:
    """An object of sjc that the others have heard of."""
    body = cluster.body(size)
    await cluster["sjc"].put(key, body)
    await cluster.push()
    return body


# --- small bodies ---


@pytest.mark.parametrize("size", [4097, PACK])
async def test_a_small_body_is_pulled_once_and_kept(cluster: FakeCluster, size: int) -> None:
    body = await pushed(cluster, "k", size)
    fra = cluster["fra"]
    assert await fra.get("k", 5, 9) == body[5:10]
    assert await fra.get("k") == body
    assert reads(fra) == 1
    record = await fra.record("k")
    assert kind_in(record, "fra") == CACHED
    assert [extent.length for extent in record.extents] == [size]
    await cluster.push()
    for name in ("sjc", "ord"):
        assert holders(await cluster[name].record("k")) == ["sjc", "fra"]
    for region in cluster.regions.values():
        await region.assert_sound()


async def test_many_readers_make_one_flight(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", PACK)
    fra = cluster["fra"]
    assert await asyncio.gather(*(fra.get("k") for _ in range(50))) == [body] * 50
    assert fra.core.flights.begun == 1
    assert reads(fra) == 1


async def test_inline_bodies_come_with_the_record(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 100)
    assert await cluster["fra"].get("k") == body
    assert reads(cluster["fra"]) == 0
    assert cluster["fra"].core.tiers["inline"] == 1


async def test_the_nearest_holder_is_asked(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", PACK)
    await cluster["ord"].get("k")
    await cluster.push()
    fra = cluster["fra"]
    fra.links["sjc"]._rtt_s, fra.links["ord"]._rtt_s = 0.08, 0.02
    assert await fra.get("k") == body
    assert (len(fra.links["ord"].reads), len(fra.links["sjc"].reads)) == (1, 0)


async def test_who_does_not_say_that_it_has_the_bytes_is_asked_last(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", PACK)
    assert await cluster["ord"].get("k") == body  # fra does not hear of it
    fra = cluster["fra"]
    fra.links["ord"]._rtt_s = 0.0
    record = await fra.record("k")
    assert [link.region.name for link in sources(fra.core, record)] == ["sjc", "ord"]
    fra.links["sjc"].is_down = True
    assert await fra.get("k") == body


@pytest.mark.parametrize("size", [PACK, 3 * CHUNK])
async def test_nobody_answers(cluster: FakeCluster, size: int) -> None:
    body = await pushed(cluster, "k", size)
    fra = cluster["fra"]
    for link in fra.links.values():
        link.is_down = True
    with pytest.raises(BodyUnreachable):
        await fra.get("k")
    with pytest.raises(BodyUnreachable):
        await fra.get("k", 7, 9)
    for link in fra.links.values():
        link.is_down = False
    assert await fra.get("k") == body
    await fra.quiet()
    await fra.assert_sound()


@pytest.mark.parametrize("is_large", [False, True])
def test_black_holes_are_given_up_within_five_seconds(
    monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    small_sizes(monkeypatch)

    async def main() -> None:
        names = ("sjc", "ord", "fra", "iad", "ams", "lhr", "nrt", "sin", "gru", "jnb", "syd")
        cluster = FakeCluster(names)
        sjc, fra = cluster["sjc"], cluster["fra"]
        await sjc.store.create_bucket(BUCKET)
        if is_large:
            await sjc.multipart("k", [cluster.body(PACK - 1)] * 3)
        else:
            await sjc.put("k", cluster.body(PACK))
        await cluster.push()
        loop = asyncio.get_running_loop()
        for stalled in (["sjc"], list(fra.links)):
            for link in fra.links.values():
                link.is_stalled = link.region.name in stalled
            began = loop.time()
            with pytest.raises(BodyUnreachable):
                await fra.get("k")
            assert 0.5 < loop.time() - began < 5

    run_virtually(main())


async def test_the_next_holder_goes_on_where_one_stopped(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 3 * CHUNK)
    assert await cluster["ord"].get("k") == body
    await cluster.quiet()
    await cluster.push()
    fra = cluster["fra"]
    fra.links["sjc"].fails_after = 10_000
    assert await fra.get("k") == body
    ends = {end for _, end in fra.links["ord"].reads}
    assert ends == {CHUNK, 2 * CHUNK, 3 * CHUNK}
    assert all(start % CHUNK > 0 for start, _ in fra.links["ord"].reads)
    assert fra.links["sjc"].sent + fra.links["ord"].sent == len(body)


async def test_one_holder_that_stumbles_is_asked_again(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", CHUNK)
    fra = cluster["fra"]
    fra.links["sjc"].fails_after = 9_000
    version = Version(keys.object_key(*(await fra.version("k"))[:2]), await fra.record("k"))
    assert await joined(from_peers(fra.core, version, 3, CHUNK)) == body[3:]


# --- large bodies ---


async def test_a_range_pulls_its_chunks_alone(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 6 * CHUNK)
    fra = cluster["fra"]
    assert await fra.get("k", 2 * CHUNK + 5, 3 * CHUNK + 5) == body[2 * CHUNK + 5 : 3 * CHUNK + 6]
    await fra.quiet()
    assert sorted(fra.links["sjc"].reads) == [(2 * CHUNK, 3 * CHUNK), (3 * CHUNK, 4 * CHUNK)]
    assert await fra.get("k", 2 * CHUNK, 2 * CHUNK) == body[2 * CHUNK : 2 * CHUNK + 1]
    assert reads(fra) == 2
    assert kind_in(await fra.record("k"), "fra") == GONE
    await fra.assert_sound()


async def test_when_all_chunks_are_here_the_others_hear_of_it(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 5 * CHUNK + 1)
    fra = cluster["fra"]
    for first in (4 * CHUNK, 0, CHUNK, 3 * CHUNK, 2 * CHUNK):
        assert await fra.get("k", first, first) == body[first : first + 1]
        await fra.quiet()
    assert kind_in(await fra.record("k"), "fra") == GONE
    assert await fra.get("k", 5 * CHUNK, 5 * CHUNK) == body[-1:]
    await fra.quiet()
    assert reads(fra) == 6
    assert kind_in(await fra.record("k"), "fra") == CACHED
    await cluster.push()
    assert holders(await cluster["ord"].record("k")) == ["sjc", "fra"]
    cluster["ord"].links["sjc"].is_down = True
    assert await cluster["ord"].get("k") == body


@pytest.mark.parametrize("sizes", [[5], [CHUNK + 3, CHUNK, 9], [100_000] * 4])
async def test_completed_uploads(cluster: FakeCluster, sizes: list[int]) -> None:
    body = await cluster["sjc"].multipart("m", [cluster.body(size) for size in sizes])
    await cluster.push()
    fra = cluster["fra"]
    middle = len(body) // 2
    assert await fra.get("m", middle, middle + 2) == body[middle : middle + 3]
    assert await fra.get("m") == body
    await fra.quiet()
    reading = await fra.store.get(BUCKET, "m", part_number=len(sizes))
    assert await body_of(reading) == body[-sizes[-1] :]
    assert kind_in(await fra.record("m"), "fra") == CACHED
    assert len(fra.links["sjc"].reads) == sum(-(-size // CHUNK) for size in sizes)
    await fra.assert_sound()


async def test_the_first_byte_does_not_wait_for_the_chunk(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 3 * CHUNK)
    fra = cluster["fra"]
    link = fra.links["sjc"]
    link.hold = asyncio.Event()
    reading = await fra.store.get(BUCKET, "k")
    assert reading.stream is not None
    link.hold.set()
    first = await anext(reading.stream)
    assert body.startswith(first)
    assert link.sent < CHUNK
    assert first + await joined(reading.stream) == body


async def test_next_chunks_are_begun_while_one_is_taken(cluster: FakeCluster) -> None:
    await pushed(cluster, "k", 6 * CHUNK)
    fra = cluster["fra"]
    reading = await fra.store.get(BUCKET, "k")
    assert reading.stream is not None
    await anext(reading.stream)
    await fra.quiet()
    assert [start for start, _ in fra.links["sjc"].reads] == [0, CHUNK, 2 * CHUNK]
    await joined(reading.stream)


async def test_many_readers_of_a_large_body_pull_each_chunk_once(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 4 * CHUNK)
    fra = cluster["fra"]
    assert await asyncio.gather(*(fra.get("k") for _ in range(10))) == [body] * 10
    assert reads(fra) == 4
    await fra.quiet()
    assert len(await fra.table(keys.CHUNKS)) == 4


async def test_a_client_that_leaves_ends_what_nobody_waits_for(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 4 * CHUNK)
    fra = cluster["fra"]
    link = fra.links["sjc"]
    link.hold = asyncio.Event()
    leaver = await fra.store.get(BUCKET, "k")
    assert leaver.stream is not None
    waiting = asyncio.ensure_future(anext(leaver.stream))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await fra.quiet()
    assert link.sent == 0
    assert await fra.table(keys.CHUNKS) == []
    link.hold = None
    assert await fra.get("k") == body


async def test_a_client_that_leaves_does_not_end_what_others_wait_for(
    cluster: FakeCluster,
) -> None:
    body = await pushed(cluster, "k", CHUNK)
    fra = cluster["fra"]
    link = fra.links["sjc"]
    link.hold = asyncio.Event()
    leaver = await fra.store.get(BUCKET, "k")
    stays = asyncio.ensure_future(fra.get("k"))
    assert leaver.stream is not None
    waiting = asyncio.ensure_future(anext(leaver.stream))
    await asyncio.sleep(0.01)
    waiting.cancel()
    link.hold.set()
    assert await stays == body
    assert len(link.reads) == 1


async def test_what_cannot_be_kept_is_served_all_the_same(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = await pushed(cluster, "s", PACK), await pushed(cluster, "l", 3 * CHUNK)
    fra = cluster["fra"]
    fra.data.capacity = 0
    assert await fra.get("s") == small
    assert await fra.get("l") == large
    await fra.quiet()
    assert fra.data.contents == {} or not any(fra.data.contents.values())
    with pytest.raises(StorageFull):
        await make_local(fra.core, *await fra.version("l"), durable=True)
    await fra.assert_sound()

    async def full(body: bytes) -> object:
        raise DataFull("the disk is full")

    fra.data.capacity = 1 << 40
    monkeypatch.setattr(fra.data, "append", full)
    assert await fra.get("s") == small


async def test_a_version_that_goes_while_it_is_pulled(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", PACK)
    fra = cluster["fra"]
    link = fra.links["sjc"]
    link.hold = asyncio.Event()
    reading = asyncio.ensure_future(fra.get("k"))
    await asyncio.sleep(0.01)
    await fra.put("k", b"newer")
    link.hold.set()
    assert await reading == body
    assert await fra.get("k") == b"newer"
    await fra.assert_sound()
    await fra.collect()
    assert await fra.files_in_use() == set()


async def test_two_processes_pull_the_same(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 2 * CHUNK)
    small = await pushed(cluster, "s", PACK)
    fra = cluster["fra"]
    other = Store(fra.engine, fra.data, cluster.clock, region="fra", topology=fra.core.topology)
    other.core.links = fra.core.links

    async def read(store: Store, key: str) -> bytes:
        return await body_of(await store.get(BUCKET, key))

    stores = (fra.store, other)
    assert await asyncio.gather(*(read(store, "k") for store in stores)) == [body] * 2
    assert await asyncio.gather(*(read(store, "s") for store in stores)) == [small] * 2
    await fra.quiet()
    await other.core.flights.quiet()
    assert len(await fra.table(keys.CHUNKS)) == 2
    await fra.assert_sound()
    used = await fra.files_in_use()
    assert {name for name, content in fra.data.contents.items() if len(content) > PACK * 2} <= used


# --- restriction ---


@pytest.mark.parametrize("size", [4097, PACK, 3 * CHUNK + 9])
async def test_where_bytes_may_not_lie_they_are_passed_through(
    cluster: FakeCluster, size: int
) -> None:
    def restrict(bucket: object) -> None:
        bucket.regions = "sjc"  # type: ignore[attr-defined]

    await cluster["sjc"].store.update_bucket(BUCKET, restrict)
    body = await pushed(cluster, "k", size)
    fra = cluster["fra"]
    for _ in range(2):
        assert await fra.get("k") == body
        assert await fra.get("k", 100, 200) == body[100:201]
    await fra.quiet()
    assert not any(fra.data.contents.values())
    assert await fra.table(keys.CHUNKS) == []
    assert kind_in(await fra.record("k"), "fra") == GONE


# --- damage ---


@pytest.mark.parametrize("size", [PACK, 3 * CHUNK])
@pytest.mark.parametrize("is_lost", [False, True])
async def test_damage_at_home_is_healed_from_a_copy(
    cluster: FakeCluster, size: int, is_lost: bool
) -> None:
    body = await pushed(cluster, "k", size)
    await cluster["fra"].get("k")
    await cluster.quiet()
    await cluster.push()
    sjc = cluster["sjc"]
    await spoil(sjc, (await sjc.record("k")).extents[0], is_lost=is_lost)
    assert await sjc.get("k") == body
    await sjc.quiet()
    before = reads(sjc)
    assert await sjc.get("k") == body
    assert reads(sjc) == before
    assert kind_in(await sjc.record("k"), "sjc") == DURABLE
    await sjc.assert_sound()


async def spoil(region: FakeRegion, extent: object, *, is_lost: bool) -> None:
    place = (extent.file, extent.offset)  # type: ignore[attr-defined]
    if is_lost:
        await region.data.unlink(place[0])
    else:
        region.data.rotten.add(place)


async def test_a_damaged_part_is_healed(cluster: FakeCluster) -> None:
    sjc, fra = cluster["sjc"], cluster["fra"]
    body = await sjc.multipart("m", [cluster.body(100_000) for _ in range(3)])
    await cluster.push()
    await fra.get("m")
    await cluster.quiet()
    await cluster.push()
    record = await sjc.record("m")
    parts = [part async for part in sjc.store.object_parts(record)]
    await spoil(sjc, parts[1].extents[0], is_lost=False)
    assert await sjc.get("m") == body
    await sjc.quiet()
    healed = [part async for part in sjc.store.object_parts(record)]
    assert [a.extents == b.extents for a, b in zip(parts, healed, strict=True)] == [
        True,
        False,
        True,
    ]
    before = reads(sjc)
    assert await sjc.get("m") == body
    assert reads(sjc) == before
    await sjc.assert_sound()


async def test_damage_of_the_only_copy_is_told(cluster: FakeCluster) -> None:
    await pushed(cluster, "k", PACK)
    sjc = cluster["sjc"]
    await spoil(sjc, (await sjc.record("k")).extents[0], is_lost=False)
    with pytest.raises(StorageDamaged):
        await sjc.get("k")
    with pytest.raises(BodyUnreachable):
        await cluster["fra"].get("k")


async def test_a_damaged_chunk_is_pulled_again(cluster: FakeCluster) -> None:
    body = await pushed(cluster, "k", 3 * CHUNK)
    fra = cluster["fra"]
    await fra.get("k")
    await fra.quiet()
    fra.data.rotten.update(
        (file, offset)
        for file, offset, owner in map(keys.split_reference, await fra.table(keys.REFERENCES))
        if owner.startswith(keys.CHUNKS) and keys.split_chunk(owner)[3] == 1
    )
    assert await fra.get("k") == body
    await fra.quiet()
    assert kind_in(await fra.record("k"), "fra") == GONE
    assert await fra.get("k") == body
    await fra.quiet()
    assert kind_in(await fra.record("k"), "fra") == CACHED
    await fra.assert_sound()


# --- bundles, copies, durable copies ---


async def test_a_bundle_of_what_is_here_and_there(cluster: FakeCluster) -> None:
    sizes = [100, 5000, PACK, CHUNK + 5, 0, 9000, 3 * CHUNK, 6000]
    bodies = {f"k{n}": await pushed(cluster, f"k{n}", size) for n, size in enumerate(sizes)}
    bodies["m"] = await cluster["sjc"].multipart("m", [cluster.body(30_000), cluster.body(7)])
    await cluster.push()
    fra = cluster["fra"]
    await fra.get("k2")
    bundle = await fra.store.bundle(BUCKET, list(bodies))
    members = [entry for entry in bundle.entries if hasattr(entry, "size")]
    assert [member.key for member in members] == list(bodies)
    found = b""
    async with aclosing(bundle.runs(members)) as runs:  # type: ignore[arg-type]
        async for run in runs:
            found += b"".join(run.bodies) if run.bodies is not None else await joined(run.pieces)  # type: ignore[arg-type]
    assert found == b"".join(bodies.values())
    await fra.quiet()
    await fra.assert_sound()


@pytest.mark.parametrize("kind", ["small", "large", "parts"])
@pytest.mark.parametrize("way", ["copy", "rename"])
async def test_a_copy_needs_no_other_region(cluster: FakeCluster, kind: str, way: str) -> None:
    if kind == "parts":
        body = await cluster["sjc"].multipart("k", [cluster.body(CHUNK + 5), cluster.body(PACK)])
        await cluster.push()
    else:
        body = await pushed(cluster, "k", PACK if kind == "small" else 3 * CHUNK + 1)
    fra = cluster["fra"]
    if way == "copy":
        await fra.store.copy((BUCKET, "k", ""), BUCKET, "new", None)
    else:
        await fra.store.rename(BUCKET, "k", "new")
    for link in fra.links.values():
        link.is_down = True
    assert await fra.get("new") == body
    assert holders(await fra.record("new")) == ["fra"]
    await fra.assert_sound()
    for region in cluster.regions.values():
        for link in region.links.values():
            link.is_down = False
    await cluster.push()
    await fra.assert_sound()
    assert await cluster["ord"].get("new") == body


@pytest.mark.parametrize("kind", ["inline", "small", "large", "parts"])
async def test_a_durable_copy(cluster: FakeCluster, kind: str) -> None:
    if kind == "parts":
        body = await cluster["sjc"].multipart("k", [cluster.body(2 * CHUNK + 5), cluster.body(9)])
        await cluster.push()
    else:
        body = await pushed(cluster, "k", {"inline": 9, "small": PACK, "large": 3 * CHUNK}[kind])
    fra = cluster["fra"]
    if kind == "large":
        await fra.get("k", CHUNK, CHUNK)
    name = await fra.version("k")
    assert await make_local(fra.core, *name, durable=True)
    assert await make_local(fra.core, *name, durable=True)
    record = await fra.record("k")
    assert kind_in(record, "fra") == DURABLE
    assert await is_local(fra.core, Version(keys.object_key(*name[:2]), record))
    assert await fra.table(keys.CHUNKS) == []
    assert fra.links["sjc"].sent == (0 if kind == "inline" else len(body))
    fra.links["sjc"].is_down = fra.links["ord"].is_down = True
    assert await fra.get("k") == body
    await fra.assert_sound()


async def test_a_version_that_is_gone_is_not_made_local(cluster: FakeCluster) -> None:
    await pushed(cluster, "k", PACK)
    bucket, key, version = await cluster["fra"].version("k")
    assert not await make_local(cluster["fra"].core, bucket, key, version + 64, durable=True)


async def test_few_chunks_are_in_memory_at_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    fra = cluster["fra"]
    bodies = [await pushed(cluster, f"k{n}", 3 * CHUNK) for n in range(10)]
    most = 0
    add = Flight.add

    def counting(flight: Flight, piece: bytes) -> None:
        nonlocal most
        add(flight, piece)
        flights = fra.core.flights.by_name.values()
        most = max(most, sum(bool(each.have) and not each.kept for each in flights))

    monkeypatch.setattr(Flight, "add", counting)
    read = await asyncio.gather(*(fra.get(f"k{n}") for n in range(10)))
    assert read == bodies
    assert most == GATHERED_MAX < 10 * (1 + READ_AHEAD)


def test_who_waits_for_a_turn_gives_up_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    small_sizes(monkeypatch)

    async def main() -> None:
        cluster = await new_cluster()
        sjc, fra = cluster["sjc"], cluster["fra"]
        for number in range(3 * GATHERED_MAX):
            await sjc.multipart(f"k{number}", [cluster.body(9000)])
        await cluster.push()
        fra.links["sjc"].is_stalled = fra.links["ord"].is_stalled = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await asyncio.gather(
            *(fra.get(f"k{n}") for n in range(3 * GATHERED_MAX)), return_exceptions=True
        )
        assert {type(each) for each in done} == {BodyUnreachable}
        assert loop.time() - began < 9.1
        fra.links["sjc"].is_stalled = False
        assert len(await fra.get("k0")) == 9000

    run_virtually(main())


async def test_a_part_is_not_copied_from_what_may_not_lie_here(cluster: FakeCluster) -> None:
    """As a whole object is not: the part would be those bytes on this disk."""
    sjc, fra = cluster["sjc"], cluster["fra"]
    await sjc.store.create_bucket(BucketRecord(name="only", owner="me", regions="sjc"))
    await sjc.store.put("only", "k", cluster.body(CHUNK * 3))
    await sjc.store.put(BUCKET, "own", cluster.body(CHUNK * 3), Attributes(regions="sjc,ord"))
    await cluster.push()
    upload = (await fra.store.create_upload(BUCKET, "new", Attributes())).id.hex()
    before = set(fra.data.contents)
    for source in (("only", "k", ""), (BUCKET, "own", "")):
        with pytest.raises(InvalidRequest):
            await fra.store.copy(source, BUCKET, "new", None)
        with pytest.raises(InvalidRequest):
            await fra.store.copy_part(source, None, BUCKET, "new", upload, 1)
    assert set(fra.data.contents) == before
