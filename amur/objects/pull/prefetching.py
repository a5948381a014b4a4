"""What a listing names is pulled in before anybody asks for it: X-Tigris-Prefetch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from amur.meta import keys
from amur.meta.engine import ABSENT, Commit, EngineError
from amur.meta.holdings import GONE, kind_in
from amur.meta.records import BucketRecord, ObjectRecord, decode
from amur.objects.core import Core
from amur.objects.errors import StoreError
from amur.objects.names import key_bytes
from amur.objects.pull.bodies import has_bytes
from amur.objects.pull.wanting import want

PREFETCHES_MAX = 8  # pages looked through at once by one process; more are passed over
_LOOK_UP = 200  # keys at a stretch, so that requests get their turn between

log = structlog.get_logger("amur.regions")

_running: set[asyncio.Task[None]] = set()


def start(core: Core, bucket: str, names: Sequence[str]) -> bool:
    """Look through a page behind the back of who asked for it; False when that is too much now."""
    if not core.is_cluster or not names or len(_running) >= PREFETCHES_MAX:
        return False
    task = asyncio.create_task(_prefetch_quietly(core, bucket, names))
    _running.add(task)
    task.add_done_callback(_running.discard)
    return True


async def _prefetch_quietly(core: Core, bucket: str, names: Sequence[str]) -> None:
    try:
        await prefetch(core, bucket, names)
    except (StoreError, EngineError) as error:  # it was a courtesy
        log.info("a page could not be prefetched", bucket=bucket, error=repr(error))


async def prefetch(core: Core, bucket: str, names: Sequence[str]) -> int:
    """Want a cached copy of the newest version of each key that is not here; how many there are."""
    count = 0
    for at in range(0, len(names), _LOOK_UP):
        some = [key_bytes(name) for name in names[at : at + _LOOK_UP]]
        count += await core.transact(lambda some=some: _want(core, bucket, some))  # type: ignore[misc]
        await asyncio.sleep(0)
    return count


async def _want(core: Core, bucket: str, raws: Sequence[bytes]) -> int:
    found = (await core.bucket(bucket))[0]
    entries = await core.engine.get_many([keys.object_key(found.id, raw) for raw in raws])
    records = [
        (raw, decode(entry.value, ObjectRecord))
        for raw, entry in zip(raws, entries, strict=True)
        if entry is not None
    ]
    wishes = [
        want(found.id, raw, record.version, durable=False)
        for raw, record in records
        if _is_missing(core, found, record)
    ]
    there = await core.engine.get_many([put.key for put in wishes])
    # a wish that is there may be for a durable copy
    new = [put for put, entry in zip(wishes, there, strict=True) if entry is None]
    if new:
        await core.engine.commit(Commit([(put.key, ABSENT) for put in new], put=new))
    return len(new)


def _is_missing(core: Core, bucket: BucketRecord, record: ObjectRecord) -> bool:
    return (
        record.size > 0
        and not has_bytes(record)
        and kind_in(record, core.region) == GONE
        and core.topology.may_hold(bucket.regions)
        and core.topology.may_hold(record.regions)
    )
