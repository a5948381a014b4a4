"""The compactor: rewrites packs so that neighbouring keys lie side by side and dead bytes go.

It looks at one sealed pack after another. Those that are mostly dead, or out of key order, or
small are gathered; then their living bodies are read in the order of their owners' keys, verified,
and written into new packs. Only when those are durable do the records follow, some at a time: each
commit expects the records as they were read and that nobody else has come to use the bytes, so
that every record names whole bytes at all times, and shared bytes move for all their owners at
once. What was changed meanwhile stays where it is until the next round. Each such commit notes
the old packs as garbage; the collector sees when nothing refers to them any more. Cut off
anywhere, this leaves a half-moved pack, which is found as mostly dead, or a new pack that nothing
names, which the sweeper finds.
"""

from __future__ import annotations

from typing import NamedTuple

import structlog

from amur.data.framing import CHECKSUM_BYTES
from amur.data.store import DataDamaged, DataFull, DataMissing, PackWriter
from amur.limits import FILE_BYTES_MAX, MIB, PACK_BYTES_MAX
from amur.meta.engine import Commit, Conflict
from amur.meta.keys import reference_prefix
from amur.meta.records import Extent, RecordDamaged
from amur.objects.core import Core
from amur.workers.owners import Place, extent_at, moved
from amur.workers.survey import Surveyor, living
from amur.workers.usage import extent_range, file_note, owners
from amur.workers.worker import State, Worked, Worker, counted, more

ENTRIES_MAX = 100_000  # bodies in one rewriting: about 30 MB of plan
PACKS_MAX = 16  # packs in one rewriting
COPY_BYTES = 4 * MIB  # copied in one unit of work
COPY_ENTRIES = 256
MOVE_ENTRIES = 128  # bodies whose records move in one commit

log = structlog.get_logger("amur.workers")


class _Body(NamedTuple):
    """A body to be moved; sorted by its first owner's key."""

    owner: bytes
    file: bytes
    offset: int


class Compactor(Worker):
    """See the module. Sizes are arguments for tests."""

    name = "compact"
    wait_seconds = 60.0

    def __init__(
        self, core: Core, *, file_bytes_max: int = FILE_BYTES_MAX, surveyor: Surveyor | None = None
    ) -> None:
        self._core = core
        self._engine = core.engine
        self._file_bytes_max = file_bytes_max
        self._surveyor = surveyor or Surveyor(core, file_bytes_max=file_bytes_max)
        self._plan: list[_Body] = []  # still to be copied, last first
        self._copied: list[Place] = []  # written to the new pack, in order
        self._new_bytes = 0
        self._writer: PackWriter | None = None
        self._moves: list[tuple[Place, Extent]] = []  # durable, their records still to be moved

    async def work(self) -> Worked:
        if self._moves:
            return await self._move()
        try:
            if self._plan:
                return await self._copy()
            if self._writer is not None:
                return await self._finish()
        except DataFull:  # what others free comes first
            await self._give_up()
            return counted(State.IDLE)
        except BaseException:
            await self._give_up()
            raise
        return await self._look()

    def report(self) -> dict[str, object]:
        return {"bodies": len(self._plan) + len(self._moves)}

    # --- what to rewrite ---
    async def _look(self) -> Worked:
        if not await self._surveyor.step():
            return counted(State.BUSY)
        chosen = self._surveyor.take(PACKS_MAX, ENTRIES_MAX)
        for survey in chosen:
            room = ENTRIES_MAX
            async for page in living(self._engine, survey.file):
                self._plan += [_Body(owner, survey.file, offset) for offset, owner in page]
                room -= len(page)
                if room <= 0:  # the rest of it in another round
                    break
        self._plan.sort(reverse=True)
        return counted(more(bool(chosen)), packs=len(chosen))

    # --- bytes ---
    async def _copy(self) -> Worked:
        """Copy the next bodies, in the order of their owners, to the new pack."""
        batch = [self._plan.pop() for _ in range(min(COPY_ENTRIES, len(self._plan)))]
        found = await self._engine.get_many([body.owner for body in batch])
        copied = size = 0
        is_full = False
        for position, (body, entry) in enumerate(zip(batch, found, strict=True)):
            place = (body.file, body.offset)
            try:
                extent = extent_at(entry, place)
                if extent is None or extent.length > PACK_BYTES_MAX:
                    continue
                is_full = self._new_bytes + CHECKSUM_BYTES + extent.length > self._file_bytes_max
                if size >= COPY_BYTES or (self._new_bytes and is_full):
                    self._plan += reversed(batch[position:])
                    break
                data = await self._core.data.read_small(extent)
            except (DataDamaged, DataMissing, RecordDamaged) as error:
                log.error("a body can't be moved", owner=body.owner.hex(), error=str(error))
                self._surveyor.stuck.add(body.file)
                continue
            if self._writer is None:
                self._writer = self._core.data.pack_writer()
            await self._writer.add(data)
            self._copied.append(place)
            size += len(data)
            self._new_bytes += CHECKSUM_BYTES + len(data)
            copied += 1
        if is_full:
            await self._finish()
        return counted(State.BUSY, copied=copied, copied_bytes=size)

    async def _finish(self) -> Worked:
        """Make the new pack durable; from here on records may name it."""
        assert self._writer is not None
        extents = await self._writer.finish()
        self._moves = list(zip(self._copied, extents, strict=True))
        self._moves.reverse()
        self._writer, self._copied, self._new_bytes = None, [], 0
        return counted(State.BUSY)

    # --- records ---
    async def _move(self) -> Worked:
        batch = dict(self._moves[-MOVE_ENTRIES:])
        done = len(batch)
        if not await self._move_together(batch):
            done = 0
            for place, extent in batch.items():
                done += await self._move_together({place: extent})
        del self._moves[-len(batch) :]
        return counted(State.BUSY, moved=done, skipped=len(batch) - done)

    async def _move_together(self, moves: dict[Place, Extent]) -> bool:
        """Have all owners of these bodies name the new places; False when one changed."""
        places = list(moves)
        users = await owners(self._engine, places)
        names = sorted({owner for some in users for owner in some})
        entries = [entry for entry in await self._engine.get_many(names) if entry is not None]
        puts, deletes = moved(entries, moves)
        empty = []
        for place, some in zip(places, users, strict=True):
            at, end = extent_range(*place)
            for owner in some:  # nobody but these
                reference = reference_prefix(*place) + owner
                if at < reference:
                    empty.append((at, reference))
                at = reference + b"\x00"
            empty.append((at, end))
        try:
            await self._engine.commit(
                Commit(
                    expect=[(entry.key, entry.version) for entry in entries],
                    expect_empty=empty,
                    put=[*puts, file_note(sorted({file for file, _ in places}))],
                    delete=deletes,
                )
            )
        except Conflict:
            return False
        return True

    async def _give_up(self) -> None:
        """Forget the plan; a pack that was begun and that nothing names is removed."""
        writer, self._writer = self._writer, None
        self._plan, self._copied, self._new_bytes = [], [], 0
        if writer is not None:
            await writer.abort()
