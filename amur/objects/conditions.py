"""Conditional requests: whether what a key holds lets a request go on. No I/O.

All conditions given must hold (tigris-facts 4.3), which differs from the precedence of RFC 9110
only where a client sends two that contradict each other.
"""

from __future__ import annotations

from amur.meta.records import ObjectRecord
from amur.objects.errors import NoSuchKey, NotModified, PreconditionFailed
from amur.objects.types import Conditions


def check_read(conditions: Conditions, record: ObjectRecord) -> None:
    """Raises PreconditionFailed or NotModified."""
    _check_present(conditions, record)
    modified = record.modified_s()
    none_match, since = conditions.if_none_match, conditions.if_modified_since
    if (none_match is not None and _matches(none_match, record.etag)) or (
        since is not None and modified <= since
    ):
        raise NotModified(record.etag, modified, record.version_id())


def check_source(conditions: Conditions, record: ObjectRecord) -> None:
    """The conditions on the source of a copy: every one that fails is PreconditionFailed."""
    try:
        check_read(conditions, record)
    except NotModified:
        raise PreconditionFailed(Condition="x-amz-copy-source-If-None-Match") from None


def check_write(conditions: Conditions, record: ObjectRecord | None) -> None:
    """`record` is the newest version when that is an object. Raises PreconditionFailed, and
    NoSuchKey when a match is asked of a key that holds nothing, as Amazon does."""
    if record is None:
        if conditions.if_match is not None and "" not in conditions.if_match:
            raise NoSuchKey
        return
    _check_present(conditions, record)
    if conditions.if_none_match is not None and _matches(conditions.if_none_match, record.etag):
        raise PreconditionFailed(Condition="If-None-Match")
    since = conditions.if_modified_since
    if since is not None and record.modified_s() <= since:
        raise PreconditionFailed(Condition="If-Modified-Since")


def check_delete(conditions: Conditions, record: ObjectRecord | None) -> None:
    """`record` is the version to go, marker or not. Where there is none a delete succeeds, as
    Amazon's DeleteObject does. Raises PreconditionFailed."""
    if record is not None:
        check_write(conditions, record)


def _check_present(conditions: Conditions, record: ObjectRecord) -> None:
    match, unmodified = conditions.if_match, conditions.if_unmodified_since
    if match is not None and not _matches(match, record.etag):
        raise PreconditionFailed(Condition="If-Match")
    if unmodified is not None and record.modified_s() > unmodified:
        raise PreconditionFailed(Condition="If-Unmodified-Since")
    size, modified = conditions.if_match_size, conditions.if_match_modified
    if size is not None and size != record.size:
        raise PreconditionFailed(Condition="x-amz-if-match-size")
    if modified is not None and modified != record.modified_s():
        raise PreconditionFailed(Condition="x-amz-if-match-last-modified-time")


def _matches(etags: list[str], etag: str) -> bool:
    # a marker has the ETag "", which the empty ETag of a client must not match
    return "*" in etags or (etag != "" and etag in etags)
