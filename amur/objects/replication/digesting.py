"""Comparing what two regions have, range by range: the answering side of anti-entropy.

A range is [start, end) of bucket id + raw key; behind all buckets are the entries, by path. Its
digest is over what merges: which versions, tombstones and entries there are, and the marks of what
may change of them in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from amur.limits import MIB
from amur.meta import keys
from amur.meta.engine import STOP, Entry, Visitor
from amur.meta.entries import state
from amur.meta.log import Changed
from amur.meta.records import ObjectRecord, decode
from amur.objects.core import Core
from amur.objects.replication.entries import entries_range, entry_of
from amur.objects.replication.items import bucket_item, items_of
from amur.regions.messages import BucketsAsk, Digest, DigestAsk, Item, Items, ItemsAsk

DIGEST_BYTES = 16
ITEMS_BYTES_MAX = 4 * MIB
"""Of a page, which exceeds it by one item at most: the manifest of 10,000 parts takes 3 MB."""
PART_BYTES = 400  # of a part in a manifest, at most but for what clients make of its checksums
LOOK_UP_ENTRIES = 100  # items built at a stretch
RANGE_ENTRIES_MAX = 20_000
"""Of a range that a peer asks to digest: more than it has itself, so it is not asked on and on."""

END = b"\xff" * (keys.BUCKET_ID_BYTES + 1)
"""Behind every bucket id and key but those of a bucket whose id is all 0xff: 1 of 2**64."""


class Mark(NamedTuple):
    """A version or tombstone, and the hash of its state."""

    place: bytes  # bucket id + raw key
    changed: Changed
    state: bytes
    size: int  # what its item takes on the wire, nearly


_MarkOf = Callable[[Entry], Mark]


async def marks(core: Core, start: bytes, end: bytes, limit: int) -> tuple[list[Mark], bytes]:
    """About `limit` marks of [start, end) in order, whole keys only, and where to go on (b"" when
    that was all)."""
    while True:
        found, cut = await _marks(core, start, end, limit)
        if found or not cut:
            return found, cut
        limit *= 4  # one key has so many versions


async def _marks(core: Core, start: bytes, end: bytes, limit: int) -> tuple[list[Mark], bytes]:
    tables = _Tables(limit)
    await core.engine.walk_many(
        [
            (keys.OBJECTS + start, keys.OBJECTS + end, tables.visitor(_version)),
            (keys.MARKERS + start, keys.MARKERS + end, tables.visitor(_version)),
            (*_escaped(keys.VERSIONS, start, end), tables.visitor(_version)),
            (*_escaped(keys.TOMBSTONES, start, end), tables.visitor(_grave)),
            (*entries_range(start, end), tables.visitor(_entry)),
        ]
    )
    return tables.result()


def _escaped(table: bytes, start: bytes, end: bytes) -> tuple[bytes, bytes]:
    """The range where raw keys stand escaped: NUL sorts the same, and is NUL 0xff there."""
    wide = keys.BUCKET_ID_BYTES
    return (
        table + start[:wide] + keys.escaped_prefix(start[wide:]),
        table + end[:wide] + keys.escaped_prefix(end[wide:]),
    )


class _Tables:
    """Up to `limit` marks of each table, which are all that can matter up to the least cut."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: list[Mark] = []
        self._cut = b""  # nothing from this place on is known to be complete

    def visitor(self, mark_of: _MarkOf) -> Visitor:
        taken = 0

        def visit(at: bytes, value: memoryview, version: int) -> bytes | None:
            nonlocal taken
            mark = mark_of(Entry(at, bytes(value), version))
            if taken >= self._limit:
                self._cut = min(self._cut or mark.place, mark.place)
                return STOP
            taken += 1
            self._found.append(mark)
            return None

        return visit

    def result(self) -> tuple[list[Mark], bytes]:
        found = [mark for mark in self._found if not self._cut or mark.place < self._cut]
        found.sort(key=lambda mark: (mark.place, mark.changed.version or 0))
        return found, self._cut


def _state(record: ObjectRecord) -> bytes:
    holdings = ",".join(f"{name}={value}" for name, value in sorted(record.holdings.items()))
    facts = f"{record.version} {record.tags_at} {record.acl_at} {record.home_epoch} {holdings}"
    return facts.encode()


def _version(entry: Entry) -> Mark:
    bucket_id, key = keys.owner_name(entry.key)
    record = decode(entry.value, ObjectRecord)
    version = None if record.is_null else record.version
    size = len(key) + len(entry.value) + record.part_count * PART_BYTES
    return Mark(bucket_id + key, Changed(bucket_id, key, version), _state(record), size)


def _grave(entry: Entry) -> Mark:
    bucket_id, key, version = keys.split_tombstone(entry.key)
    return Mark(bucket_id + key, Changed(bucket_id, key, version), b"", len(key))


def _entry(entry: Entry) -> Mark:
    path, record = entry_of(entry)
    place = keys.ENTRIES_ID + path
    size = len(path) + len(entry.value)
    return Mark(place, Changed(keys.ENTRIES_ID, path, None), state(record), size)


def digest_of(found: list[Mark]) -> bytes:
    """Of the versions among the marks. Tombstones tell nothing: one side may have collected its
    own, and a version that one of them forbids makes the digests differ by itself."""
    total = blake2b(digest_size=DIGEST_BYTES)
    for mark in found:
        if mark.state:
            name = b"%d %d " % (len(mark.place), mark.changed.version or 0)
            total.update(name + mark.place + mark.state)
    return total.digest()


async def take_digest_ask(core: Core, ask: DigestAsk) -> Digest:
    """The digest of a range; of one with too much in it for that, a digest that no other has."""
    found, cut = await marks(core, ask.start, ask.end, RANGE_ENTRIES_MAX)
    if cut:
        return Digest(len(found), b"")
    return Digest(len(found), digest_of(found))


async def take_items_ask(core: Core, ask: ItemsAsk) -> Items:
    """A page of a range, in order of keys and versions."""
    found, cut = await marks(core, ask.start, ask.end, max(1, ask.limit))
    size = 0
    page: list[Changed] = []
    for mark in found:
        version = mark.changed.version or 0
        if mark.place == ask.start and version <= ask.after:
            continue
        if size >= ITEMS_BYTES_MAX:
            return Items(await _items(core, page, ask.asker), *_before(mark))
        page.append(mark.changed)
        size += mark.size
    return Items(await _items(core, page, ask.asker), cut)


def _before(mark: Mark) -> tuple[bytes, int]:
    """Where to go on with this mark."""
    return mark.place, (mark.changed.version or 0) - 1


async def _items(core: Core, changed: Sequence[Changed], asker: str) -> list[Item]:
    items: list[Item] = []
    for at in range(0, len(changed), LOOK_UP_ENTRIES):
        items += await items_of(core, changed[at : at + LOOK_UP_ENTRIES], asker)
        await asyncio.sleep(0)
    return items


async def take_buckets_ask(core: Core, ask: BucketsAsk) -> Items:
    """Buckets and tombstones of buckets, by name."""
    names: set[str] = set()
    is_more = False
    for table in (keys.BUCKETS, keys.BUCKET_TOMBSTONES):
        start = table + ask.after.encode() + b"\x00" if ask.after else table
        rows = await core.engine.scan(start, table + b"\xff", ask.limit)
        names |= {row.key[1:].decode() for row in rows}
        is_more = is_more or len(rows) == ask.limit
    page = sorted(names)[: ask.limit]
    items = [await bucket_item(core, name) for name in page]
    return Items(items, page[-1].encode() if is_more and page else b"")
