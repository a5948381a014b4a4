"""Finding the version of an object that a request means."""

from __future__ import annotations

from typing import NamedTuple

from amur.meta.engine import Entry
from amur.meta.records import ObjectRecord, decode
from amur.objects.core import Core
from amur.objects.errors import KeyIsDeleted, NoSuchKey, NoSuchVersion, VersionIsMarker
from amur.objects.history import Newest, newest, null_in_history
from amur.objects.names import key_bytes, version_number
from amur.objects.types import Permit


class Found(NamedTuple):
    """A version of an object, never a marker; `entry` is what pins it in a commit."""

    entry: Entry
    record: ObjectRecord


async def locate(
    core: Core, bucket: str, key: str, version_id: str = "", permit: Permit | None = None
) -> Found:
    """Raises NoSuchBucket, NoSuchKey, KeyIsDeleted, NoSuchVersion, VersionIsMarker, and what
    `permit` raises before any of those that tell of the key."""
    raw = key_bytes(key)
    if version_id:
        found = await find_version(core, bucket, raw, version_number(version_id))
    else:
        here = await newest(core, bucket, raw)
        if here.entry is not None and here.record is not None:
            found = Found(here.entry, here.record)
        else:
            found = None
    record = found.record if found is not None else None
    if permit is not None:
        permit(key, None if record is None or record.is_marker else record)
    if found is None or record is None:
        if version_id:
            raise NoSuchVersion(Key=key, VersionId=version_id)
        raise NoSuchKey(Key=key)
    if record.is_marker:
        raised = VersionIsMarker if version_id else KeyIsDeleted
        raise raised(record.version_id(), record.modified_s())
    return found


async def find_version(core: Core, bucket: str, key: bytes, version: int | None) -> Found | None:
    """A version or marker by its number, or the null version (None)."""
    while True:
        here = await newest(core, bucket, key, version or 0)
        entry, record = here.entry, here.record
        if entry is not None and record is not None and _is(record, version):
            return Found(entry, record)
        older = here.older
        if version is None and here.bucket.versioning and entry is not None:
            older = await null_in_history(core, here.bucket.id, key)
            if older is None and await _changed(core, here):
                continue  # it may have moved between the two reads
        if older is None:
            return None
        found = Found(older, decode(older.value, ObjectRecord))
        return found if _is(found.record, version) else None


async def _changed(core: Core, here: Newest) -> bool:
    now = await core.engine.get_many([at for at, _ in here.expect()])
    return [entry.version if entry is not None else 0 for entry in now] != [
        version for _, version in here.expect()
    ]


def _is(record: ObjectRecord, version: int | None) -> bool:
    if version is None:
        return record.is_null
    return record.version == version and not record.is_null
