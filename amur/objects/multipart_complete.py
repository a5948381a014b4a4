"""Completing a multipart upload: many parts become one object in one commit.

The parts named are numbered anew without gaps and become the manifest, keyed by the offset of
their first byte; the upload's id becomes the manifest's. Parts not named are garbage. An upload
that is no more is looked for as what became of it, so that a completion whose answer was lost can
be sent again.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from amur import limits
from amur.meta import keys
from amur.meta.engine import Entry, Put, prefix_end
from amur.meta.records import (
    Checksum,
    Extent,
    ObjectRecord,
    PartRecord,
    UploadRecord,
    decode,
    encode,
)
from amur.objects.core import Core
from amur.objects.digests import DEFAULT_ALGORITHM, base64_text, combined, composite, multipart_etag
from amur.objects.errors import (
    BadDigest,
    EntityTooLarge,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    NoSuchUpload,
)
from amur.objects.history import Extra
from amur.objects.multipart import (
    COMPOSITE,
    FULL_OBJECT,
    garbage_notes,
    part_entries,
    parts_fence,
    upload_id_bytes,
)
from amur.objects.names import key_bytes
from amur.objects.references import reference_deletes, reference_puts
from amur.objects.types import CompletedPart, Conditions
from amur.objects.writing import place

GARBAGE_SEQUENCE = 100
"""Where our garbage notes begin: the replaced object's notes come first in the same commit."""

_REPEAT_OWNERS_MAX = 100


class Promise(NamedTuple):
    """What the client said of the whole object: "" and None where it said nothing."""

    checksum: str
    kind: str
    size: int | None


