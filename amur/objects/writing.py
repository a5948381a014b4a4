"""Putting objects and changing their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.keys import owner_name
from amur.meta.log import record_name
from amur.meta.records import Checksum, ObjectRecord, encode, inline_body
from amur.objects.conditions import check_write
from amur.objects.core import Core
from amur.objects.errors import StoreError
from amur.objects.history import Change, Extra, make_way, newest
from amur.objects.intake import Taken, release, take
from amur.objects.locating import locate
from amur.objects.names import key_bytes
from amur.objects.types import Attributes, Body, Conditions, Verify

__all__ = ["Extra", "place", "put", "record_of", "update_object"]

_PLAIN = Attributes()


async def put(
    core: Core,
    bucket: str,
    key: str,
    body: Body,
    attributes: Attributes | None = None,
    *,
    conditions: Conditions | None = None,
    algorithms: Sequence[str] = (),
    verify: Verify | None = None,
) -> ObjectRecord:
    """See `Store.put`. The body is taken once, however often the commit is tried."""
    raw = key_bytes(key)
    seen = core.bucket_seen(bucket)
    regions = attributes.regions if attributes is not None else ""
    if regions or (seen is not None and seen.regions):  # before a byte of it is on this disk
        core.check_may_hold((await core.bucket(bucket))[0], regions)
    if not isinstance(body, bytes):
        # what is refused anyway should not be sent first; the commit decides for good
        here = await newest(core, bucket, raw)
        if conditions is not None:
            check_write(conditions, here.object())
    taken = await take(core, body, algorithms=algorithms, verify=verify)

    async def attempt() -> ObjectRecord:
        record = _taken_record(core, taken, attributes or _PLAIN)
        return await place(
            core, bucket, raw, record, inline=taken.inline or b"", conditions=conditions
        )

    try:
        return await core.transact(attempt)
    except StoreError:
        await release(core, taken)
        raise


async def place(
    core: Core,
    bucket: str,
    key: str | bytes,
    record: ObjectRecord,
    *,
    inline: bytes = b"",
    conditions: Conditions | None = None,
    extra: Extra | None = None,
) -> ObjectRecord:
    """One attempt to make `record` the newest version of a key, with `extra` in the commit.

    To be called within `Core.transact`. Sets the record's version, whether it is null, and its
    storage class if that is still open. Raises Conflict, NoSuchBucket, PreconditionFailed,
    NoSuchKey (of a match condition).
    """
    raw = key_bytes(key) if isinstance(key, str) else key
    here = await newest(core, bucket, raw)
    if conditions is not None:
        check_write(conditions, here.object())
    core.check_open(here.bucket)
    if record.regions or here.bucket.regions:
        core.check_may_hold(here.bucket, record.regions)
    change = Change(core, here.expect())
    if here.entry is not None:
        await make_way(core, change, here)
    record.is_null = here.bucket.versioning != "Enabled"
    record.storage_class = record.storage_class or here.bucket.storage_class
    change.add(keys.object_key(here.bucket.id, raw), record, inline)
    record.version = await core.engine.commit(change.commit(extra))
    return record


def record_of(core: Core, attributes: Attributes) -> ObjectRecord:
    """A new record with what its writer says of it, its bytes still to be named."""
    return ObjectRecord(
        content_type=attributes.content_type,
        headers=attributes.headers,
        metadata=attributes.metadata,
        tags=attributes.tags,
        acl=attributes.acl,
        owner=attributes.owner,
        storage_class=attributes.storage_class,
        region=core.region,
        regions=attributes.regions,
        placement=[core.region],
    )


def _taken_record(core: Core, taken: Taken, attributes: Attributes) -> ObjectRecord:
    record = record_of(core, attributes)
    record.size = taken.digests.size
    record.etag = taken.digests.md5.hex()
    record.checksums = taken.checksums
    record.extents = taken.extents
    record.is_inline = taken.inline is not None
    return record


async def update_object(
    core: Core,
    bucket: str,
    key: str,
    change: Callable[[ObjectRecord], None],
    *,
    version_id: str = "",
) -> ObjectRecord:
    """Change tags, ACL and the like of a version in place: its version and bytes stay."""

    async def attempt() -> ObjectRecord:
        entry, record = await locate(core, bucket, key, version_id)
        kept, tags, acl = _identity(record), record.tags, record.acl
        change(record)
        assert _identity(record) == kept, "an update never touches version or bytes"
        log = []
        if core.is_cluster:
            if record.tags != tags:
                record.tags_at = core.stamp(max(record.tags_at, record.version))
            if record.acl != acl:
                record.acl_at = core.stamp(max(record.acl_at, record.version))
            log = [record_name(*owner_name(entry.key), record)]
        inline = inline_body(entry.value) if record.is_inline else b""
        put = Put(entry.key, encode(record, inline))
        await core.engine.commit(Commit([(entry.key, entry.version)], put=[put], log=log))
        return record

    return await core.transact(attempt)


def _identity(record: ObjectRecord) -> tuple[object, ...]:
    return (
        record.version,
        record.is_null,
        record.size,
        record.etag,
        record.manifest,
        tuple(record.extents),
        record.is_inline,
    )


def stored_checksum(record: ObjectRecord, algorithm: str) -> Checksum | None:
    """The record's checksum of that algorithm, if it has one."""
    return next((has for has in record.checksums if has.algorithm == algorithm), None)
