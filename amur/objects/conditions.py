"""Conditional requests: whether what a key holds lets a request go on. No I/O.

Reads follow the precedence of RFC 9110, as Amazon's do. Of a write all that is given must hold.
"""

from __future__ import annotations

from amur.meta.records import ObjectRecord
from amur.objects.errors import NoSuchKey, NotModified, PreconditionFailed
from amur.objects.types import Conditions


def check_read(conditions: Conditions, record: ObjectRecord) -> None:
    """A date counts only where no ETag of its kind is given (RFC 9110 section 13.2.2): what
    replaced an object may bear the same date or, a version restored, an older one.

    Raises PreconditionFailed or NotModified.
    """
    match, none_match = conditions.if_match, conditions.if_none_match
    modified = record.modified_s()
    if match is not None:
        if not _matches(match, record.etag):
            raise PreconditionFailed(Condition="If-Match")
    else:
        _check_unmodified(conditions, modified)
    if none_match is not None:
        is_known = _matches(none_match, record.etag)
    else:
        since = conditions.if_modified_since
        is_known = since is not None and modified <= since
    if is_known:
        raise NotModified(record.etag, modified, record.version_id())


def keeps_range(conditions: Conditions | None, record: ObjectRecord) -> bool:
    """Whether If-Range lets a range be answered; the whole object is, where it does not."""
    if conditions is None or conditions.if_range is None:
        return True
    validator = conditions.if_range
    return validator == (record.modified_s() if isinstance(validator, int) else record.etag)


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
    match = conditions.if_match
    if match is not None and not _matches(match, record.etag):
        raise PreconditionFailed(Condition="If-Match")
    _check_unmodified(conditions, record.modified_s())
    size, modified = conditions.if_match_size, conditions.if_match_modified
    if size is not None and size != record.size:
        raise PreconditionFailed(Condition="x-amz-if-match-size")
    if modified is not None and modified != record.modified_s():
        raise PreconditionFailed(Condition="x-amz-if-match-last-modified-time")


def _check_unmodified(conditions: Conditions, modified: int) -> None:
    since = conditions.if_unmodified_since
    if since is not None and modified > since:
        raise PreconditionFailed(Condition="If-Unmodified-Since")


def _matches(etags: list[str], etag: str) -> bool:
    # a marker has the ETag "", which the empty ETag of a client must not match
    return "*" in etags or (etag != "" and etag in etags)
