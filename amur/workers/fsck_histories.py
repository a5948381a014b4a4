"""fsck's checks of the versions of a key against each other.

All that can be wrong with them is put right in one way: take every version there is, drop null
versions but the newest, and put each where it belongs, in one commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, Put, prefix_end
from amur.meta.records import ObjectRecord
from amur.objects.references import garbage_put, reference_deletes, reference_puts
from amur.workers.fsck_session import UNREADABLE, Found, Repair, Session, decoded
from amur.workers.usage import owners

VERSIONS_MAX = 10_000  # of one key that are put in order in one commit

Version = tuple[Entry, ObjectRecord]


class HistoryChecks:
    """Looks at every key that has a marker, or any older version, or is out of place."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self) -> None:
        over = self._session.over
        await over(keys.OBJECTS, self._objects)
        await over(keys.MARKERS, self._markers)
        await over(keys.VERSIONS, self._history)

    async def _objects(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            record = decoded(entry, ObjectRecord)
            if record is not None and record.is_marker:
                found.append(self._found("object-is-marker", entry, *split_version(entry.key)))
        return found

    async def _markers(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            record = decoded(entry, ObjectRecord)
            bucket_id, key = split_version(entry.key)
            if record is not None and not record.is_marker:
                found.append(self._found("marker-is-object", entry, bucket_id, key))
                continue
            objects = await self._session.read([keys.object_key(bucket_id, key)])
            if objects[0] is not None and objects[0].version != UNREADABLE:
                found.append(self._found("object-and-marker", entry, bucket_id, key))
                continue
            bucket = self._session.buckets.get(bucket_id)
            if record is not None and bucket is not None and not bucket.versioning:
                repair = self._session.putting(entry, delete=[entry.key])
                found.append(Found("marker-without-versioning", entry.key, repair=repair))
        return found

    async def _history(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            bucket_id, key = split_version(entry.key)
            record = decoded(entry, ObjectRecord)
            if record is None:
                continue
            if keys.version_key(bucket_id, key, record.version) != entry.key:
                found.append(self._found("version-misplaced", entry, bucket_id, key))
                continue
            newest = await self._newest(bucket_id, key)
            if newest is None:
                found.append(self._found("history-without-newest", entry, bucket_id, key))
            elif newest.version <= record.version:
                found.append(self._found("newest-is-older", entry, bucket_id, key))
            elif record.is_null and await self._has_newer_null(bucket_id, key, newest, record):
                found.append(self._found("null-twice", entry, bucket_id, key))
        return found

    async def _newest(self, bucket_id: bytes, key: bytes) -> ObjectRecord | None:
        """The newest version, or one newer than all when it can't be read."""
        wanted = [keys.object_key(bucket_id, key), keys.marker_key(bucket_id, key)]
        for entry in await self._session.read(wanted):
            if entry is not None:
                unknown = ObjectRecord(version=2**64 - 1, is_null=False)
                return decoded(entry, ObjectRecord) or unknown
        return None

    async def _has_newer_null(
        self, bucket_id: bytes, key: bytes, newest: ObjectRecord, older: ObjectRecord
    ) -> bool:
        if newest.is_null:
            return True
        start = keys.versions_prefix(bucket_id, key)
        end = keys.version_key(bucket_id, key, older.version)
        async for page in self._session.pages(start, end):
            if any((other := decoded(e, ObjectRecord)) and other.is_null for e in page):
                return True
        return False

    # --- repair ---
    def _found(self, kind: str, entry: Entry, bucket_id: bytes, key: bytes) -> Found:
        return Found(kind, entry.key, repair=self.ordering(bucket_id, key))

    async def giving_up(self, holder: Entry) -> Repair:
        """Give up a version, an upload's part, or every version that a manifest's part is of;
        older versions step in."""
        session = self._session
        lost = [holder]
        if holder.key[:1] == keys.MANIFESTS:
            users = (await owners(session.engine, [(holder.key[1:17], 0)]))[0]
            lost = [entry for entry in (*await session.read(users), holder) if entry is not None]

        async def repair() -> None:
            for entry in lost:
                await session.giving_up(entry)()
                if entry.key[:1] in (keys.OBJECTS, keys.MARKERS, keys.VERSIONS):
                    await self.ordering(*split_version(entry.key))()

        return repair

    def ordering(self, bucket_id: bytes, key: bytes) -> Repair:
        """Put every version of a key where it belongs. Does nothing if all do already."""

        async def repair() -> None:
            found, absent = await self._all_versions(bucket_id, key)
            found.sort(key=lambda version: version[1].version, reverse=True)
            puts: list[Put] = []
            deletes: list[bytes] = []
            nulls = notes = 0
            is_newest = True
            for entry, record in found:
                nulls += record.is_null
                if record.is_null and nulls > 1:
                    deletes += (entry.key, *reference_deletes(record, entry.key))
                    puts += garbage_put(record, notes)
                    notes += 1
                    continue
                owner = _place(bucket_id, key, record, is_newest=is_newest)
                is_newest = False
                if owner != entry.key:
                    deletes += (entry.key, *reference_deletes(record, entry.key))
                    puts += (Put(owner, entry.value), *reference_puts(record, owner))
            expect = [(entry.key, entry.version) for entry, _ in found]
            if puts or deletes:
                await self._session.engine.commit(
                    Commit(expect=[*expect, *absent], put=puts, delete=deletes)
                )

        return repair

    async def _all_versions(
        self, bucket_id: bytes, key: bytes
    ) -> tuple[list[Version], list[tuple[bytes, int]]]:
        """Every version, and what to expect of O and D where they are absent. Raises Conflict
        when one can't be read: nothing may take its place before it is given up."""
        heads = [keys.object_key(bucket_id, key), keys.marker_key(bucket_id, key)]
        read = await self._session.engine.get_many(heads)
        prefix = keys.versions_prefix(bucket_id, key)
        older = await self._session.engine.scan(prefix, prefix_end(prefix), VERSIONS_MAX)
        absent = [(at, 0) for at, entry in zip(heads, read, strict=True) if entry is None]
        versions = []
        for entry in (*read, *older):
            if entry is not None:
                record = decoded(entry, ObjectRecord)
                if record is None:
                    raise Conflict
                versions.append((entry, record))
        return versions, absent


def split_version(at: bytes) -> tuple[bytes, bytes]:
    """Bucket id and object key of a metadata key of O, D or V."""
    bucket_id, rest = at[1 : keys.OBJECT_PREFIX_BYTES], at[keys.OBJECT_PREFIX_BYTES :]
    return bucket_id, keys.unescaped(rest)[0] if at[:1] == keys.VERSIONS else rest


def _place(bucket_id: bytes, key: bytes, record: ObjectRecord, *, is_newest: bool) -> bytes:
    if not is_newest:
        return keys.version_key(bucket_id, key, record.version)
    return (keys.marker_key if record.is_marker else keys.object_key)(bucket_id, key)
