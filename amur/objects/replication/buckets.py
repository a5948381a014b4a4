"""Merging the record of a bucket: by generation, then setting by setting, the later change wins."""

from __future__ import annotations

import msgspec

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.records import VERSION_STAMP, BucketRecord, TombstoneRecord, decode, encode
from amur.objects.buckets import SETTINGS
from amur.objects.core import Core
from amur.objects.replication.closing import unemptied
from amur.regions.messages import Item


async def merge_bucket(core: Core, item: Item) -> None:
    """One attempt, within `Core.transact`."""
    name = item.key.decode()
    at, grave_at = keys.bucket_key(name), keys.bucket_tombstone_key(name)
    here, buried = await core.engine.get_many([at, grave_at])
    mine = decode(here.value, BucketRecord) if here is not None else None
    grave = decode(buried.value, TombstoneRecord) if buried is not None else TombstoneRecord()
    theirs = decode(item.state, BucketRecord) if item.state else None
    expect = [(at, here.version if here else 0), (grave_at, buried.version if buried else 0)]
    puts: list[Put] = []
    deletes: list[bytes] = []
    if item.grave > grave.version:
        told = decode(item.parts[0], TombstoneRecord)
        also = [each for each in unemptied(grave) if each != told.bucket_id]
        grave = TombstoneRecord(item.grave, False, told.bucket_id, also)
        puts.append(Put(grave_at, encode(grave)))
    merged = _merged(mine, theirs, grave.version)
    if merged is not mine:
        if merged is None:
            deletes.append(at)
        else:
            puts.append(Put(at, encode(merged), VERSION_STAMP))
    if puts or deletes:
        after = max(item.grave, *(theirs.changed.values() if theirs else ()), 0)
        await core.engine.commit(Commit(expect, put=puts, delete=deletes, after=after))


def _merged(
    mine: BucketRecord | None, theirs: BucketRecord | None, grave: int
) -> BucketRecord | None:
    """`mine` itself when nothing changes; None when no bucket of the name is left."""
    alive = mine if mine is not None and mine.prior >= grave else None
    if theirs is None or theirs.prior < grave:
        return alive
    if alive is None or theirs.id != alive.id:
        if alive is not None and _rank(theirs) <= _rank(alive):
            return alive
        return msgspec.structs.replace(theirs, closing="", closing_ns=0)
    return _with_changes(alive, theirs)


def _rank(record: BucketRecord) -> tuple[int, int, bytes]:
    """Of two buckets of one name (two owners at the same time): the later generation, the first."""
    return record.prior, -record.created, record.id


def _with_changes(mine: BucketRecord, theirs: BucketRecord) -> BucketRecord:
    changed = dict(mine.changed)
    fields: dict[str, object] = {}
    created = min(mine.created, theirs.created)
    if mine.created != theirs.created:  # created in two regions at once: the first one's settings
        first = mine if mine.created == created else theirs
        fields = {name: getattr(first, name) for name in SETTINGS if name not in changed}
        fields["created"] = created
        fields["location"] = first.location
    for name, at in theirs.changed.items():
        if at > changed.get(name, 0):
            changed[name] = at
            fields[name] = getattr(theirs, name)
    if not fields:
        return mine
    merged: BucketRecord = msgspec.structs.replace(mine, changed=changed, **fields)
    return mine if merged == mine else merged
