"""Entries: small replicated records by path, with indexes, changed together in one commit.

What they mean is for those above (`amur/iam/`). Paths sort as bytes. An entry that is gone keeps
its place, so that nothing brings it back, except an event: events are dropped by their age, which
their path tells, in every region by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from amur.meta import keys
from amur.meta.engine import STOP, Commit, Entry, Put, prefix_end
from amur.meta.entries import latest
from amur.meta.log import entry_name
from amur.meta.records import VERSION_STAMP, EntryRecord, decode, encode
from amur.objects.core import Core, translation

T = TypeVar("T")

EPOCH_KEY = keys.singleton_key("entries-epoch")
"""Written in every commit that changes entries but those UNKEPT: who keeps something of them in
memory compares its version."""

EVENTS = b"e"
"""First byte of an event's path; its time follows in eight bytes, nanoseconds."""
UNKEPT = (EVENTS, b"u")
"""First bytes of paths of which nobody keeps anything: events, and when keys were last used."""
EVENT_SECONDS = 90 * 86_400  # how long an event is kept: what most audits ask for


def event_time(path: bytes) -> int:
    """Nanoseconds of an event's path; 0 of any other's."""
    return int.from_bytes(path[1:9], "big") if path[:1] == EVENTS else 0


def event_end(now_ns: int) -> bytes:
    """What the paths of events that are dropped come before."""
    return EVENTS + max(0, now_ns - EVENT_SECONDS * 1_000_000_000).to_bytes(8, "big")


def is_expired(path: bytes, now_ns: int) -> bool:
    """Whether it is an event that is dropped, or not taken in any more."""
    return EVENTS <= path < event_end(now_ns)


def epoch_puts(paths: Iterable[bytes]) -> list[Put]:
    """What a commit that changes these paths puts besides."""
    return [Put(EPOCH_KEY, b"\x00")] if any(path[:1] not in UNKEPT for path in paths) else []


def places(path: bytes, record: EntryRecord) -> list[bytes]:
    """Keys of the index rows of a living entry."""
    return [keys.entry_index_key(each, path) for each in record.index]


class Transaction:
    """Reads and changes of entries that become one commit; what was read must not have changed."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._read: dict[bytes, Entry | None] = {}
        self._records: dict[bytes, EntryRecord] = {}
        self._changed: dict[bytes, EntryRecord] = {}  # as they were before; {} of new ones
        self._touched: dict[bytes, None] = {}  # in order
        self._empty: list[tuple[bytes, bytes]] = []

    async def get(self, path: bytes) -> EntryRecord | None:
        """The living entry, to be changed by `set` only."""
        record = await self._load(path)
        return None if record is None or record.gone else record

    async def exists(self, path: bytes) -> bool:
        """Also when it is gone: the path can't be used again."""
        return await self._load(path) is not None

    async def _load(self, path: bytes) -> EntryRecord | None:
        if path in self._records:
            return self._records[path]
        if path not in self._read:
            self._read[path] = entry = await self._core.engine.get(keys.entry_key(path))
            if entry is not None:
                self._records[path] = decode(entry.value, EntryRecord)
        return self._records.get(path)

    async def find(self, index: bytes, limit: int = 1 << 31) -> list[bytes]:
        """Paths under an index value, in order. They may change before the commit: see `alone`, and
        `touch` of an entry that whoever adds one touches, too."""
        return await find(self._core, index, limit=limit)

    def alone(self, index: bytes) -> None:
        """Nothing may stand under this index value when the commit is made."""
        prefix = keys.entry_index_prefix(index)
        self._empty.append((prefix, prefix_end(prefix)))

    async def create(
        self, path: bytes, values: Mapping[str, Any], index: Sequence[bytes] = ()
    ) -> EntryRecord:
        """A new entry. One that is gone can't be made again."""
        assert await self._load(path) is None, "an entry is made once"
        at = self._core.stamp(0)
        record = EntryRecord(0, dict(values), dict.fromkeys(values, at), sorted(index))
        self._records[path] = record
        self._changed[path] = EntryRecord()
        return record

    def set(self, path: bytes, values: Mapping[str, Any]) -> None:
        """Change fields of a living entry that was read. One that has the value already is said
        again: later than what another region may have said meanwhile."""
        record = self._records[path]
        assert not record.gone, "an entry that is gone can't be changed"
        at = self._core.stamp(latest(record))
        for name, value in values.items():
            self._changed.setdefault(path, record)
            record.values[name] = value
            record.changed[name] = at

    def touch(self, path: bytes) -> None:
        """Of two commits that have read this living entry, one fails if the other touched it. It
        stays as it is, and no peer is told. For what hangs on more than one entry: whoever attaches
        a policy touches it, and whoever deletes it reads it first and looks for attachments then,
        so none is overlooked. Nothing but touched is nothing changed: there is no commit."""
        assert not self._records[path].gone, "an entry that is gone holds nothing together"
        self._touched[path] = None

    def remove(self, path: bytes) -> None:
        """For good. Of an entry that was read."""
        record = self._records[path]
        if not record.gone:
            self._changed[path] = record
            self._records[path] = EntryRecord(gone=self._core.stamp(latest(record)))

    def commit(self) -> Commit:
        """Empty when nothing was changed."""
        expect = [
            (keys.entry_key(path), entry.version if entry else 0)
            for path, entry in self._read.items()
        ]
        puts: list[Put] = []
        deletes: list[bytes] = []
        for path, before in self._changed.items():
            record = self._records[path]
            puts.append(Put(keys.entry_key(path), encode(record), VERSION_STAMP))
            puts += [Put(place, b"\x00") for place in places(path, record)]
            if record.gone:
                deletes += places(path, before)
        touched = [path for path in self._touched if self._changed and path not in self._changed]
        for path in touched:
            puts.append(Put(keys.entry_key(path), encode(self._records[path]), VERSION_STAMP))
        puts += epoch_puts(self._changed)
        log = [entry_name(path) for path in self._changed] if self._core.is_cluster else []
        after = max((latest(self._records[path]) for path in self._changed), default=0)
        return Commit(expect, self._empty, puts, deletes, log, after)


