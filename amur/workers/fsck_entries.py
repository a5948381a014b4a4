"""fsck of the directory: each entry can be read and is found by its index values, and no index row
leads to something that does not say so."""

from __future__ import annotations

from collections.abc import Sequence

from amur.meta import keys
from amur.meta.engine import Commit, Entry, Put
from amur.meta.records import EntryRecord
from amur.objects.registry import epoch_puts, places
from amur.workers.fsck_session import UNREADABLE, Found, Session, decoded


class EntryChecks:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def run(self) -> None:
        await self._session.over(keys.ENTRIES, self._entries)
        await self._session.over(keys.ENTRY_INDEX, self._index)

    async def _entries(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        wanted: dict[bytes, Entry] = {}
        for entry in page:
            record = decoded(entry, EntryRecord)
            if record is None:
                kind = "entry-damaged" if entry.version == UNREADABLE else "directory-undecodable"
                found.append(Found(kind, entry.key, repair=self._session.giving_up(entry)))
            else:
                wanted |= dict.fromkeys(places(entry.key[1:], record), entry)
        rows = await self._session.read(list(wanted))
        for (place, entry), row in zip(wanted.items(), rows, strict=True):
            if row is None:
                puts = [Put(place, b"\x00"), *epoch_puts([entry.key[1:]])]
                repair = self._session.putting(entry, *puts)
                found.append(Found("directory-unindexed", entry.key, repr(place), repair))
        return found

    async def _index(self, page: Sequence[Entry]) -> list[Found]:
        paths = [keys.unescaped(row.key[1:])[1] for row in page]
        entries = await self._session.read([keys.entry_key(path) for path in paths])
        found = []
        for row, path, entry in zip(page, paths, entries, strict=True):
            record = decoded(entry, EntryRecord) if entry is not None else None
            if entry is not None and record is None:
                continue  # that is told of the entry itself
            if record is None or row.key not in places(path, record):
                away = Commit(expect=[(row.key, row.version)], delete=[row.key])
                repair = lambda away=away: self._session.engine.commit(away)  # noqa: E731
                found.append(Found("directory-index-stray", row.key, repair=repair))
        return found
