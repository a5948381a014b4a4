"""Where the bytes of a version are, and reading them for a peer: all, or nothing."""

from __future__ import annotations

import pytest

from amur.meta import keys
from amur.meta.records import ObjectRecord
from amur.objects.pull.bodies import body_pieces, find_body, first_missing, part_number, units
from amur.regions.link import BodyMissing
from amur.regions.messages import BodyName
from tests.support.pulls import (
    BUCKET,
    CHUNK,
    PACK,
    PIECE,
    FakeCluster,
    FakeRegion,
    joined,
    small_sizes,
)


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    small_sizes(monkeypatch)
    cluster = FakeCluster()
    await cluster["sjc"].store.create_bucket(BUCKET)
    return cluster


async def asked(region: FakeRegion, key: str, start: int, end: int) -> bytes:
    return await joined(body_pieces(region.core, BodyName(*await region.version(key)), start, end))


SIZES = [1, 4096, PACK - 1, PACK, PACK + 1, CHUNK, 3 * CHUNK + 5]


@pytest.mark.parametrize("size", SIZES)
async def test_any_range_of_what_is_here(cluster: FakeCluster, size: int) -> None:
    body = cluster.body(size)
    await cluster["sjc"].put("k", body)
    for start, end in ((0, size), (0, 0), (size // 3, size // 2), (size - 1, size), (size, size)):
        assert await asked(cluster["sjc"], "k", start, end) == body[start:end]


async def test_parts_are_read_across_their_borders(cluster: FakeCluster) -> None:
    sjc = cluster["sjc"]
    body = await sjc.multipart("m", [cluster.body(size) for size in (30_000, 100_000, 7)])
    for start, end in ((0, len(body)), (29_999, 30_001), (130_000, 130_007), (5, 130_001)):
        assert await asked(sjc, "m", start, end) == body[start:end]


async def test_pieces_are_small(cluster: FakeCluster) -> None:
    await cluster["sjc"].put("k", cluster.body(3 * CHUNK))
    name = BodyName(*await cluster["sjc"].version("k"))
    stream = body_pieces(cluster["sjc"].core, name, 10, 2 * CHUNK)
    assert max([len(piece) async for piece in stream]) <= PIECE


async def test_an_older_version_is_found_where_it_went(cluster: FakeCluster) -> None:
    sjc = cluster["sjc"]
    await sjc.store.update_bucket(BUCKET, lambda record: setattr(record, "versioning", "Enabled"))
    bodies = [cluster.body(PACK), cluster.body(2 * CHUNK), b"inline"]
    versions = []
    for body in bodies:
        await sjc.put("k", body)
        versions.append(await sjc.version("k"))
    for name, body in zip(versions, bodies, strict=True):
        assert await joined(body_pieces(sjc.core, BodyName(*name), 0, len(body))) == body


@pytest.mark.parametrize(("start", "end"), [(0, 101), (-1, 5), (50, 40), (101, 102)])
async def test_no_byte_outside_the_body(cluster: FakeCluster, start: int, end: int) -> None:
    await cluster["sjc"].put("k", cluster.body(100))
    with pytest.raises(BodyMissing):
        await asked(cluster["sjc"], "k", start, end)


async def test_unknown_versions_and_markers_have_none(cluster: FakeCluster) -> None:
    sjc = cluster["sjc"]
    await sjc.store.update_bucket(BUCKET, lambda record: setattr(record, "versioning", "Enabled"))
    await sjc.put("k", b"x" * 9000)
    bucket, key, version = await sjc.version("k")
    marker = await sjc.store.delete(BUCKET, "k")
    for name in (
        (bucket, key, version + 64),
        (bucket, b"other", version),
        (b"12345678", key, version),
        (bucket, key, int(marker.version_id)),
    ):
        with pytest.raises(BodyMissing):
            await joined(body_pieces(sjc.core, BodyName(*name), 0, 1))


async def test_what_was_only_pushed_is_not_here(cluster: FakeCluster) -> None:
    await cluster["sjc"].put("k", cluster.body(PACK))
    await cluster["sjc"].multipart("m", [cluster.body(30_000)])
    await cluster.push()
    for key in ("k", "m"):
        with pytest.raises(BodyMissing):
            await asked(cluster["fra"], key, 0, 1)


async def test_pulled_chunks_serve_the_ranges_that_they_cover(cluster: FakeCluster) -> None:
    body = cluster.body(4 * CHUNK)
    await cluster["sjc"].put("k", body)
    await cluster.push()
    fra = cluster["fra"]
    await fra.get("k", CHUNK + 5, 2 * CHUNK + 5)
    await fra.quiet()
    assert await asked(fra, "k", CHUNK, 3 * CHUNK) == body[CHUNK : 3 * CHUNK]
    for start, end in ((CHUNK - 1, 2 * CHUNK), (CHUNK, 3 * CHUNK + 1), (0, len(body))):
        with pytest.raises(BodyMissing):
            await asked(fra, "k", start, end)


@pytest.mark.parametrize("size", [PACK, 3 * CHUNK])
async def test_damage_is_told_before_the_first_piece(cluster: FakeCluster, size: int) -> None:
    sjc = cluster["sjc"]
    await sjc.put("k", cluster.body(size))
    (extent,) = (await sjc.record("k")).extents
    sjc.data.rotten.add((extent.file, extent.offset))
    with pytest.raises(BodyMissing):
        await asked(sjc, "k", 0, 1)
    await sjc.data.unlink(extent.file)
    with pytest.raises(BodyMissing):
        await asked(sjc, "k", 0, 1)


async def test_units_cover_the_body_in_order(cluster: FakeCluster) -> None:
    await cluster["sjc"].multipart("m", [cluster.body(size) for size in (2 * CHUNK + 1, 3, CHUNK)])
    await cluster.push()
    fra = cluster["fra"]
    found = await find_body(fra.core, *await fra.version("m"))
    assert found is not None
    size = found.record.size
    all_ = [unit async for unit in units(fra.core, found.entry.key, found.record, 0, size)]
    assert [unit.start for unit in all_] == [0, CHUNK, 2 * CHUNK, 2 * CHUNK + 1, 2 * CHUNK + 4]
    assert [unit.end for unit in all_] == [*(unit.start for unit in all_[1:]), size]
    assert [part_number(unit.number) for unit in all_] == [1, 1, 1, 2, 3]
    assert len({unit.at for unit in all_}) == 5
    some = units(fra.core, found.entry.key, found.record, CHUNK, 2 * CHUNK + 2)
    assert [unit async for unit in some] == all_[1:4]
    assert await first_missing(fra.core, found.entry.key, found.record, 7) == 7


async def test_a_manifest_without_parts_has_no_units(cluster: FakeCluster) -> None:
    core = cluster["sjc"].core
    record = ObjectRecord(version=1, size=10, manifest=bytes(16), part_count=1)
    at = keys.object_key(bytes(8), b"k")
    assert [unit async for unit in units(core, at, record, 0, 10)] == []
    assert await first_missing(core, at, record) == 0
