"""Damage here, bytes elsewhere: readers are served from there, and ours are rewritten."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog

from amur.data.store import DataDamaged, DataError, DataMissing
from amur.extent import Extent
from amur.meta import keys
from amur.meta.engine import Commit, EngineError, Entry, Put, prefix_end
from amur.meta.holdings import holders
from amur.meta.records import (
    VERSION_STAMP,
    GarbageRecord,
    ObjectRecord,
    PartRecord,
    RecordDamaged,
    decode,
    encode,
    inline_body,
)
from amur.objects.core import Core
from amur.objects.errors import BodyUnreachable, StoreError
from amur.objects.pull.bodies import part_of
from amur.objects.pull.fetching import Version, from_peers, give_up, written
from amur.objects.pull.kept import drop_chunk
from amur.objects.references import reference_deletes, reference_puts

DAMAGE = (DataDamaged, DataMissing)

log = structlog.get_logger("amur.regions")


async def healed(
    core: Core,
    body: Version,
    owner: bytes,
    extents: list[Extent],
    base: int,
    start: int,
    end: int,
) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of a body from extents that begin at its byte `base`, named by the
    record at `owner`; from peers as soon as these are damaged, and then the record is mended."""
    at = start
    try:
        async for piece in core.data.read(extents, start - base, end - base):
            at += len(piece)
            yield piece
    except DAMAGE as error:
        if not core.is_cluster:
            raise
        damage = error
    else:
        return
    mend_later(core, owner, damage)
    async with aclosing(instead(core, body, damage, at, end)) as stream:
        async for piece in stream:
            yield piece


async def instead(
    core: Core, body: Version, damage: Exception, start: int, end: int
) -> AsyncGenerator[bytes]:
    """From peers, what is damaged here; the damage itself when nobody else has it."""
    try:
        async with aclosing(from_peers(core, body, start, end)) as stream:
            async for piece in stream:
                yield piece
    except BodyUnreachable:
        if set(holders(body.record)) <= {core.region}:
            raise damage from None
        raise


def mend_later(core: Core, owner: bytes, damage: Exception) -> None:
    log.error("bytes are damaged", owner=owner.hex(), error=str(damage))

    async def work() -> None:
        try:
            await mend(core, owner)
        except (DataError, EngineError, RecordDamaged, StoreError) as error:
            log.warning("bytes could not be mended", owner=owner.hex(), error=repr(error))

    core.flights.spawn(b"mend" + owner, work)


async def mend(core: Core, owner: bytes) -> bool:
    """Check the extents of the record at `owner`, and rewrite the bad ones from other regions.

    False when there are bad ones still. Raises BodyUnreachable, DataError, EngineError,
    StoreError.
    """
    entry = await core.engine.get(owner)
    if entry is None:
        return True
    if owner.startswith(keys.CHUNKS):
        for extent in decode(entry.value, PartRecord).extents:
            if not await _is_good(core, extent):
                await drop_chunk(core, owner)
                break
        return True
    found = await _body_of(core, entry)
    if found is None:
        return False
    body, base, extents = found
    for extent in extents:
        if not await _is_good(core, extent):
            await _rewrite(core, body, owner, extent, base)
        base += extent.length
    return True


async def _body_of(core: Core, entry: Entry) -> tuple[Version, int, list[Extent]] | None:
    """The version that the bytes of an entry are of, from which byte on, and where they lie."""
    if entry.key[:1] in (keys.OBJECTS, keys.VERSIONS):
        record = decode(entry.value, ObjectRecord)
        return Version(entry.key, record), 0, record.extents
    if not entry.key.startswith(keys.MANIFESTS):
        return None
    offset, part = part_of(entry)
    prefix = keys.reference_prefix(entry.key[1 : 1 + keys.ID_BYTES], 0)
    for reference in await core.engine.scan(prefix, prefix_end(prefix), 1):
        at = keys.split_reference(reference.key)[2]
        owner = await core.engine.get(at)
        if owner is not None:
            return Version(at, decode(owner.value, ObjectRecord)), offset, part.extents
    return None


async def _is_good(core: Core, extent: Extent) -> bool:
    try:
        await core.data.check(extent)
    except DAMAGE:
        return False
    return True


async def _rewrite(core: Core, body: Version, owner: bytes, bad: Extent, base: int) -> None:
    """Replace one extent, which begins at byte `base` of the body."""
    stream = from_peers(core, body, base, base + bad.length)
    new = await written(core, stream, bad.length)

    async def attempt() -> bool:
        entry = await core.engine.get(owner)
        if entry is None:
            return False
        record: ObjectRecord | PartRecord
        if owner.startswith(keys.MANIFESTS):
            record = decode(entry.value, PartRecord)
        else:
            record = decode(entry.value, ObjectRecord)
        if bad not in record.extents:
            return False
        deletes = reference_deletes(record, owner)
        at = record.extents.index(bad)
        record.extents = [*record.extents[:at], *new, *record.extents[at + 1 :]]
        inline = b"" if isinstance(record, PartRecord) else inline_body(entry.value)
        note = GarbageRecord(extents=[bad])
        puts = [
            Put(owner, encode(record, inline)),
            *reference_puts(record, owner),
            Put(keys.garbage_key(0), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP),
        ]
        await core.engine.commit(Commit([(owner, entry.version)], put=puts, delete=deletes))
        return True

    try:
        done = await core.transact(attempt)
    except StoreError:
        await give_up(core, new, bad.length)
        raise
    if done:
        log.info("bytes are mended", owner=owner.hex(), length=bad.length)
    else:
        await give_up(core, new, bad.length)
