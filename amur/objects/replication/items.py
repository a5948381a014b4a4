"""Reading the replicated state of versions, buckets and entries, as it is sent to peers.

What is local to this region stays here: extents, and an inline body where the receiver may not
hold it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import structlog

from amur.meta import keys
from amur.meta.engine import EngineDamaged, Entry, prefix_end
from amur.meta.log import Changed
from amur.meta.records import (
    BucketRecord,
    ObjectRecord,
    PartRecord,
    RecordDamaged,
    TombstoneRecord,
    decode,
    encode,
    inline_body,
)
from amur.objects.core import Core
from amur.objects.history import null_in_history
from amur.objects.replication.entries import entry_items
from amur.regions.messages import Item

log = structlog.get_logger("amur.regions")

_State = tuple[Entry, ObjectRecord]


async def items_of(core: Core, changed: Sequence[Changed], peer: str) -> list[Item]:
    """The items that `changed` names, those of their buckets first.

    What is neither there nor buried is left out: something later says what became of it. So is
    what is damaged here: one bad entry must not keep the others from being told.
    """
    try:
        return await _items_of(core, changed, peer)
    except (EngineDamaged, RecordDamaged) as error:
        if len(changed) == 1:
            log.error("a change can't be told", key=changed[0].key.hex(), error=str(error))
            return []
    half = len(changed) // 2
    first = await items_of(core, changed[:half], peer)
    return first + await items_of(core, changed[half:], peer)


async def _items_of(core: Core, changed: Sequence[Changed], peer: str) -> list[Item]:
    entries = [each for each in changed if each.bucket == keys.ENTRIES_ID]
    versions = [each for each in changed if each.bucket and each.bucket != keys.ENTRIES_ID]
    names = {each.key.decode() for each in changed if not each.bucket}
    buckets = await core.buckets_of({each.bucket for each in versions})
    names |= {bucket.name for bucket in buckets.values()}
    items = [await bucket_item(core, name) for name in sorted(names)]
    items += await entry_items(core, entries)
    newest = await core.engine.get_many(
        [keys.object_key(each.bucket, each.key) for each in versions]
    )
    found = list(map(_found, versions, newest))
    # what is not its key's newest is read again, all that may be of it from one snapshot
    others = [each for each, state in zip(versions, found, strict=True) if state is None]
    rest = await core.engine.get_many([at for each in others for at in _places(each)])
    at = 0
    for each, known in zip(versions, found, strict=True):
        bucket, state, grave = buckets.get(each.bucket), known, None
        if state is None:
            state, grave = await _state(core, bucket, each, rest[at : at + 4])
            at += 4
        if state is not None:
            items.append(await _version_item(core, bucket, each, state, peer))
        elif grave is not None:
            items.append(_grave_item(each, grave))
    return items


def _places(each: Changed) -> tuple[bytes, bytes, bytes, bytes]:
    return (
        keys.object_key(each.bucket, each.key),
        keys.marker_key(each.bucket, each.key),
        keys.tombstone_key(each.bucket, each.key, each.version),
        keys.version_key(each.bucket, each.key, each.version or 0),
    )


def _found(each: Changed, entry: Entry | None) -> _State | None:
    """The entry of a key's newest version with its record, when that is the version meant."""
    if entry is None:
        return None
    record = decode(entry.value, ObjectRecord)
    is_meant = record.is_null if each.version is None else record.version == each.version
    return (entry, record) if is_meant else None


async def _state(
    core: Core, bucket: BucketRecord | None, each: Changed, entries: Sequence[Entry | None]
) -> tuple[_State | None, Entry | None]:
    """The version, or else its tombstone."""
    here, marker, grave, older = entries
    newest = here or marker
    if (found := _found(each, newest)) is not None:
        return found, grave
    if newest is not None and each.version is None and bucket is not None and bucket.versioning:
        older = await null_in_history(core, each.bucket, each.key)
    return (older, decode(older.value, ObjectRecord)) if older is not None else None, grave


async def bucket_item(core: Core, name: str) -> Item:
    entry, grave = await core.engine.get_many(
        [keys.bucket_key(name), keys.bucket_tombstone_key(name)]
    )
    return Item(
        b"",
        name.encode(),
        state=entry.value if entry is not None else b"",
        grave=decode(grave.value, TombstoneRecord).version if grave is not None else 0,
        parts=[grave.value] if grave is not None else [],
    )


def _grave_item(each: Changed, grave: Entry) -> Item:
    version = decode(grave.value, TombstoneRecord).version
    return Item(each.bucket, each.key, each.version or 0, grave=version)


async def _version_item(
    core: Core, bucket: BucketRecord | None, each: Changed, state: _State, peer: str
) -> Item:
    entry, record = state
    may_hold = False  # of a bucket that was deleted meanwhile, nobody knows any more
    if bucket is not None:
        restriction = record.regions or bucket.regions
        may_hold = not restriction or peer in core.topology.allowed(restriction)
    return await portable(core, each, entry, record, may_hold=may_hold)


async def portable(
    core: Core, each: Changed, entry: Entry, record: ObjectRecord, *, may_hold: bool
) -> Item:
    """A version as it leaves this region."""
    state = entry.value
    if record.extents or (record.is_inline and not may_hold):
        inline = inline_body(state) if record.is_inline and may_hold else b""
        record.extents, record.is_inline = [], record.is_inline and may_hold
        state = encode(record, inline)
    parts: list[bytes] = []
    if record.manifest:
        prefix = keys.MANIFESTS + record.manifest
        rows = await core.engine.scan(prefix, prefix_end(prefix), record.part_count or 1)
        parts = [encode(_bare(decode(row.value, PartRecord))) for row in rows]
    return Item(each.bucket, each.key, each.version or 0, state, parts=parts)


def _bare(part: PartRecord) -> PartRecord:
    return msgspec.structs.replace(part, extents=[])


def size_of(item: Item) -> int:
    """Bytes that an item takes on the wire, nearly."""
    return len(item.key) + len(item.state) + sum(map(len, item.parts)) + 64


def latest_of(items: Iterable[Item]) -> int:
    """The greatest version that the items speak of: what is committed here is later."""
    latest = 0
    for item in items:
        latest = max(latest, item.version, item.grave)
        if item.state:
            latest = max(latest, int.from_bytes(item.state[1:9], "big"))
    return latest
