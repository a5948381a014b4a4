"""Copies that share bytes, and renames that move them."""

from __future__ import annotations

from amur.limits import PUT_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Conflict
from amur.meta.records import Checksum, ObjectRecord
from amur.objects.conditions import check_source
from amur.objects.core import Core
from amur.objects.deleting import add_marker
from amur.objects.digests import base64_text, digest_of
from amur.objects.errors import (
    InvalidRequest,
    KeyAlreadyExists,
    KeyIsDeleted,
    NoSuchKey,
    VersionIsMarker,
)
from amur.objects.history import Change, Extra, make_way, newest
from amur.objects.intake import stream_digest
from amur.objects.locating import Found, locate
from amur.objects.names import key_bytes
from amur.objects.pull.fetching import Version
from amur.objects.pull.localizing import is_local, make_local
from amur.objects.reading import body_of, pieces
from amur.objects.types import Attributes, Conditions, Permit
from amur.objects.writing import place, record_of, stored_checksum

# what of an object lies in its bytes: shared by a copy, moved by a rename
_BYTES_FIELDS = (
    "size", "etag", "checksums", "extents", "manifest", "part_count", "is_inline",
)  # fmt: skip
_ATTRIBUTE_FIELDS = (
    "content_type", "headers", "metadata", "tags", "owner", "storage_class", "regions",
)  # fmt: skip


async def copy(
    core: Core,
    source: tuple[str, str, str],
    bucket: str,
    key: str,
    attributes: Attributes | None,
    *,
    tags: dict[str, str] | None = None,
    source_conditions: Conditions | None = None,
    conditions: Conditions | None = None,
    algorithm: str = "",
    permit: Permit | None = None,
) -> ObjectRecord:
    """See `Store.copy`. The source's record is in the commit's expectations, so its bytes are
    referenced by somebody at every moment."""
    unchanged = attributes is None and tags is None and not algorithm
    if source == (bucket, key, "") and unchanged:
        raise InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself "
            "without changing the object's metadata, storage class, website redirect location "
            "or encryption attributes."
        )
    computed: dict[str, Checksum] = {}  # by ETag, so that a conflict does not hash again

    async def attempt() -> ObjectRecord:
        found = await _source(core, source, permit)
        if source_conditions is not None:
            check_source(source_conditions, found.record)
        if found.record.size > PUT_BYTES_MAX:
            raise InvalidRequest(
                "The specified copy source is larger than the maximum allowable size for a "
                f"copy source: {PUT_BYTES_MAX}"
            )
        if not await _is_here(core, found):
            raise Conflict  # look again: where its bytes are has changed
        record = _copied(core, found.record, attributes, tags)
        if algorithm and stored_checksum(record, algorithm) is None:
            if record.etag not in computed:
                computed[record.etag] = await _checksum(core, found, algorithm)
            record.checksums = [computed[record.etag]]
        pinned = Extra(expect=[(found.entry.key, found.entry.version)])
        return await place(
            core, bucket, key, record, inline=body_of(found), conditions=conditions, extra=pinned
        )

    return await core.transact(attempt)


async def _source(core: Core, source: tuple[str, str, str], permit: Permit | None) -> Found:
    try:
        return await locate(core, *source, permit)
    except VersionIsMarker:
        raise InvalidRequest(
            "The source of a copy request may not specifically refer to a delete marker "
            "by version id."
        ) from None
    except KeyIsDeleted:
        raise NoSuchKey(Key=source[1]) from None


async def _is_here(core: Core, found: Found) -> bool:
    """Whether a record that names the same bytes needs no other region; else they are fetched.

    Raises BodyUnreachable.
    """
    version = Version(found.entry.key, found.record)
    if not core.is_cluster or await is_local(core, version):
        return True
    await make_local(core, *version.name, durable=False)
    return False


def _copied(
    core: Core, source: ObjectRecord, attributes: Attributes | None, tags: dict[str, str] | None
) -> ObjectRecord:
    if attributes is not None:
        record = record_of(core, attributes)
        record.tags = source.tags
    else:
        record = ObjectRecord(region=core.region, placement=[core.region])
        _take_over(record, source, _ATTRIBUTE_FIELDS)
    _take_over(record, source, _BYTES_FIELDS)
    if tags is not None:
        record.tags = tags
    return record


def _take_over(record: ObjectRecord, source: ObjectRecord, fields: tuple[str, ...]) -> None:
    for field in fields:
        setattr(record, field, getattr(source, field))


async def _checksum(core: Core, found: Found, algorithm: str) -> Checksum:
    """A checksum that the source does not have, by reading it once."""
    if found.record.is_inline:
        return Checksum(algorithm, base64_text(digest_of(algorithm, body_of(found))))
    stream = pieces(core, found.entry.key, found.record, 0, found.record.size)
    return Checksum(algorithm, base64_text(await stream_digest(algorithm, stream)))


async def rename(
    core: Core, bucket: str, key: str, new_key: str, permit: Permit | None = None
) -> ObjectRecord:
    """See `Store.rename`. Where versions are kept the old key gets a delete marker, and its
    version shares the bytes with the new object; elsewhere the old key is simply gone."""
    raw, new_raw = key_bytes(key), key_bytes(new_key)

    async def attempt() -> ObjectRecord:
        here = await newest(core, bucket, raw)
        there = await newest(core, bucket, new_raw)
        source = here.object()
        if permit is not None:
            permit(key, source)
        if here.entry is None or source is None:
            raise NoSuchKey(Key=key)
        if there.object() is not None:
            raise KeyAlreadyExists(Key=new_key)
        if not await _is_here(core, Found(here.entry, source)):
            raise Conflict
        record = ObjectRecord(region=core.region, placement=[core.region], acl=source.acl)
        _take_over(record, source, _ATTRIBUTE_FIELDS + _BYTES_FIELDS)
        record.is_null = here.bucket.versioning != "Enabled"
        core.check_open(here.bucket)
        core.check_may_hold(here.bucket, source.regions)
        change = Change(core, [*here.expect(), *there.expect()])
        # the bytes stay in use: by the new object
        await make_way(core, change, here, garbage=False)
        if here.bucket.versioning:
            add_marker(core, change, here)
        else:
            change.bury(here.bucket.id, raw, source)
        await make_way(core, change, there)
        inline = body_of(Found(here.entry, source))
        change.add(keys.object_key(here.bucket.id, new_raw), record, inline)
        record.version = await core.engine.commit(change.commit())
        return record

    return await core.transact(attempt)
