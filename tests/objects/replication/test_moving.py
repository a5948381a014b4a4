"""Moving homes: in every order in which a promise, its repetition, questions about it and the
hand-over can happen, the home has the bytes and must keep them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import permutations

import pytest

from amur.meta import keys
from amur.meta.engine import Conflict
from amur.meta.holdings import CACHED, DURABLE, PROMISED, home_of, kind_in
from amur.objects.pull.accesses import flush
from amur.objects.pull.bodies import find_body
from amur.objects.replication import moving
from amur.objects.replication.moving import settle_promise, take_offer, take_promise
from amur.regions.link import LinkError, PeerUnreachable
from amur.regions.messages import BodyName, No, Offer, Promise, Reply, Request, Settle, Yes
from amur.workers.move import Mover
from tests.support.pulls import BUCKET, FakeCluster, FakeRegion

SIZE = 5_000  # more than is kept inline

Stand = tuple[str, int, int]


class Moving:
    """An object of sjc, pulled by fra, and the steps of moving it there."""

    def __init__(self, cluster: FakeCluster, name: BodyName) -> None:
        self.cluster = cluster
        self.home, self.reader = cluster["sjc"], cluster["fra"]
        self.name = name
        self.flows: list[tuple[Stand, Reply]] = []  # the home's: how it stood, what it heard
        self.asked: list[asyncio.Task[bool]] = []
        self.answers: list[asyncio.Event] = []

    async def begin(self) -> None:
        link = self.reader.links["sjc"]
        plain = link.call

        async def held(request: Request, *, timeout_s: float = 0) -> Reply:
            """An answer to Settle is on its way until it is let go."""
            reply = await plain(request)
            if isinstance(request, Settle):
                event = asyncio.Event()
                self.answers.append(event)
                await event.wait()
            return reply

        link.call = held  # type: ignore[method-assign]

    @property
    def _at(self) -> tuple[bytes, bytes, int]:
        return self.name.bucket_id, self.name.key, self.name.version

    # --- steps ---
    async def promise(self) -> None:
        """The home begins to move it: reads its record, then asks for a promise."""
        found = await find_body(self.home.core, *self._at)
        assert found is not None
        before = moving._stand(self.home.core, found.record)
        self.flows.append((before, await take_promise(self.reader.core, Promise(self.name, 0))))

    async def ask(self) -> None:
        """The reader asks; the home has answered when this returns."""
        before = len(self.answers)
        task = asyncio.create_task(settle_promise(self.reader.core, self.name))
        self.asked.append(task)
        while len(self.answers) == before and not task.done():  # noqa: ASYNC110 - steps, no time
            await asyncio.sleep(0)

    async def hear(self) -> None:
        """The first answer that is still on its way arrives."""
        task = self.asked.pop(0)
        if self.answers and not task.done():
            self.answers.pop(0).set()
        with suppress(Conflict):
            await task

    async def hand_over(self) -> None:
        """The flow that began first gets its answer."""
        before, reply = self.flows.pop(0)
        if isinstance(reply, Yes) and before[0] == "sjc":
            await moving._hand_over(self.home.core, self.name, before, "fra")

    async def check(self) -> None:
        records = {}
        for region in (self.home, self.reader):
            found = await find_body(region.core, *self._at)
            assert found is not None
            records[region.name] = found.record
        latest = max(records.values(), key=lambda record: record.home_epoch)
        mine = records[home_of(latest)]
        assert mine.extents
        assert kind_in(mine, home_of(latest)) >= DURABLE

    async def end(self) -> None:
        """Everything is heard of, and what was promised is settled."""
        while self.asked:
            await self.hear()
        for _ in range(3):
            await self.cluster.push()
            await self.ask()
            await self.hear()
            await self.cluster.push()
        await self.check()
        for region in (self.home, self.reader):
            record = await region.record("a")
            assert kind_in(record, "fra") != PROMISED
            assert len(await region.get("a")) == SIZE


async def new_moving() -> Moving:
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BUCKET)
    await cluster.push()
    await cluster["sjc"].put("a", cluster.body(SIZE))
    await cluster.push()
    await cluster["fra"].get("a")
    await cluster.quiet()
    await cluster.push()
    moving_ = Moving(cluster, BodyName(*await cluster["sjc"].version("a")))
    await moving_.begin()
    return moving_


STEPS = ("promise", "promise", "ask", "hear", "ask", "hear", "hand_over", "hand_over")


def orders() -> list[tuple[str, ...]]:
    """Those in which nobody hears what was not asked, or hands over before a promise."""
    return sorted(order for order in set(permutations(STEPS)) if is_possible(order))


def is_possible(order: tuple[str, ...]) -> bool:
    asked = promised = 0
    for step in order:
        asked += {"ask": 1, "hear": -1}.get(step, 0)
        promised += {"promise": 1, "hand_over": -1}.get(step, 0)
        if asked < 0 or promised < 0:
            return False
    return True


async def test_the_home_keeps_the_bytes_in_every_order() -> None:
    every = orders()
    assert len(every) > 100
    moved = 0
    for order in every:
        moving_ = await new_moving()
        for step in order:
            await getattr(moving_, step)()
            try:
                await moving_.check()
            except AssertionError as error:
                raise AssertionError(f"after {step} of {order}") from error
        await moving_.end()
        moved += home_of(await moving_.home.record("a")) == "fra"
    assert 0 < moved < len(every)


# --- offers ---


async def offered(reads: float, own: int = 0) -> tuple[Moving, Reply]:
    moving_ = await new_moving()
    home = moving_.home
    for _ in range(own):
        await home.get("a")
    await flush(home.core)
    reply = await take_offer(home.core, Offer(moving_.name, "fra", reads))
    await moving_.cluster.push()
    return moving_, reply


async def test_who_reads_far_more_becomes_the_home() -> None:
    moving_, reply = await offered(10.0, own=2)
    assert isinstance(reply, Yes)
    for region in (moving_.home, moving_.reader):
        record = await region.record("a")
        assert home_of(record) == "fra"
        assert kind_in(record, "sjc") == CACHED
    await moving_.ask()
    await moving_.hear()
    assert kind_in(await moving_.reader.record("a"), "fra") == DURABLE
    assert not await moving_.reader.table(keys.PROMISES)


async def test_news_of_the_promise_may_come_before_its_answer() -> None:
    moving_ = await new_moving()
    link = moving_.home.links["fra"]
    plain = link.call

    async def late(request: Request, *, timeout_s: float = 0) -> Reply:
        reply = await plain(request)
        await moving_.cluster.push()
        assert kind_in(await moving_.home.record("a"), "fra") == PROMISED
        return reply

    link.call = late  # type: ignore[method-assign]
    reply = await take_offer(moving_.home.core, Offer(moving_.name, "fra", 10.0))
    assert isinstance(reply, Yes)
    assert home_of(await moving_.home.record("a")) == "fra"


@pytest.mark.parametrize(("reads", "own"), [(10.0, 9), (3.0, 2)])
def test_who_reads_little_more_does_not(reads: float, own: int) -> None:
    async def run() -> None:
        moving_, reply = await offered(reads, own)
        assert isinstance(reply, No)
        assert home_of(await moving_.home.record("a")) == "sjc"

    asyncio.run(run())


async def test_no_promise_no_move() -> None:
    moving_ = await new_moving()
    moving_.home.links["fra"].is_down = True
    reply = await take_offer(moving_.home.core, Offer(moving_.name, "fra", 100.0))
    assert isinstance(reply, No)
    assert home_of(await moving_.home.record("a")) == "sjc"


async def test_a_region_that_can_not_get_the_bytes_promises_nothing() -> None:
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BUCKET)
    await cluster["sjc"].put("a", cluster.body(SIZE))
    await cluster.push()
    cluster["fra"].links["sjc"].is_down = True
    name = BodyName(*await cluster["sjc"].version("a"))
    assert isinstance(await take_promise(cluster["fra"].core, Promise(name, 0)), No)
    assert not await cluster["fra"].table(keys.PROMISES)


async def test_a_promise_holds_while_the_home_is_away() -> None:
    moving_ = await new_moving()
    await moving_.promise()
    moving_.reader.links["sjc"].is_down = True
    with pytest.raises(LinkError):
        await settle_promise(moving_.reader.core, moving_.name)
    assert kind_in(await moving_.reader.record("a"), "fra") == PROMISED


async def test_a_promise_of_what_was_deleted_is_forgotten() -> None:
    moving_ = await new_moving()
    await moving_.promise()
    await moving_.home.store.delete(BUCKET, "a")
    await moving_.cluster.push()
    assert await settle_promise(moving_.reader.core, moving_.name)
    assert not await moving_.reader.table(keys.PROMISES)


async def test_the_mover_offers_what_it_reads_and_settles() -> None:
    moving_ = await new_moving()
    reader: FakeRegion = moving_.reader
    for _ in range(6):
        await reader.get("a")
    await flush(reader.core)
    mover = Mover(reader.core)
    _, counts = await mover.work()
    assert counts == {"offers": 1, "moved": 1}
    await moving_.cluster.push()
    assert home_of(await reader.record("a")) == "fra"
    task = asyncio.create_task(mover.work())
    while not task.done():
        for event in moving_.answers:
            event.set()
        await asyncio.sleep(0)
    assert kind_in(await reader.record("a"), "fra") == DURABLE


async def test_unreachable_peers_raise_nothing_in_the_mover() -> None:
    moving_ = await new_moving()
    for _ in range(6):
        await moving_.reader.get("a")
    await flush(moving_.reader.core)

    async def down(request: Request, *, timeout_s: float = 0) -> Reply:
        raise PeerUnreachable("down")

    moving_.reader.links["sjc"].call = down  # type: ignore[method-assign]
    _, counts = await Mover(moving_.reader.core).work()
    assert counts == {"offers": 1}
