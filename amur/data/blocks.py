"""Writing many frames: one body into block files, or many bodies into new packs.

While one chunk is written in a thread the next is gathered. The kernel is told to store what was
written every SYNC_BYTES, so that little is left to wait for at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

from amur.data.disk import DiskFile
from amur.data.files import Files
from amur.data.framing import CHECKSUM_BYTES, Buffer, checksum
from amur.data.jobs import Jobs, settled
from amur.data.packs import PackAppender, fitting, lay
from amur.data.store import DataError, PackWriter, Piece, Writer
from amur.extent import Extent

SYNC_BYTES = 8 << 20
"""Written bytes after which the kernel is made to start storing them."""

_PIECE_BYTES_MIN = 16 << 10  # smaller pieces are copied together, so that none costs an object
_PIECE_BYTES_JOINED = 64 << 10


class _Stream:
    """Files that are written chunk by chunk, then made durable together, or removed."""

    _uses_reserve = False

    def __init__(self, files: Files, jobs: Jobs) -> None:
        self._files = files
        self._jobs = jobs
        self._under_way: asyncio.Future[None] | None = None
        self._overlapping = False
        self._file: DiskFile | None = None  # the one being written; those before are synced
        self._ids: list[bytes] = []
        self._not_begun_bytes = 0
        self._done = False

    # --- in the event loop ---
    async def _submit(
        self, job: Callable[[Sequence[Buffer]], None], what: Sequence[Buffer]
    ) -> None:
        """Start writing once the chunk before is written."""
        assert not self._done, "the writer is finished"
        await self._settle()
        self._files.admit(sum(map(len, what)), from_reserve=self._uses_reserve)
        self._overlapping = self._jobs.take_overlap()
        self._under_way = self._jobs.run(job, what)
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

    async def _make_durable(self) -> None:
        await self._settle()
        self._done = True
        await settled(self._jobs.run(self._sync_all))

    async def abort(self) -> None:
        self._done = True
        with contextlib.suppress(DataError):
            await self._settle()
        await settled(self._jobs.run(self._remove))

    # --- in a thread ---
    def _create(self) -> bytes:
        """Complete the current file and go on with a new one."""
        self._complete()
        try:
            file_id, self._file = self._files.create()
        except OSError as error:
            raise self._files.refusal(error) from error
        self._ids.append(file_id)
        return file_id

    def _append(self, parts: Sequence[Buffer], length: int) -> None:
        assert self._file is not None
        try:
            self._file.append(parts)
        except OSError as error:
            raise self._files.refusal(error) from error
        self._not_begun_bytes += length
        if self._not_begun_bytes >= SYNC_BYTES:
            self._not_begun_bytes = 0
            self._file.begin_sync()

    def _complete(self) -> None:
        """Sync and close the current file, so that few are open at once."""
        if self._file is None:
            return
        try:
            self._file.sync()
        except OSError as error:
            raise self._files.failure(error) from error
        self._file.close()
        self._file = None

    def _sync_all(self) -> None:
        files = self._files
        if files.failed is not None:
            raise files.failure(files.failed)
        self._complete()
        try:
            for directory in sorted({files.directory_of(file_id) for file_id in self._ids}):
                files.disk.sync_directory(directory)
        except OSError as error:
            raise files.failure(error) from error

    def _remove(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
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
        self._frames = self._frames_max  # in the current file
        self._at = 0  # its size
        self._lengths: list[int] = []  # payload of each file

    async def write(self, chunk: Piece) -> None:
        if not chunk:
            return
        self._hold(chunk)
        while self._held_bytes > self._chunk_bytes:
            await self._submit(self._write_frame, self._take())

    async def finish(self) -> list[Extent]:
        assert not self._done, "the writer is finished"
        if not self._held_bytes:
            self._done = True
            return []
        if not self._ids and self._under_way is None and self._held_bytes <= self._pack_bytes_max:
            self._done = True
            self._files.admit(self._held_bytes)
            return [await self._packs.append(b"".join(self._pieces))]
        await self._submit(self._write_frame, self._take())
        await self._make_durable()
        return [Extent(i, 0, length) for i, length in zip(self._ids, self._lengths, strict=True)]

    def _hold(self, chunk: Buffer) -> None:
        self._held_bytes += len(chunk)
        pieces = self._pieces
        if len(chunk) >= _PIECE_BYTES_MIN:
            pieces.append(chunk)
            return
        last = pieces[-1] if pieces else None
        if isinstance(last, bytearray) and len(last) < _PIECE_BYTES_JOINED:
            last += chunk
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

    def _write_frame(self, pieces: Sequence[Buffer]) -> None:
        if self._frames == self._frames_max:
            self._create()
            self._lengths.append(0)
            self._frames = self._at = 0
        length = sum(map(len, pieces))
        self._append([checksum(self._ids[-1], self._at, pieces), *pieces], length)
        self._at += CHECKSUM_BYTES + length
        self._frames += 1
        self._lengths[-1] += length


class FilePackWriter(_Stream, PackWriter):
    """Many bodies, in order, into packs of their own."""

    _uses_reserve = True  # compaction frees what it copies

    def __init__(self, files: Files, jobs: Jobs, *, chunk_bytes: int, file_bytes_max: int) -> None:
        super().__init__(files, jobs)
        self._chunk_bytes = chunk_bytes
        self._file_bytes_max = file_bytes_max
        self._at = file_bytes_max  # size of the current pack
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
        await self._make_durable()
        return self._extents

    async def _flush(self) -> None:
        bodies, self._bodies, self._held_bytes = self._bodies, [], 0
        await self._submit(self._write_bodies, bodies)

    def _write_bodies(self, bodies: Sequence[Buffer]) -> None:
        begin = 0
        while begin < len(bodies):
            count = fitting(bodies, begin, self._file_bytes_max - self._at)
            if count == 0:
                self._create()
                self._at = 0
                count = max(1, fitting(bodies, begin, self._file_bytes_max))
            parts, extents = lay(self._ids[-1], self._at, bodies[begin : begin + count])
            length = sum(map(len, parts))
            self._append(parts, length)
            self._at += length
            self._extents += extents
            begin += count
