"""Entries as they are told to peers, compared, and merged in."""

from __future__ import annotations

from collections.abc import Sequence

from amur.meta import keys
from amur.meta.engine import Commit, Entry, Put
from amur.meta.entries import latest, merged
from amur.meta.log import Changed
from amur.meta.records import VERSION_STAMP, EntryRecord, decode, encode
from amur.objects.core import Core
from amur.objects.registry import epoch_puts, is_expired, places
from amur.regions.messages import Item

CHUNK_ITEMS = 256  # items of one commit, as of versions


async def entry_items(core: Core, changed: Sequence[Changed]) -> list[Item]:
    found = await core.engine.get_many([keys.entry_key(each.key) for each in changed])
    return [
        Item(keys.ENTRIES_ID, each.key, state=entry.value)
        for each, entry in zip(changed, found, strict=True)
        if entry is not None
    ]


async def merge_entries(core: Core, items: Sequence[Item]) -> None:
    """Raises what `Core.transact` does."""
    now = core.clock.now_ns()
    told: dict[bytes, EntryRecord] = {}
    for item in items:
        if not is_expired(item.key, now):
            theirs = decode(item.state, EntryRecord)
            told[item.key] = merged(told.get(item.key), theirs)
    found = list(told.items())
    for at in range(0, len(found), CHUNK_ITEMS):
        chunk = found[at : at + CHUNK_ITEMS]
        await core.transact(lambda chunk=chunk: _merge(core, chunk))  # type: ignore[misc]


async def _merge(core: Core, told: Sequence[tuple[bytes, EntryRecord]]) -> None:
    here = await core.engine.get_many([keys.entry_key(path) for path, _ in told])
    expect: list[tuple[bytes, int]] = []
    puts: list[Put] = []
    deletes: list[bytes] = []
    changed: list[bytes] = []
    after = 0
    for (path, theirs), entry in zip(told, here, strict=True):
        mine = decode(entry.value, EntryRecord) if entry is not None else None
        record = merged(mine, theirs)
        if record is mine:
            continue
        at = keys.entry_key(path)
        expect.append((at, entry.version if entry is not None else 0))
        puts.append(Put(at, encode(record), VERSION_STAMP))
        puts += [Put(place, b"\x00") for place in places(path, record)]
        if record.gone and mine is not None:
            deletes += places(path, mine)
        after = max(after, latest(record))
        changed.append(path)
    puts += epoch_puts(changed)
    if puts:
        await core.engine.commit(Commit(expect, put=puts, delete=deletes, after=after))


def entries_range(start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """The keys of entries whose places, ENTRIES_ID and the path, are in [start, end)."""
    wide = keys.BUCKET_ID_BYTES
    first = start[wide:] if start[:wide] == keys.ENTRIES_ID else b""
    if end <= keys.ENTRIES_ID:
        return keys.ENTRIES, keys.ENTRIES
    return keys.ENTRIES + first, keys.ENTRIES + (end[wide:] or b"\xff")


def entry_of(entry: Entry) -> tuple[bytes, EntryRecord]:
    """Path and record of a row."""
    return entry.key[1:], decode(entry.value, EntryRecord)
