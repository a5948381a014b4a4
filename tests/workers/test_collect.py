"""The collector frees what nothing refers to, after the grace, and nothing else."""

from __future__ import annotations

from typing import Any

from amur.meta import keys
from amur.meta.engine import Commit
from amur.meta.records import Extent
from amur.objects.multipart import garbage_notes
from amur.workers.collect import Collector
from amur.workers.runner import run_until_idle

BLOCK = 50_000
SMALL = 6_000


async def test_a_deleted_block_is_freed_after_the_grace_and_not_before(world: Any) -> None:
    await world.put("a", BLOCK)
    kept = await world.put("b", BLOCK)
    assert len(world.files()) == 2
    await world.store.delete("bucket", "a")
    await run_until_idle(world.workers)
    world.clock.advance(99)
    await run_until_idle(world.workers)
    assert len(world.files()) == 2
    world.clock.advance(2)
    await run_until_idle(world.workers)
    assert world.files() == await world.used_files()
    assert len(world.files()) == 1
    assert await world.get("b") == kept


async def test_the_grace_begins_when_the_last_of_several_owners_goes(world: Any) -> None:
    body = await world.put("a", BLOCK)
    await world.store.copy(("bucket", "a", ""), "bucket", "b", None)
    await world.store.delete("bucket", "a")
    await run_until_idle(world.workers)
    world.clock.advance(1000)
    await run_until_idle(world.workers)
    assert await world.get("b") == body
    await world.store.delete("bucket", "b")
    await run_until_idle(world.workers)
    world.clock.advance(50)
    await run_until_idle(world.workers)
    assert len(world.files()) == 1
    world.clock.advance(51)
    await run_until_idle(world.workers)
    assert world.files() == set()


async def test_a_reader_that_began_before_the_delete_finishes(world: Any) -> None:
    body = await world.multipart("a", [world.body(BLOCK), world.body(BLOCK), world.body(10)])
    reading = await world.store.get("bucket", "a")
    if reading.stream is None:
        assert reading.body == body
        return
    await world.store.delete("bucket", "a")
    await run_until_idle(world.workers)
    assert b"".join([piece async for piece in reading.stream]) == body


async def test_an_open_pack_is_never_freed_however_long_it_is_empty(world: Any) -> None:
    await world.put("a", SMALL)
    await world.store.delete("bucket", "a")
    await world.rest()
    assert len(world.files()) == 1
    assert await world.table(keys.DOOMED) != []
    body = await world.put("b", SMALL)  # goes into the same pack
    await world.rest()
    assert len(world.files()) == 1
    assert await world.get("b") == body
    await world.store.delete("bucket", "b")
    await run_until_idle(world.workers)
    for number in range(21):  # fills the pack: it is sealed
        await world.put(f"c{number}", SMALL)
    await world.store.put("bucket", "c0", b"")
    for number in range(21):
        await world.store.delete("bucket", f"c{number}")
    await world.rest(6)
    assert len(world.files()) == 1  # the next pack


async def test_bytes_whose_commit_is_under_way_outlive_the_sealing(world: Any) -> None:
    """An append that is durable but not yet named, in a pack that is sealed the moment after."""
    await world.put("a", SMALL)
    await world.store.delete("bucket", "a")
    collector = world.workers[0]
    await run_until_idle([collector])
    world.clock.advance(101)
    extents = [await world.data.append(world.body(SMALL)) for _ in range(22)]
    assert extents[0].file != extents[-1].file
    await run_until_idle([collector])  # the note of the pack is due, and it is sealed now
    assert extents[0].file in world.files()
    world.clock.advance(101)
    await run_until_idle([collector])
    assert extents[0].file not in world.files()


async def test_a_manifest_goes_with_its_parts_in_batches(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.collect.MANIFEST_PARTS_MAX", 3)
    await world.multipart("a", [world.body(20_000) for _ in range(10)])
    await world.store.copy(("bucket", "a", ""), "bucket", "b", None)
    await world.store.delete("bucket", "a")
    await world.rest()
    assert len(await world.table(keys.MANIFESTS)) == 10
    await world.store.delete("bucket", "b")
    await world.rest()
    assert await world.table(keys.MANIFESTS) == []
    assert await world.table(keys.REFERENCES) == []
    assert world.files() == set()


async def test_notes_of_what_is_used_or_gone_vanish(world: Any) -> None:
    body = await world.put("a", BLOCK)
    used = next(iter(world.files()))
    notes = garbage_notes([Extent(used, 0, BLOCK), Extent(b"x" * 16, 0, 10)])
    await world.engine.commit(Commit(put=notes))
    await world.rest()
    assert await world.get("a") == body
    assert await world.table(keys.GARBAGE) == []
    assert await world.table(keys.DOOMED) == []


async def test_one_unit_of_work_is_bounded(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.collect.NOTES_MAX", 4)
    for number in range(11):
        await world.put(f"k{number}", 20_000)
        await world.store.delete("bucket", f"k{number}")
    collector = Collector(world.core, grace_seconds=100)
    await collector.work()
    assert len(await world.table(keys.GARBAGE)) == 7
