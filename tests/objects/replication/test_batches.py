"""Batches of a peer's log: taken in order, once, and never one made before a new session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from amur.meta import keys
from amur.meta.engine import EngineDamaged, Entry
from amur.objects.core import Core
from amur.objects.errors import NoSuchKey
from amur.objects.replication.batches import take_batch
from amur.objects.replication.items import items_of
from amur.regions.messages import UNKNOWN, Ack, Batch
from amur.workers.replicate import read_log
from tests.support.pulls import BUCKET, FakeCluster


@dataclass
class Told:
    """What sjc tells fra: batches as they were made at some moment."""

    cluster: FakeCluster
    receiver: Core

    async def session(self) -> Ack:
        ack = await take_batch(self.receiver, Batch("sjc", UNKNOWN, UNKNOWN))
        assert isinstance(ack, Ack)
        assert not ack.is_applied
        return ack

    async def batch(self, start: int, session: int) -> Batch:
        core = self.cluster["sjc"].core
        stretch = await read_log(core, start)
        items = await items_of(core, stretch.names, "fra")
        return Batch("sjc", start, stretch.end, items, session=session)

    async def is_taken(self, batch: Batch) -> bool:
        ack = await take_batch(self.receiver, batch)
        assert isinstance(ack, Ack)
        return ack.is_applied


async def told() -> Told:
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BUCKET)
    return Told(cluster, cluster["fra"].core)


async def test_a_batch_is_taken_once() -> None:
    story = await told()
    ack = await story.session()
    batch = await story.batch(ack.cursor, ack.session)
    assert await story.is_taken(batch)
    assert not await story.is_taken(batch)
    assert (await story.session()).cursor == batch.end


async def test_a_batch_waits_for_the_one_before_it() -> None:
    story = await told()
    ack = await story.session()
    first = await story.batch(ack.cursor, ack.session)
    await story.cluster["sjc"].put("a", b"1")
    second = await story.batch(first.end, ack.session)
    waiting = asyncio.create_task(story.is_taken(second))
    await asyncio.sleep(0)
    assert await story.is_taken(first)
    assert await waiting
    assert (await story.cluster["fra"].get("a")) == b"1"


async def test_what_was_made_before_a_new_session_is_refused() -> None:
    """It may hold what a batch of the new one has said to be dead."""
    story = await told()
    old = await story.session()
    first = await story.batch(old.cursor, old.session)
    sjc = story.cluster["sjc"]
    await sjc.put("a", b"1")
    late = await story.batch(first.end, old.session)
    new = await story.session()
    assert new.session > old.session
    again = first.__class__("sjc", first.start, first.end, first.items, session=new.session)
    assert await story.is_taken(again)
    assert not await story.is_taken(late)
    await sjc.store.delete(BUCKET, "a")
    assert await story.is_taken(await story.batch(first.end, new.session))
    assert not await story.is_taken(late)


async def test_a_batch_from_nobody_is_not_taken() -> None:
    story = await told()
    assert not isinstance(await take_batch(story.receiver, Batch("xyz", 0, 1)), Ack)


async def test_two_askers_do_not_share_a_session() -> None:
    story = await told()
    acks = await asyncio.gather(*(story.session() for _ in range(4)))
    assert len({ack.session for ack in acks}) == 4


async def test_a_damaged_record_does_not_keep_the_others_from_being_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = await told()
    sjc = story.cluster["sjc"]
    for key in "abcde":
        await sjc.put(key, key.encode())
    bad = keys.object_key((await sjc.store.bucket(BUCKET)).id, b"c")
    plain = sjc.engine._get

    def get(key: bytes) -> Entry | None:
        if key == bad:
            raise EngineDamaged("a flipped bit")
        return plain(key)

    monkeypatch.setattr(sjc.engine, "_get", get)
    ack = await story.session()
    assert await story.is_taken(await story.batch(ack.cursor, ack.session))
    for key in "abde":
        assert await story.cluster["fra"].get(key) == key.encode()
    with pytest.raises(NoSuchKey):
        await story.cluster["fra"].get("c")
