"""After compaction neighbours lie side by side, dead bytes are gone, all reads as before."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from amur.meta import keys
from amur.meta.records import ObjectRecord, decode
from amur.objects.types import Attributes, Conditions
from amur.workers.compact import Compactor
from amur.workers.runner import run_until_idle

SMALL = 6_000


async def fill(world: Any, count: int = 60) -> dict[str, bytes]:
    """Objects in a random order, in several packs."""
    names = [f"k{number:03}" for number in range(count)]
    world.rng.shuffle(names)
    return {name: await world.put(name, world.rng.randint(5_000, 9_000)) for name in names}


async def places(world: Any) -> list[tuple[bytes, int]]:
    """Where the bodies of the objects lie, in the order of their keys."""
    found = []
    for entry in await world.engine.scan(keys.OBJECTS, b"P", 10_000):
        extents = decode(entry.value, ObjectRecord).extents
        found += [(extent.file, extent.offset) for extent in extents]
    return found


async def seal(world: Any) -> None:
    world.die()


async def test_neighbours_lie_side_by_side_and_read_the_same(world: Any) -> None:
    bodies = await fill(world)
    before = {name: await world.store.head("bucket", name) for name in bodies}
    await seal(world)
    await world.rest()
    for name, body in bodies.items():
        assert await world.get(name) == body
        after = await world.store.head("bucket", name)
        after.extents = before[name].extents
        assert after == before[name], "version, Last-Modified and all else stay"
    found = await places(world)
    files = list(dict.fromkeys(file for file, _ in found))
    assert found == [place for file in files for place in sorted(p for p in found if p[0] == file)]
    for file in files:
        offsets = [offset for name, offset in found if name == file]
        lengths = [b - a for a, b in pairwise(offsets)]
        assert all(5_000 <= length <= 9_010 for length in lengths), "no gaps between neighbours"
    await world.assert_nothing_left()


async def test_what_is_in_order_is_not_rewritten_again(world: Any) -> None:
    await fill(world)
    await seal(world)
    await world.rest()
    found = await places(world)
    await world.rest()
    assert await places(world) == found


async def test_dead_bytes_are_reclaimed(world: Any) -> None:
    names = [f"k{number:03}" for number in range(60)]
    bodies = {name: await world.put(name, SMALL) for name in names}
    for name in names[::2]:
        await world.store.delete("bucket", name)
    await seal(world)
    await world.rest()
    used = sum(info.size for info in world.data.files())
    assert used == 30 * (SMALL + 8)
    for name in names[1::2]:
        assert await world.get(name) == bodies[name]


async def test_shared_bytes_move_for_all_owners_at_once(world: Any) -> None:
    await world.store.update_bucket("bucket", lambda b: setattr(b, "versioning", "Enabled"))
    bodies = await fill(world, 40)
    for name, body in bodies.items():
        await world.store.copy(("bucket", name, ""), "bucket", "z" + name, Attributes())
        if name < "k010":
            await world.store.put("bucket", name, body + b"!")
    await seal(world)
    await world.rest()
    owners: dict[bytes, list[bytes]] = {}
    for reference in await world.table(keys.REFERENCES):
        owners.setdefault(reference[:25], []).append(reference[25:])
    assert sorted(map(len, owners.values())) == [1] * 10 + [2] * 40
    for name, body in bodies.items():
        assert await world.get("z" + name) == body
    await world.assert_nothing_left()


async def test_parts_of_uploads_and_of_objects_move_too(world: Any) -> None:
    body = await world.multipart("a", [world.body(SMALL) for _ in range(30)])
    upload = await world.store.create_upload("bucket", "b", Attributes())
    for number in (3, 2, 1):
        await world.store.put_part("bucket", "b", upload.id.hex(), number, world.body(SMALL))
    for number in range(30):
        await world.put(f"k{number}", SMALL)
        await world.store.delete("bucket", f"k{number}")
    await seal(world)
    await world.rest()
    assert await world.get("a") == body
    _, parts, _ = await world.store.list_parts("bucket", "b", upload.id.hex())
    assert [part.size for part in parts] == [SMALL] * 3
    await world.assert_nothing_left()


@pytest.mark.parametrize("change", ["put", "delete", "copy", "tag"])
async def test_what_changes_meanwhile_is_skipped_or_followed(world: Any, change: str) -> None:
    bodies = await fill(world, 40)
    await seal(world)
    compactor = Compactor(world.core, file_bytes_max=128 * 1024)
    steps = 0
    names = sorted(bodies)
    while (await compactor.work()).state.value == "busy" and steps < 100:
        steps += 1
        name = names[steps % len(names)]
        if change == "put":
            bodies[name] = await world.put(name, SMALL)
        elif change == "delete" and name in bodies:
            await world.store.delete("bucket", name)
            del bodies[name]
        elif change == "copy" and name in bodies:
            await world.store.copy(("bucket", name, ""), "bucket", f"c{steps}", None)
            bodies[f"c{steps}"] = bodies[name]
        elif change == "tag" and name in bodies:
            await world.store.update_object("bucket", name, lambda o: o.tags.update(a="b"))
    for name, body in bodies.items():
        assert await world.get(name) == body
    await world.assert_sound()
    world.die()
    await world.rest(6)
    for name, body in bodies.items():
        assert await world.get(name) == body
    await world.assert_nothing_left()


async def test_a_damaged_body_stays_where_it_is(world: Any) -> None:
    bodies = await fill(world, 40)
    world.die()
    record = await world.store.head("bucket", "k007")
    extent = record.extents[0]
    content = world.disk.contents(f"/data/{extent.file[15]:02x}/{extent.file.hex()}")
    content[extent.offset + 100] ^= 1
    await run_until_idle([Compactor(world.core, file_bytes_max=128 * 1024)])
    assert (await world.store.head("bucket", "k007")).extents == [extent]
    for name in sorted(bodies.keys() - {"k007"}):
        assert await world.get(name) == bodies[name]
    await world.assert_sound()


async def test_uncompacted_conditions_still_hold(world: Any) -> None:
    """The engine's version of a record changes by a move, its ETag and version do not."""
    bodies = await fill(world, 40)
    etag = (await world.store.head("bucket", "k001")).etag
    await seal(world)
    await world.rest()
    await world.store.put("bucket", "k001", b"new", conditions=Conditions(if_match=[etag]))
    assert await world.get("k001") == b"new"
    assert await world.get("k002") == bodies["k002"]


