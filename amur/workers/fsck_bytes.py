"""fsck's checks of references against records, and of bytes and files against both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from amur.data.store import DataDamaged, DataMissing, FileInfo
from amur.meta import keys
from amur.meta.engine import Commit, Entry, prefix_end
from amur.meta.records import Extent, GarbageRecord, ObjectRecord, PartRecord
from amur.objects.pull.kept import drop_chunk
from amur.workers.fsck_histories import HistoryChecks
from amur.workers.fsck_session import (
    PAGE,
    UNREADABLE,
    Found,
    Repair,
    Session,
    decoded,
    decoded_owner,
)
from amur.workers.owners import OWNER_TABLES, Place
from amur.workers.usage import file_note, file_range, unused


class ByteChecks:
    """References, bytes, files, and the notes of garbage."""

    def __init__(self, session: Session, histories: HistoryChecks) -> None:
        self._session = session
        self._histories = histories
        self._files: dict[bytes, FileInfo] = {}
        self._read_bytes = True
        self._checked: tuple[Place, str] = ((b"", 0), "")

    async def collect_notes(self) -> None:
        """What is noted as garbage is no orphan."""
        for table in (keys.GARBAGE, keys.DOOMED):
            await self._session.over(table, self._notes)

    async def run_references(self) -> None:
        await self._session.over(keys.REFERENCES, self._references)

    async def run_bytes(self, *, read_bytes: bool) -> None:
        self._files = {info.id: info for info in self._session.core.data.files()}
        self._session.report.checked["files"] += len(self._files)
        self._read_bytes = read_bytes
        await self._session.over(keys.REFERENCES, self._bytes)
        await self._orphans()
        for table in (keys.GARBAGE, keys.DOOMED):
            await self._session.over(table, self._stale_notes)

    # --- references ---
    async def _references(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        split = [keys.split_reference(entry.key) for entry in page]
        named = await self._session.read([owner or b"\x00" for _, _, owner in split])
        for entry, (file_id, offset, owner), holder in zip(page, split, named, strict=True):
            if holder is None or owner[:1] not in OWNER_TABLES:
                expect = [(entry.key, entry.version), *([(owner, 0)] if owner else [])]
                kind = "reference-without-record"
            else:
                record = decoded_owner(holder)
                if record is None or _names(record, file_id, offset):
                    continue
                expect = [(entry.key, entry.version), (owner, holder.version)]
                kind = "reference-to-stranger"
            commit = Commit(expect=expect, delete=[entry.key], put=[file_note([file_id])])
            found.append(Found(kind, entry.key, repair=self._committing(commit)))
        return found

    def _committing(self, commit: Commit) -> Repair:
        return lambda: self._session.engine.commit(commit)

    # --- bytes ---
    async def _bytes(self, page: Sequence[Entry]) -> list[Found]:
        found: list[Found] = []
        split = [keys.split_reference(entry.key) for entry in page]
        holders = await self._session.read([owner or b"\x00" for _, _, owner in split])
        for (file_id, offset, _), holder, reference in zip(split, holders, page, strict=True):
            record = decoded_owner(holder) if holder is not None else None
            if holder is None or record is None:
                continue
            for extent in record.extents:
                if (extent.file, extent.offset) == (file_id, offset):
                    kind = await self._damage(extent)
                    if kind and holder.key.startswith(keys.CHUNKS):
                        away = self._dropping(holder.key)
                        found.append(Found("copy-damaged", reference.key, repair=away))
                    elif kind:
                        repair = await self._histories.giving_up(holder)
                        detail = f"of {holder.key!r}"
                        found.append(Found(kind, reference.key, detail, repair))
        return found

    def _dropping(self, chunk: bytes) -> Repair:
        return lambda: drop_chunk(self._session.core, chunk)

    async def _damage(self, extent: Extent) -> str:
        """The kind of damage to an extent, "" for none; asked once for all its owners."""
        place = (extent.file, extent.offset)
        if self._checked[0] != place:
            self._checked = (place, await self._check(extent))
        return self._checked[1]

    async def _check(self, extent: Extent) -> str:
        info = self._files.get(extent.file)
        is_short = info is not None and info.size < extent.offset + extent.length
        try:
            if self._read_bytes:
                await self._session.core.data.check(extent)
            elif info is None:
                return "file-missing"
        except DataMissing:
            return "file-missing"
        except DataDamaged:
            return "file-truncated" if is_short else "bytes-damaged"
        return "file-truncated" if is_short else ""

    # --- files ---
    async def _orphans(self) -> None:
        dead = [info.id for info in self._files.values() if not info.live_writer]
        for begin in range(0, len(dead), PAGE):
            for file_id in sorted(await self._idle(dead[begin : begin + PAGE])):
                await self._session.settle(
                    Found("file-orphaned", file_id, repair=self._unlinking(file_id))
                )

    async def _idle(self, file_ids: Sequence[bytes]) -> set[bytes]:
        """Files that nothing refers to and no note names."""
        idle = await unused(self._session.engine, file_ids) - self._session.noted
        if idle:
            await self.collect_notes()  # the workers may have come meanwhile
        return idle - self._session.noted

    def _unlinking(self, file_id: bytes) -> Callable[[], Awaitable[object]]:
        return lambda: self._session.core.data.unlink(file_id)

    # --- notes ---
    async def _notes(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            note = decoded(entry, GarbageRecord)
            if note is None:
                away = Commit(expect=[(entry.key, entry.version)], delete=[entry.key])
                unreadable = entry.version == UNREADABLE
                kind = "entry-damaged" if unreadable else "note-undecodable"
                found.append(Found(kind, entry.key, repair=self._committing(away)))
                continue
            self._session.noted.update(extent.file for extent in note.extents)
            self._session.noted.add(note.manifest)
        return found

    async def _stale_notes(self, page: Sequence[Entry]) -> list[Found]:
        found = []
        for entry in page:
            note = decoded(entry, GarbageRecord)
            if note is None:
                continue
            named = {extent.file for extent in note.extents} | {note.manifest} - {b""}
            there = {file_id for file_id in named if await self._is_there(file_id)}
            if not there:
                away = Commit(expect=[(entry.key, entry.version)], delete=[entry.key])
                found.append(Found("garbage-gone", entry.key, repair=self._committing(away)))
            elif entry.key[:1] == keys.DOOMED:
                idle = await unused(self._session.engine, there)
                if idle != there:
                    repair = self._committing(_without(entry, note, there - idle))
                    found.append(Found("doomed-but-used", entry.key, repair=repair))
        return found

    async def _is_there(self, file_id: bytes) -> bool:
        if file_id in self._files:
            return True
        prefix = keys.MANIFESTS + file_id
        return bool(await self._session.engine.scan(prefix, prefix_end(prefix), 1))


def _names(record: ObjectRecord | PartRecord, file_id: bytes, offset: int) -> bool:
    if isinstance(record, ObjectRecord) and record.manifest == file_id and offset == 0:
        return True
    return any((extent.file, extent.offset) == (file_id, offset) for extent in record.extents)


def _without(entry: Entry, note: GarbageRecord, used: set[bytes]) -> Commit:
    """Forget that the used files are doomed; the collector looks at the others again."""
    others = sorted({extent.file for extent in note.extents} - used)
    return Commit(
        expect=[(entry.key, entry.version)],
        expect_empty=[file_range(file_id) for file_id in others],
        delete=[entry.key],
        put=[file_note(others)] if others else [],
    )
