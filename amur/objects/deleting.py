"""Deleting: the newest version (with or without a marker), or a version for good."""

from __future__ import annotations

from amur.meta import keys
from amur.meta.records import ObjectRecord
from amur.objects.conditions import check_delete
from amur.objects.core import Core
from amur.objects.history import Change, Newest, make_way, newest, promote
from amur.objects.locating import find_version
from amur.objects.names import key_bytes, version_number
from amur.objects.types import Conditions, DeleteResult


async def delete(
    core: Core,
    bucket: str,
    key: str,
    *,
    version_id: str = "",
    conditions: Conditions | None = None,
) -> DeleteResult:
    """Deleting what is not there succeeds. Raises NoSuchBucket, PreconditionFailed, and
    InvalidArgument for a malformed version id."""
    raw = key_bytes(key)
    if not version_id:
        return await core.transact(lambda: _delete_newest(core, bucket, raw, conditions))
    number = version_number(version_id)
    done = await core.transact(lambda: _delete_version(core, bucket, raw, number, conditions))
    return DeleteResult(version_id, done is not None and done.is_marker)


async def _delete_newest(
    core: Core, bucket: str, key: bytes, conditions: Conditions | None
) -> DeleteResult:
    here = await newest(core, bucket, key)
    if conditions is not None:
        check_delete(conditions, here.record)
    if here.record is None and (conditions is not None or not here.bucket.versioning):
        return DeleteResult()
    core.check_open(here.bucket)
    change = Change(core, here.expect())
    await make_way(core, change, here)
    if not here.bucket.versioning:
        assert here.record is not None
        change.bury(here.bucket.id, key, here.record)
        await core.engine.commit(change.commit())
        return DeleteResult()
    marker = add_marker(core, change, here)
    marker.version = await core.engine.commit(change.commit())
    return DeleteResult(marker.version_id(), is_marker=True)


def add_marker(core: Core, change: Change, here: Newest) -> ObjectRecord:
    """Put a delete marker as the newest version, for which way was made."""
    marker = ObjectRecord(
        is_marker=True,
        is_null=here.bucket.versioning != "Enabled",
        owner=here.bucket.owner,
        region=core.region,
    )
    change.add(keys.marker_key(here.bucket.id, here.key), marker)
    return marker


async def _delete_version(
    core: Core, bucket: str, key: bytes, version: int | None, conditions: Conditions | None
) -> ObjectRecord | None:
    """The version that is gone now, None when there was none of that number."""
    here = await newest(core, bucket, key)
    found = await find_version(core, bucket, key, version)
    if found is None:
        return None
    if conditions is not None:
        check_delete(conditions, found.record)
    was_newest = not found.entry.key.startswith(keys.VERSIONS)
    # an older one that is promoted meanwhile leaves its place, so the commit conflicts
    core.check_open(here.bucket)
    change = Change(core, here.expect() if was_newest else [])
    change.expect(found.entry)
    change.drop(found.entry.key, found.record)
    change.bury(here.bucket.id, key, found.record)
    if was_newest and here.bucket.versioning:
        await promote(core, change, here)
    await core.engine.commit(change.commit())
    return found.record