@pytest.mark.parametrize("change", ["put", "delete", "copy", "tag"])
async def test_what_changes_at_the_last_moment_is_skipped(world: Any, change: str) -> None:
    """It is committed between the compactor's reading of the records and its commit."""
    bodies = await fill(world, 40)
    await seal(world)
    commit = world.engine.commit
    moments = 0

    async def late(planned: Any) -> int:
        nonlocal moments
        world.engine.commit = commit
        moments += 1
        name = f"k{moments:03}"
        if change == "put":
            bodies[name] = await world.put(name, SMALL)
        elif change == "delete":
            await world.store.delete("bucket", name)
            del bodies[name]
        elif change == "copy":
            await world.store.copy(("bucket", name, ""), "bucket", f"c{moments}", None)
            bodies[f"c{moments}"] = bodies[name]
        else:
            await world.store.update_object("bucket", name, lambda o: o.tags.update(a="b"))
        if moments < 10:
            world.engine.commit = late
        return int(await commit(planned))

    world.engine.commit = late
    compactor = Compactor(world.core, file_bytes_max=128 * 1024)
    await run_until_idle([compactor])
    world.engine.commit = commit
    assert moments == 10
    for name, body in bodies.items():
        assert await world.get(name) == body
    await world.assert_sound()
    if change == "tag":
        assert (await world.store.head("bucket", "k001")).tags == {"a": "b"}
    places_of = {reference[:25] for reference in await world.table(keys.REFERENCES)}
    if change == "copy":
        assert len(places_of) == 40, "bytes stay shared"
    world.die()
    await world.rest(6)
    for name, body in bodies.items():
        assert await world.get(name) == body
    await world.assert_nothing_left()
