"""The versions of a key: what it holds now, and commits that change which version is newest.

Exactly one of O (object) and D (delete marker) exists for a key that has any version; V holds the
older ones. Every commit that changes which is newest names O (and D, in a bucket that ever had
versioning) in its expectations, and nothing is added to V without changing one of them: so V may
be looked at after O and D were read, and the commit is exact all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from amur.meta import keys
from amur.meta.engine import ABSENT, NO_STAMP, STOP, Commit, Entry, Put, prefix_end
from amur.meta.log import record_name
from amur.meta.records import (
    VERSION_STAMP,
    BucketRecord,
    ObjectRecord,
    TombstoneRecord,
    decode,
    encode,
)
from amur.objects.core import Core, bucket_key
from amur.objects.pull.wanting import want
from amur.objects.references import garbage_put, reference_deletes, reference_puts


class Newest(NamedTuple):
    """What a key holds, read in one snapshot; `older` is the version asked for beside it."""

    bucket: BucketRecord
    bucket_expect: tuple[bytes, int]
    key: bytes
    entry: Entry | None  # the newest version's: of O or of D
    record: ObjectRecord | None
    older: Entry | None = None

    def object(self) -> ObjectRecord | None:
        """The newest version, when that is an object."""
        return None if self.record is None or self.record.is_marker else self.record

    def expect(self) -> list[tuple[bytes, int]]:
        """That neither the bucket nor which version is newest has changed."""
        at, entry = keys.object_key(self.bucket.id, self.key), self.entry
        version = entry.version if entry is not None else ABSENT
        if not self.bucket.versioning:
            return [self.bucket_expect, (at, version)]
        marker = keys.marker_key(self.bucket.id, self.key)
        if entry is not None and entry.key == marker:
            return [self.bucket_expect, (at, ABSENT), (marker, version)]
        return [self.bucket_expect, (at, version), (marker, ABSENT)]


async def newest(core: Core, bucket: str, key: bytes, version: int = 0) -> Newest:
    """One read when the bucket was seen before. Raises NoSuchBucket."""
    at = bucket_key(bucket)
    seen = core.bucket_seen(bucket)
    if seen is None:
        seen = (await core.bucket(bucket))[0]
    while True:
        reads = [at, keys.object_key(seen.id, key)]
        if seen.versioning:
            reads.append(keys.marker_key(seen.id, key))
            if version:
                reads.append(keys.version_key(seen.id, key, version))
        found = await core.engine.get_many(reads)
        record = core.bucket_of(bucket, found[0])
        if record.id == seen.id and bool(record.versioning) == bool(seen.versioning):
            break
        seen = record
    head = found[0]
    assert head is not None, "bucket_of raises NoSuchBucket of an absent bucket"
    entry = found[1]
    if entry is None and len(found) > 2:
        entry = found[2]
    return Newest(
        record,
        (at, head.version),
        key,
        entry,
        decode(entry.value, ObjectRecord) if entry is not None else None,
        found[3] if len(found) > 3 else None,
    )


def newest_of(
    bucket: BucketRecord, expect: tuple[bytes, int], key: bytes, entry: Entry | None
) -> Newest:
    """As `newest`, of what was read already: `entry` is that of O or of D."""
    record = decode(entry.value, ObjectRecord) if entry is not None else None
    return Newest(bucket, expect, key, entry, record)


class Extra(NamedTuple):
    """What else belongs into a commit that places an object."""

    put: Sequence[Put] = ()
    delete: Sequence[bytes] = ()
    expect: Sequence[tuple[bytes, int]] = ()
    expect_empty: Sequence[tuple[bytes, bytes]] = ()


class Change:
    """A commit under construction, keeping references and garbage notes with the records."""

    __slots__ = ("_delete", "_expect", "_is_logged", "_log", "_notes", "_put")

    def __init__(self, core: Core, expect: list[tuple[bytes, int]]) -> None:
        self._is_logged = core.is_cluster
        self._log: list[bytes] = []
        self._expect = expect
        self._put: list[Put] = []
        self._delete: list[bytes] = []
        self._notes = 0

    def add(self, owner: bytes, record: ObjectRecord, inline: bytes = b"") -> None:
        """Put a new record, to be stamped with the commit's version."""
        self._put.append(Put(owner, encode(record, inline), VERSION_STAMP))
        if record.extents or record.manifest:
            self._put += reference_puts(record, owner)
        if self._is_logged:
            bucket_id, key = owner[1 : keys.OBJECT_PREFIX_BYTES], owner[keys.OBJECT_PREFIX_BYTES :]
            self._log.append(record_name(bucket_id, key, record))

    def bury(self, bucket_id: bytes, key: bytes, record: ObjectRecord) -> None:
        """Tell the other regions that this version, which was dropped, is gone for good."""
        if self._is_logged:
            version = None if record.is_null else record.version
            at = keys.tombstone_key(bucket_id, key, version)
            self._put.append(Put(at, encode(TombstoneRecord()), VERSION_STAMP))
            self._log.append(record_name(bucket_id, key, record))

    def drop(self, owner: bytes, record: ObjectRecord, *, garbage: bool = True) -> None:
        """Remove a record; its bytes are garbage unless another record takes them over here."""
        self._delete.append(owner)
        if self._is_logged and record.size and not (record.is_inline or record.extents):
            # some chunks of it may be here: the placer clears them up
            self._put.append(want(*keys.owner_name(owner), record.version, durable=False))
        if record.extents or record.manifest:
            self._delete += reference_deletes(record, owner)
            if garbage:
                self._put += garbage_put(record, self._notes)
                self._notes += 1

    def move(self, entry: Entry, record: ObjectRecord, owner: bytes) -> None:
        """Move a record, as it is, to another key."""
        self._delete.append(entry.key)
        self._put.append(Put(owner, entry.value, NO_STAMP))
        if record.extents or record.manifest:
            self._delete += reference_deletes(record, entry.key)
            self._put += reference_puts(record, owner)

    def expect(self, entry: Entry) -> None:
        self._expect.append((entry.key, entry.version))

    def commit(self, extra: Extra | None = None) -> Commit:
        if extra is None:
            return Commit(self._expect, (), self._put, self._delete, self._log)
        return Commit(
            [*self._expect, *extra.expect],
            extra.expect_empty,
            [*self._put, *extra.put],
            [*self._delete, *extra.delete],
            self._log,
        )


