"""What must be true of a store's records at every moment between commits.

- Exactly one of O and D exists for a key that has a version in V, and is newer than all of V;
  never both. A key has at most one null version.
- Every record's bytes are referenced by it, and every reference belongs to a record that names
  the bytes.
- What a record says to be in this region is here; a chunk (C) is of a version that is there, or
  is soon found by the placer or the evictor.
- Records lie in buckets that exist; a manifest is referenced, or noted as garbage.

Pages are read one after another: on a store that is being written to, look again at what is
reported before believing it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from amur.meta import keys
from amur.meta.engine import Engine, Entry, prefix_end
from amur.meta.holdings import GONE, kind_in
from amur.meta.records import BucketRecord, GarbageRecord, ObjectRecord, PartRecord, decode
from amur.objects.core import Core
from amur.objects.pull.bodies import first_missing
from amur.objects.references import reference_puts

_PAGE = 500
_OBJECT_TABLES = (keys.OBJECTS, keys.MARKERS, keys.VERSIONS)
_PART_TABLES = (keys.PARTS, keys.MANIFESTS, keys.CHUNKS)


async def violations(core: Core) -> list[str]:
    """One line for each violation; empty when all is well. Memory: buckets and garbage notes."""
    found: list[str] = []
    found += [line async for line in _tables(core)]
    found += [line async for line in _histories(core.engine)]
    found += [line async for line in _references(core.engine)]
    found += [line async for line in _manifests(core.engine)]
    return found


async def pages(engine: Engine, table: bytes) -> AsyncIterator[list[Entry]]:
    """A table's entries, page by page."""
    at, end = table, prefix_end(table)
    while page := await engine.scan(at, end, _PAGE):
        yield page
        at = page[-1].key + b"\x00"


async def _tables(core: Core) -> AsyncIterator[str]:
    """Each record by itself: in its table, in a bucket that exists, its bytes referenced."""
    engine = core.engine
    buckets = {
        decode(entry.value, BucketRecord).id
        async for page in pages(engine, keys.BUCKETS)
        for entry in page
    }
    for table in (*_OBJECT_TABLES, *_PART_TABLES):
        async for page in pages(engine, table):
            wanted: list[bytes] = []
            for entry in page:
                if table in _OBJECT_TABLES:
                    record = decode(entry.value, ObjectRecord)
                    for line in _object_faults(core, entry, record, buckets):
                        yield line
                    if core.is_cluster and await _says_too_much(core, entry.key, record):
                        yield f"{entry.key!r} says that its bytes are here: they are not"
                    wanted += [put.key for put in reference_puts(record, entry.key)]
                else:
                    part = decode(entry.value, PartRecord)
                    wanted += [put.key for put in reference_puts(part, entry.key)]
            present = await engine.get_many(wanted)
            for key, reference in zip(wanted, present, strict=True):
                if reference is None:
                    yield f"no reference {key!r} although its record names the bytes"


async def _says_too_much(core: Core, at: bytes, record: ObjectRecord) -> bool:
    """Whether other regions would look in vain for bytes here."""
    if record.is_marker or kind_in(record, core.region) == GONE:
        return False
    return await first_missing(core, at, record) is not None


def _object_faults(
    core: Core, entry: Entry, record: ObjectRecord, buckets: set[bytes]
) -> Iterator[str]:
    at = entry.key
    if at[1 : keys.OBJECT_PREFIX_BYTES] not in buckets:
        yield f"{at!r} lies in a bucket that does not exist"
    if at.startswith(keys.VERSIONS):
        _, version = keys.split_version(at)
        if version != record.version:
            yield f"{at!r} holds version {record.version}"
    elif record.is_marker != at.startswith(keys.MARKERS):
        yield f"{at!r} holds {'a marker' if record.is_marker else 'an object'}"
    if record.is_marker and (record.extents or record.manifest or record.size):
        yield f"the marker {at!r} has a body"
    held = record.is_inline + bool(record.manifest) + bool(record.extents)
    is_elsewhere = core.is_cluster and not held and record.size > 0
    if not record.is_marker and held != 1 and not is_elsewhere:
        yield f"{at!r} has its body in {held} places"


async def _histories(engine: Engine) -> AsyncIterator[str]:
    """What is newest, and what lies behind it."""
    async for page in pages(engine, keys.OBJECTS):
        markers = await engine.get_many([keys.MARKERS + entry.key[1:] for entry in page])
        for entry, marker in zip(page, markers, strict=True):
            if marker is not None:
                yield f"{entry.key!r} is object and marker at once"
    before: tuple[bytes, int, bool] = (b"", 0, False)  # key, version and whether a null was met
    async for page in pages(engine, keys.VERSIONS):
        for entry in page:
            key, version = keys.split_version(entry.key)
            record = decode(entry.value, ObjectRecord)
            if key != before[0]:
                top = await _newest(engine, key)
                if top is None:
                    yield f"{entry.key!r} has nothing newer before it"
                before = (key, top.version, top.is_null) if top is not None else (key, 2**64, False)
            if version >= before[1]:
                yield f"{entry.key!r} is not older than the version before it"
            if record.is_null and before[2]:
                yield f"{entry.key!r} is a second null version"
            before = (key, version, before[2] or record.is_null)


async def _newest(engine: Engine, key: bytes) -> ObjectRecord | None:
    """`key` is bucket id and raw key."""
    for entry in await engine.get_many([keys.OBJECTS + key, keys.MARKERS + key]):
        if entry is not None:
            return decode(entry.value, ObjectRecord)
    return None


async def _references(engine: Engine) -> AsyncIterator[str]:
    """Every reference is owned."""
    async for page in pages(engine, keys.REFERENCES):
        owners = await engine.get_many([keys.split_reference(entry.key)[2] for entry in page])
        for entry, owner in zip(page, owners, strict=True):
            if owner is None:
                yield f"the reference {entry.key!r} has no owner"
                continue
            if owner.key.startswith(_PART_TABLES):
                puts = reference_puts(decode(owner.value, PartRecord), owner.key)
            else:
                puts = reference_puts(decode(owner.value, ObjectRecord), owner.key)
            if entry.key not in {put.key for put in puts}:
                yield f"the reference {entry.key!r} is to bytes that its owner does not name"


async def _manifests(engine: Engine) -> AsyncIterator[str]:
    """A manifest is an object's, or on its way out."""
    garbage = {
        note.manifest
        for table in (keys.GARBAGE, keys.DOOMED)
        async for page in pages(engine, table)
        for entry in page
        if (note := decode(entry.value, GarbageRecord)).manifest
    }
    last = b""
    async for page in pages(engine, keys.MANIFESTS):
        for entry in page:
            manifest = entry.key[1 : 1 + keys.ID_BYTES]
            if manifest == last or manifest in garbage:
                continue
            last = manifest
            prefix = keys.reference_prefix(manifest, 0)
            if not await engine.scan(prefix, prefix_end(prefix), 1):
                yield f"the manifest {manifest.hex()} is neither referenced nor garbage"
