"""What the workers ask of the reference table: is this file, or this extent, still in use?"""

from __future__ import annotations

from collections.abc import Iterable

from amur.meta import keys
from amur.meta.engine import STOP, Engine, Put, Visitor, prefix_end
from amur.meta.records import VERSION_STAMP, Extent, GarbageRecord, encode

Range = tuple[bytes, bytes]


def file_range(file_id: bytes) -> Range:
    """Where all references into a file (or to a manifest) stand."""
    prefix = keys.REFERENCES + file_id
    return prefix, prefix_end(prefix)


def extent_range(file_id: bytes, offset: int) -> Range:
    prefix = keys.reference_prefix(file_id, offset)
    return prefix, prefix_end(prefix)


async def unused(engine: Engine, file_ids: Iterable[bytes]) -> set[bytes]:
    """Those of the files and manifests that nothing refers to, as of one snapshot."""
    left = set(file_ids)

    def mark(key: bytes, value: memoryview, version: int) -> bytes | None:
        left.discard(key[1:17])
        return STOP

    await engine.walk_many([(*file_range(file_id), mark) for file_id in sorted(left)])
    return left


async def owners(engine: Engine, places: Iterable[tuple[bytes, int]]) -> list[list[bytes]]:
    """For each (file, offset) the keys of the records that use it, in order, in one snapshot."""
    found: list[list[bytes]] = []

    def collector(into: list[bytes]) -> Visitor:
        def visit(key: bytes, value: memoryview, version: int) -> None:
            into.append(keys.split_reference(key)[2])

        return visit

    walks = []
    for file_id, offset in places:
        found.append([])
        walks.append((*extent_range(file_id, offset), collector(found[-1])))
    await engine.walk_many(walks)
    return found


def file_note(file_ids: Iterable[bytes]) -> Put:
    """Garbage: look at these whole files, nothing seems to use them any more."""
    note = GarbageRecord(extents=[Extent(file_id, 0, 0) for file_id in file_ids])
    return Put(keys.garbage_key(0), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP)


def doomed_put(
    sequence: int, *, file_ids: Iterable[bytes] = (), manifest: bytes = b"", is_sealed: bool = True
) -> Put:
    """To be freed after the grace period. To be committed with the proof that nothing uses it."""
    note = GarbageRecord(
        extents=[Extent(file_id, 0, 0) for file_id in file_ids],
        manifest=manifest,
        is_sealed=is_sealed,
    )
    return Put(keys.doomed_key(sequence), encode(note), VERSION_STAMP, key_stamp=keys.GARBAGE_STAMP)