async def make_way(core: Core, change: Change, here: Newest, *, garbage: bool = True) -> None:
    """Let the newest version step aside for a new one: into history, or away if it is replaced.

    A key has at most one null version, so a new null version also removes the old one from
    wherever it is.
    """
    entry, record, bucket = here.entry, here.record, here.bucket
    if entry is None or record is None:
        return
    null = bucket.versioning != "Enabled"
    if null and record.is_null:
        change.drop(entry.key, record, garbage=garbage)
        return
    change.move(entry, record, keys.version_key(bucket.id, here.key, record.version))
    if null and (old := await null_in_history(core, bucket.id, here.key)) is not None:
        change.expect(old)
        change.drop(old.key, decode(old.value, ObjectRecord))


async def promote(core: Core, change: Change, here: Newest) -> None:
    """Make the newest of the older versions, if there is one, the newest of all."""
    prefix = keys.versions_prefix(here.bucket.id, here.key)
    found = await core.engine.scan(prefix, prefix_end(prefix), 1)
    if found:
        record = decode(found[0].value, ObjectRecord)
        place = keys.marker_key if record.is_marker else keys.object_key
        change.expect(found[0])
        change.move(found[0], record, place(here.bucket.id, here.key))


async def null_in_history(core: Core, bucket_id: bytes, key: bytes) -> Entry | None:
    """The null version among the older ones of a key; O(versions of the key)."""
    found: list[Entry] = []

    def visit(at: bytes, value: memoryview, version: int) -> bytes | None:
        if not decode(value, ObjectRecord).is_null:
            return None
        found.append(Entry(at, bytes(value), version))
        return STOP

    prefix = keys.versions_prefix(bucket_id, key)
    await core.engine.walk(prefix, prefix_end(prefix), visit)
    return found[0] if found else None
