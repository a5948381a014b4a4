"""Multipart uploads until they are complete: begin, put parts, look, abort.

Whoever adds a part expects the upload's record in his commit, and whoever ends the upload expects
every part (and that there are no others), so no part slips into an upload that has ended.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from amur import limits
from amur.meta import keys
from amur.meta.engine import Commit, Entry, Put, prefix_end
from amur.meta.records import (
    VERSION_STAMP,
    Checksum,
    Extent,
    GarbageRecord,
    ObjectRecord,
    PartRecord,
    UploadRecord,
    decode,
    encode,
)
from amur.objects.core import Core
from amur.objects.digests import (
    ALGORITHMS,
    COMPOSITE_ALGORITHMS,
    DEFAULT_ALGORITHM,
    FULL_OBJECT_ALGORITHMS,
    base64_text,
)
from amur.objects.errors import (
    InvalidArgument,
    InvalidRange,
    InvalidRequest,
    NoSuchUpload,
    StoreError,
)
from amur.objects.intake import Taken, release, take
from amur.objects.names import key_bytes
from amur.objects.pull.fetching import NOT_HERE
from amur.objects.reading import open_object
from amur.objects.references import garbage_put, reference_deletes, reference_puts
from amur.objects.types import Attributes, Body, ByteRange, Conditions, Permit, Verify
from amur.objects.writing import record_of

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"
NOTE_EXTENTS_MAX = 1000
"""Extents in one garbage note, so that the collector's unit of work is bounded."""

_PART_PAGE = 1000


class OpenUpload(NamedTuple):
    """An upload in progress, and the expectation that it still is."""

    bucket_id: bytes
    record: UploadRecord
    expect: tuple[bytes, int]


def upload_id_bytes(upload_id: str) -> bytes:
    """The 16 bytes of an id that we gave out; NoSuchUpload for any other text."""
    try:
        raw = bytes.fromhex(upload_id)
    except ValueError:
        raise NoSuchUpload(UploadId=upload_id) from None
    if len(raw) != keys.ID_BYTES or raw.hex() != upload_id:
        raise NoSuchUpload(UploadId=upload_id)
    return raw


async def create_upload(
    core: Core,
    bucket: str,
    key: str,
    attributes: Attributes,
    *,
    checksum_algorithm: str = "",
    checksum_kind: str = "",
) -> UploadRecord:
    """Begin an upload. Raises NoSuchBucket, KeyTooLong, InvalidRequest (checksum)."""
    raw_key = key_bytes(key)
    kind = _checksum_kind(checksum_algorithm, checksum_kind)

    async def attempt() -> UploadRecord:
        bucket_record, expect = await core.bucket(bucket)
        core.check_open(bucket_record)
        core.check_may_hold(bucket_record, attributes.regions)
        initiated = core.stamp(0)  # tells the region that has the upload
        upload = UploadRecord(
            id=initiated.to_bytes(8, "big") + os.urandom(8),
            initiated=initiated,
            object=record_of(core, attributes),
            checksum_algorithm=checksum_algorithm,
            checksum_kind=kind,
        )
        awaiting = upload.object
        awaiting.storage_class = awaiting.storage_class or bucket_record.storage_class
        at = keys.upload_key(bucket_record.id, raw_key, upload.id)
        put = Put(at, encode(upload), VERSION_STAMP)
        upload.version = await core.engine.commit(Commit(expect=[expect, (at, 0)], put=[put]))
        return upload

    return await core.transact(attempt)


def _checksum_kind(algorithm: str, kind: str) -> str:
    if not algorithm:
        if kind:
            raise InvalidRequest("A checksum type needs a checksum algorithm")
        return ""
    if algorithm not in ALGORITHMS:
        raise InvalidRequest("Checksum algorithm provided is unsupported")
    kind = kind or (FULL_OBJECT if algorithm == DEFAULT_ALGORITHM else COMPOSITE)
    allowed = {FULL_OBJECT: FULL_OBJECT_ALGORITHMS, COMPOSITE: COMPOSITE_ALGORITHMS}
    if algorithm not in allowed.get(kind, ()):
        raise InvalidRequest(f"The {kind} checksum type cannot be used with {algorithm.lower()}")
    return kind


