"""A sender's batches under way, and the count of what a peer has not got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.meta.memory import MemoryEngine
from amur.objects.replication.batches import take_batch
from amur.objects.store import Store
from amur.regions.link import Link, PeerUnreachable
from amur.regions.messages import Ack, Batch, BodyName, Reply, Request
from amur.regions.topology import Region, Topology
from amur.workers import replicate
from amur.workers.replicate import Sender

SJC, FRA = Region("sjc", 0), Region("fra", 1)


def region(me: Region, peer: Region) -> Store:
    clock = FakeClock()
    engine = MemoryEngine(clock, region_number=me.number)
    topology = Topology(me, [peer])
    return Store(engine, MemoryDataStore(), clock, region=me.name, topology=topology)


class HeldLink(Link):
    """Calls wait until `go` is set; then the receiver takes them."""

    rtt_s = 0.0

    def __init__(self, there: Store) -> None:
        self.region = there.core.topology.me
        self.go = asyncio.Event()
        self.is_down = False
        self.calls: list[tuple[int, int]] = []
        self._there = there

    async def call(self, request: Request, *, timeout_s: float = 0) -> Reply:
        assert isinstance(request, Batch)
        self.calls.append((request.start, request.end))
        await self.go.wait()
        if self.is_down:
            raise PeerUnreachable("down")
        return await take_batch(self._there.core, request)

    def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        raise NotImplementedError

    async def close(self) -> None: ...


@pytest.fixture
async def pair() -> tuple[Store, Store, HeldLink, Sender]:
    sjc, fra = region(SJC, FRA), region(FRA, SJC)
    await sjc.create_bucket("bkt")
    link = HeldLink(fra)
    return sjc, fra, link, Sender(sjc.core, link)


async def until_told(sender: Sender, link: HeldLink) -> None:
    link.go.set()
    for _ in range(100):
        if not (await sender.step() or await sender.backlog()):
            return
        await asyncio.sleep(0)
    raise AssertionError("it is never told")


async def test_a_change_does_not_wait_for_the_answer_to_the_one_before(
    pair: tuple[Store, Store, HeldLink, Sender],
) -> None:
    sjc, fra, link, sender = pair
    await until_told(sender, link)
    link.go.clear()
    before = len(link.calls)
    for name in ("one", "two", "three"):
        await sjc.put("bkt", name, b"body")
        await sender.step()
        await asyncio.sleep(0)
    first, second, third = link.calls[before:]
    assert first[1] == second[0]
    assert second[1] == third[0]
    await until_told(sender, link)
    assert (await fra.get("bkt", "three")).body == b"body"


async def test_what_was_under_way_when_the_peer_went_is_told_again(
    pair: tuple[Store, Store, HeldLink, Sender],
) -> None:
    sjc, fra, link, sender = pair
    await until_told(sender, link)
    link.go.clear()
    for name in ("one", "two"):
        await sjc.put("bkt", name, b"body")
        await sender.step()
    link.is_down = True
    link.go.set()
    await asyncio.sleep(0)
    with pytest.raises(PeerUnreachable):
        await sender.step()
    link.is_down = False
    await until_told(sender, link)
    assert (await fra.get("bkt", "one")).body == b"body"
    assert (await fra.get("bkt", "two")).body == b"body"


async def test_the_backlog_is_what_the_peer_has_not_got(
    pair: tuple[Store, Store, HeldLink, Sender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate, "COUNT_STRETCH", 2)
    sjc, _, link, sender = pair
    await until_told(sender, link)
    for number in range(7):
        await sjc.put("bkt", f"{number}", b"body")
        assert await sender.backlog() == number + 1
    await until_told(sender, link)
    assert await sender.backlog() == 0


async def test_batches_of_one_sender_are_taken_one_after_the_other() -> None:
    fra = region(FRA, SJC)
    first = take_batch(fra.core, Batch("sjc", 0, 64))
    second = take_batch(fra.core, Batch("sjc", 64, 128))
    acks = await asyncio.gather(first, second)
    assert [ack.is_applied for ack in acks if isinstance(ack, Ack)] == [True, True]
