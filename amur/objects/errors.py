"""What the object store raises. The gateway's one table turns each into its S3 code."""

from __future__ import annotations


class StoreError(Exception):
    """Base. `detail` holds what an S3 error document adds (Key, BucketName, ...)."""

    def __init__(self, message: str = "", **detail: str) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NoSuchBucket(StoreError):
    """No bucket of that name."""


class NoSuchKey(StoreError):
    """No object of that key (nor a delete marker as newest version)."""


class KeyIsDeleted(NoSuchKey):
    """The newest version is a delete marker; `version_id` is the marker's."""

    def __init__(self, version_id: str, modified_s: int = 0) -> None:
        super().__init__()
        self.version_id = version_id
        self.modified_s = modified_s


class VersionIsMarker(StoreError):
    """The version asked for is a delete marker: it has no body."""

    def __init__(self, version_id: str, modified_s: int = 0) -> None:
        super().__init__()
        self.version_id = version_id
        self.modified_s = modified_s


class NoSuchVersion(StoreError):
    """No version of that id."""


class NoSuchUpload(StoreError):
    """No multipart upload of that id for that key."""


class BucketAlreadyExists(StoreError):
    """The name is taken by somebody else."""


class BucketAlreadyOwnedByYou(StoreError):
    """The name is taken by the caller."""


class BucketNotEmpty(StoreError):
    """Objects or versions remain."""


class InvalidBucketName(StoreError):
    """Against the naming rules."""


class InvalidBucketState(StoreError):
    """The bucket's settings do not permit that change."""


class KeyTooLong(StoreError):
    """More than KEY_BYTES_MAX bytes of UTF-8."""


class KeyAlreadyExists(StoreError):
    """A rename never overwrites."""


class PreconditionFailed(StoreError):
    """A condition did not hold; `condition` names the header."""


class NotModified(StoreError):
    """A read condition did not hold: the client's copy is current."""

    def __init__(self, etag: str, modified_s: int, version_id: str = "") -> None:
        super().__init__()
        self.etag = etag
        self.modified_s = modified_s
        self.version_id = version_id


class ConditionalConflict(StoreError):
    """Two conditional writes met and ours can't be decided; the client should retry."""


class InvalidPart(StoreError):
    """A part named on completion is missing, or its ETag or checksum differs."""


class InvalidPartOrder(StoreError):
    """Part numbers on completion do not ascend."""


class InvalidPartNumber(StoreError):
    """partNumber of a read is beyond the object's parts."""


class EntityTooSmall(StoreError):
    """A part other than the last has less than PART_BYTES_MIN."""


class EntityTooLarge(StoreError):
    """More bytes than one PUT, part, copy or object may have."""


class InvalidRange(StoreError):
    """The range lies outside the object; `size` is the object's."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


class InvalidRequest(StoreError):
    """Arguments that do not go together."""


class InvalidArgument(StoreError):
    """An argument out of its domain."""


class BadDigest(StoreError):
    """The body does not have the digest that was promised."""


class ContentSha256Mismatch(BadDigest):
    """The body does not have the SHA-256 that was signed."""


class IncompleteBody(StoreError):
    """Fewer (or more) bytes than announced: nothing is stored."""


class StorageFull(StoreError):
    """No room; reads and deletes go on."""


class StorageDamaged(StoreError):
    """The bytes or the record failed their checksum: an error, never a wrong answer."""


class Overloaded(StoreError):
    """Too many conflicts or too much work at once; try again."""


class BucketClosed(StoreError):
    """The bucket is being deleted in every region: no writes for the moment."""


class BodyUnreachable(StoreError):
    """No region that holds the bytes answers: try again, they are not lost."""


class RegionUnreachable(StoreError):
    """A region that must take part does not answer."""


class InvalidRegion(StoreError):
    """A restriction names what is no region of this cluster."""
