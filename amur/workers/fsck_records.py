"""fsck's checks of each record by itself, and of what must stand beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from amur.data.store import DataError, DataUnavailable
from amur.meta import keys
from amur.meta.engine import Commit, EngineDamaged, Entry, Put, prefix_end
from amur.meta.holdings import GONE, holders, kind_in, set_kind
from amur.meta.log import record_name
from amur.meta.records import (
    VERSION_STAMP,
    BucketRecord,
    ObjectRecord,
    PartRecord,
    RecordDamaged,
    UploadRecord,
    encode,
    inline_body,
)
from amur.objects.multipart import abort_at
from amur.objects.pull.bodies import find_body, first_missing
from amur.objects.references import reference_puts
from amur.workers.fsck_histories import HistoryChecks
from amur.workers.fsck_session import UNREADABLE, Found, Repair, Session, decoded
from amur.workers.usage import doomed_put, file_range, unused

LOST_AND_FOUND = "lost-and-found-"
"""Name of the bucket made for objects whose bucket is gone, before its id in hexadecimal."""


class RecordChecks:
    """Buckets, versions, uploads, parts; then manifests."""

    def __init__(self, session: Session, histories: HistoryChecks) -> None:
        self._session = session
        self._histories = histories
        self._uploads: set[bytes] = set()

    async def run(self) -> None:
        over = self._session.over
        await over(keys.BUCKETS, self._buckets)
        for table in (keys.OBJECTS, keys.MARKERS, keys.VERSIONS):
            await over(table, self._versions)
        await over(keys.UPLOADS, self._uploads_page)
        await over(keys.PARTS, self._parts)

    async def run_chunks(self) -> None:
        await self._session.over(keys.CHUNKS, self._chunks)

    async def run_manifests(self) -> None:
        """To be run once no reference is wrong any more."""
        await self._session.over(keys.MANIFESTS, self._manifests)

    # --- buckets ---
    async def _buckets(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            record = decoded(entry, BucketRecord)
            if record is None:
                repair = self._session.giving_up(entry)
                found.append(Found("bucket-undecodable", entry.key, repair=repair))
                continue
            self._session.buckets[record.id] = record
            name = entry.key[1:].decode()
            if record.name != name:
                detail, record.name = f"is named {record.name}", name
                repair = self._session.putting(entry, Put(entry.key, encode(record)))
                found.append(Found("bucket-misnamed", entry.key, detail, repair))
        return found

    def _rescue_bucket(self, bucket_id: bytes, owner: str) -> Repair:
        """A new bucket of the lost one's id, so that its objects can be reached again."""
        session = self._session
        record = BucketRecord(
            id=bucket_id,
            name=LOST_AND_FOUND + bucket_id.hex(),
            owner=owner,
            created=session.core.clock.now_ns(),
            versioning="Suspended",
        )

        async def repair() -> None:
            if bucket_id not in session.buckets:
                at = keys.bucket_key(record.name)
                put = Put(at, encode(record), VERSION_STAMP)
                await session.engine.commit(Commit(expect=[(at, 0)], put=[put]))
                session.buckets[bucket_id] = record

        return repair

    # --- versions ---
    async def _versions(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        for entry in page:
            record = decoded(entry, ObjectRecord)
            if record is None:
                repair = self._session.giving_up(entry)
                kind = "entry-damaged" if entry.version == UNREADABLE else "record-undecodable"
                found.append(Found(kind, entry.key, repair=repair))
                continue
            self._session.newest_version = max(self._session.newest_version, record.version)
            bucket_id = entry.key[1 : keys.OBJECT_PREFIX_BYTES]
            if bucket_id not in self._session.buckets:
                repair = self._rescue_bucket(bucket_id, record.owner)
                found.append(Found("object-without-bucket", entry.key, repair=repair))
            if record.manifest:
                found += await self._check_manifest(entry, record)
            elif not record.is_marker:
                found += await self._check_size(entry, record)
            if not record.is_marker and not any(item.key == entry.key for item in found):
                found += await self._check_holding(entry, record)
            found += await self._check_references(entry, record)
        return found

    async def _check_size(self, entry: Entry, record: ObjectRecord) -> list[Found]:
        inline = inline_body(entry.value)
        actual = sum(extent.length for extent in record.extents)
        if record.is_inline:
            actual = len(inline)
        if actual == record.size or self._is_elsewhere(record, actual):
            return []
        detail = f"{actual} bytes, not {record.size}"
        if await self._md5(record, inline) != record.etag:
            repair = self._session.giving_up(entry)
            return [Found("size-mismatch", entry.key, detail, repair)]
        record.size = actual
        repair = self._session.putting(entry, Put(entry.key, encode(record, inline)))
        return [Found("size-wrong", entry.key, detail, repair)]

    def _is_elsewhere(self, record: ObjectRecord | PartRecord, actual: int) -> bool:
        """Of a version, or of a part of a completed object, that was pushed here without bytes."""
        return self._session.core.is_cluster and not actual and not record.extents

    async def _check_holding(self, entry: Entry, record: ObjectRecord) -> list[Found]:
        """What the record says of this region; what others say is theirs to check."""
        core = self._session.core
        if not core.is_cluster or kind_in(record, core.region) == GONE:
            return []
        hole = await first_missing(core, entry.key, record)
        if hole is None:
            return []
        detail = f"from byte {hole} on"
        if not set(holders(record)) - {core.region}:
            repair = self._session.giving_up(entry)
            return [Found("size-mismatch", entry.key, detail, repair)]
        set_kind(record, core.region, GONE)
        log = [record_name(*keys.owner_name(entry.key), record)]
        put = Put(entry.key, encode(record, inline_body(entry.value)))
        commit = Commit([(entry.key, entry.version)], put=[put], log=log)
        engine = self._session.engine
        return [Found("holding-wrong", entry.key, detail, lambda: engine.commit(commit))]

    async def _md5(self, record: ObjectRecord, inline: bytes) -> str:
        digest = hashlib.md5(inline if record.is_inline else b"", usedforsecurity=False)
        size = sum(extent.length for extent in record.extents)
        try:
            async for piece in self._session.core.data.read(record.extents, 0, size):
                digest.update(piece)
        except DataUnavailable:  # says nothing about the bytes
            raise
        except DataError:
            return ""
        return digest.hexdigest()

    async def _check_manifest(self, entry: Entry, record: ObjectRecord) -> list[Found]:
        """The parts must stand end to end, and be as long as the object and as many."""
        count = at = 0
        whole = True
        prefix = keys.MANIFESTS + record.manifest
        async for page in self._session.pages(prefix, prefix_end(prefix)):
            for part_entry in page:
                part = decoded(part_entry, PartRecord)
                offset = int.from_bytes(part_entry.key[-8:], "big")
                whole = whole and part is not None and offset == at
                at = offset + (part.size if part is not None else 0)
                count += 1
        repair = self._session.giving_up(entry)
        if not count:
            return [Found("manifest-missing", entry.key, record.manifest.hex(), repair)]
        if not whole or at != record.size:
            detail = f"{at} bytes, not {record.size}" if whole else "parts do not adjoin"
            return [Found("manifest-broken", entry.key, detail, repair)]
        if count != record.part_count:
            detail, record.part_count = f"{count} parts, not {record.part_count}", count
            repair = self._session.putting(entry, Put(entry.key, encode(record)))
            return [Found("part-count-wrong", entry.key, detail, repair)]
        return []

    async def _check_references(
        self, entry: Entry, record: ObjectRecord | PartRecord
    ) -> list[Found]:
        needed = reference_puts(record, entry.key)
        present = await self._session.read([put.key for put in needed])
        missing = [put for put, has in zip(needed, present, strict=True) if has is None]
        if not missing:
            return []
        again = Put(entry.key, entry.value)
        repair = self._session.putting(entry, again, *missing)
        return [Found("record-without-reference", entry.key, f"{len(missing)} missing", repair)]

    # --- multipart ---
    async def _uploads_page(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            abort = self._aborting(entry)
            if decoded(entry, UploadRecord) is None:
                found.append(Found("record-undecodable", entry.key, repair=abort))
            elif entry.key[1 : keys.OBJECT_PREFIX_BYTES] not in self._session.buckets:
                found.append(Found("upload-without-bucket", entry.key, repair=abort))
            self._uploads.add(entry.key[-keys.ID_BYTES :])
        return found

    def _aborting(self, entry: Entry) -> Repair:
        """End the upload; its parts go with it, or are found without it."""

        async def repair() -> None:
            await abort_at(self._session.core, entry.key)
            self._uploads.discard(entry.key[-keys.ID_BYTES :])

        return repair

    async def _parts(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        for entry in page:
            part = decoded(entry, PartRecord)
            if part is None:
                repair = self._session.giving_up(entry)
                found.append(Found("record-undecodable", entry.key, repair=repair))
                continue
            if entry.key[1:-2] not in self._uploads and not await self._upload_came(entry):
                repair = self._session.dropping_part(entry, part)
                found.append(Found("part-without-upload", entry.key, repair=repair))
                continue
            number = int.from_bytes(entry.key[-2:], "big")
            if part.number != number:
                detail, part.number = f"is numbered {part.number}", number
                repair = self._session.putting(entry, Put(entry.key, encode(part)))
                found.append(Found("part-misnumbered", entry.key, detail, repair))
            found += await self._check_part(entry, part)
        return found

    async def _upload_came(self, part: Entry) -> bool:
        """Whether the part's upload began after uploads were looked at: its id says when."""
        upload_id = part.key[1:-2]
        if int.from_bytes(upload_id[:8], "big") <= self._session.began_ns:
            return False
        self._uploads.add(upload_id)
        return True

    async def _manifests(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        ids = {entry.key[1:17] for entry in page}
        orphans = await unused(self._session.engine, ids) - self._session.noted
        for entry in page:
            manifest = entry.key[1:17]
            part = decoded(entry, PartRecord)
            if part is None:
                repair = await self._histories.giving_up(entry)
                found.append(Found("record-undecodable", entry.key, repair=repair))
                continue
            if manifest in orphans:
                orphans.discard(manifest)
                commit = Commit(
                    expect_empty=[file_range(manifest)], put=[doomed_put(0, manifest=manifest)]
                )
                found.append(self._doomed_manifest(entry, commit))
            found += await self._check_part(entry, part)
        return found

    async def _chunks(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        core = self._session.core
        for entry in page:
            part = decoded(entry, PartRecord)
            if part is None:
                repair = self._session.giving_up(entry)
                found.append(Found("record-undecodable", entry.key, repair=repair))
                continue
            bucket_id, key, version, _ = keys.split_chunk(entry.key)
            try:
                owner = await find_body(core, bucket_id, key, version)
            except (RecordDamaged, EngineDamaged):  # found as such
                continue
            if owner is None:
                repair = self._session.dropping_part(entry, part)
                found.append(Found("copy-without-version", entry.key, repair=repair))
                continue
            found += await self._check_references(entry, part)
        return found

    def _doomed_manifest(self, entry: Entry, commit: Commit) -> Found:
        async def repair() -> None:
            await self._session.engine.commit(commit)
            self._session.noted.add(entry.key[1:17])

        return Found("manifest-without-object", entry.key, repair=repair)

    async def _check_part(self, entry: Entry, part: PartRecord) -> list[Found]:
        found = await self._check_references(entry, part)
        actual = sum(extent.length for extent in part.extents)
        is_whole = entry.key.startswith(keys.MANIFESTS) and self._is_elsewhere(part, actual)
        if actual != part.size and not is_whole:
            repair = await self._histories.giving_up(entry)
            detail = f"{actual} bytes, not {part.size}"
            found.append(Found("size-mismatch", entry.key, detail, repair))
        return found
