"""Entries by path and index, changed in one commit or not at all."""

from __future__ import annotations

import asyncio

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.meta import keys
from amur.meta.engine import Commit, prefix_end
from amur.meta.log import entry_name
from amur.meta.memory import MemoryEngine
from amur.meta.records import EntryRecord, encode
from amur.objects.core import Core
from amur.objects.registry import (
    EPOCH_KEY,
    EVENT_SECONDS,
    EVENTS,
    Registry,
    Transaction,
    is_expired,
)
from amur.objects.replication.entries import merge_entries
from amur.regions.messages import Item
from amur.regions.topology import Region, Topology


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_790_000_000_000_000_000)


@pytest.fixture
def registry(clock: FakeClock) -> Registry:
    return Registry(Core(MemoryEngine(clock), MemoryDataStore(), clock, "local"))


async def made(registry: Registry, path: bytes, **values: object) -> None:
    async def attempt(transaction: Transaction) -> None:
        await transaction.create(path, values, [b"all", b"of " + path[:1]])

    await registry.transact(attempt)


async def removed(registry: Registry, path: bytes) -> None:
    async def attempt(transaction: Transaction) -> None:
        assert await transaction.get(path) is not None
        transaction.remove(path)

    await registry.transact(attempt)


async def test_made_found_changed_removed(registry: Registry) -> None:
    await made(registry, b"k1", name="one", roles=[["b", "Editor"]])
    await made(registry, b"k2", name="two")
    record = await registry.get(b"k1")
    assert record is not None
    assert record.values == {"name": "one", "roles": [["b", "Editor"]]}
    assert [path for path, _ in await registry.find(b"all")] == [b"k1", b"k2"]
    assert [path for path, _ in await registry.find(b"all", after=b"k1")] == [b"k2"]
    assert [path for path, _ in await registry.find(b"al")] == []

    async def rename(transaction: Transaction) -> None:
        assert await transaction.get(b"k1") is not None
        transaction.set(b"k1", {"name": "uno"})

    await registry.transact(rename)
    assert (await registry.get(b"k1")).values["name"] == "uno"  # type: ignore[union-attr]
    await removed(registry, b"k1")
    assert await registry.get(b"k1") is None
    assert [path for path, _ in await registry.find(b"all")] == [b"k2"]
    assert [path for path, _ in await registry.scan(b"", b"\xff", 10)] == [b"k2"]


async def test_a_removed_secret_leaves_no_byte(registry: Registry) -> None:
    await made(registry, b"k1", secret="the secret to forget")
    await removed(registry, b"k1")
    rows = await registry.core.engine.scan(b"\x00", b"\xff", 1000)
    assert all(b"the secret to forget" not in row.value for row in rows)


async def test_what_is_gone_is_never_made_again(registry: Registry) -> None:
    await made(registry, b"k1", name="one")
    await removed(registry, b"k1")
    with pytest.raises(AssertionError, match="made once"):
        await made(registry, b"k1", name="two")


async def test_two_at_once_do_not_undo_each_other(registry: Registry) -> None:
    await made(registry, b"k1", count=0)

    async def add(transaction: Transaction) -> None:
        record = await transaction.get(b"k1")
        assert record is not None
        count = record.values["count"]
        await asyncio.sleep(0)
        transaction.set(b"k1", {"count": count + 1})

    await asyncio.gather(*(registry.transact(add) for _ in range(20)))
    assert (await registry.get(b"k1")).values["count"] == 20  # type: ignore[union-attr]


