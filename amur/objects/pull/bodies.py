"""Where the bytes of a version lie in this region, and reading them for a peer.

A body is inline, in the record's extents, in its manifest's parts, or not here. What is not here
is cut into units: a chunk is PULL_CHUNK_BYTES of the body, or of a part of it that is not here (so
that the chunks of a part, joined, are the part). A chunk that was pulled has a record in table C.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from amur import limits
from amur.data.store import DataError
from amur.extent import Extent
from amur.meta import keys
from amur.meta.engine import EngineDamaged, Entry
from amur.meta.records import ObjectRecord, PartRecord, RecordDamaged, decode, inline_body
from amur.objects.core import Core
from amur.objects.locating import Found
from amur.regions.link import BodyMissing
from amur.regions.messages import BodyName

PARTS_PAGE = 64
"""Parts of a manifest read at once: their extents are a few KiB each at most."""

_PART_SHIFT = 16
"""A chunk's number is its part's (0 without a manifest), then its place in it."""


def part_number(chunk: int) -> int:
    """Of the part that a chunk is of, 0 without a manifest."""
    return chunk >> _PART_SHIFT


class Unit(NamedTuple):
    """A stretch of a body. `extents` are where it lies, () when it is not known to be here.

    `at` is the metadata key of the part that has them, or of the chunk that would.
    """

    start: int
    end: int
    number: int  # of the chunk, 0 of a part that is here
    at: bytes
    extents: list[Extent]
    is_chunk: bool
    part_at: bytes = b""  # metadata key of the part, b"" without a manifest


async def find_body(core: Core, bucket_id: bytes, key: bytes, version: int) -> Found | None:
    """A version, not a marker, by its number, wherever it stands. Raises RecordDamaged."""
    places = [keys.object_key(bucket_id, key), keys.version_key(bucket_id, key, version)]
    for entry in await core.engine.get_many(places):
        if entry is not None:
            record = decode(entry.value, ObjectRecord)
            if record.version == version and not record.is_marker:
                return Found(entry, record)
    return None


def has_bytes(record: ObjectRecord) -> bool:
    """Whether the record by itself has the body; with a manifest, its parts say."""
    return record.is_inline or bool(record.extents) or not record.size


async def units(
    core: Core, at: bytes, record: ObjectRecord, start: int, end: int
) -> AsyncIterator[Unit]:
    """What makes up [start, end) of a body that `has_bytes` denies, `at` its metadata key.

    The first and the last may go beyond. Ends early when parts are missing.
    """
    name = (*keys.owner_name(at), record.version)
    if not record.manifest:
        for unit in _chunks(name, 0, 0, record.size, start, end):
            yield unit
        return
    upcoming = start
    async for offset, part, place in _parts(core, record.manifest, start):
        if offset >= end or not offset <= upcoming <= offset + part.size:
            return
        upcoming = offset + part.size
        if part.extents:
            yield Unit(offset, upcoming, 0, place, part.extents, False, place)
        else:
            for unit in _chunks(name, part.number, offset, upcoming, start, end):
                yield unit._replace(part_at=place)


def _chunks(
    name: tuple[bytes, bytes, int], part: int, begin: int, upto: int, start: int, end: int
) -> list[Unit]:
    """Those of [begin, upto), a body or a part of it, that overlap [start, end)."""
    size = limits.PULL_CHUNK_BYTES
    first = max(start - begin, 0) // size
    found = []
    for index in range(first, -(-(min(end, upto) - begin) // size)):
        low = begin + index * size
        number = part << _PART_SHIFT | index
        high = min(low + size, upto)
        found.append(Unit(low, high, number, keys.chunk_key(*name, number), [], True))
    return found


async def manifest_parts(
    core: Core, manifest: bytes, start: int = 0
) -> AsyncIterator[tuple[int, PartRecord]]:
    """(offset, part) of a completed object, from the one that holds byte `start` on."""
    async for offset, part, _ in _parts(core, manifest, start):
        yield offset, part


async def _parts(
    core: Core, manifest: bytes, start: int
) -> AsyncIterator[tuple[int, PartRecord, bytes]]:
    base = keys.manifest_key(manifest, 0)
    end = keys.manifest_key(manifest, 2**64 - 1)
    covering = await core.engine.scan(base, keys.manifest_key(manifest, start + 1), 1, reverse=True)
    at = covering[0].key if covering else base
    while page := await core.engine.scan(at, end, PARTS_PAGE):
        for entry in page:
            yield *part_of(entry), entry.key
        at = page[-1].key + b"\x00"


def part_of(entry: Entry) -> tuple[int, PartRecord]:
    """Offset and record of an entry in M."""
    return int.from_bytes(entry.key[-8:], "big"), decode(entry.value, PartRecord)


async def chunk_extents(core: Core, at: bytes) -> list[Extent] | None:
    """Where a chunk lies, None when it is not here."""
    entry = await core.engine.get(at)
    return decode(entry.value, PartRecord).extents if entry is not None else None


async def first_missing(
    core: Core, at: bytes, record: ObjectRecord, start: int = 0, *, end: int | None = None
) -> int | None:
    """The first byte in [start, end) that is not here; None when all are."""
    end = record.size if end is None else end
    if has_bytes(record):
        return None
    upcoming = start
    async for unit in units(core, at, record, start, end):
        if unit.is_chunk and await chunk_extents(core, unit.at) is None:
            return max(start, unit.start)
        upcoming = unit.end
    return None if upcoming >= end else upcoming


# --- for peers ---


async def body_pieces(core: Core, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of a version, verified, in pieces of at most CHUNK_BYTES.

    Raises BodyMissing: before the first piece when any of them is not here.
    """
    try:
        found = await find_body(core, name.bucket_id, name.key, name.version)
        if found is None or not 0 <= start <= end <= found.record.size:
            raise BodyMissing
        entry, record = found
        if record.is_inline:
            if start < end:
                yield inline_body(entry.value)[start:end]
            return
        if await first_missing(core, entry.key, record, start, end=end) is not None:
            raise BodyMissing
        async for piece in _local_pieces(core, entry.key, record, start, end):
            yield piece
    except (DataError, EngineDamaged, RecordDamaged) as error:
        raise BodyMissing(str(error)) from error


async def _local_pieces(
    core: Core, at: bytes, record: ObjectRecord, start: int, end: int
) -> AsyncIterator[bytes]:
    if record.extents:
        async for piece in core.data.read(record.extents, start, end):
            yield piece
        return
    async for unit in units(core, at, record, start, end):
        extents = await chunk_extents(core, unit.at) if unit.is_chunk else unit.extents
        if extents is None:  # evicted just now
            raise BodyMissing
        low, high = max(start, unit.start) - unit.start, min(end, unit.end) - unit.start
        async for piece in core.data.read(extents, low, high):
            yield piece
