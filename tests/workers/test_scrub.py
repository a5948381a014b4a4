"""The scrubber reads all that is in use, goes on after a restart, and names what is damaged."""

from __future__ import annotations

from typing import Any

import pytest

from amur.meta.engine import EngineFull
from amur.workers.scrub import Scrubber
from amur.workers.worker import State


async def spoil(world: Any, key: str) -> bytes:
    """Flip a bit in an object's bytes; answers the metadata key of its record."""
    record = await world.store.head("bucket", key)
    extent = record.extents[0]
    path = f"/data/{extent.file[15]:02x}/{extent.file.hex()}"
    world.disk.contents(path)[extent.offset + 50] ^= 1
    bucket = await world.store.bucket("bucket")
    return b"O" + bytes(bucket.id) + key.encode()


async def test_a_round_finds_every_damaged_owner(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.scrub.REFERENCES_MAX", 3)
    for number in range(10):
        await world.put(f"k{number}", 6_000)
    await world.put("block", 200_000)
    await world.multipart("multi", [world.body(20_000) for _ in range(3)])
    await world.store.copy(("bucket", "k3", ""), "bucket", "copy", None)
    damaged = {await spoil(world, "k3"), await spoil(world, "block")}
    damaged.add(next(iter(damaged))[:9] + b"copy")
    scrubber = Scrubber(world.core)
    steps = 0
    while (await scrubber.work()).state is State.BUSY:
        steps += 1
    assert steps > 4
    assert scrubber.damaged.keys() == damaged
    assert scrubber.report()["damaged"] == [key.hex() for key in scrubber.damaged]


async def test_a_restart_goes_on_where_it_was(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.scrub.REFERENCES_MAX", 2)
    for number in range(9):
        await world.put(f"k{number}", 6_000)
    total = 0
    for _ in range(100):
        state, counts = await Scrubber(world.core).work()
        total += counts["extents"]
        if state is State.IDLE:
            break
    assert total == 9


async def test_a_unit_of_work_is_bounded_by_bytes(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.scrub.CHECK_BYTES", 150_000)
    for number in range(5):
        await world.put(f"k{number}", 100_000)
    scrubber = Scrubber(world.core)
    counts = []
    while True:
        state, counted = await scrubber.work()
        counts.append(counted["extents"])
        if state is State.IDLE:
            break
    assert counts == [1, 1, 1, 1, 1]


async def test_a_full_engine_does_not_stop_it(world: Any, monkeypatch: Any) -> None:
    for number in range(9):
        await world.put(f"k{number}", 6_000)
    monkeypatch.setattr("amur.workers.scrub.REFERENCES_MAX", 2)

    async def full(commit: object) -> int:
        raise EngineFull

    monkeypatch.setattr(world.engine, "commit", full)
    scrubber = Scrubber(world.core)
    total = 0
    while True:
        state, counts = await scrubber.work()
        total += counts["extents"]
        if state is State.IDLE:
            break
    assert total == 9


async def test_what_is_deleted_meanwhile_is_no_damage(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.put("a", 50_000)
    file_id = next(iter(world.files()))
    check = world.data.check

    async def slow(extent: object) -> None:
        await world.store.delete("bucket", "a")
        await world.data.unlink(file_id)
        await check(extent)

    monkeypatch.setattr(world.data, "check", slow)
    scrubber = Scrubber(world.core)
    await scrubber.work()
    assert scrubber.damaged == {}
