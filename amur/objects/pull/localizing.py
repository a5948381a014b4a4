"""Making a body wholly this region's own: in its record or its manifest, not in chunks.

For copies, which share the bytes of their source, and for regions that shall have a durable copy.
Chunks are pulled first, each once and kept, so that a transfer that was cut off goes on where it
was; then they are joined: the record (or the part) takes over their extents.
"""

from __future__ import annotations

from collections import deque

from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.holdings import CACHED, DURABLE, GONE, kind_in, set_kind
from amur.meta.log import record_name
from amur.meta.records import ObjectRecord, PartRecord, decode, encode, inline_body
from amur.objects.core import Core
from amur.objects.errors import BodyUnreachable, InvalidRequest, Overloaded
from amur.objects.locating import Found
from amur.objects.pull.bodies import Unit, chunk_extents, find_body, has_bytes, units
from amur.objects.pull.fetching import NOT_HERE, Version, may_keep
from amur.objects.pull.flights import Flight
from amur.objects.pull.kept import WHOLE, Kept, kept_put, of_part
from amur.objects.pull.pulling import chunk_flight, is_small, say_cached, whole_flight
from amur.objects.references import reference_deletes, reference_puts

AT_ONCE = 3  # chunks under way for one body
_ROUNDS_MAX = 10
"""Times that what was evicted or changed on the way is looked for again."""


async def make_local(
    core: Core, bucket_id: bytes, key: bytes, version: int, *, durable: bool
) -> bool:
    """Have all of the body here, and say so; False when the version is gone.

    `durable` makes it a copy that is not evicted. Raises BodyUnreachable, StorageFull,
    InvalidRequest where the bytes may not lie in this region.
    """
    kind = DURABLE if durable else CACHED
    for _ in range(_ROUNDS_MAX):
        found = await find_body(core, bucket_id, key, version)
        if found is None:
            return False
        body = Version(found.entry.key, found.record)
        if not await is_local(core, body):
            if not await may_keep(core, body):
                raise InvalidRequest(NOT_HERE)
            if is_small(body.record):
                await _landed(whole_flight(core, body))
            else:
                await _pull_chunks(core, body)
                await core.transact(lambda: _join(core, (bucket_id, key, version)))
            continue
        if await core.transact(lambda: _say(core, (bucket_id, key, version), kind)):
            return True
    raise Overloaded("The object's bytes are evicted as fast as they come")


async def is_local(core: Core, body: Version) -> bool:
    """Whether the body lies in its record or its manifest."""
    if has_bytes(body.record):
        return True
    if not body.record.manifest:
        return False
    async for unit in units(core, body.at, body.record, 0, body.record.size):
        if unit.is_chunk:
            return False
    return True


async def _pull_chunks(core: Core, body: Version) -> None:
    under_way: deque[Flight] = deque()
    try:
        async for unit in units(core, body.at, body.record, 0, body.record.size):
            if unit.is_chunk and await chunk_extents(core, unit.at) is None:
                under_way.append(chunk_flight(core, body, unit))
            if len(under_way) == AT_ONCE:
                await _landed(under_way.popleft())
        while under_way:
            await _landed(under_way.popleft())
    finally:
        for flight in under_way:
            flight.leave()


async def _landed(flight: Flight) -> None:
    try:
        await flight.over()
    finally:
        flight.leave()
    if flight.failure is not None:
        raise BodyUnreachable(str(flight.failure)) from flight.failure
    if flight.not_kept is not None:
        raise flight.not_kept


Name = tuple[bytes, bytes, int]


async def _join(core: Core, name: Name) -> None:
    """Chunks that make up the record, or parts of its manifest, become their extents."""
    found = await find_body(core, *name)
    if found is None or has_bytes(found.record):
        return
    at, record = found.entry.key, found.record
    if not record.manifest:
        chunks = [unit async for unit in units(core, at, record, 0, record.size)]
        await _join_record(core, found, chunks, name)
        return
    gathered: list[Unit] = []
    async for unit in units(core, at, record, 0, record.size):
        if gathered and gathered[-1].part_at != unit.part_at:
            await _join_part(core, found, gathered, name)
            gathered = []
        if unit.is_chunk:
            gathered.append(unit)
    if gathered:
        await _join_part(core, found, gathered, name)


async def _join_record(core: Core, found: Found, chunks: list[Unit], name: Name) -> None:
    at, record = found.entry.key, found.record
    commit = await _taken_over(core, chunks, record, at)
    if commit is None:
        return
    log = say_cached(core, at, record)
    puts = [Put(at, encode(record))]
    if kind_in(record, core.region) == CACHED:
        puts.append(kept_put(Kept(*name, WHOLE, record.size)))
    await core.engine.commit(
        commit._replace(
            expect=[*commit.expect, (at, found.entry.version)],
            put=[*commit.put, *puts],
            log=log,
        )
    )


async def _join_part(core: Core, found: Found, chunks: list[Unit], name: Name) -> None:
    """The record is put anew, so that nobody else takes what it says of the bytes for current."""
    entry = await core.engine.get(chunks[0].part_at)
    if entry is None:
        return
    part = decode(entry.value, PartRecord)
    if part.extents:
        return
    commit = await _taken_over(core, chunks, part, entry.key)
    if commit is None:
        return
    puts = [Put(entry.key, encode(part))]
    if kind_in(found.record, core.region) in (CACHED, GONE):
        puts.append(kept_put(Kept(*name, of_part(part.number), part.size)))
    await core.engine.commit(
        commit._replace(
            expect=[*commit.expect, (entry.key, entry.version)],
            put=[*commit.put, *puts],
        )
    )


async def _taken_over(
    core: Core, chunks: list[Unit], record: ObjectRecord | PartRecord, owner: bytes
) -> Commit | None:
    """Move the bytes of chunks to `record`; None when they are not all here any more."""
    entries = [entry for entry in await core.engine.get_many([unit.at for unit in chunks]) if entry]
    if len(entries) != len(chunks):
        return None
    parts = [(entry.key, decode(entry.value, PartRecord)) for entry in entries]
    record.extents = [extent for _, part in parts for extent in part.extents]
    deletes = [each for at, part in parts for each in (at, *reference_deletes(part, at))]
    expect = [(entry.key, entry.version) for entry in entries]
    return Commit(expect, put=reference_puts(record, owner), delete=deletes)


async def _say(core: Core, name: Name, kind: int) -> bool:
    """Raise what the record says of this region to `kind`; False when the bytes went meanwhile.

    Whoever drops some of them puts the record anew, so what is found now holds in the commit.
    """
    found = await find_body(core, *name)
    if found is None:
        return True
    at, record = found.entry.key, found.record
    if not await is_local(core, Version(at, record)):
        return False
    if kind_in(record, core.region) >= kind:
        return True
    set_kind(record, core.region, kind)
    inline = inline_body(found.entry.value) if record.is_inline else b""
    log = [record_name(*keys.owner_name(at), record)] if core.is_cluster else []
    put = Put(at, encode(record, inline))
    await core.engine.commit(Commit([(at, found.entry.version)], put=[put], log=log))
    return True