async def complete_upload(
    core: Core,
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
    """See `Store.complete_upload`. One commit, O(parts) in time and memory."""
    manifest = upload_id_bytes(upload_id)
    _check_order(parts)
    promise = Promise(checksum, checksum_kind, object_size)

    async def attempt() -> ObjectRecord:
        bucket_record, _ = await core.bucket(bucket)
        at = keys.upload_key(bucket_record.id, key_bytes(key), manifest)
        entry = await core.engine.get(at)
        if entry is None:
            return await _completed_before(core, bucket_record.id, key, manifest, parts)
        upload = decode(entry.value, UploadRecord)
        present = await part_entries(core, manifest)
        chosen = _chosen(present, parts)
        record = _object_record(upload, chosen, promise)
        extra = _turn(upload, present, chosen)
        expect, empty = parts_fence(manifest, present)
        return await place(
            core,
            bucket,
            key,
            record,
            conditions=conditions,
            extra=extra._replace(
                expect=[(at, entry.version), *expect],
                expect_empty=empty,
                delete=[at, *extra.delete],
            ),
        )

    return await core.transact(attempt)


def _check_order(parts: Sequence[CompletedPart]) -> None:
    if not parts:
        raise InvalidRequest("You must specify at least one part")
    if any(here.number >= then.number for here, then in pairwise(parts)):
        raise InvalidPartOrder


def _chosen(present: Sequence[Entry], parts: Sequence[CompletedPart]) -> list[PartRecord]:
    """The records of the parts that the client names, each checked against what it says."""
    values = {int.from_bytes(entry.key[-2:], "big"): entry.value for entry in present}
    chosen = []
    for named in parts:
        value = values.get(named.number)
        if value is None:
            raise InvalidPart(PartNumber=str(named.number))
        record = decode(value, PartRecord)
        stored = {checksum.algorithm: checksum.value for checksum in record.checksums}
        if named.etag.strip('"') != record.etag or any(
            stored.get(algorithm) != value for algorithm, value in named.checksums.items()
        ):
            raise InvalidPart(PartNumber=str(named.number), ETag=named.etag)
        chosen.append(record)
    for record in chosen[:-1]:
        # an empty part would share its offset in the manifest with the next one
        if record.size < max(1, limits.PART_BYTES_MIN):
            raise EntityTooSmall(
                PartNumber=str(record.number),
                ETag=record.etag,
                ProposedSize=str(record.size),
                MinSizeAllowed=str(limits.PART_BYTES_MIN),
            )
    return chosen


def _object_record(
    upload: UploadRecord, parts: Sequence[PartRecord], promise: Promise
) -> ObjectRecord:
    record = upload.object
    record.version = 0
    record.size = sum(part.size for part in parts)
    if record.size > limits.OBJECT_BYTES_MAX:
        raise EntityTooLarge
    if promise.size is not None and promise.size != record.size:
        raise InvalidRequest(
            f"The provided object size {promise.size} is not that of the parts, {record.size}"
        )
    record.etag = multipart_etag(part.md5 for part in parts)
    record.manifest = upload.id
    record.part_count = len(parts)
    record.checksums = _checksums(upload, parts)
    _check_promise(upload, record, promise)
    return record


def _checksums(upload: UploadRecord, parts: Sequence[PartRecord]) -> list[Checksum]:
    """The whole object's checksum from those of its parts, without reading a byte of them."""
    algorithm = upload.checksum_algorithm or DEFAULT_ALGORITHM
    pairs = [(_part_digest(part, algorithm), part.size) for part in parts]
    if upload.checksum_kind == COMPOSITE:
        return [Checksum(algorithm, composite(algorithm, (raw for raw, _ in pairs)), COMPOSITE)]
    return [Checksum(algorithm, base64_text(combined(algorithm, pairs)), FULL_OBJECT)]


def _part_digest(part: PartRecord, algorithm: str) -> bytes:
    for checksum in part.checksums:
        if checksum.algorithm == algorithm:
            return b64decode(checksum.value)
    raise AssertionError("a part was stored without its upload's checksum")


def _check_promise(upload: UploadRecord, record: ObjectRecord, promise: Promise) -> None:
    kind = upload.checksum_kind or FULL_OBJECT
    if promise.kind and promise.kind != kind:
        raise InvalidRequest(
            f"The upload was created using the {kind} checksum mode. "
            "The complete request must use the same checksum mode."
        )
    if promise.checksum:
        value = record.checksums[0].value
        # some clients leave the part count away from a composite checksum
        if promise.checksum not in (value, value.partition("-")[0]):
            raise BadDigest(
                f"The {record.checksums[0].algorithm.lower()} you specified did not match "
                "the calculated checksum."
            )


def _turn(upload: UploadRecord, present: Sequence[Entry], chosen: Sequence[PartRecord]) -> Extra:
    """The commit's share that turns the parts into the manifest, or into garbage."""
    puts: list[Put] = []
    deletes: list[bytes] = []
    offset = 0
    for position, part in enumerate(chosen, 1):
        old = keys.part_key(upload.id, part.number)
        new = keys.manifest_key(upload.id, offset)
        deletes += (old, *reference_deletes(part, old))
        puts.append(Put(new, encode(_numbered(part, position))))
        puts += reference_puts(part, new)
        offset += part.size
    named = {part.number for part in chosen}
    unused: list[Extent] = []
    for entry in present:
        if int.from_bytes(entry.key[-2:], "big") not in named:
            part = decode(entry.value, PartRecord)
            deletes += (entry.key, *reference_deletes(part, entry.key))
            unused += part.extents
    return Extra(put=[*puts, *garbage_notes(unused, GARBAGE_SEQUENCE)], delete=deletes)


def _numbered(part: PartRecord, position: int) -> PartRecord:
    if part.number != position:
        part = msgspec.structs.replace(part, number=position)
    return part


async def _completed_before(
    core: Core, bucket_id: bytes, key: str, manifest: bytes, parts: Sequence[CompletedPart]
) -> ObjectRecord:
    """The object that this upload became, if it was of the same parts; NoSuchUpload if not."""
    prefix = keys.reference_prefix(manifest, 0)
    found = await core.engine.scan(prefix, prefix_end(prefix), _REPEAT_OWNERS_MAX)
    newest = keys.object_key(bucket_id, key_bytes(key))
    history = keys.versions_prefix(bucket_id, key_bytes(key))
    owners = [keys.split_reference(entry.key)[2] for entry in found]
    ours = [owner for owner in owners if owner == newest or owner.startswith(history)]
    for entry in await core.engine.get_many(ours):
        record = decode(entry.value, ObjectRecord) if entry is not None else None
        if record is not None and record.manifest == manifest and record.etag == _etag(parts):
            return record
    raise NoSuchUpload(UploadId=manifest.hex())


def _etag(parts: Sequence[CompletedPart]) -> str:
    try:
        return multipart_etag(bytes.fromhex(part.etag.strip('"')) for part in parts)
    except ValueError:
        return ""
