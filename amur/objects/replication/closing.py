"""Deleting a bucket in every region: with the consent of all of them, so that no write that one of
them has acknowledged goes with it.

The region that deletes closes the bucket at home, then has every peer close it: no writes, and
empty. Only then it commits the tombstone, expecting its own record as it closed it. A peer stays
closed until it hears how it ended: by the tombstone, or by asking (`workers/bury.py`); that the
deletion was given up is only said once it can't succeed any more.

Each deletion has a number, later than those before it (`BucketRecord.closing_ns`): word of one that
was given up, however late it comes, does not open what a later one has closed.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Put, prefix_end
from amur.meta.log import bucket_name
from amur.meta.records import VERSION_STAMP, BucketRecord, TombstoneRecord, decode, encode
from amur.objects.core import Core
from amur.objects.errors import BucketClosed, BucketNotEmpty, NoSuchBucket, RegionUnreachable
from amur.regions.link import LinkError
from amur.regions.messages import AskBucket, CloseBucket, No, OpenBucket, Reply, Yes

GIVEN_UP_SECONDS = 60.0
"""After this long whoever was deleting it has died, or will find that it is too late."""
NOT_EMPTY = "not empty"


class Closed(NamedTuple):
    """`version` is the engine's, of the record that is closed now."""

    version: int
    attempt: int  # number of the deletion


def version_ranges(bucket_id: bytes) -> list[tuple[bytes, bytes]]:
    """Where versions of a bucket's objects stand."""
    tables = (keys.OBJECTS, keys.MARKERS, keys.VERSIONS)
    return [(table + bucket_id, prefix_end(table + bucket_id)) for table in tables]


async def is_empty(core: Core, bucket_id: bytes) -> bool:
    for start, end in version_ranges(bucket_id):
        if await core.engine.scan(start, end, 1):
            return False
    return True


async def delete_everywhere(core: Core, name: str, *, force: bool) -> None:
    """Raises NoSuchBucket, BucketNotEmpty, BucketClosed, and RegionUnreachable when a region can't
    be asked. What `force` leaves is dropped later, in each region by itself."""
    record = (await core.bucket(name))[0]
    if not force and not await is_empty(core, record.id):
        raise BucketNotEmpty(BucketName=name)
    closed = await core.transact(lambda: _close(core, name, record.id, core.region))
    if closed is None:
        raise BucketClosed(BucketName=name)
    try:
        await _ask_all(core, name, record.id, closed.attempt, force=force)
        await _bury(core, name, closed.version, force=force)
    except BaseException:
        await asyncio.shield(_give_up(core, name, record.id, closed.attempt))
        raise


async def _close(
    core: Core, name: str, bucket_id: bytes, by: str, attempt: int | None = None
) -> Closed | None:
    """None when somebody else has it. `attempt` is as a peer said, None to begin one here."""
    record, expect = await core.bucket(name)
    if record.id != bucket_id:
        raise NoSuchBucket(BucketName=name)
    if record.closing not in ("", by):
        return None
    entry = await core.engine.get(expect[0])
    assert entry is not None
    mine = decode(entry.value, BucketRecord)
    if attempt is None:
        attempt = core.stamp(max(mine.version, mine.closing_ns))
    mine.closing, mine.closing_ns = by, max(attempt, mine.closing_ns)
    put = Put(expect[0], encode(mine), VERSION_STAMP)
    commit = Commit(expect=[(entry.key, entry.version)], put=[put], after=attempt)
    return Closed(await core.engine.commit(commit), attempt)


async def _open(core: Core, name: str, bucket_id: bytes, by: str, attempt: int) -> bool:
    """Unless a later deletion has closed it; False when the bucket is not there any more."""
    entry = await core.engine.get(keys.bucket_key(name))
    record = decode(entry.value, BucketRecord) if entry is not None else None
    if entry is None or record is None or record.id != bucket_id:
        return False
    if record.closing == by and record.closing_ns <= attempt:
        record.closing, record.closing_ns = "", 0
        put = Put(entry.key, encode(record), VERSION_STAMP)
        await core.engine.commit(Commit(expect=[(entry.key, entry.version)], put=[put]))
    return True


