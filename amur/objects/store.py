"""The object store as plain async Python: what the gateway, the workers and programs stand on.

    async with amur.open(path) as store:
        await store.create_bucket("photos")
        await store.put("photos", "cat.jpg", data)

Every method raises `amur.objects.errors.StoreError` kinds only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Self

from amur.clock import Clock
from amur.data.store import DataStore
from amur.meta.engine import Engine
from amur.objects import (
    buckets,
    bundling,
    copying,
    deleting,
    listing,
    multipart,
    multipart_complete,
    multipart_list,
    reading,
    versions,
    writing,
)
from amur.objects.bundling import Bundle
from amur.objects.core import Core, translation
from amur.objects.replication import securing
from amur.objects.types import (
    Attributes,
    Body,
    BucketRecord,
    ByteRange,
    CompletedPart,
    Conditions,
    DeleteResult,
    ListPage,
    ObjectRecord,
    PartRecord,
    Permit,
    Reading,
    UploadRecord,
    Verify,
)
from amur.regions.topology import Topology

__all__ = ["ByteRange", "CompletedPart", "Permit", "Store"]


class Store:
    """One region's objects over a metadata engine and a data store."""

    def __init__(
        self,
        engine: Engine,
        data: DataStore,
        clock: Clock,
        *,
        region: str = "local",
        topology: Topology | None = None,
    ) -> None:
        """`topology` makes it one of several regions; its own name must be `region`."""
        self.core = Core(engine, data, clock, region, topology)

    # --- buckets ---
    async def create_bucket(
        self, bucket: BucketRecord | str, *, owner: str = "root"
    ) -> BucketRecord:
        """A name, or a record with name, owner and settings; the rest is given here."""
        if isinstance(bucket, str):
            bucket = BucketRecord(name=bucket, owner=owner)
        return await buckets.create_bucket(self.core, bucket)

    async def bucket(self, name: str) -> BucketRecord:
        """To be read only: it may be shared with other callers."""
        return await buckets.read_bucket(self.core, name)

    async def update_bucket(
        self, name: str, change: Callable[[BucketRecord], None]
    ) -> BucketRecord:
        """Apply `change` to the current record and commit; retried on conflict."""
        return await buckets.update_bucket(self.core, name, change)

    async def delete_bucket(self, name: str, *, force: bool = False) -> None:
        """Empty buckets only; `force` deletes all objects, versions and uploads first."""
        await buckets.delete_bucket(self.core, name, force=force)

    async def list_buckets(
        self, *, prefix: str = "", start_after: str = "", limit: int = 1000
    ) -> tuple[list[BucketRecord], bool]:
        """Buckets in the order of their names, and whether there are more."""
        return await buckets.list_buckets(
            self.core, prefix=prefix, start_after=start_after, limit=limit
        )

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
        record = await writing.put(
            self.core,
            bucket,
            key,
            body,
            attributes,
            conditions=conditions,
            algorithms=algorithms,
            verify=verify,
        )
        return await self._secured(bucket, key, record)

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
    ) -> Reading:
        """Open a version for reading: what is small or inline comes at once, the rest streams.

        Raises NoSuchKey, KeyIsDeleted, NoSuchVersion, VersionIsMarker, NotModified,
        PreconditionFailed, InvalidRange, InvalidPartNumber.
        """
        return await reading.open_object(
            self.core,
            bucket,
            key,
            version_id=version_id,
            conditions=conditions,
            byte_range=byte_range,
            part_number=part_number,
            permit=permit,
        )

    async def head(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str = "",
        conditions: Conditions | None = None,
        permit: Permit | None = None,
    ) -> ObjectRecord:
        """The record of a version; raises what `get` does."""
        return await reading.head_object(
            self.core, bucket, key, version_id=version_id, conditions=conditions, permit=permit
        )

    async def bundle(
        self, bucket: str, keys: Sequence[str], *, permit: Permit | None = None
    ) -> Bundle:
        """The newest versions of many keys, found now, to be read one behind another.

        A key that can't be read is an entry of the bundle with what `get` would raise, and
        `permit` is asked of each. Raises NoSuchBucket.
        """
        return await bundling.open_bundle(self.core, bucket, keys, permit)

    async def update_object(
        self, bucket: str, key: str, change: Callable[[ObjectRecord], None], *, version_id: str = ""
    ) -> ObjectRecord:
        """Change tags or ACL of a version in place (its version id and Last-Modified stay)."""
        return await writing.update_object(self.core, bucket, key, change, version_id=version_id)

    async def delete(
        self,
        bucket: str,
        key: str,
        *,
        version_id: str = "",
        conditions: Conditions | None = None,
    ) -> DeleteResult:
        """Delete the newest version (a marker takes its place where versions are kept), or the
        version named for good. Deleting what is not there succeeds."""
        return await deleting.delete(
            self.core, bucket, key, version_id=version_id, conditions=conditions
        )

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
        record = await copying.copy(
            self.core,
            source,
            bucket,
            key,
            attributes,
            tags=tags,
            source_conditions=source_conditions,
            conditions=conditions,
            algorithm=algorithm,
            permit=permit,
        )
        return await self._secured(bucket, key, record)

    async def rename(
        self, bucket: str, key: str, new_key: str, *, permit: Permit | None = None
    ) -> ObjectRecord:
        """O(1), atomic, never overwrites (KeyAlreadyExists)."""
        record = await copying.rename(self.core, bucket, key, new_key, permit)
        return await self._secured(bucket, new_key, record)

    async def _secured(self, bucket: str, key: str, record: ObjectRecord) -> ObjectRecord:
        """Once what was written is as safe as its bucket promises."""
        if self.core.is_cluster:
            with translation:
                await securing.secure(self.core, bucket, key, record)
        return record

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
        return await listing.list_objects(
            self.core,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            start_after=start_after,
            limit=limit,
        )

    async def list_versions(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        key_marker: str = "",
        version_marker: str = "",
        limit: int = 1000,
    ) -> ListPage:
        """Versions and markers, keys ascending, newest first, behind the markers."""
        return await versions.list_versions(
            self.core,
            bucket,
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            version_marker=version_marker,
            limit=limit,
        )

    # --- multipart; upload ids are 32 hex digits ---
    async def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes,
        *,
        checksum_algorithm: str = "",
        checksum_kind: str = "",
    ) -> UploadRecord:
        with translation:
            return await multipart.create_upload(
                self.core,
                bucket,
                key,
                attributes,
                checksum_algorithm=checksum_algorithm,
                checksum_kind=checksum_kind,
            )

    async def upload(self, bucket: str, key: str, upload_id: str) -> UploadRecord:
        with translation:
            return await multipart.upload(self.core, bucket, key, upload_id)

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
    ) -> PartRecord:
        with translation:
            return await multipart.put_part(
                self.core,
                bucket,
                key,
                upload_id,
                number,
                body,
                algorithms=algorithms,
                verify=verify,
            )

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
    ) -> PartRecord:
        with translation:
            return await multipart.copy_part(
                self.core,
                source,
                byte_range,
                bucket,
                key,
                upload_id,
                number,
                source_conditions=source_conditions,
                permit=permit,
            )

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
        with translation:
            record = await multipart_complete.complete_upload(
                self.core,
                bucket,
                key,
                upload_id,
                parts,
                conditions=conditions,
                checksum=checksum,
                checksum_kind=checksum_kind,
                object_size=object_size,
            )
        return await self._secured(bucket, key, record)

    async def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        with translation:
            await multipart.abort_upload(self.core, bucket, key, upload_id)

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
        with translation:
            return await multipart_list.list_uploads(
                self.core,
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                key_marker=key_marker,
                upload_marker=upload_marker,
                limit=limit,
            )

    async def list_parts(
        self, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
    ) -> tuple[UploadRecord, list[PartRecord], bool]:
        with translation:
            return await multipart.list_parts(
                self.core, bucket, key, upload_id, after=after, limit=limit
            )

    def object_parts(
        self, record: ObjectRecord, *, after: int = 0, limit: int = 1000
    ) -> AsyncIterator[PartRecord]:
        """The parts of a completed multipart object, for GetObjectAttributes."""
        return multipart.object_parts(self.core, record, after=after, limit=limit)

    async def close(self) -> None:
        """Finish what was accepted and release engine and data store. Idempotent."""
        await self.core.flights.close()
        await self.core.data.close()
        await self.core.engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
