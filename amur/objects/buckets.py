"""Buckets: their records, and deleting them with or without what is in them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b

from amur.limits import LIST_BUCKETS_PAGE_MAX
from amur.meta import keys
from amur.meta.engine import ABSENT, STOP, Commit, Entry, Put, prefix_end
from amur.meta.log import bucket_name
from amur.meta.records import (
    VERSION_STAMP,
    BucketRecord,
    ObjectRecord,
    TombstoneRecord,
    decode,
    encode,
)
from amur.objects import multipart
from amur.objects.core import Core, bucket_key, translation
from amur.objects.errors import (
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    InvalidBucketState,
    Overloaded,
)
from amur.objects.history import Change, Extra
from amur.objects.names import check_bucket_name, text_bytes
from amur.objects.replication import closing

SETTINGS = (
    "acl", "object_acl", "public_list", "versioning", "tags", "cors", "ownership",
    "storage_class", "regions", "accelerate", "policy", "public_block",
)  # fmt: skip
"""What of a bucket may change."""

_TABLES = (keys.OBJECTS, keys.MARKERS, keys.VERSIONS)
_DROP_PAGE = 500
"""Records that a forced deletion removes in one commit."""
_FORCE_ROUNDS_MAX = 10
"""Times that a bucket which is still being written to is emptied before giving up."""


async def create_bucket(core: Core, bucket: BucketRecord) -> BucketRecord:
    """See `Store.create_bucket`. Raises InvalidBucketName, BucketAlreadyExists,
    BucketAlreadyOwnedByYou."""
    check_bucket_name(bucket.name)
    at, grave = keys.bucket_key(bucket.name), keys.bucket_tombstone_key(bucket.name)

    async def attempt() -> BucketRecord:
        entry, buried = await core.engine.get_many([at, grave])
        if entry is not None:
            taken = decode(entry.value, BucketRecord)
            mine = taken.owner == bucket.owner
            raise (BucketAlreadyOwnedByYou if mine else BucketAlreadyExists)(BucketName=bucket.name)
        bucket.prior = decode(buried.value, TombstoneRecord).version if buried else 0
        bucket.id = _bucket_id(core, bucket)
        bucket.created = core.clock.now_ns()
        expect = [(at, ABSENT), (grave, buried.version if buried else ABSENT)]
        put = Put(at, encode(bucket), VERSION_STAMP)
        bucket.version = await core.engine.commit(
            Commit(expect=expect, put=[put], log=_log(core, bucket.name))
        )
        return bucket

    return await core.transact(attempt)


def _bucket_id(core: Core, bucket: BucketRecord) -> bytes:
    """Never used before. In a cluster two regions that create the same bucket at the same time
    agree on it: what is written to either is then in one bucket."""
    if not core.is_cluster:
        return secrets.token_bytes(keys.BUCKET_ID_BYTES)
    facts = f"{bucket.name}\n{bucket.owner}\n{bucket.prior}".encode()
    return blake2b(facts, digest_size=keys.BUCKET_ID_BYTES).digest()


def _log(core: Core, name: str) -> list[bytes]:
    return [bucket_name(name)] if core.is_cluster else []


async def read_bucket(core: Core, name: str) -> BucketRecord:
    with translation:
        return core.bucket_of(name, await core.engine.get(bucket_key(name)))


async def update_bucket(
    core: Core, name: str, change: Callable[[BucketRecord], None]
) -> BucketRecord:
    """See `Store.update_bucket`. Raises InvalidBucketState when versioning, once set, is taken
    back: it can only be suspended."""
    at = bucket_key(name)

    async def attempt() -> BucketRecord:
        entry = await core.engine.get(at)
        old = core.bucket_of(name, entry)
        assert entry is not None, "bucket_of raises NoSuchBucket of an absent bucket"
        record = decode(entry.value, BucketRecord)
        change(record)
        assert (record.id, record.name) == (old.id, old.name), "a bucket keeps id and name"
        if old.versioning and not record.versioning:
            raise InvalidBucketState("Versioning can be suspended, never removed")
        if core.is_cluster:
            _note_changes(core, old, record)
        put = Put(at, encode(record), VERSION_STAMP)
        commit = Commit([(at, entry.version)], put=[put], log=_log(core, name))
        record.version = await core.engine.commit(commit)
        return record

    return await core.transact(attempt)


def _note_changes(core: Core, old: BucketRecord, record: BucketRecord) -> None:
    """When each setting was changed, so that regions can merge them one by one."""
    changed = dict(record.changed)
    for setting in SETTINGS:
        if getattr(record, setting) != getattr(old, setting):
            changed[setting] = core.stamp(max(changed.get(setting, 0), record.created))
    record.changed = changed


async def list_buckets(
    core: Core, *, prefix: str = "", start_after: str = "", limit: int = 1000
) -> tuple[list[BucketRecord], bool]:
    """See `Store.list_buckets`."""
    limit = max(0, min(limit, LIST_BUCKETS_PAGE_MAX))
    start = keys.BUCKETS + text_bytes(prefix)[:1024]
    if start_after:
        start = max(start, keys.BUCKETS + text_bytes(start_after)[:1024] + b"\x00")
    found: list[BucketRecord] = []
    truncated = False

    def visit(_key: bytes, value: memoryview, _version: int) -> bytes | None:
        nonlocal truncated
        if len(found) >= limit:
            truncated = limit > 0
            return STOP
        found.append(decode(value, BucketRecord))
        return None

    with translation:
        end = prefix_end(keys.BUCKETS + text_bytes(prefix)[:1024])
        await core.engine.walk(start, end, visit)
    return found, truncated


async def delete_bucket(core: Core, name: str, *, force: bool = False) -> None:
    """See `Store.delete_bucket`. A commit into the bucket and this one can't both succeed: each
    expects what the other changes. Uploads in progress are aborted, as Amazon does; should this
    process die before that, the expirer finds them. Raises BucketNotEmpty."""
    bucket_id = (await read_bucket(core, name)).id
    if core.is_cluster:
        await closing.delete_everywhere(core, name, force=force)
    else:
        await _delete_record(core, name, force=force)
    with translation:
        await abort_uploads(core, bucket_id)


async def _delete_record(core: Core, name: str, *, force: bool) -> None:
    for _ in range(_FORCE_ROUNDS_MAX if force else 1):
        if force:
            await core.transact(lambda: _empty(core, name))
        try:
            await core.transact(lambda: _delete_empty(core, name))
        except BucketNotEmpty:
            if not force:
                raise
        else:
            return
    raise Overloaded("The bucket is being written to while it is deleted")


async def _delete_empty(core: Core, name: str) -> None:
    record, expect = await core.bucket(name)
    ranges = closing.version_ranges(record.id)
    if not await closing.is_empty(core, record.id):
        raise BucketNotEmpty(BucketName=name)
    await core.engine.commit(Commit(expect=[expect], expect_empty=ranges, delete=[expect[0]]))


def _range(table: bytes, bucket_id: bytes) -> tuple[bytes, bytes]:
    return table + bucket_id, prefix_end(table + bucket_id)


async def _empty(core: Core, name: str) -> None:
    """Drop history, then what is newest, so that no history stands alone."""
    await drop_contents(core, (await core.bucket(name))[0].id)


async def drop_contents(core: Core, bucket_id: bytes) -> None:
    """All versions of a bucket that goes (here, or because another region has deleted it)."""
    history = _range(keys.VERSIONS, bucket_id)
    while page := await core.engine.scan(*history, _DROP_PAGE):
        await core.engine.commit(_dropping(core, page).commit())
    for table in (keys.OBJECTS, keys.MARKERS):
        while page := await core.engine.scan(*_range(table, bucket_id), _DROP_PAGE):
            dropping = _dropping(core, page)
            await core.engine.commit(dropping.commit(Extra(expect_empty=[history])))


async def abort_uploads(core: Core, bucket_id: bytes) -> None:
    while page := await core.engine.scan(*_range(keys.UPLOADS, bucket_id), _DROP_PAGE):
        for entry in page:
            await multipart.abort_at(core, entry.key)


def _dropping(core: Core, page: list[Entry]) -> Change:
    change = Change(core, [])
    for entry in page:
        change.expect(entry)
        change.drop(entry.key, decode(entry.value, ObjectRecord))
    return change
