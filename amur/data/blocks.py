"""Writing many frames: one body into block files, or many bodies into new packs.

While one chunk is written in a thread the next is gathered. What was written is synced in the
background every SYNC_BYTES, so that little is left to wait for at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from amur.data.disk import DiskFile
from amur.data.files import Files
from amur.data.framing import CHECKSUM_BYTES, Buffer, checksum
from amur.data.jobs import Jobs, settled
from amur.data.packs import Pack, PackAppender
from amur.data.store import DataError, PackWriter, Writer
from amur.meta.records import Extent

SYNC_BYTES = 32 << 20
"""Written bytes after which the kernel is made to start storing them."""

_PIECE_BYTES_MIN = 16 << 10  # smaller pieces are copied together, so that none costs an object
_PIECE_BYTES_JOINED = 64 << 10


class _Stream:
    """Files that are written chunk by chunk, then made durable together, or removed."""

    def __init__(self, files: Files, jobs: Jobs) -> None:
        self._files = files
        self._jobs = jobs
        self._under_way: asyncio.Future[None] | None = None
        self._syncing: asyncio.Future[None] | None = None
        self._overlapping = False
        self._unsynced_bytes = 0
        self._open: list[DiskFile] = []  # written or being written, not yet synced and closed
        self._ids: list[bytes] = []
        self._done = False

    # --- in the event loop ---
    async def _submit(self, job: Callable[..., None], what: object, length: int) -> None:
        """Start writing `length` bytes once the chunk before is written."""
        assert not self._done, "the writer is finished"
        await self._settle()
        self._files.admit(length)
        self._overlapping = self._jobs.take_overlap()
        self._under_way = self._jobs.run(job, what)
        self._unsynced_bytes += length
        if self._unsynced_bytes >= SYNC_BYTES and (self._syncing is None or self._syncing.done()):
            await self._settle_sync()
            self._unsynced_bytes = 0
            self._syncing = self._jobs.run(self._sync_some, tuple(self._open))
        if not self._overlapping:
            await self._settle()

    async def _settle(self) -> None:
        if self._under_way is None:
            return
        try:
            await settled(self._under_way)
        finally:
            if self._under_way.done():
                self._under_way = None
                if self._overlapping:
                    self._overlapping = False
                    self._jobs.give_overlap()

    async def _settle_sync(self) -> None:
        if self._syncing is not None:
            await settled(self._syncing)
            self._syncing = None

    async def _make_durable(self) -> None:
        await self._settle()
        await self._settle_sync()
        await settled(self._jobs.run(self._sync_all))

    async def abort(self) -> None:
        self._done = True
        for settle in (self._settle, self._settle_sync):
            with contextlib.suppress(DataError):
                await settle()
        self._syncing = None
        await settled(self._jobs.run(self._remove))

    # --- in a thread ---
    def _created(self, file_id: bytes, file: DiskFile) -> None:
        self._ids.append(file_id)
        self._open.append(file)

    def _append(self, file: DiskFile, parts: list[Buffer]) -> None:
        try:
            file.append(parts)
        except OSError as error:
            raise self._files.refusal(error) from error

    def _sync_some(self, some: tuple[DiskFile, ...]) -> None:
        """All but the last are complete: they are closed, so that few are open at once."""
        try:
            for file in some:
                file.sync()
        except OSError as error:
            raise self._files.failure(error) from error
        for file in some[:-1]:
            self._open.remove(file)
            file.close()

    def _sync_all(self) -> None:
        files = self._files
        if files.failed is not None:
            raise files.failure(files.failed)
        try:
            for file in self._open:
                file.sync()
            for directory in sorted({files.directory_of(file_id) for file_id in self._ids}):
                files.disk.sync_directory(directory)
        except OSError as error:
            raise files.failure(error) from error
        self._close()

    def _close(self) -> None:
        while self._open:
            self._open.pop().close()

    def _remove(self) -> None:
        self._close()
        while self._ids:
            with contextlib.suppress(OSError):  # an unreferenced file is found by the sweep
                self._files.unlink(self._ids.pop())


class BlockWriter(_Stream, Writer):
    """One body: into a pack if it is short, else into as many block files as it needs."""

    def __init__(
        self,
        files: Files,
        jobs: Jobs,
        packs: PackAppender,
        *,
        pack_bytes_max: int,
        chunk_bytes: int,
        file_bytes_max: int,
    ) -> None:
        super().__init__(files, jobs)
        self._packs = packs
        self._pack_bytes_max = pack_bytes_max
        self._chunk_bytes = chunk_bytes
        self._frames_max = file_bytes_max // chunk_bytes
        self._pieces: deque[Buffer] = deque()
        self._held_bytes = 0
        self._file: DiskFile | None = None
        self._frames = 0  # in the current file
        self._at = 0  # its size
        self._lengths: list[int] = []  # payload of each file

    async def write(self, chunk: bytes) -> None:
        if not chunk:
            return
        self._hold(chunk)
        while self._held_bytes > self._chunk_bytes:
            await self._submit(self._write_frame, self._take(), self._chunk_bytes)

    async def finish(self) -> list[Extent]:
        assert not self._done, "the writer is finished"
        if not self._held_bytes:
            self._done = True
            return []
        if not self._ids and self._under_way is None and self._held_bytes <= self._pack_bytes_max:
            self._done = True
            self._files.admit(self._held_bytes)
            return [await self._packs.append(b"".join(self._pieces))]
        length = self._held_bytes
        await self._submit(self._write_frame, self._take(), length)
        self._done = True
        await self._make_durable()
        return [Extent(i, 0, length) for i, length in zip(self._ids, self._lengths, strict=True)]

    def _hold(self, chunk: Buffer) -> None:
        self._held_bytes += len(chunk)
        pieces = self._pieces
        if len(chunk) >= _PIECE_BYTES_MIN:
            pieces.append(chunk)
        elif pieces and isinstance(pieces[-1], bytearray) and len(pieces[-1]) < _PIECE_BYTES_JOINED:
            pieces[-1] += chunk
        else:
            pieces.append(bytearray(chunk))

    def _take(self) -> list[Buffer]:
        """The pieces of the next frame: a whole chunk, or all there is."""
        wanted = min(self._chunk_bytes, self._held_bytes)
        self._held_bytes -= wanted
        taken: list[Buffer] = []
        while wanted:
            piece = self._pieces.popleft()
            if len(piece) > wanted:
                view = memoryview(piece)
                self._pieces.appendleft(view[wanted:])
                piece = view[:wanted]
            taken.append(piece)
            wanted -= len(piece)
        return taken

    def _write_frame(self, pieces: list[Buffer]) -> None:
        if self._file is None or self._frames == self._frames_max:
            self._next_file()
        assert self._file is not None
        length = sum(map(len, pieces))
        self._append(self._file, [checksum(self._ids[-1], self._at, pieces), *pieces])
        self._at += CHECKSUM_BYTES + length
        self._frames += 1
        self._lengths[-1] += length

    def _next_file(self) -> None:
        try:
            file_id, self._file = self._files.create()
        except OSError as error:
            raise self._files.refusal(error) from error
        self._created(file_id, self._file)
        self._lengths.append(0)
        self._frames = self._at = 0


class FilePackWriter(_Stream, PackWriter):
    """Many bodies, in order, into packs of their own."""

    def __init__(self, files: Files, jobs: Jobs, *, chunk_bytes: int, file_bytes_max: int) -> None:
        super().__init__(files, jobs)
        self._chunk_bytes = chunk_bytes
        self._file_bytes_max = file_bytes_max
        self._pack: Pack | None = None
        self._bodies: list[bytes] = []
        self._held_bytes = 0
        self._extents: list[Extent] = []

    async def add(self, body: bytes) -> None:
        assert 0 < len(body) <= self._chunk_bytes
        self._bodies.append(body)
        self._held_bytes += len(body)
        if self._held_bytes >= self._chunk_bytes:
            await self._flush()

    async def finish(self) -> list[Extent]:
        if self._bodies:
            await self._flush()
        self._done = True
        await self._make_durable()
        return self._extents

    async def _flush(self) -> None:
        bodies, length = self._bodies, self._held_bytes
        self._bodies, self._held_bytes = [], 0
        await self._submit(self._write_bodies, bodies, length)

    def _write_bodies(self, bodies: list[bytes]) -> None:
        begin = 0
        while begin < len(bodies):
            pack = self._pack_for(bodies[begin])
            end, size = begin, pack.size
            while end < len(bodies):
                size += CHECKSUM_BYTES + len(bodies[end])
                if size > self._file_bytes_max and end > begin:
                    break
                end += 1
            parts, extents = pack.lay(bodies[begin:end])
            self._append(pack.file, parts)
            pack.size += sum(map(len, parts))
            self._extents += extents
            begin = end

    def _pack_for(self, body: bytes) -> Pack:
        """The current pack if the body still fits, else a new one."""
        pack = self._pack
        if pack is None or pack.size + CHECKSUM_BYTES + len(body) > self._file_bytes_max:
            try:
                pack = self._pack = Pack(self._files)
            except OSError as error:
                raise self._files.refusal(error) from error
            self._created(pack.id, pack.file)
        return pack
