"""The values that go in and out of the store. Keys are `str`; bytes of UTF-8 below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from amur.data.store import Piece
from amur.meta.records import (
    BucketRecord,
    Checksum,
    CorsRule,
    ObjectHead,
    ObjectRecord,
    PartRecord,
    UploadRecord,
)

__all__ = [
    "Attributes", "Body", "BucketRecord", "ByteRange", "Checksum", "CompletedPart", "Conditions",
    "CorsRule", "DeleteResult", "Digests", "ListEntry", "ListPage", "ObjectHead", "ObjectRecord",
    "PartRecord", "Permit", "Reading", "UploadRecord", "Verify",
]  # fmt: skip

Body = bytes | AsyncIterator[Piece]


@dataclass(slots=True)
class Attributes:
    """What a writer says of an object besides its bytes."""

    content_type: str = "binary/octet-stream"
    headers: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    acl: str = ""
    owner: str = ""
    storage_class: str = ""  # "" takes the bucket's
    regions: str = ""


@dataclass(slots=True)
class Conditions:
    """Conditional headers, parsed: ETags without quotes, `*` as itself, times in epoch seconds.

    On a read a failing if_none_match or if_modified_since is NotModified, everything else that
    fails is PreconditionFailed; a date is passed over beside an ETag of its kind. On a write all
    given must hold. `if_match=""` (an empty ETag) holds only when the object does not exist
    (Tigris' older spelling of create-if-absent).
    """

    if_match: list[str] | None = None
    if_none_match: list[str] | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None
    if_match_size: int | None = None
    if_match_modified: int | None = None
    if_range: str | int | None = None  # an ETag ("" for one that never matches) or a date


class Digests(NamedTuple):
    """What was computed of a body: raw digest bytes by name, MD5 always."""

    size: int
    md5: bytes
    others: dict[str, bytes]  # by S3 name: CRC32 CRC32C CRC64NVME SHA1 SHA256


Verify = Callable[[Digests], list[Checksum]]
"""Called once the whole body was hashed, before anything is committed: raises BadDigest (and its
kin) when a promise is broken, and answers the checksums to store with the object."""


class ByteRange(NamedTuple):
    """first-last inclusive; last None is open; first None is a suffix of `last` bytes."""

    first: int | None
    last: int | None


class CompletedPart(NamedTuple):
    """A part as the client names it on completion; checksums by S3 algorithm name, base64."""

    number: int
    etag: str
    checksums: dict[str, str]


Permit = Callable[[str, ObjectRecord | None], None]
"""Called with a key and the record found (None when there is none) before more is told of it;
raises what the caller should see instead. For principals whose right depends on the object."""


class Reading(NamedTuple):
    """An object opened for reading: its record, and its bytes (whole or by range)."""

    record: ObjectRecord
    start: int
    end: int  # exclusive
    body: bytes | None  # when it is at hand whole
    stream: AsyncIterator[bytes] | None  # else; verified pieces of at most CHUNK_BYTES
    checksums: Sequence[Checksum] = ()  # of just these bytes: the object's or a part's


class ListEntry(NamedTuple):
    """One line of a listing, or a common prefix (record is None). A listing of versions has whole
    `ObjectRecord`s."""

    key: str
    record: ObjectHead | None
    is_latest: bool = True


class ListPage(NamedTuple):
    """`next_key` (and `next_version`) mark where to go on when truncated."""

    entries: list[ListEntry]
    truncated: bool
    next_key: str = ""
    next_version: str = ""


class DeleteResult(NamedTuple):
    """What a delete did, for the response headers."""

    version_id: str = ""  # "" in a bucket that never had versions
    is_marker: bool = False  # a marker was created or removed
