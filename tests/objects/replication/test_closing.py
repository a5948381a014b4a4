"""Deleting a bucket in all regions at once: whatever comes late or twice, no write that was
acknowledged goes with it, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from amur.meta import keys
from amur.meta.engine import Commit, prefix_end
from amur.meta.records import BucketRecord, decode
from amur.objects.errors import (
    BucketClosed,
    BucketNotEmpty,
    NoSuchBucket,
    RegionUnreachable,
    StoreError,
)
from amur.objects.replication import closing
from amur.objects.replication.answering import answer
from amur.regions.link import PeerUnreachable
from amur.regions.messages import AskBucket, CloseBucket, No, OpenBucket, Reply, Request
from amur.workers.bury import Burier
from tests.support.pulls import BUCKET, FakeCluster, FakeLink, FakeRegion

Held = Callable[[Request], bool]


@pytest.fixture
async def two() -> FakeCluster:
    cluster = FakeCluster(("sjc", "fra"))
    await cluster["sjc"].store.create_bucket(BUCKET)
    await cluster.push()
    return cluster


class Slow:
    """The first request from `here` to `there` that `is_meant` is under way until `go`; the
    caller hears that it has no answer."""

    def __init__(self, here: FakeRegion, there: FakeRegion, is_meant: Held) -> None:
        self._there, self._is_meant = there, is_meant
        self._link: FakeLink = here.links[there.name]
        self._call = self._link.call
        self._link.call = self._called  # type: ignore[method-assign]
        self.held: Request | None = None

    async def _called(self, request: Request, *, timeout_s: float = 0) -> Reply:
        if self.held is None and self._is_meant(request):
            self.held = request
            raise PeerUnreachable("no answer in time")
        return await self._call(request)

    async def arrives(self) -> Reply:
        assert self.held is not None
        return await answer(self._there.core, self.held)


async def bucket_in(region: FakeRegion) -> BucketRecord | None:
    entry = await region.engine.get(keys.bucket_key(BUCKET))
    return decode(entry.value, BucketRecord) if entry is not None else None


async def test_a_bucket_goes_everywhere(two: FakeCluster) -> None:
    await two["sjc"].store.delete_bucket(BUCKET)
    with pytest.raises(BucketClosed):
        await two["fra"].put("key", b"too late")
    await two.push()
    assert await bucket_in(two["fra"]) is None
    with pytest.raises(NoSuchBucket):
        await two["fra"].put("key", b"too late")


async def test_what_another_region_has_keeps_it(two: FakeCluster) -> None:
    await two["fra"].put("key", b"not pushed yet")
    with pytest.raises(BucketNotEmpty):
        await two["sjc"].store.delete_bucket(BUCKET)
    await two["fra"].put("other", b"it is open again")


async def test_an_opening_that_comes_late_does_not_open_for_the_next_deletion(
    two: FakeCluster,
) -> None:
    """It belongs to a deletion that was given up; now another is under way."""
    sjc, fra = two["sjc"], two["fra"]
    await fra.put("key", b"x")
    late = Slow(sjc, fra, lambda request: isinstance(request, OpenBucket))
    with pytest.raises(BucketNotEmpty):
        await sjc.store.delete_bucket(BUCKET)
    await fra.store.delete(BUCKET, "key")

    async def written() -> bool:
        await late.arrives()
        try:
            await fra.put("key", b"acknowledged")
        except StoreError:
            return False
        return True

    assert not await _write_before_the_tombstone(sjc, written)
    await two.push()
    assert await bucket_in(fra) is None


async def test_a_closing_that_comes_late_does_not_open_for_the_next_deletion(
    two: FakeCluster,
) -> None:
    """The late one finds the bucket not empty, and while it looks the next one closes it."""
    sjc, fra = two["sjc"], two["fra"]
    late = Slow(sjc, fra, lambda request: isinstance(request, CloseBucket))
    with pytest.raises(RegionUnreachable):
        await sjc.store.delete_bucket(BUCKET)

    async def written() -> bool:
        await late.arrives()  # when the next one had its answer
        await closing.take_open(fra.core, _opening(late.held))
        try:
            await fra.put("key", b"acknowledged")
        except StoreError:
            return False
        return True

    assert not await _write_before_the_tombstone(sjc, written)


def _opening(request: Request | None) -> OpenBucket:
    assert isinstance(request, CloseBucket)
    return OpenBucket(request.name, request.bucket_id, request.by, request.attempt)


async def test_asking_does_not_open_for_the_next_deletion(two: FakeCluster) -> None:
    """A peer asks, hears that it was given up, and before it has opened the next one begins."""
    sjc, fra = two["sjc"], two["fra"]
    await fra.put("key", b"x")
    Slow(sjc, fra, lambda request: isinstance(request, OpenBucket))
    fra_closes = Slow(sjc, fra, lambda request: isinstance(request, CloseBucket))
    with pytest.raises(RegionUnreachable):
        await sjc.store.delete_bucket(BUCKET)
    await fra.store.delete(BUCKET, "key")
    await fra_closes.arrives()
    closed = await bucket_in(fra)
    assert closed is not None
    assert closed.closing == "sjc"
    asked, go = asyncio.Event(), asyncio.Event()
    call = fra.links["sjc"].call

    async def slowly(request: Request, *, timeout_s: float = 0) -> Reply:
        told = await call(request)
        if isinstance(request, AskBucket):
            asked.set()
            await go.wait()
        return told

    fra.links["sjc"].call = slowly  # type: ignore[method-assign]
    settling = asyncio.create_task(closing.settle(fra.core, closed))
    await asked.wait()

    async def written() -> bool:
        go.set()
        await settling
        try:
            await fra.put("key", b"acknowledged")
        except StoreError:
            return False
        return True

    assert not await _write_before_the_tombstone(sjc, written)


async def test_a_deletion_that_was_cut_off_when_it_was_done_opens_nothing(
    two: FakeCluster,
) -> None:
    """Its tombstone is committed, and nobody waits for it any more."""
    sjc, fra = two["sjc"], two["fra"]
    commit = sjc.engine.commit

    async def cut_off(what: Commit) -> int:
        version = await commit(what)
        if any(put.key.startswith(keys.BUCKET_TOMBSTONES) for put in what.put):
            raise asyncio.CancelledError
        return version

    sjc.engine.commit = cut_off  # type: ignore[assignment, method-assign]
    with pytest.raises(asyncio.CancelledError):
        await sjc.store.delete_bucket(BUCKET)
    with pytest.raises(BucketClosed):
        await fra.put("key", b"acknowledged, and gone with the bucket")


async def test_a_deletion_does_not_open_what_another_one_has_closed(two: FakeCluster) -> None:
    """Two clients delete at the same time in one region; one of them gives up."""
    sjc = two["sjc"]
    first = await closing._close(sjc.core, BUCKET, (await sjc.store.bucket(BUCKET)).id, "sjc")
    second = await closing._close(sjc.core, BUCKET, (await sjc.store.bucket(BUCKET)).id, "sjc")
    assert first is not None
    assert second is not None
    await closing._give_up(sjc.core, BUCKET, (await sjc.store.bucket(BUCKET)).id, first.attempt)
    with pytest.raises(BucketClosed):
        await sjc.put("key", b"x")


async def _write_before_the_tombstone(sjc: FakeRegion, write: Callable[[], object]) -> bool:
    """Delete in `sjc`, and write elsewhere when all peers have agreed; whether that succeeded."""
    asked = closing._ask_all
    outcome: list[bool] = []

    async def ask_all(*args: object, **how: object) -> None:
        await asked(*args, **how)  # type: ignore[arg-type]
        outcome.append(await write())  # type: ignore[misc]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "_ask_all", ask_all)
        await sjc.store.delete_bucket(BUCKET)
    return outcome[0]


# --- what was in it ---
async def left(region: FakeRegion) -> int:
    tables = (keys.OBJECTS, keys.MARKERS, keys.VERSIONS)
    return sum([len(await region.table(table)) for table in tables])


async def bury(region: FakeRegion) -> None:
    await Burier(region.core, asyncio.Lock()).work()


async def test_what_a_forced_deletion_leaves_is_dropped_in_each_region(two: FakeCluster) -> None:
    await two["fra"].put("key", b"x" * 5000)
    await two.push()
    await two["sjc"].store.delete_bucket(BUCKET, force=True)
    await two.push()
    for region in two.regions.values():
        await bury(region)
        assert await left(region) == 0
        await region.assert_sound()


async def test_deleted_twice_before_it_was_emptied(two: FakeCluster) -> None:
    """The second tombstone takes the place of the first, of which the work is still to be done."""
    sjc = two["sjc"]
    await two["fra"].put("key", b"x" * 5000)
    await two.push()
    await sjc.store.delete_bucket(BUCKET, force=True)
    await sjc.store.create_bucket(BUCKET)
    await two.push()
    await sjc.store.delete_bucket(BUCKET)
    await two.push()
    for region in two.regions.values():
        await bury(region)
        await bury(region)
        assert await left(region) == 0
        await region.assert_sound()


async def test_a_peer_that_is_away_is_waited_for(two: FakeCluster) -> None:
    two["sjc"].links["fra"].is_down = True
    with pytest.raises(RegionUnreachable):
        await two["sjc"].store.delete_bucket(BUCKET)
    await two["sjc"].put("key", b"it is open again")


async def test_a_peer_that_does_not_know_the_bucket_says_no(two: FakeCluster) -> None:
    ask = CloseBucket("unknown", b"12345678", "sjc")
    assert isinstance(await answer(two["fra"].core, ask), No)


async def test_the_tombstone_stays(two: FakeCluster) -> None:
    await two["sjc"].store.delete_bucket(BUCKET)
    await two.push()
    for region in two.regions.values():
        await bury(region)
        assert len(await region.engine.scan(b"Z", prefix_end(b"Z"), 10)) == 1
