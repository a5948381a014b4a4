"""What all checks of fsck share: reading a store that may be damaged, finding, repairing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

from amur.data.store import DataError
from amur.meta import keys
from amur.meta.engine import STOP, Commit, Conflict, EngineDamaged, Entry, Put, prefix_end
from amur.meta.records import (
    BucketRecord,
    ObjectRecord,
    PartRecord,
    R,
    RecordDamaged,
    decode,
)
from amur.objects.core import Core
from amur.objects.multipart import garbage_notes
from amur.objects.references import garbage_put, reference_deletes
from amur.workers.findings import KINDS, Finding, Report, Severity
from amur.workers.owners import OWNER_TABLES, owner_record

PAGE = 500
ROUNDS_MAX = 5  # repairs of one record
UNREADABLE = -1
"""Version of an entry that the engine could not read."""

Repair = Callable[[], Awaitable[object]]


class Found(NamedTuple):
    """Something wrong at `key`, and how to put it right, where that is possible."""

    kind: str
    key: bytes
    detail: str = ""
    repair: Repair | None = None


Check = Callable[[Sequence[Entry]], Awaitable[list[Found]]]


class Session:
    """One run. What is found is looked at twice, so that a store may be checked while serving."""

    def __init__(self, core: Core, *, repair: bool, accept_loss: bool) -> None:
        self.core = core
        self.engine = core.engine
        self.repair = repair
        self.accept_loss = accept_loss
        self.report = Report()
        self.buckets: dict[bytes, BucketRecord] = {}
        self.lost: set[bytes] = set()  # records found lost: not to be reported again
        self.noted: set[bytes] = set()  # files and manifests that are noted as garbage
        self.newest_version = 0
        self.began_ns = core.clock.now_ns()

    # --- reading ---
    async def read(self, wanted: Sequence[bytes]) -> list[Entry | None]:
        """As `get_many`, but what can't be read is an entry of version UNREADABLE."""
        try:
            return await self.engine.get_many(wanted)
        except EngineDamaged:
            return [await self._read_one(key) for key in wanted]

    async def _read_one(self, key: bytes) -> Entry | None:
        try:
            return await self.engine.get(key)
        except EngineDamaged:
            return Entry(key, b"", UNREADABLE)

    async def pages(self, start: bytes, end: bytes) -> AsyncIterator[list[Entry]]:
        """All entries of a range. One that can't be read ends it, unless it is repaired."""
        while True:
            page, damage = await self._page(start, end)
            if page:
                self.newest_version = max(self.newest_version, *(e.version for e in page))
                yield page
                start = page[-1].key + b"\x00"
            if damage is None:
                if len(page) < PAGE:
                    return
            elif not await self._mend(damage.key):
                return

    async def _page(self, start: bytes, end: bytes) -> tuple[list[Entry], EngineDamaged | None]:
        page: list[Entry] = []

        def visit(key: bytes, value: memoryview, version: int) -> bytes | None:
            page.append(Entry(key, bytes(value), version))
            return STOP if len(page) >= PAGE else None

        try:
            await self.engine.walk(start, end, visit)
        except EngineDamaged as error:
            return page, error
        return page, None

    async def _mend(self, key: bytes) -> bool:
        """Write a reference again, which has no value; give anything else up, if told to."""
        if key.startswith(keys.REFERENCES):
            again = Commit(put=[Put(key, b"")])
            return await self.settle(
                Found("reference-damaged", key, repair=lambda: self.engine.commit(again))
            )
        if key in self.lost:
            return False
        known = key[:1] in (*OWNER_TABLES, keys.BUCKETS, keys.UPLOADS, keys.GARBAGE, keys.DOOMED)
        away = Commit(delete=[key])
        return await self.settle(
            Found(
                "entry-damaged", key, repair=(lambda: self.engine.commit(away)) if known else None
            )
        )

    # --- finding ---
    async def over(self, table: bytes, check: Check) -> None:
        """Run a check over a table, and settle what it finds twice."""
        seen = 0
        async for page in self.pages(table, prefix_end(table)):
            seen += len(page)
            # several checks go over some tables: their entries are counted once
            self.report.checked[table.decode()] = max(self.report.checked[table.decode()], seen)
            found = await check(page)
            for _ in range(ROUNDS_MAX if found else 0):
                again = await self.read(sorted({item.key for item in found}))
                found = await check([entry for entry in again if entry is not None])
                if not self.repair:
                    for item in found:
                        await self.settle(item)
                    break
                # one repair of a record changes it: what else is wrong with it comes next
                first = {item.key: item for item in reversed(found)}
                if not any([await self.settle(item) for item in first.values()]):
                    break

    async def settle(self, found: Found) -> bool:
        """Report, and repair if that is wanted; True when it is right now."""
        is_loss = KINDS[found.kind][0] is Severity.LOSS
        if is_loss:
            if found.key in self.lost:
                return False
            self.lost.add(found.key)
        done = False
        if found.repair is not None and self.repair and (self.accept_loss or not is_loss):
            try:
                await found.repair()
                done = True
            except (Conflict, DataError, EngineDamaged):  # changed meanwhile, or beyond repair
                done = False
        self.report.add(Finding(found.kind, found.key, found.detail, done))
        return done

    def putting(self, entry: Entry, *puts: Put, delete: Sequence[bytes] = ()) -> Repair:
        """A repair of a record in one commit, if it is still as it was read."""
        commit = Commit(expect=[(entry.key, entry.version)], put=puts, delete=delete)
        return lambda: self.engine.commit(commit)

    # --- giving up ---
    def giving_up(self, entry: Entry) -> Repair:
        """Move a lost record into quarantine; its bytes, as far as they are known, are garbage."""
        puts = [Put(keys.QUARANTINE + entry.key, entry.value)]
        deletes = [entry.key]
        record = decoded_owner(entry)
        if record is not None:
            deletes += reference_deletes(record, entry.key)
            puts += garbage_put(record)
        return self.putting(entry, *puts, delete=deletes)

    def dropping_part(self, entry: Entry, part: PartRecord) -> Repair:
        """Remove a part that nobody can ever complete or reach."""
        deletes = [entry.key, *reference_deletes(part, entry.key)]
        return self.putting(entry, *garbage_notes(part.extents), delete=deletes)


def decoded(entry: Entry, kind: type[R]) -> R | None:
    """The record, or None when it can't be read."""
    try:
        return decode(entry.value, kind)
    except (RecordDamaged, IndexError):
        return None


def decoded_owner(entry: Entry) -> ObjectRecord | PartRecord | None:
    """The record of an entry of an owner table, or None when it can't be read."""
    try:
        return owner_record(entry) if entry.key[:1] in OWNER_TABLES else None
    except (RecordDamaged, IndexError):
        return None
