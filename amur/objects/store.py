"""The object store as plain async Python: what the gateway, the workers and programs stand on.

    async with amur.open(path) as store:
        await store.create_bucket("photos", owner="me")
        await store.put("photos", "cat.jpg", data)

Every method raises `amur.objects.errors.StoreError` kinds only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

from amur.clock import Clock
from amur.data.store import DataStore
from amur.meta.engine import Engine
from amur.objects.types import (
    Attributes,
    Body,
    BucketRecord,
    Conditions,
    DeleteResult,
    ListPage,
    ObjectRecord,
    PartRecord,
    Reading,
    UploadRecord,
    Verify,
)


class ByteRange(NamedTuple):
    """first-last inclusive; last None is open; first None is a suffix of `last` bytes."""

    first: int | None
    last: int | None


class CompletedPart(NamedTuple):
    """A part as the client names it on completion; checksums by S3 algorithm name, base64."""

    number: int
    etag: str
    checksums: dict[str, str]


Permit = Callable[[ObjectRecord | None], None]
"""Called with the record found (None when there is none) before anything else is told of it;
raises what the caller should see instead. For principals whose right depends on the object."""


class Store:
    """One region's objects over a metadata engine and a data store."""

    def __init__(
        self, engine: Engine, data: DataStore, clock: Clock, *, region: str = "local"
    ) -> None: ...

    # --- buckets ---
    async def create_bucket(self, bucket: BucketRecord) -> BucketRecord:
        """`bucket` has name, owner and settings; id, created and version are given here."""

    async def bucket(self, name: str) -> BucketRecord: ...

    async def update_bucket(
        self, name: str, change: Callable[[BucketRecord], None]
    ) -> BucketRecord:
        """Apply `change` to the current record and commit; retried on conflict."""

    async def delete_bucket(self, name: str, *, force: bool = False) -> None:
        """Empty buckets only; `force` deletes all objects, versions and uploads first."""

    async def list_buckets(
        self, *, prefix: str = "", start_after: str = "", limit: int = 1000
    ) -> tuple[list[BucketRecord], bool]: ...

    # --- objects ---
    async def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        attributes: Attributes | None = None,
        *,
        conditions: Conditions | None = None,
        algorithms: Sequence[str] = (),
        verify: Verify | None = None,
    ) -> ObjectRecord:
        """Store a body; the object is durable on return. `algorithms` are digests to compute
        besides MD5 (CRC64NVME is computed and stored when no other checksum is asked for)."""

    async def get(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str = "",
        conditions: Conditions | None = None,
        byte_range: ByteRange | None = None,
        part_number: int = 0,
        permit: Permit | None = None,
    ) -> Reading: ...

    async def head(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str = "",
        conditions: Conditions | None = None,
        permit: Permit | None = None,
    ) -> ObjectRecord: ...

    async def update_object(
        self, bucket: str, key: str, change: Callable[[ObjectRecord], None], *, version_id: str = ""
    ) -> ObjectRecord:
        """Change tags or ACL of a version in place (its version id and Last-Modified stay)."""

    async def delete(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str = "",
        conditions: Conditions | None = None,
    ) -> DeleteResult: ...

    async def copy(
        self,
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
        """Copy (bucket, key, version id or ""). `attributes` None keeps the source's (the ACL is
        never copied: pass attributes or set it after); `tags` None keeps the source's. Bytes are
        shared, not rewritten, unless `algorithm` asks for a checksum the source does not have."""

    async def rename(self, bucket: str, key: str, new_key: str) -> ObjectRecord:
        """O(1), atomic, never overwrites (KeyAlreadyExists)."""

    # --- listing; pages of at most `limit` entries, keys and prefixes together ---
    async def list_objects(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        start_after: str = "",
        limit: int = 1000,
    ) -> ListPage:
        """Keys after `start_after`; if that is a common prefix, after everything under it.
        `next_key` is the last key or common prefix of the page."""

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> ListPage: ...

    # --- multipart; upload ids are 32 hex digits ---
    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        *,
        checksum_algorithm: str = "",
        checksum_kind: str = "",
    ) -> UploadRecord: ...

    async def upload(self, bucket: str, key: str, upload_id: str) -> UploadRecord: ...

    async def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        algorithms: Sequence[str] = (),
        verify: Verify | None = None,
    ) -> PartRecord: ...

    async def copy_part(
        self,
        source: tuple[str, str, str],
        byte_range: ByteRange | None,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        *,
        source_conditions: Conditions | None = None,
        permit: Permit | None = None,
    ) -> PartRecord: ...

    async def complete_upload(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[CompletedPart],
        *,
        conditions: Conditions | None = None,
        checksum: str = "",
        checksum_kind: str = "",
        object_size: int | None = None,
    ) -> ObjectRecord:
        """`checksum` is the whole object's in base64, of the upload's algorithm, if promised.
        Completing again what was just completed with the same parts answers the same."""

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None: ...

    async def list_uploads(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        upload_marker: str = "",
        limit: int = 1000,
    ) -> tuple[list[tuple[str, UploadRecord | None]], bool, str, str]:
        """(key, upload or None for a common prefix), truncated, next key, next upload id."""

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[UploadRecord, list[PartRecord], bool]: ...

    def object_parts(
        self, record: ObjectRecord, *, after: int = 0, limit: int = 1000
    ) -> AsyncIterator[PartRecord]:
        """The parts of a completed multipart object, for GetObjectAttributes."""

    async def close(self) -> None: ...
