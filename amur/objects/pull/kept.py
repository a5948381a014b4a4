"""Copies that are kept only while there is room: table K, one entry for each unit of eviction.

A unit is a whole body that was pulled, a part of one, or a chunk. Its entry is put by the commit
that names the bytes, so that no copy is forgotten; it may outlive the copy (the version was
deleted, or became durable), which is seen when its turn comes.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from amur.meta import keys
from amur.meta.engine import Commit, Entry, Put, prefix_end
from amur.meta.holdings import CACHED, DURABLE, GONE, kind_in, set_kind
from amur.meta.log import record_name
from amur.meta.records import (
    VERSION_STAMP,
    Extent,
    GarbageRecord,
    ObjectRecord,
    PartRecord,
    decode,
    encode,
    inline_body,
)
from amur.objects.core import Core
from amur.objects.locating import Found
from amur.objects.pull.bodies import find_body, has_bytes, part_number
from amur.objects.references import garbage_put, reference_deletes

PROBATION = b"\x00"
"""New copies: the first to go, in the order in which they came."""
PROVEN = b"\x01"
"""Copies that were read again while on probation."""

WHOLE = -1

_USERS_MAX = 16  # versions that share a manifest: with more its parts stay


def of_part(number: int) -> int:
    """`Kept.number` of the part of a manifest that lies in its record in M, not in chunks."""
    return WHOLE - number


class Kept(msgspec.Struct, array_like=True, frozen=True):
    """`number` is a chunk's, WHOLE of a body in its record, less of a part (see `of_part`)."""

    bucket_id: bytes
    key: bytes
    version: int
    number: int
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


def kept_put(kept: Kept, queue: bytes = PROBATION, sequence: int = 0) -> Put:
    """For the commit that names the bytes."""
    return Put(keys.kept_key(queue, sequence), _encode(kept), key_stamp=keys.KEPT_STAMP)


def kept_of(value: bytes | memoryview) -> Kept:
    return _decode(value)


async def puts_of_cached(core: Core, at: bytes, record: ObjectRecord) -> list[Put]:
    """Entries for the commit that makes a durable copy, whole in the record or its manifest,
    a cached one (after its home has moved away, say)."""
    name = (*keys.owner_name(at), record.version)
    if not record.manifest:
        return [kept_put(Kept(*name, WHOLE, record.size))] if record.extents else []
    prefix = keys.MANIFESTS + record.manifest
    rows = await core.engine.scan(prefix, prefix_end(prefix), record.part_count or 1)
    parts = [decode(row.value, PartRecord) for row in rows]
    return [
        kept_put(Kept(*name, of_part(part.number), part.size), sequence=sequence)
        for sequence, part in enumerate(parts)
        if part.extents
    ]


class Dropped(Enum):
    GONE = "gone"  # its bytes are free now
    STALE = "stale"  # they were not there any more, or are no cached copy now
    NEEDED = "needed"  # they must stay for now


async def drop(core: Core, entry: Entry) -> Dropped:
    """Evict the copy of an entry in K, and the entry unless the copy must stay.

    The region tells the others that it does not hold the body (all of it) any more. Raises
    Conflict when something changed meanwhile.
    """
    kept = kept_of(entry.value)
    found = await find_body(core, kept.bucket_id, kept.key, kept.version)
    if kept.number >= 0:
        if found is not None and await _is_needed(core, found.record, kept.number):
            return Dropped.NEEDED
        at = keys.chunk_key(kept.bucket_id, kept.key, kept.version, kept.number)
        change: Commit | Dropped | None = await _chunk_change(core, found, at)
    elif found is None or kind_in(found.record, core.region) >= DURABLE:
        change = None
    elif kept.number == WHOLE:
        change = _whole_change(core, found)
    else:
        change = await _part_change(core, found, kept.number)
    if isinstance(change, Dropped):
        return change
    mine = Commit(expect=[(entry.key, entry.version)], delete=[entry.key])
    await core.engine.commit(_joined(mine, change) if change is not None else mine)
    return Dropped.GONE if change is not None else Dropped.STALE


async def drop_chunk(core: Core, at: bytes) -> None:
    """Remove a chunk that is damaged, or of a version that is gone; its entry in K gets stale."""

    async def attempt() -> None:
        bucket_id, key, version, _ = keys.split_chunk(at)
        change = await _chunk_change(core, await find_body(core, bucket_id, key, version), at)
        if change is not None:
            await core.engine.commit(change)

    await core.transact(attempt)


async def drop_chunks(core: Core, bucket_id: bytes, key: bytes, version: int) -> int:
    """All chunks of a version; how many there were."""
    prefix = keys.chunks_prefix(bucket_id, key, version)
    dropped = 0
    while page := await core.engine.scan(prefix, prefix_end(prefix), 64):
        for entry in page:
            await drop_chunk(core, entry.key)
        dropped += len(page)
    return dropped