class Registry:
    """Entries of one region's metadata."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._last_event = 0

    def event_time(self) -> int:
        """Of an event that happens now: later than those before it, of this process."""
        self._last_event = self.core.stamp(self._last_event)
        return self._last_event

    async def transact(self, attempt: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `attempt` and commit what it changed; again when somebody changed what it read."""

        async def once() -> T:
            transaction = Transaction(self.core)
            result = await attempt(transaction)
            commit = transaction.commit()
            if commit.put:
                await self.core.engine.commit(commit)
            return result

        return await self.core.transact(once)

    async def get(self, path: bytes) -> EntryRecord | None:
        return (await self.get_many([path]))[0]

    async def get_many(self, paths: Sequence[bytes]) -> list[EntryRecord | None]:
        """From one snapshot; None for those that are not there."""
        with translation:
            found = await self.core.engine.get_many([keys.entry_key(path) for path in paths])
            return [_living(entry) for entry in found]

    async def find(
        self, index: bytes, *, after: bytes = b"", limit: int = 1 << 31
    ) -> list[tuple[bytes, EntryRecord]]:
        """Living entries under an index value, by path, those after `after`."""
        paths = await find(self.core, index, after=after, limit=limit)
        records = await self.get_many(paths)
        return [(path, each) for path, each in zip(paths, records, strict=True) if each]

    async def scan(
        self, start: bytes, end: bytes, limit: int, *, reverse: bool = False
    ) -> list[tuple[bytes, EntryRecord]]:
        """Living entries with paths in [start, end)."""
        found: list[tuple[bytes, EntryRecord]] = []

        def visit(key: bytes, value: memoryview, _version: int) -> bytes | None:
            record = decode(value, EntryRecord)
            if not record.gone:
                found.append((bytes(key[1:]), record))
            return STOP if len(found) >= limit else None

        with translation:
            await self.core.engine.walk(
                keys.entry_key(start), keys.entry_key(end), visit, reverse=reverse
            )
        return found

    async def epoch(self) -> int:
        """Another number after every change but of what is UNKEPT."""
        entry = await self.core.engine.get(EPOCH_KEY)
        return entry.version if entry is not None else 0


def _living(entry: Entry | None) -> EntryRecord | None:
    if entry is None:
        return None
    record = decode(entry.value, EntryRecord)
    return None if record.gone else record


async def find(
    core: Core, index: bytes, *, after: bytes = b"", limit: int = 1 << 31
) -> list[bytes]:
    """Paths under an index value, in order, those after `after`."""
    prefix = keys.entry_index_prefix(index)
    start = prefix + after + b"\x00" if after else prefix
    with translation:
        rows = await core.engine.scan(start, prefix_end(prefix), limit)
    return [row.key[len(prefix) :] for row in rows]
