"""The records that the store keeps, and their codec.

On disk a record is

    format (1 byte) | version (8 bytes, big-endian) | head length (4) | head (msgpack) | inline body

The version stands at a fixed place so that an engine can stamp it inside the commit, and the head
is apart from the inline body so that a listing decodes heads only. Heads are msgpack arrays: a new
field goes at the end, with a default, and old records stay readable. What changes the meaning of
an old field gets a new format number and a branch in `decode`.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Any, TypeVar

import msgspec

from amur.extent import Extent as Extent

FORMAT = 1
VERSION_STAMP = 1
_HEADER = 13


class RecordDamaged(Exception):
    """A record that does not decode: written by a newer Amur, or damaged."""


class Checksum(msgspec.Struct, array_like=True, frozen=True):
    """`algorithm` as S3 spells it (CRC32, CRC32C, CRC64NVME, SHA1, SHA256), `value` in base64
    (with -N behind a composite one), `kind` FULL_OBJECT or COMPOSITE."""

    algorithm: str
    value: str
    kind: str = "FULL_OBJECT"


class ObjectHead(msgspec.Struct, array_like=True):
    """What a listing shows of an object: the first fields of its record, decoded alone."""

    version: int = 0  # stamped by the engine when 0 at encoding; hybrid clock, ns
    size: int = 0
    etag: str = ""  # hex MD5, or hex-N of a multipart upload; no quotes
    content_type: str = ""
    headers: dict[str, str] = {}  # stored response headers, lower-case names
    metadata: dict[str, str] = {}  # x-amz-meta-*, lower-case names without the prefix
    tags: dict[str, str] = {}
    acl: str = ""  # canned ACL of its own, "" inherits from the bucket
    owner: str = ""
    storage_class: str = "STANDARD"
    checksums: list[Checksum] = []

    def modified_s(self) -> int:
        """Last-Modified, in whole seconds since the epoch."""
        return self.version // 1_000_000_000


class ObjectRecord(ObjectHead, array_like=True):
    """One version of an object, or a delete marker."""

    is_marker: bool = False
    is_null: bool = True  # its version id is "null": written while versioning was not enabled
    region: str = ""  # where it was written; ties between equal versions
    regions: str = ""  # restriction, as in X-Tigris-Regions; "" is none
    placement: list[str] = []  # regions that held the bytes when it was written
    extents: list[Extent] = []
    manifest: bytes = b""  # 16 bytes: the parts are in the manifest table
    part_count: int = 0  # 0: not from a multipart upload
    is_inline: bool = False  # the body stands behind the head of this record
    holdings: dict[str, int] = {}  # region: counter * 4 + kind; see meta/holdings.py
    home: str = ""  # the region that must keep the bytes; "" is `region`
    home_epoch: int = 0  # counts moves
    tags_at: int = 0  # version of the last change of tags in place, 0 for none
    acl_at: int = 0

    def version_id(self) -> str:
        return "null" if self.is_null else str(self.version)


class CorsRule(msgspec.Struct, array_like=True, frozen=True):
    id: str = ""
    origins: list[str] = []
    methods: list[str] = []
    headers: list[str] = []
    expose: list[str] = []
    max_age: int | None = None  # seconds


class BucketRecord(msgspec.Struct, array_like=True):
    """A bucket and its settings. `id` is never reused, even when the name is."""

    version: int = 0
    id: bytes = b""
    name: str = ""
    owner: str = ""
    created: int = 0  # ns
    acl: str = "private"
    object_acl: bool = True  # whether objects may have ACLs of their own
    public_list: bool = False  # whether anonymous listing is allowed on a public bucket
    versioning: str = ""  # "", "Enabled", "Suspended"
    tags: dict[str, str] = {}
    cors: list[CorsRule] = []
    ownership: str = ""  # ObjectOwnership, "" when not set
    storage_class: str = "STANDARD"
    location: str = ""  # LocationConstraint given at creation
    regions: str = ""  # restriction, as in X-Tigris-Regions
    accelerate: bool = False  # every region gets a copy of what is written
    prior: int = 0  # version of the tombstone of the bucket of this name before it
    changed: dict[str, int] = {}  # setting: when it last changed (a version), if since creation
    closing: str = ""  # local: the region that is deleting it everywhere; no writes meanwhile
    closing_ns: int = 0  # local: since when, by the clock of that region; tells its tries apart
    policy: str = ""  # a JSON document, "" for none
    public_block: list[str] = []  # the members of its public-access block that are on


class UploadRecord(msgspec.Struct, array_like=True):
    """A multipart upload in progress; the attributes wait here for the finished object."""

    version: int = 0
    id: bytes = b""  # 16 bytes
    initiated: int = 0  # ns
    object: ObjectRecord = msgspec.field(default_factory=ObjectRecord)
    checksum_algorithm: str = ""
    checksum_kind: str = ""


class PartRecord(msgspec.Struct, array_like=True):
    """A part: of an upload, and unchanged of the object that it became part of."""

    version: int = 0
    number: int = 0
    size: int = 0
    etag: str = ""
    checksums: list[Checksum] = []
    extents: list[Extent] = []
    md5: bytes = b""


class GarbageRecord(msgspec.Struct, array_like=True):
    """Bytes that lost a reference; freed after the grace period if none is left.

    An extent of length 0 means its whole file, whatever lies in it.
    """

    version: int = 0
    extents: list[Extent] = []
    manifest: bytes = b""
    is_sealed: bool = False  # of doomed files: nobody appended to them any more at `version`


class TombstoneRecord(msgspec.Struct, array_like=True):
    """A version, the null version of a key or a bucket that is gone for good, while somebody might
    bring it back. `version` is that of the commit which deleted it, in the region that did."""

    version: int = 0
    is_emptied: bool = True  # False: of a bucket, whose contents are still to be dropped
    bucket_id: bytes = b""  # of a bucket
    also: list[bytes] = []  # ids of buckets of that name before it, still to be dropped


class EntryRecord(msgspec.Struct, array_like=True):
    """Of an organization, an access key, a policy, ...: see meta/entries.py for how copies merge.

    `values` are msgpack values by field; `changed` says when each was last set (a version).
    """

    version: int = 0
    values: dict[str, Any] = {}
    changed: dict[str, int] = {}
    index: list[bytes] = []  # where else it is found; fixed when it is made
    gone: int = 0  # version since when it is no more; nothing else is left of it then


R = TypeVar(
    "R",
    ObjectHead,
    ObjectRecord,
    BucketRecord,
    UploadRecord,
    PartRecord,
    GarbageRecord,
    TombstoneRecord,
    EntryRecord,
)

_encoder = msgspec.msgpack.Encoder()
_decode: dict[type, Callable[[bytes | memoryview], Any]] = {
    kind: msgspec.msgpack.Decoder(kind).decode for kind in R.__constraints__
}
_header = Struct(">BQI").unpack_from  # format, version, head length


def encode(
    record: ObjectRecord
    | BucketRecord
    | UploadRecord
    | PartRecord
    | GarbageRecord
    | TombstoneRecord
    | EntryRecord,
    inline: bytes = b"",
) -> bytes:
    """The stored form. Put it with stamp=VERSION_STAMP to have the commit's version in it."""
    head = _encoder.encode(record)
    return b"".join(
        (
            b"\x01",
            record.version.to_bytes(8, "big"),
            len(head).to_bytes(4, "big"),
            head,
            inline,
        )
    )


def decode(data: bytes | memoryview, kind: type[R]) -> R:
    """The record in `data` (its inline body left aside); the stamped version wins."""
    try:
        number, version, length = _header(data)
        if number != FORMAT:
            raise RecordDamaged(f"record format {number}, this Amur reads {FORMAT}")
        record: R = _decode[kind](data[_HEADER : _HEADER + length])
    except (msgspec.DecodeError, UnicodeDecodeError, StructError) as error:
        raise RecordDamaged(str(error)) from error
    record.version = version
    return record


def inline_body(data: bytes) -> bytes:
    """The inline body behind a record's head."""
    return data[_HEADER + int.from_bytes(data[9:_HEADER], "big") :]
