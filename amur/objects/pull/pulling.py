"""Pulling what is not here: from the nearest region that has it, once for all who wait.

Up to PACK_BYTES_MAX a body is pulled whole, becomes an extent of its record, and the region says
that it has a cached copy. Of a larger one only the chunks that are needed are pulled, and the
next ones of the same read; when all are here, the region says so. What may not lie in this region
is passed through. A peer that fails on the way is followed by the next one, from the byte where
it stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import structlog

from amur import limits
from amur.data.store import Piece
from amur.meta import keys
from amur.meta.engine import ABSENT, Commit, Put
from amur.meta.holdings import CACHED, GONE, kind_in, set_kind
from amur.meta.log import record_name
from amur.meta.records import VERSION_STAMP, Extent, ObjectRecord, PartRecord, encode
from amur.objects.core import Core, storage_error
from amur.objects.errors import BodyUnreachable, StorageDamaged, StoreError
from amur.objects.pull.accesses import note_hit
from amur.objects.pull.bodies import Unit, chunk_extents, find_body, first_missing, has_bytes, units
from amur.objects.pull.fetching import Version, from_peers, give_up, may_keep, written
from amur.objects.pull.flights import Flight
from amur.objects.pull.kept import WHOLE, Kept, kept_put
from amur.objects.pull.mending import healed
from amur.objects.references import reference_puts

READ_AHEAD = 2
"""Chunks begun before the client has taken the one before them."""

_MISSING_MAX = 10_000  # versions of which a missing chunk is remembered

log = structlog.get_logger("amur.regions")


async def keep_whole(core: Core, body: Version, data: bytes) -> list[Extent]:
    """Make a small body an extent of its record; [] when the version is gone.

    Raises DataError, EngineError, StoreError: nothing is kept then.
    """
    extents = [await core.data.append(data)]

    async def attempt() -> list[Extent]:
        found = await find_body(core, *body.name)
        if found is None or has_bytes(found.record):
            return found.record.extents if found is not None else []
        record, at = found.record, found.entry.key
        record.extents = extents
        puts = reference_puts(record, at)
        log = say_cached(core, at, record)
        if kind_in(record, core.region) == CACHED:
            puts.append(kept_put(Kept(*body.name, WHOLE, record.size)))
        put = Put(at, encode(record))
        commit = Commit([(at, found.entry.version)], put=[put, *puts], log=log)
        await core.engine.commit(commit)
        return extents

    return await _committed(core, attempt, extents, len(data))


async def keep_chunk(core: Core, body: Version, unit: Unit, data: Sequence[Piece]) -> list[Extent]:
    """Put a record of the chunk into C; [] when the version is gone. Raises as `keep_whole`."""
    size = unit.end - unit.start
    extents = await written(core, _each(data), size)
    part = PartRecord(number=unit.number, size=size, extents=extents)
    kept = Kept(*body.name, unit.number, size)

    async def attempt() -> list[Extent]:
        found = await find_body(core, *body.name)
        if found is None:
            return []
        other = await chunk_extents(core, unit.at)
        if other is not None:  # another process was faster
            return other
        puts = [Put(unit.at, encode(part), VERSION_STAMP), *reference_puts(part, unit.at)]
        expect = [(found.entry.key, found.entry.version), (unit.at, ABSENT)]
        await core.engine.commit(Commit(expect, put=[*puts, kept_put(kept)]))
        return extents

    return await _committed(core, attempt, extents, size)


async def _each(data: Sequence[Piece]) -> AsyncIterator[Piece]:
    for piece in data:
        yield piece


async def _committed(
    core: Core, attempt: Callable[[], Awaitable[list[Extent]]], extents: list[Extent], size: int
) -> list[Extent]:
    """What the attempt made the version name; ours are given up when that are others."""
    try:
        named = await core.transact(attempt)
    except StoreError:
        await give_up(core, extents, size)
        raise
    if named is not extents:
        await give_up(core, extents, size)
    return named


def say_cached(core: Core, at: bytes, record: ObjectRecord) -> list[bytes]:
    """Have the record say that its bytes are here, if it does not; log values for its commit."""
    if kind_in(record, core.region) != GONE:
        return []
    set_kind(record, core.region, CACHED)
    return [record_name(*keys.owner_name(at), record)]


async def say_if_whole(core: Core, body: Version) -> None:
    """Once all chunks are here, tell the other regions. Looks on from where one was missing."""
    missing = core.flights.missing
    hint = missing.pop(body.label, 0)
    for start in (hint, 0) if hint else (0,):
        hole = await first_missing(core, body.at, body.record, start)
        if hole is not None:
            if len(missing) >= _MISSING_MAX:
                missing.clear()
            missing[body.label] = hole
            return

    async def attempt() -> None:
        found = await find_body(core, *body.name)
        if found is None:
            return
        at, record = found.entry.key, found.record
        # whoever drops a chunk puts the record anew: what is found now holds in the commit
        if await first_missing(core, at, record) is None and (log := say_cached(core, at, record)):
            put = Put(at, encode(record))
            await core.engine.commit(Commit([(at, found.entry.version)], put=[put], log=log))

    await core.transact(attempt)


# --- flights ---


def whole_flight(core: Core, body: Version) -> Flight:
    """Of a body of up to PACK_BYTES_MAX without a manifest; joined."""

    async def fly(flight: Flight) -> None:
        try:
            async with aclosing(from_peers(core, body, 0, flight.size)) as stream:
                async for piece in stream:
                    flight.add(piece)
            flight.landed(await keep_whole(core, body, flight.body()))
        except Exception as error:
            _ended(flight, error)

    return core.flights.start(body.label, body.record.size, fly)


def chunk_flight(core: Core, body: Version, unit: Unit) -> Flight:
    """Of one chunk; joined."""

    async def fly(flight: Flight) -> None:
        try:
            async with core.flights.turn():
                async with aclosing(from_peers(core, body, unit.start, unit.end)) as stream:
                    async for piece in stream:
                        flight.add(piece)
                kept = await keep_chunk(core, body, unit, flight.pieces())
                flight.landed(kept, is_forgotten=bool(kept))
            await say_if_whole(core, body)
        except Exception as error:
            _ended(flight, error)

    return core.flights.start(unit.at, unit.end - unit.start, fly)


def _ended(flight: Flight, error: Exception) -> None:
    """Who waits has all bytes even if they could not be kept."""
    if flight.have < flight.size:
        flight.failed(error)
    elif flight.kept is None:
        flight.not_kept = storage_error(error)
    if not isinstance(error, StoreError):
        log.warning("pulled bytes could not be kept", error=repr(error))


async def flown(core: Core, flight: Flight, start: int, end: int) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of what a flight brings, as they come."""
    at = start
    while at < end:
        if (piece := flight.piece_at(at, end)) is not None:
            at += len(piece)
            yield bytes(piece)
        elif flight.kept:
            async for piece in core.data.read(flight.kept, at, end):
                yield piece
            return
        elif flight.failure is not None:
            raise BodyUnreachable(str(flight.failure)) from flight.failure
        else:
            await flight.news()