async def find_upload(core: Core, bucket: str, key: str, upload_id: str) -> OpenUpload:
    """Raises NoSuchBucket, NoSuchUpload."""
    bucket_record, _ = await core.bucket(bucket)
    at = keys.upload_key(bucket_record.id, key_bytes(key), upload_id_bytes(upload_id))
    entry = await core.engine.get(at)
    if entry is None:
        raise NoSuchUpload(UploadId=upload_id)
    return OpenUpload(bucket_record.id, decode(entry.value, UploadRecord), (at, entry.version))


async def upload(core: Core, bucket: str, key: str, upload_id: str) -> UploadRecord:
    return (await find_upload(core, bucket, key, upload_id)).record


async def put_part(
    core: Core,
    bucket: str,
    key: str,
    upload_id: str,
    number: int,
    body: Body,
    *,
    algorithms: Sequence[str] = (),
    verify: Verify | None = None,
) -> PartRecord:
    """Store a part, in place of an older one of its number. The upload's checksum is always
    computed; another one only where the upload names none."""
    if not 1 <= number <= limits.PART_NUMBER_MAX:
        raise InvalidArgument("Part number must be an integer between 1 and 10000, inclusive")
    found = await find_upload(core, bucket, key, upload_id)
    wanted = found.record.checksum_algorithm
    if wanted and algorithms and wanted not in algorithms:
        raise InvalidRequest(
            f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
            f"actual checksum Type: {algorithms[0].lower()}"
        )
    needed = wanted or DEFAULT_ALGORITHM
    computed = algorithms if needed in algorithms else (needed, *algorithms)
    taken = await take(
        core,
        body,
        algorithms=computed,
        verify=verify,
        inline_max=0,
        size_max=limits.PUT_BYTES_MAX,
    )
    try:
        return await core.transact(lambda: _place_part(core, found, number, needed, taken))
    except StoreError:
        await release(core, taken)
        raise


async def _place_part(
    core: Core, found: OpenUpload, number: int, algorithm: str, taken: Taken
) -> PartRecord:
    at = keys.part_key(found.record.id, number)
    upload_entry, older = await core.engine.get_many([found.expect[0], at])
    if upload_entry is None:
        raise NoSuchUpload(UploadId=found.record.id.hex())
    record = _part_record(number, algorithm, taken)
    puts = [Put(at, encode(record), VERSION_STAMP), *reference_puts(record, at)]
    deletes: list[bytes] = []
    if older is not None:
        replaced = decode(older.value, PartRecord)
        deletes = reference_deletes(replaced, at)
        puts += garbage_put(replaced)
    expect = [(found.expect[0], upload_entry.version), (at, older.version if older else 0)]
    record.version = await core.engine.commit(Commit(expect=expect, put=puts, delete=deletes))
    return record


def _part_record(number: int, algorithm: str, taken: Taken) -> PartRecord:
    checksums = taken.checksums
    if all(checksum.algorithm != algorithm for checksum in checksums):
        value = base64_text(taken.digests.others[algorithm])
        checksums = [*checksums, Checksum(algorithm, value)]
    return PartRecord(
        number=number,
        size=taken.digests.size,
        etag=taken.digests.md5.hex(),
        checksums=checksums,
        extents=taken.extents,
        md5=taken.digests.md5,
    )


