"""Reading objects: whole, by range, by part; at hand when small, else as a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from amur.limits import PACK_BYTES_MAX
from amur.meta import keys
from amur.meta.holdings import CACHED, GONE, kind_in
from amur.meta.keys import owner_name
from amur.meta.records import Checksum, ObjectRecord, PartRecord, inline_body
from amur.objects.conditions import check_read, check_source, keeps_range
from amur.objects.core import Core, translation
from amur.objects.errors import InvalidPartNumber, InvalidRange, InvalidRequest, StorageDamaged
from amur.objects.locating import Found, locate
from amur.objects.pull.accesses import note_read
from amur.objects.pull.bodies import manifest_parts, part_of
from amur.objects.pull.fetching import Version
from amur.objects.pull.mending import DAMAGE, healed
from amur.objects.pull.pulling import is_small, pull_whole, pulled
from amur.objects.types import ByteRange, Conditions, Permit, Reading


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
        core.tiers["inline"] += 1
        body = inline_body(found.entry.value)
        if end - start != len(body):
            body = body[start:end]
        return Reading(record, start, end, body, None, checksums)
    at = found.entry.key
    if core.is_cluster:
        _count(core, at, record)
    else:
        core.tiers["pack" if record.size <= PACK_BYTES_MAX else "block"] += 1
    if end - start == record.size <= PACK_BYTES_MAX and len(record.extents) == 1:
        try:
            body = await core.data.read_small(record.extents[0])
        except DAMAGE:
            if not core.is_cluster:
                raise
            body = b"".join([piece async for piece in pieces(core, at, record, start, end)])
        return Reading(record, start, end, body, None, checksums)
    stream = pieces(core, at, record, start, end)
    if end - start <= PACK_BYTES_MAX:
        body = b"".join([piece async for piece in stream])
        return Reading(record, start, end, body, None, checksums)
    return Reading(record, start, end, None, stream, checksums)


def _count(core: Core, at: bytes, record: ObjectRecord) -> None:
    """Note the read, for moving and evicting, and which tier answers it."""
    kind = kind_in(record, core.region)
    note_read(core, (*owner_name(at), record.version), is_hit=kind == CACHED)
    if kind == GONE:
        core.tiers["remote"] += 1
    elif kind == CACHED:
        core.tiers["cache"] += 1
    else:
        core.tiers["pack" if record.size <= PACK_BYTES_MAX else "block"] += 1


def body_of(found: Found) -> bytes:
    """The inline body of a record, empty when it has none."""
    return inline_body(found.entry.value) if found.record.is_inline else b""


async def pieces(
    core: Core, at: bytes, record: ObjectRecord, start: int, end: int
) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of what is not inline, verified, in pieces of at most CHUNK_BYTES.

    `at` is the record's metadata key. What is not here is pulled. Raises BodyUnreachable,
    StorageDamaged.
    """
    with translation:
        if record.extents:
            version = Version(at, record)
            stream = healed(core, version, at, record.extents, 0, start, end)
        elif not record.manifest and not core.is_cluster and start < end:
            raise StorageDamaged(f"The object's bytes are missing: {record.size} of them")
        elif is_small(record):
            stream = _small(core, Version(at, record), start, end)
        else:
            stream = pulled(core, Version(at, record), start, end)
        async with aclosing(stream):
            async for piece in stream:
                yield piece


async def _small(core: Core, version: Version, start: int, end: int) -> AsyncGenerator[bytes]:
    if start < end:
        yield (await pull_whole(core, version))[start:end]


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
            offset, guessed = part_of(entry)
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
