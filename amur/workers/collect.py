"""The garbage collector: the only one that removes data files which once were in use.

Two queues. G: each commit that takes away a reference notes it there. The collector looks at once
whether anything still uses the file (or manifest); if nothing does, it is doomed: moved to X with
the commit's version. After the grace period nothing can be reading it any more, and nobody can
have come to refer to it: a new reference is only ever taken from a record that has one. Then it
goes. Looking first and waiting second is what makes the grace whole when several records shared
the bytes.

A pack that is still appended to holds bytes whose records are being committed just now, so it can
only be doomed once it is sealed: the grace period then outlasts any such commit.
"""

from __future__ import annotations

from amur.limits import GRACE_SECONDS, PACK_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Commit, Conflict, Entry, Put, prefix_end
from amur.meta.records import Extent, GarbageRecord, PartRecord, decode
from amur.meta.stamping import inverted_bytes
from amur.objects.core import Core
from amur.objects.multipart import garbage_notes
from amur.objects.references import reference_deletes
from amur.workers.usage import doomed_put, file_range, unused
from amur.workers.worker import Worked, Worker, counted, more

NOTES_MAX = 256  # notes looked at in one unit of work
MANIFEST_PARTS_MAX = 1000  # parts of a manifest released in one commit


class Collector(Worker):
    """See the module. `grace_seconds` is how long doomed bytes stay for readers."""

    name = "collect"
    wait_seconds = 10.0

    def __init__(self, core: Core, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._core = core
        self._engine = core.engine
        self._grace_ns = int(grace_seconds * 1e9)
        self._waiting: set[bytes] = set()  # unsealed files that stand in X already
        self._sealed: set[bytes] = set()
        self._gone: set[bytes] = set()

    async def work(self) -> Worked:
        try:
            notes = await self._sort_notes()
            freed, files, parts = await self._free_doomed()
        except Conflict:  # somebody used the bytes meanwhile: look again
            return counted(more(True))
        is_more = notes == NOTES_MAX or freed > 0
        return counted(more(is_more), notes=notes, files=files, parts=parts)

    # --- G: what lost a reference ---
    async def _sort_notes(self) -> int:
        end = prefix_end(keys.GARBAGE)
        entries = await self._engine.scan(keys.GARBAGE, end, NOTES_MAX, reverse=True)
        if not entries:
            return 0
        records = [decode(entry.value, GarbageRecord) for entry in entries]
        manifests = {record.manifest for record in records if record.manifest}
        extents = [extent for record in records for extent in record.extents]
        idle = await unused(self._engine, manifests | {extent.file for extent in extents})
        await self._find_sealed(extents, idle)
        files = idle - manifests - self._gone
        sealed = files & self._sealed
        waiting = files - sealed - self._waiting
        puts = [doomed_put(n, manifest=m) for n, m in enumerate(sorted(idle & manifests), 2)]
        if sealed:
            puts.append(doomed_put(0, file_ids=sorted(sealed)))
        if waiting:
            puts.append(doomed_put(1, file_ids=sorted(waiting), is_sealed=False))
        await self._engine.commit(
            Commit(
                expect=[(entry.key, entry.version) for entry in entries],
                expect_empty=[file_range(file_id) for file_id in sorted(idle)],
                delete=[entry.key for entry in entries],
                put=puts,
            )
        )
        self._waiting |= waiting
        return len(entries)

    async def _find_sealed(self, extents: list[Extent], idle: set[bytes]) -> None:
        """Learn which of the idle files nobody appends to any more, and which are gone."""
        self._sealed &= idle
        # longer than any body in a pack: a block file, which was whole before it was referenced
        self._sealed |= {
            extent.file
            for extent in extents
            if extent.length > PACK_BYTES_MAX and extent.file in idle
        }
        unknown = {extent.file for extent in extents if extent.file in idle} - self._sealed
        self._gone = set()
        if unknown:
            there = await self._core.data.sealed(unknown)
            self._gone = unknown - there.keys()
            self._sealed |= {file_id for file_id, is_sealed in there.items() if is_sealed}

    # --- X: what nothing refers to ---
    async def _free_doomed(self) -> tuple[int, int, int]:
        """Entries dealt with, files removed, manifest parts released."""
        now = self._core.clock.now_ns()
        first = keys.DOOMED + inverted_bytes(max(0, now - self._grace_ns))
        end = prefix_end(keys.DOOMED)
        entries = await self._engine.scan(first, end, 1, reverse=True)
        for entry in entries:
            record = decode(entry.value, GarbageRecord)
            if record.manifest:
                return 1, 0, await self._free_manifest(entry, record.manifest)
            return 1, await self._free_files(entry, record), 0
        return 0, 0, 0

    async def _free_files(self, entry: Entry, record: GarbageRecord) -> int:
        files = {extent.file for extent in record.extents}
        idle = sorted(await unused(self._engine, files))
        puts: list[Put] = []
        if record.is_sealed:
            for file_id in idle:
                await self._core.data.unlink(file_id)
        else:
            self._waiting -= files
            if idle:
                puts = await self._doom_again(idle)
        await self._engine.commit(
            Commit(
                expect=[(entry.key, entry.version)],
                expect_empty=[file_range(file_id) for file_id in idle],
                delete=[entry.key],
                put=puts,
            )
        )
        return len(idle) if record.is_sealed else 0

    async def _doom_again(self, idle: list[bytes]) -> list[Put]:
        """Files that were not sealed when they were noted: for another grace period."""
        await self._find_sealed([Extent(file_id, 0, 0) for file_id in idle], set(idle))
        sealed = [file_id for file_id in idle if file_id in self._sealed]
        unsealed = [file_id for file_id in idle if file_id not in self._sealed | self._gone]
        puts = [doomed_put(0, file_ids=sealed)] if sealed else []
        if unsealed:
            puts.append(doomed_put(1, file_ids=unsealed, is_sealed=False))
        return puts

    async def _free_manifest(self, entry: Entry, manifest: bytes) -> int:
        if not await unused(self._engine, [manifest]):
            await self._engine.commit(
                Commit(expect=[(entry.key, entry.version)], delete=[entry.key])
            )
            return 0
        prefix = keys.MANIFESTS + manifest
        parts = await self._engine.scan(prefix, prefix_end(prefix), MANIFEST_PARTS_MAX)
        extents: list[Extent] = []
        deletes: list[bytes] = []
        for part in parts:
            record = decode(part.value, PartRecord)
            deletes += (part.key, *reference_deletes(record, part.key))
            extents += record.extents
        if len(parts) < MANIFEST_PARTS_MAX:
            deletes.append(entry.key)
        await self._engine.commit(
            Commit(
                expect=[(entry.key, entry.version), *((p.key, p.version) for p in parts)],
                expect_empty=[file_range(manifest)],
                delete=deletes,
                put=garbage_notes(extents),
            )
        )
        return len(parts)