async def copy_part(
    core: Core,
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
    """A part from (bucket, key, version id or "") or a first-last range of it, read and verified
    anew. Raises InvalidRange when the range ends beyond the source, InvalidRequest where its bytes
    may not lie in this region."""
    await find_upload(core, bucket, key, upload_id)
    reading = await open_object(
        core,
        source[0],
        source[1],
        version_id=source[2],
        conditions=source_conditions,
        byte_range=byte_range,
        permit=permit,
        copying=True,
    )
    restriction = reading.record.regions or (await core.bucket(source[0]))[0].regions
    if not core.topology.may_hold(restriction):
        raise InvalidRequest(NOT_HERE)
    if byte_range is not None and (byte_range.last or 0) >= reading.record.size:
        raise InvalidRange(reading.record.size)
    if reading.end - reading.start > limits.PUT_BYTES_MAX:
        raise InvalidRequest(
            "The specified copy source is larger than the maximum allowable size for a copy "
            f"source: {limits.PUT_BYTES_MAX}"
        )
    body = reading.body if reading.body is not None else reading.stream
    assert body is not None, "a reading has a body or a stream"
    return await put_part(core, bucket, key, upload_id, number, body)


async def abort_upload(core: Core, bucket: str, key: str, upload_id: str) -> None:
    """End an upload and release its parts. Raises NoSuchUpload."""
    found = await find_upload(core, bucket, key, upload_id)
    if not await abort_at(core, found.expect[0]):
        raise NoSuchUpload(UploadId=upload_id)


async def abort_at(core: Core, at: bytes) -> bool:
    """End the upload at metadata key `at` in one commit; False when it had already ended."""

    async def attempt() -> bool:
        entry = await core.engine.get(at)
        if entry is None:
            return False
        upload_id = at[-keys.ID_BYTES :]
        parts = await part_entries(core, upload_id)
        deletes = [at]
        extents: list[Extent] = []
        for part in parts:
            record = decode(part.value, PartRecord)
            deletes += (part.key, *reference_deletes(record, part.key))
            extents += record.extents
        expect, empty = parts_fence(upload_id, parts)
        await core.engine.commit(
            Commit(
                expect=[(at, entry.version), *expect],
                expect_empty=empty,
                put=garbage_notes(extents),
                delete=deletes,
            )
        )
        return True

    return await core.transact(attempt)


async def part_entries(core: Core, upload_id: bytes) -> list[Entry]:
    """All parts of an upload, by number: at most PART_NUMBER_MAX small records."""
    return await core.engine.scan(
        keys.part_key(upload_id, 0),
        keys.part_key(upload_id, limits.PART_NUMBER_MAX + 1),
        limits.PART_NUMBER_MAX,
    )


def parts_fence(
    upload_id: bytes, parts: Sequence[Entry]
) -> tuple[list[tuple[bytes, int]], list[tuple[bytes, bytes]]]:
    """Expectations that exactly these parts (in order) exist, for the commit that ends them."""
    return [(part.key, part.version) for part in parts], list(_gaps(upload_id, parts))


def _gaps(upload_id: bytes, parts: Sequence[Entry]) -> Iterator[tuple[bytes, bytes]]:
    upcoming = 0
    for part in parts:
        number = int.from_bytes(part.key[-2:], "big")
        if number > upcoming:
            yield keys.part_key(upload_id, upcoming), part.key
        upcoming = number + 1
    yield keys.part_key(upload_id, upcoming), keys.part_key(upload_id, 0xFFFF)


def garbage_notes(extents: Sequence[Extent], sequence: int = 0) -> list[Put]:
    """Notes of many bytes that lose their reference in one commit, from `sequence` on."""
    notes: list[Put] = []
    for at in range(0, len(extents), NOTE_EXTENTS_MAX):
        note = GarbageRecord(extents=list(extents[at : at + NOTE_EXTENTS_MAX]))
        place = keys.garbage_key(sequence + len(notes))
        notes.append(Put(place, encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP))
    return notes


async def list_parts(
    core: Core, bucket: str, key: str, upload_id: str, *, after: int = 0, limit: int = 1000
) -> tuple[UploadRecord, list[PartRecord], bool]:
    """The upload, its parts with numbers above `after`, and whether there are more."""
    found = await find_upload(core, bucket, key, upload_id)
    limit = min(limit, limits.LIST_PAGE_MAX)
    first = min(max(after, 0), limits.PART_NUMBER_MAX) + 1
    entries = await core.engine.scan(
        keys.part_key(found.record.id, first), keys.part_key(found.record.id, 0xFFFF), limit + 1
    )
    parts = [decode(entry.value, PartRecord) for entry in entries[:limit]]
    return found.record, parts, len(entries) > limit


async def object_parts(
    core: Core, record: ObjectRecord, *, after: int = 0, limit: int = 1000
) -> AsyncIterator[PartRecord]:
    """The parts of a completed object (numbered from 1 without gaps), those above `after`."""
    if not record.manifest:
        return
    start, end = keys.manifest_key(record.manifest, 0), prefix_end(keys.MANIFESTS + record.manifest)
    number = 0
    while number < after + limit:
        page = await core.engine.scan(start, end, min(_PART_PAGE, after + limit - number))
        for entry in page:
            number += 1
            if number > after:
                yield decode(entry.value, PartRecord)
        if len(page) < _PART_PAGE:
            return
        start = page[-1].key + b"\x00"
