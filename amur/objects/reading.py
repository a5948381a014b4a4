"""Reading objects: whole, by range, by part; at hand when small, else as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from amur.data.store import DataStore
from amur.limits import PACK_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Entry
from amur.meta.records import Checksum, ObjectRecord, PartRecord, decode, inline_body
from amur.objects.conditions import check_read, check_source, keeps_range
from amur.objects.core import Core, translation
from amur.objects.errors import InvalidPartNumber, InvalidRange, InvalidRequest, StorageDamaged
from amur.objects.locating import Found, locate
from amur.objects.types import ByteRange, Conditions, Permit, Reading

_PARTS_PAGE = 64
"""Parts of a manifest read at once: their extents are a few KiB each at most."""


async def open_object(
    core: Core,
    bucket: str,
    key: str,
    *,
    version_id: str = "",
    conditions: Conditions | None = None,
    byte_range: ByteRange | None = None,
    part_number: int = 0,
    permit: Permit | None = None,
    copying: bool = False,
) -> Reading:
    """See `Store.get`. `copying` reads the source of a copy: all that fails of its conditions is
    PreconditionFailed. Raises InvalidRange, InvalidPartNumber besides what `locate` does."""
    with translation:
        found = await locate(core, bucket, key, version_id, permit)
        record = found.record
        if conditions is not None:
            (check_source if copying else check_read)(conditions, record)
        if byte_range is not None and keeps_range(conditions, record):
            if part_number:
                raise InvalidRequest("Cannot specify both Range header and partNumber parameter")
            return await _opened(core, found, *resolved(byte_range, record.size))
        if part_number:
            return await _opened(core, found, *await part_span(core, record, part_number))
        return await _opened(core, found, 0, record.size, record.checksums)


async def head_object(
    core: Core,
    bucket: str,
    key: str,
    *,
    version_id: str = "",
    conditions: Conditions | None = None,
    permit: Permit | None = None,
) -> ObjectRecord:
    with translation:
        record = (await locate(core, bucket, key, version_id, permit)).record
    if conditions is not None:
        check_read(conditions, record)
    return record


def resolved(byte_range: ByteRange, size: int) -> tuple[int, int]:
    """The range as [start, end) of a body of `size` bytes. Raises InvalidRange."""
    first, last = byte_range
    if first is None:
        if not last or not size:
            raise InvalidRange(size)
        return max(0, size - last), size
    if first >= size or (last is not None and last < first):
        raise InvalidRange(size)
    return first, size if last is None else min(last + 1, size)


async def _opened(
    core: Core, found: Found, start: int, end: int, checksums: Sequence[Checksum] = ()
) -> Reading:
    record = found.record
    if record.is_inline:
        body = inline_body(found.entry.value)
        if end - start != len(body):
            body = body[start:end]
        return Reading(record, start, end, body, None, checksums)
    if end - start == record.size <= PACK_BYTES_MAX and len(record.extents) == 1:
        body = await core.data.read_small(record.extents[0])
        return Reading(record, start, end, body, None, checksums)
    stream = pieces(core, record, start, end)
    if end - start <= PACK_BYTES_MAX:
        body = b"".join([piece async for piece in stream])
        return Reading(record, start, end, body, None, checksums)
    return Reading(record, start, end, None, stream, checksums)


def body_of(found: Found) -> bytes:
    """The inline body of a record, empty when it has none."""
    return inline_body(found.entry.value) if found.record.is_inline else b""


async def pieces(core: Core, record: ObjectRecord, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes [start, end) of what is not inline, verified, in pieces of at most CHUNK_BYTES."""
    with translation:
        if not record.manifest:
            async for piece in core.data.read(record.extents, start, end):
                yield piece
            return
        at = start
        async for offset, part in manifest_parts(core, record.manifest, start):
            if at >= end:
                return
            if not offset <= at <= offset + part.size:
                break
            begin, upto = at - offset, min(part.size, end - offset)
            async for piece in _part_pieces(core.data, part, begin, upto):
                yield piece
            at = offset + upto
        if at < end:
            raise StorageDamaged(f"Parts of the object are missing from byte {at} on")


def _part_pieces(data: DataStore, part: PartRecord, start: int, end: int) -> AsyncIterator[bytes]:
    return data.read(part.extents, start, end)


async def manifest_parts(
    core: Core, manifest: bytes, start: int = 0
) -> AsyncIterator[tuple[int, PartRecord]]:
    """(offset, part) of a completed object, from the one that holds byte `start` on."""
    base = keys.manifest_key(manifest, 0)
    end = keys.manifest_key(manifest, 2**64 - 1)
    covering = await core.engine.scan(base, keys.manifest_key(manifest, start + 1), 1, reverse=True)
    at = covering[0].key if covering else base
    while page := await core.engine.scan(at, end, _PARTS_PAGE):
        for entry in page:
            yield _part(entry)
        at = page[-1].key + b"\x00"


def _part(entry: Entry) -> tuple[int, PartRecord]:
    return int.from_bytes(entry.key[-8:], "big"), decode(entry.value, PartRecord)


Span = tuple[int, int, Sequence[Checksum]]


async def part_span(core: Core, record: ObjectRecord, number: int) -> Span:
    """[start, end) and checksums of part `number`; a plain object is its own part 1."""
    count = max(1, record.part_count)
    if not 1 <= number <= count:
        raise InvalidPartNumber(PartNumberRequested=str(number), ActualPartCount=str(count))
    if not record.manifest:
        return 0, record.size, record.checksums
    # parts of one size, as nearly all clients cut them, are found at once
    async for _, part in manifest_parts(core, record.manifest):
        guess = keys.manifest_key(record.manifest, (number - 1) * part.size)
        entry = await core.engine.get(guess)
        if entry is not None:
            offset, guessed = _part(entry)
            if guessed.number == number:
                return _span(record, offset, guessed)
        break
    async for offset, part in manifest_parts(core, record.manifest):
        if part.number == number:
            return _span(record, offset, part)
    raise StorageDamaged(f"Part {number} of the object is missing")


def _span(record: ObjectRecord, offset: int, part: PartRecord) -> Span:
    """A part tells the checksum that its object has, and of what kind that one is."""
    kinds = {each.algorithm: each.kind for each in record.checksums}
    checksums = [
        Checksum(each.algorithm, each.value, kinds[each.algorithm])
        for each in part.checksums
        if each.algorithm in kinds
    ]
    return offset, offset + part.size, checksums