async def test_a_name_is_taken_once(registry: Registry) -> None:
    async def attempt(transaction: Transaction, path: bytes) -> None:
        if await transaction.find(b"name", 1):
            raise ValueError("taken")
        transaction.alone(b"name")
        await asyncio.sleep(0)
        await transaction.create(path, {"x": 1}, [b"name"])

    paths = [b"p%d" % n for n in range(5)]
    told = await asyncio.gather(
        *(registry.transact(lambda t, path=path: attempt(t, path)) for path in paths),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert sorted(map(str, told)) == ["None", *["taken"] * 4]
    assert len(await registry.find(b"name")) == 1


async def test_the_epoch_changes_with_everything_but_events(registry: Registry) -> None:
    assert await registry.epoch() == 0
    await made(registry, b"k1", name="one")
    first = await registry.epoch()
    assert first
    await made(registry, EVENTS + bytes(8) + b"x", action="a")
    assert await registry.epoch() == first
    theirs = EntryRecord(0, {"name": "two"}, {"name": 1 << 62}, [b"all"])
    await merge_entries(registry.core, [Item(keys.ENTRIES_ID, b"k1", state=encode(theirs))])
    assert await registry.epoch() > first  # a peer's change counts
    second = await registry.epoch()
    await merge_entries(registry.core, [Item(keys.ENTRIES_ID, b"k1", state=encode(theirs))])
    assert await registry.epoch() == second  # and its repetition not
    await removed(registry, b"k1")
    assert await registry.epoch() > second


async def test_old_events_are_not_taken_in(registry: Registry, clock: FakeClock) -> None:
    now = clock.now_ns()
    old, young = (
        EVENTS + at.to_bytes(8, "big") + b"rand"
        for at in (now - (EVENT_SECONDS + 1) * 1_000_000_000, now - 1)
    )
    assert is_expired(old, now)
    assert not is_expired(young, now)
    assert not is_expired(b"k1", now)
    record = encode(EntryRecord(0, {"a": 1}, {"a": 1}))
    await merge_entries(
        registry.core, [Item(keys.ENTRIES_ID, path, state=record) for path in (old, young)]
    )
    assert [path for path, _ in await registry.scan(b"", b"\xff", 10)] == [young]


async def test_a_merge_keeps_the_index(registry: Registry) -> None:
    theirs = EntryRecord(0, {"name": "two"}, {"name": 9}, [b"all", b"of k"])
    item = Item(keys.ENTRIES_ID, b"k1", state=encode(theirs))
    await merge_entries(registry.core, [item])
    assert [path for path, _ in await registry.find(b"of k")] == [b"k1"]
    gone = Item(keys.ENTRIES_ID, b"k1", state=encode(EntryRecord(gone=99)))
    await merge_entries(registry.core, [gone, item])
    rows = await registry.core.engine.scan(keys.ENTRY_INDEX, prefix_end(keys.ENTRY_INDEX), 100)
    assert rows == []
    await merge_entries(registry.core, [item])
    assert await registry.get(b"k1") is None


async def test_nothing_changed_commits_nothing(registry: Registry) -> None:
    await made(registry, b"k1", name="one")
    before = await registry.epoch()

    async def attempt(transaction: Transaction) -> None:
        assert await transaction.get(b"k1") is not None
        assert await transaction.get(b"k2") is None
        transaction.touch(b"k1")

    await registry.transact(attempt)
    assert await registry.epoch() == before


async def test_what_is_set_again_is_said_later(registry: Registry) -> None:
    """Another region may have said something else meanwhile, which is not known here yet."""
    await made(registry, b"k1", status="off", name="one")
    before = await registry.get(b"k1")
    assert before is not None

    async def disable(transaction: Transaction) -> None:
        assert await transaction.get(b"k1") is not None
        transaction.set(b"k1", {"status": "off"})

    await registry.transact(disable)
    after = await registry.get(b"k1")
    assert after is not None
    assert after.changed["status"] > before.changed["status"]
    assert after.changed["name"] == before.changed["name"]
    on = EntryRecord(0, {"status": "on"}, {"status": before.changed["status"] + 1}, [b"all"])
    await merge_entries(registry.core, [Item(keys.ENTRIES_ID, b"k1", state=encode(on))])
    assert (await registry.get(b"k1")).values["status"] == "off"  # type: ignore[union-attr]


@pytest.mark.parametrize("first", ["adding", "removing"])
async def test_what_is_touched_holds_entries_together(registry: Registry, first: str) -> None:
    """One adds an entry that hangs on another, which a second one removes when nothing does."""
    await made(registry, b"p", name="policy")
    turns = {"adding": asyncio.Event(), "removing": asyncio.Event()}
    turns[first].set()
    other = {"adding": "removing", "removing": "adding"}

    async def add(transaction: Transaction) -> None:
        if await transaction.get(b"p") is None:
            raise ValueError("gone")
        transaction.touch(b"p")
        await transaction.create(b"a", {"x": 1}, [b"hangs on p"])
        await turns["adding"].wait()

    async def remove(transaction: Transaction) -> None:
        assert await transaction.get(b"p") is not None
        if await transaction.find(b"hangs on p"):
            raise ValueError("used")
        transaction.remove(b"p")
        await turns["removing"].wait()

    async def run(name: str) -> None:
        try:
            await registry.transact(add if name == "adding" else remove)
        finally:
            turns[other[name]].set()

    told = await asyncio.gather(run("adding"), run("removing"), return_exceptions=True)
    assert sorted(map(str, told)) == sorted(["None", "used" if first == "adding" else "gone"])
    is_there = await registry.get(b"p") is not None
    assert is_there == (await registry.get(b"a") is not None) == (first == "adding")


async def test_a_touch_is_told_to_nobody(clock: FakeClock) -> None:
    topology = Topology(Region("fra", 0), [Region("iad", 1)])
    registry = Registry(Core(MemoryEngine(clock), MemoryDataStore(), clock, "fra", topology))
    await made(registry, b"k1", name="one")
    before = await registry.get(b"k1")

    async def attempt(transaction: Transaction) -> Commit:
        assert await transaction.get(b"k1") is not None
        transaction.touch(b"k1")
        await transaction.create(b"k2", {"name": "two"}, [b"all"])
        return transaction.commit()

    commit = await registry.transact(attempt)
    assert commit.log == [entry_name(b"k2")]
    assert [put.key for put in commit.put] == [
        keys.entry_key(b"k2"), keys.entry_index_key(b"all", b"k2"), keys.entry_key(b"k1"),
        EPOCH_KEY,
    ]  # fmt: skip
    after = await registry.get(b"k1")
    assert before is not None
    assert after is not None
    assert (after.values, after.changed) == (before.values, before.changed)
    assert after.version > before.version