# --- reading ---


def is_small(record: ObjectRecord) -> bool:
    """Whether the body is pulled whole."""
    return record.size <= limits.PACK_BYTES_MAX and not record.manifest


async def pull_whole(core: Core, body: Version) -> bytes:
    """A small body that is not here. Raises BodyUnreachable."""
    if not await may_keep(core, body):
        stream = from_peers(core, body, 0, body.record.size)
        return b"".join([piece async for piece in stream])
    flight = whole_flight(core, body)
    try:
        return b"".join([piece async for piece in flown(core, flight, 0, flight.size)])
    finally:
        flight.leave()


class _Coming(NamedTuple):
    unit: Unit
    extents: list[Extent]  # where it is
    flight: Flight | None  # or what brings it


async def pulled(core: Core, body: Version, start: int, end: int) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of a body that is not (wholly) here, verified, in pieces.

    Raises BodyUnreachable, StorageDamaged; DataError of what is here.
    """
    if core.is_cluster and not await may_keep(core, body):
        async with aclosing(from_peers(core, body, start, end)) as stream:
            async for piece in stream:
                yield piece
        return
    ahead: deque[_Coming] = deque()
    upcoming, at = units(core, body.at, body.record, start, end), start
    try:
        while at < end:
            while len(ahead) <= READ_AHEAD and (unit := await anext(upcoming, None)) is not None:
                ahead.append(await _begun(core, body, unit))
            if not ahead:
                raise StorageDamaged(f"Parts of the object are missing from byte {at} on")
            upto = min(end, ahead[0].unit.end)
            async with aclosing(_pieces(core, body, ahead[0], at, upto)) as stream:
                async for piece in stream:
                    yield piece
            at = upto
            _leave(ahead.popleft(), is_served=True)
    finally:
        for coming in ahead:
            _leave(coming)


async def _begun(core: Core, body: Version, unit: Unit) -> _Coming:
    if not unit.is_chunk:
        return _Coming(unit, unit.extents, None)
    extents = await chunk_extents(core, unit.at)
    if extents is not None:
        return _Coming(unit, extents, None)
    if not core.is_cluster:
        raise StorageDamaged(f"Bytes of the object are missing from {unit.start} on")
    return _Coming(unit, [], chunk_flight(core, body, unit))


def _leave(coming: _Coming, *, is_served: bool = False) -> None:
    if coming.flight is not None:
        coming.flight.leave(is_served=is_served)


def _pieces(
    core: Core, body: Version, coming: _Coming, start: int, end: int
) -> AsyncGenerator[bytes]:
    """Bytes [start, end) of the body, which lie in this unit."""
    unit = coming.unit
    if coming.flight is not None:
        return flown(core, coming.flight, start - unit.start, end - unit.start)
    if unit.is_chunk:
        note_hit(core, body.name)
    return healed(core, body, unit.at, coming.extents, unit.start, start, end)