async def _is_needed(core: Core, record: ObjectRecord, number: int) -> bool:
    """Whether a chunk is all there is here of bytes that must stay."""
    if kind_in(record, core.region) < DURABLE or has_bytes(record):
        return False
    part = await _part_entry(core, record, part_number(number))
    return part is None or not decode(part.value, PartRecord).extents


async def _chunk_change(core: Core, found: Found | None, at: bytes) -> Commit | None:
    """Without the chunk at `at` the region does not hold all of the body."""
    entry = await core.engine.get(at)
    if entry is None:
        return None
    part = decode(entry.value, PartRecord)
    commit = Commit(
        expect=[(at, entry.version)],
        put=garbage_put(part),
        delete=[at, *reference_deletes(part, at)],
    )
    if found is None:
        return commit
    # the record is put anew in any case: who found the body whole just now must look again
    return _joined(commit, _without_bytes(core, found, found.record))


def _whole_change(core: Core, found: Found) -> Commit | None:
    at, record = found.entry.key, found.record
    if not record.extents:
        return None
    deletes, notes = reference_deletes(record, at), _note(record.extents)
    record.extents = []
    return _joined(Commit(put=notes, delete=deletes), _without_bytes(core, found, record))


async def _part_change(core: Core, found: Found, number: int) -> Commit | Dropped | None:
    record = found.record
    entry = await _part_entry(core, record, WHOLE - number)
    if entry is None:
        return None
    part = decode(entry.value, PartRecord)
    if not part.extents:
        return None
    users = await _users(core, record.manifest)
    if any(kind_in(user.record, core.region) >= DURABLE for user in users):
        return Dropped.NEEDED  # by a copy made here, which has the same manifest
    if len(users) > _USERS_MAX:
        return Dropped.NEEDED
    deletes, notes = reference_deletes(part, entry.key), _note(part.extents)
    part.extents = []
    commit = Commit(
        expect=[(entry.key, entry.version)],
        expect_empty=_gaps(record.manifest, [user.entry.key for user in users]),
        put=[Put(entry.key, encode(part)), *notes],
        delete=deletes,
    )
    for user in users:
        commit = _joined(commit, _without_bytes(core, user, user.record))
    return commit


async def _users(core: Core, manifest: bytes) -> list[Found]:
    """The versions that have this manifest, by their keys; a few more than _USERS_MAX at most."""
    prefix = keys.reference_prefix(manifest, 0)
    rows = await core.engine.scan(prefix, prefix_end(prefix), _USERS_MAX + 1)
    entries = await core.engine.get_many([keys.split_reference(row.key)[2] for row in rows])
    return [Found(entry, decode(entry.value, ObjectRecord)) for entry in entries if entry]


async def _part_entry(core: Core, record: ObjectRecord, number: int) -> Entry | None:
    if not record.manifest:
        return None
    prefix = keys.MANIFESTS + record.manifest
    for entry in await core.engine.scan(prefix, prefix_end(prefix), record.part_count or 1):
        if decode(entry.value, PartRecord).number == number:
            return entry
    return None


def _gaps(manifest: bytes, owners: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Where references to the manifest by anybody but these (in order) would stand."""
    prefix = keys.reference_prefix(manifest, 0)
    starts = [prefix, *(prefix + owner + b"\x00" for owner in owners)]
    ends = [*(prefix + owner for owner in owners), prefix_end(prefix)]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _without_bytes(core: Core, found: Found, record: ObjectRecord) -> Commit:
    """The record, which says that the bytes are not (all) here if it said that they are cached."""
    at = found.entry.key
    log = []
    if kind_in(record, core.region) == CACHED and not record.extents:
        set_kind(record, core.region, GONE)
        log = [record_name(*keys.owner_name(at), record)]
    inline = inline_body(found.entry.value) if record.is_inline else b""
    put = Put(at, encode(record, inline))
    return Commit(expect=[(at, found.entry.version)], put=[put], log=log)


def _note(extents: list[Extent]) -> list[Put]:
    note = GarbageRecord(extents=extents)
    return [Put(keys.garbage_key(0), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP)]


def _joined(one: Commit, other: Commit) -> Commit:
    return Commit(
        [*one.expect, *other.expect],
        [*one.expect_empty, *other.expect_empty],
        [*one.put, *other.put],
        [*one.delete, *other.delete],
        [*one.log, *other.log],
    )


async def is_stale(core: Core, kept: Kept) -> bool:
    """Whether the entry of a copy has outlived it, or the copy its version: `drop` cleans up."""
    found = await find_body(core, kept.bucket_id, kept.key, kept.version)
    if found is None:
        return True
    if kept.number >= 0:
        at = keys.chunk_key(kept.bucket_id, kept.key, kept.version, kept.number)
        return await core.engine.get(at) is None
    if kind_in(found.record, core.region) >= DURABLE:
        return True
    return kept.number == WHOLE and not found.record.extents


async def keep_longer(core: Core, entry: Entry) -> None:
    """Put an entry at the end of the queue of those that were read again. Raises Conflict."""
    again = kept_put(kept_of(entry.value), PROVEN)
    await core.engine.commit(Commit([(entry.key, entry.version)], put=[again], delete=[entry.key]))
