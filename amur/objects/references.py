"""Who uses which bytes. A reference is present exactly while a record names the bytes.

References are put and deleted in the very commit that puts, moves or removes the record, so they
are exact at all times; bytes that lost one are noted as garbage and freed after the grace period
if no reference is left. Several records may share bytes (copies, renamed versions).
"""

from __future__ import annotations

from collections.abc import Iterator

from amur.meta import keys
from amur.meta.engine import Put
from amur.meta.records import VERSION_STAMP, GarbageRecord, ObjectRecord, PartRecord, encode


def _targets(record: ObjectRecord | PartRecord) -> Iterator[tuple[bytes, int]]:
    for extent in record.extents:
        yield extent.file, extent.offset
    if isinstance(record, ObjectRecord) and record.manifest:
        yield record.manifest, 0


def reference_puts(record: ObjectRecord | PartRecord, owner: bytes) -> list[Put]:
    """For the commit that puts `record` at metadata key `owner`."""
    return [Put(keys.reference_key(file, at, owner), b"") for file, at in _targets(record)]


def reference_deletes(record: ObjectRecord | PartRecord, owner: bytes) -> list[bytes]:
    """For the commit that removes `record` from `owner`."""
    return [keys.reference_key(file, at, owner) for file, at in _targets(record)]


def garbage_put(record: ObjectRecord | PartRecord, sequence: int = 0) -> list[Put]:
    """Note the bytes of a record that goes; nothing for one without bytes outside it.

    `sequence` tells apart several notes of one commit.
    """
    manifest = record.manifest if isinstance(record, ObjectRecord) else b""
    if not record.extents and not manifest:
        return []
    note = GarbageRecord(extents=record.extents, manifest=manifest)
    return [
        Put(keys.garbage_key(sequence), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP)
    ]