async def _ask_all(core: Core, name: str, bucket_id: bytes, attempt: int, *, force: bool) -> None:
    question = CloseBucket(name, bucket_id, core.region, force, attempt)
    asked = [link.call(question) for link in core.links.values()]
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, No):
            raise (BucketNotEmpty if answer.reason == NOT_EMPTY else BucketClosed)(BucketName=name)
        if isinstance(answer, LinkError):
            raise RegionUnreachable("A bucket is deleted when every region can be asked") from None
        if isinstance(answer, BaseException):
            raise answer


async def _bury(core: Core, name: str, closed: int, *, force: bool) -> None:
    """The tombstone; nothing has changed since it was closed, or it is too late."""
    at, grave_at = keys.bucket_key(name), keys.bucket_tombstone_key(name)
    entry, before = await core.engine.get_many([at, grave_at])
    if entry is None or entry.version != closed:
        raise BucketClosed(BucketName=name)
    bucket_id = decode(entry.value, BucketRecord).id
    also = unemptied(decode(before.value, TombstoneRecord)) if before is not None else []
    grave = TombstoneRecord(is_emptied=not (force or also), bucket_id=bucket_id, also=also)
    try:
        await core.engine.commit(
            Commit(
                expect=[(at, closed), (grave_at, before.version if before is not None else 0)],
                expect_empty=() if force else version_ranges(bucket_id),
                put=[Put(grave_at, encode(grave), VERSION_STAMP)],
                delete=[at],
                log=[bucket_name(name)],
            )
        )
    except Conflict:
        raise BucketNotEmpty(BucketName=name) from None


def unemptied(grave: TombstoneRecord) -> list[bytes]:
    """Ids of the buckets whose contents are still to be dropped: the next tombstone has them."""
    return [] if grave.is_emptied else [*grave.also, grave.bucket_id]


async def _give_up(core: Core, name: str, bucket_id: bytes, attempt: int) -> None:
    is_there = await core.transact(lambda: _open(core, name, bucket_id, core.region, attempt))
    if not is_there:
        return  # it is deleted after all: the tombstone tells
    told = OpenBucket(name, bucket_id, core.region, attempt)
    calls = [link.call(told) for link in core.links.values()]
    await asyncio.gather(*calls, return_exceptions=True)


# --- at a peer ---
async def take_close(core: Core, ask: CloseBucket) -> Reply:
    what = (core, ask.name, ask.bucket_id, ask.by, ask.attempt)
    try:
        closed = await core.transact(lambda: _close(*what))
    except NoSuchBucket:
        return No("not known here")  # its record may come, and writes with it
    if closed is None:
        return No("being deleted by another region")
    if ask.is_forced or await is_empty(core, ask.bucket_id):
        return Yes()
    await core.transact(lambda: _open(*what))
    return No(NOT_EMPTY)


async def take_open(core: Core, ask: OpenBucket) -> Reply:
    what = (core, ask.name, ask.bucket_id, ask.by, ask.attempt)
    await core.transact(lambda: _open(*what))
    return Yes()


async def take_ask(core: Core, ask: AskBucket) -> Reply:
    """Yes when the bucket is here, and nobody here is deleting it."""
    try:
        record = (await core.bucket(ask.name))[0]
    except NoSuchBucket:
        return No("deleted")
    is_open = record.id == ask.bucket_id and record.closing != core.region
    return Yes() if is_open else No("wait")


async def settle(core: Core, record: BucketRecord) -> None:
    """Some time after a bucket was closed here: find out how it ended. Raises LinkError."""
    age_s = (core.clock.now_ns() - record.closing_ns) / 1e9
    if record.closing == core.region:
        if age_s < GIVEN_UP_SECONDS:
            return
    else:
        link = core.links.get(record.closing)
        question = AskBucket(record.name, record.id)
        if link is None or not isinstance(await link.call(question), Yes):
            return
    what = (core, record.name, record.id, record.closing, record.closing_ns)
    await core.transact(lambda: _open(*what))
