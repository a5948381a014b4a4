"""Records as owners of bytes: decoding by table, and moving an extent to another place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from amur.meta import keys
from amur.meta.engine import Entry, Put
from amur.meta.records import Extent, ObjectRecord, PartRecord, decode, encode, inline_body

Owner = ObjectRecord | PartRecord
Place = tuple[bytes, int]  # file id and offset

_PARTS = (keys.PARTS, keys.MANIFESTS, keys.CHUNKS)
OWNER_TABLES = (keys.OBJECTS, keys.MARKERS, keys.VERSIONS, *_PARTS)


def owner_record(entry: Entry) -> Owner:
    """The record of an entry from one of OWNER_TABLES. Raises RecordDamaged."""
    if entry.key[:1] in _PARTS:
        return decode(entry.value, PartRecord)
    return decode(entry.value, ObjectRecord)


def extent_at(entry: Entry | None, place: Place) -> Extent | None:
    """The extent at `place` that the entry's record names, if it does."""
    if entry is not None and entry.key[:1] in OWNER_TABLES:
        for extent in owner_record(entry).extents:
            if (extent.file, extent.offset) == place:
                return extent
    return None


def moved(entries: Sequence[Entry], moves: Mapping[Place, Extent]) -> tuple[list[Put], list[bytes]]:
    """Puts and deletes that make the records name their bytes at the new places.

    Each record keeps its version, and with it Last-Modified and version id.
    """
    puts: list[Put] = []
    deletes: list[bytes] = []
    for entry in entries:
        record = owner_record(entry)
        new = [moves.get((extent.file, extent.offset), extent) for extent in record.extents]
        for old, extent in zip(record.extents, new, strict=True):
            if extent is not old:
                assert extent.length == old.length, "a move keeps the bytes"
                deletes.append(keys.reference_key(old.file, old.offset, entry.key))
                puts.append(Put(keys.reference_key(extent.file, extent.offset, entry.key), b""))
        record.extents = new
        puts.append(Put(entry.key, encode(record, inline_body(entry.value))))
    return puts, deletes
