"""Bundles: many objects in one pass. Every version is found first, then all bodies are read.

What was found stays as it was: a version that is overwritten or deleted while the bundle is read
comes out whole all the same, as bytes that nothing refers to any more live on for GRACE_SECONDS.

Bodies come in the order asked for, a run of members at a time. Small ones are read ahead in
batches, each in the order of the packs; large ones are one stream of pieces, which reads ahead
across them. At hand are at most two batches, and the inline bodies, which came with the records.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from enum import Enum
from typing import NamedTuple

from amur import limits
from amur.extent import Extent
from amur.meta import keys
from amur.meta.engine import EngineDamaged, Entry
from amur.meta.records import ObjectRecord, RecordDamaged, decode, inline_body
from amur.objects.core import Core, storage_error, translation
from amur.objects.errors import NoSuchKey, StorageDamaged, StoreError
from amur.objects.names import key_bytes
from amur.objects.pull.accesses import note_read
from amur.objects.pull.fetching import Version
from amur.objects.pull.mending import DAMAGE
from amur.objects.reading import pieces
from amur.objects.types import Permit

assert limits.BUNDLE_SECONDS_MAX < limits.GRACE_SECONDS, "a bundle's bytes may go while it is read"

FIRST_BYTES = 512 * limits.KIB
"""Bodies of the first batch: few, so that the first bytes leave early."""
BATCH_BYTES = 4 * limits.MIB
BATCH_KEYS = 1_000
PULLS_MAX = 64  # small bodies asked of other regions at once: in one round trip nearly all
_PERMITS_AT_ONCE = 16
_LOOKUP_KEYS = 200
"""Records found at a stretch: about a millisecond, then others get their turn."""


class Member(NamedTuple):
    """A version of an object: where its bytes are, or the bytes themselves."""

    key: str
    size: int
    modified_s: int
    body: bytes | None  # at hand, when it is inline or empty
    extents: Sequence[Extent]
    manifest: bytes
    version: Version | None = None  # when the body is not at hand


class Refused(NamedTuple):
    """A key that has no member, and what getting it alone would have raised."""

    key: str
    error: Exception


class Run(NamedTuple):
    """Members that follow each other: small ones with their `bodies`, or large ones with the
    `pieces` of all their bodies end to end, where no piece holds bytes of two members."""

    members: Sequence[Member]
    bodies: Sequence[bytes] | None
    pieces: AsyncGenerator[bytes] | None


class _Kind(Enum):
    SMALL = 1  # one read, in a batch
    LARGE = 2  # some extents
    PARTS = 3  # the extents must be looked up, or the bytes pulled


async def open_bundle(
    core: Core, bucket: str, wanted: Sequence[str], permit: Permit | None = None
) -> Bundle:
    """Find the newest version of every key. `permit` is asked for each, as for one that is read
    alone. Raises NoSuchBucket."""
    with translation:
        bucket_id = (await core.bucket(bucket))[0].id
        distinct = list(dict.fromkeys(wanted))
        found: dict[str, Member | Refused] = {}
        for at in range(0, len(distinct), _LOOKUP_KEYS):
            some = distinct[at : at + _LOOKUP_KEYS]
            found |= await _look_up(core, bucket_id, some, permit)
            await asyncio.sleep(0)
    return Bundle(core, [found[key] for key in wanted])


class Bundle:
    """`entries` stand in the order of the keys, a key that was named twice twice."""

    def __init__(self, core: Core, entries: Sequence[Member | Refused]) -> None:
        self.entries = entries
        self._core = core
        self._pulls = asyncio.Semaphore(PULLS_MAX)

    async def runs(self, members: Iterable[Member]) -> AsyncGenerator[Run]:
        """The bodies of these members, in this order. Close it to stop reading.

        Raises StorageDamaged. A run's pieces must be read, if at all, before the next run.
        """
        batches = _batches(members)
        coming = self._begun(next(batches, None))
        try:
            while coming is not None:
                run = coming if isinstance(coming, Run) else await coming
                coming = self._begun(next(batches, None))
                if run.pieces is None:
                    yield run
                    continue
                async with aclosing(run.pieces):
                    yield run
        finally:
            if isinstance(coming, asyncio.Task):
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    def _begun(self, batch: list[Member] | None) -> Run | asyncio.Task[Run] | None:
        """The run of a batch, or a task that reads it."""
        if batch is None:
            return None
        kind = _kind(batch[0])
        if kind is _Kind.PARTS:
            return Run(batch, None, self._one(batch[0]))
        if kind is _Kind.LARGE:
            return Run(batch, None, self._large(batch))
        bodies = [member.body for member in batch if member.body is not None]
        if len(bodies) == len(batch):
            return Run(batch, bodies, None)
        return asyncio.create_task(self._small(batch))

    async def _small(self, batch: Sequence[Member]) -> Run:
        with translation:
            stored = [member for member in batch if member.body is None and member.extents]
            read = iter(await self._read(stored))
        away = [member for member in batch if member.body is None and not member.extents]
        pulled = iter(await asyncio.gather(*map(self._pulled, away)) if away else ())
        bodies = [
            member.body if member.body is not None else next(read if member.extents else pulled)
            for member in batch
        ]
        return Run(batch, bodies, None)

    async def _read(self, members: Sequence[Member]) -> list[bytes]:
        try:
            return await self._core.data.read_many([member.extents[0] for member in members])
        except DAMAGE:
            if not self._core.is_cluster:
                raise
        return [b"".join([piece async for piece in self._one(member)]) for member in members]

    async def _pulled(self, member: Member) -> bytes:
        async with self._pulls:
            return b"".join([piece async for piece in self._one(member)])

    async def _large(self, batch: Sequence[Member]) -> AsyncGenerator[bytes]:
        extents = [extent for member in batch for extent in member.extents]
        total = sum(member.size for member in batch)
        reading = self._core.data.read(extents, 0, total)
        assert isinstance(reading, AsyncGenerator)
        done = 0
        with translation:
            try:
                async with aclosing(reading):
                    async for piece in reading:
                        done += len(piece)
                        yield piece
            except DAMAGE:
                if not self._core.is_cluster:
                    raise
            else:
                return
        for member in batch:  # from where it was damaged on, one by one
            async with aclosing(self._one(member, min(done, member.size))) as rest:
                async for piece in rest:
                    yield piece
            done -= min(done, member.size)

    async def _one(self, member: Member, start: int = 0) -> AsyncGenerator[bytes]:
        version = member.version
        assert version is not None, "only what is at hand has none"
        if start == member.size:
            return
        reading = pieces(self._core, version.at, version.record, start, member.size)
        async with aclosing(reading):
            async for piece in reading:
                yield piece


def _batches(members: Iterable[Member]) -> Iterator[list[Member]]:
    """Members that are read together: of one kind, and small ones within bounds."""
    batch: list[Member] = []
    size, room, kind = 0, FIRST_BYTES, _Kind.SMALL
    for member in members:
        before, kind = kind, _kind(member)
        size += member.size
        if batch and (
            kind is not before
            or kind is _Kind.PARTS
            or (kind is _Kind.SMALL and (size > room or len(batch) >= BATCH_KEYS))
        ):
            yield batch
            batch, size, room = [], member.size, BATCH_BYTES
        batch.append(member)
    if batch:
        yield batch


def _kind(member: Member) -> _Kind:
    if member.body is not None:
        return _Kind.SMALL
    if member.manifest:
        return _Kind.PARTS
    if member.size <= limits.PACK_BYTES_MAX and len(member.extents) <= 1:
        return _Kind.SMALL
    return _Kind.LARGE if member.extents else _Kind.PARTS


# --- finding ---


async def _look_up(
    core: Core, bucket_id: bytes, some: Sequence[str], permit: Permit | None
) -> dict[str, Member | Refused]:
    """Each batch from one snapshot."""
    found: dict[str, Member | Refused] = {}
    places: dict[str, bytes] = {}
    for key in some:
        try:
            places[key] = keys.object_key(bucket_id, key_bytes(key))
        except StoreError as error:
            found[key] = Refused(key, error)
    entries = await _entries(core, list(places.values()))
    for at, (key, entry) in enumerate(zip(places, entries, strict=True)):
        found[key] = _member(core, key, entry, permit)
        if permit is not None and at % _PERMITS_AT_ONCE == 0:
            await asyncio.sleep(0)  # slow policies: others are served between
    return found


async def _entries(core: Core, places: Sequence[bytes]) -> Sequence[Entry | EngineDamaged | None]:
    try:
        return await core.engine.get_many(places)
    except EngineDamaged:  # one by one, so that the damaged ones alone are missing
        return [await _entry(core, place) for place in places]


async def _entry(core: Core, place: bytes) -> Entry | EngineDamaged | None:
    try:
        return await core.engine.get(place)
    except EngineDamaged as error:
        return error


def _member(
    core: Core, key: str, entry: Entry | EngineDamaged | None, permit: Permit | None
) -> Member | Refused:
    """A delete marker stands elsewhere than an object: whoever is deleted is just not there."""
    if isinstance(entry, EngineDamaged):
        return Refused(key, storage_error(entry))
    try:
        record = decode(entry.value, ObjectRecord) if entry is not None else None
    except RecordDamaged as error:
        return Refused(key, storage_error(error))
    if permit is not None:
        try:
            permit(key, record)
        except Exception as error:  # the caller's own, to be told in its place
            return Refused(key, error)
    if entry is None or record is None:
        return Refused(key, NoSuchKey(Key=key))
    body = None
    version = Version(entry.key, record)
    if core.is_cluster and not record.is_inline:
        note_read(core, version.name)
    if record.is_inline or not record.size:
        body = inline_body(entry.value)
        stored = len(body)
    elif record.manifest or (core.is_cluster and not record.extents):
        stored = record.size
    else:
        stored = sum(extent.length for extent in record.extents)
    if stored != record.size:
        return Refused(key, StorageDamaged(f"{stored} bytes are stored of {record.size}"))
    told = (key, record.size, record.modified_s(), body, record.extents, record.manifest)
    return Member(*told, version if body is None else None)
