"""Writing to a bucket: packs by group commit, block files and packs in parts.

An object of a bucket is written in one go and can't be appended to, so each batch of bodies is a
pack of its own, whole when it is there. Whatever fails, fails for the bodies in that upload only:
nothing that was acknowledged depends on it, and what it may have left is an orphan.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from amur.data.bucket_service import Bucket
from amur.data.file_names import FileNames, path_of
from amur.data.framing import CHECKSUM_BYTES, Buffer, checksum
from amur.data.jobs import settled
from amur.data.packs import BATCH_BYTES_MAX, fitting, lay
from amur.data.store import DataError, DataUnavailable, PackWriter, Piece, Writer
from amur.extent import Extent
from amur.limits import MIB

PUTS_MAX = 4
"""Batches under way at once: a body waits for less than one round trip; with more of them a batch
would have fewer bodies, and each request costs money."""

PART_BYTES = 5 * MIB
"""Of an upload in parts: the least that S3 takes. A stream holds two or three of them."""

WIDE_STREAMS_MAX = 4
WIDE_PARTS = 4
"""So many streams may have so many parts under way, and go faster; all others have one."""

WRITER_SECONDS_MAX = 12 * 3600
"""A body that takes longer is refused. Files younger than ORPHAN_SECONDS, twice this, are never
swept, so none of a body's files goes before its record is there."""


class BatchUploader:
    """Puts the bodies that wait at the same time into one pack, in one request."""

    def __init__(self, bucket: Bucket, names: FileNames, file_bytes_max: int) -> None:
        self._bucket = bucket
        self._names = names
        self._bytes_max = min(BATCH_BYTES_MAX, file_bytes_max)
        self._waiting: deque[tuple[bytes, asyncio.Future[Extent]]] = deque()
        self._uploads: set[asyncio.Task[None]] = set()
        self._soon = False

    def append(self, body: bytes) -> asyncio.Future[Extent]:
        """Resolved once the body is durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Extent] = loop.create_future()
        self._waiting.append((body, future))
        if not self._soon:  # at the end of this turn, with all that come in it
            self._soon = True
            loop.call_soon(self._begin)
        return future

    async def close(self) -> None:
        """Finish what was accepted."""
        self._begin()
        while self._uploads:
            await asyncio.wait(self._uploads)

    def _begin(self) -> None:
        self._soon = False
        while self._waiting and len(self._uploads) < PUTS_MAX:
            upload = asyncio.create_task(self._upload(*self._gather()))
            self._uploads.add(upload)
            upload.add_done_callback(self._ended)

    def _ended(self, upload: asyncio.Task[None]) -> None:
        self._uploads.discard(upload)
        self._begin()

    def _gather(self) -> tuple[list[bytes], list[asyncio.Future[Extent]]]:
        """As many as go into one pack, at least one."""
        bodies = [body for body, _ in self._waiting]
        count = max(1, fitting(bodies, 0, self._bytes_max))
        taken = [self._waiting.popleft() for _ in range(count)]
        return [body for body, _ in taken], [future for _, future in taken]

    async def _upload(self, bodies: list[bytes], waiting: list[asyncio.Future[Extent]]) -> None:
        file_id = self._names.new()
        parts, extents = lay(file_id, 0, bodies)
        try:
            await self._bucket.put(path_of(file_id), b"".join(parts))
        except BaseException as error:  # a bug must not leave its callers waiting
            kind = type(error) if isinstance(error, DataError) else DataUnavailable
            for future in waiting:
                if not future.done():
                    future.set_exception(kind(str(error) or type(error).__name__))
            if not isinstance(error, Exception):
                raise
            return
        for future, extent in zip(waiting, extents, strict=True):
            if not future.done():
                future.set_result(extent)


class Lanes:
    """Which streams may have several parts under way."""

    def __init__(self) -> None:
        self._free = WIDE_STREAMS_MAX

    def take(self) -> int:
        """Parts at once; given back with `give`."""
        if self._free <= 0:
            return 1
        self._free -= 1
        return WIDE_PARTS

    def give(self, parts: int) -> None:
        if parts > 1:
            self._free += 1
            assert self._free <= WIDE_STREAMS_MAX


class _GivenUp(Exception):
    """Ends an upload in parts, so that the service forgets the parts it has."""


class FileUpload:
    """One file on its way: in one request while it is short, else in parts."""

    def __init__(self, bucket: Bucket, path: str, lanes: Lanes, part_bytes: int) -> None:
        self._bucket = bucket
        self._path = path
        self._lanes = lanes
        self._part_bytes = part_bytes
        self._held: list[Buffer] = []
        self._held_bytes = 0
        self._queue: asyncio.Queue[Buffer | _GivenUp | None] = asyncio.Queue(1)
        self._upload: asyncio.Task[None] | None = None

    async def add(self, parts: Sequence[Buffer]) -> None:
        self._held += parts
        self._held_bytes += sum(map(len, parts))
        if self._upload is None:
            if self._held_bytes < self._part_bytes:
                return
            self._upload = asyncio.create_task(self._put())
        await self._offer(self._take())

    async def finish(self) -> None:
        """Whole and durable on return."""
        if self._upload is None:
            await self._bucket.put(self._path, self._take())
            return
        await self._offer(None)
        await settled(self._upload)  # cancelled, it would leave its parts behind

    async def abort(self) -> None:
        """Never raises: what is left is an orphan."""
        self._held.clear()
        if self._upload is None:
            return
        while not self._upload.done():
            with contextlib.suppress(asyncio.QueueFull):
                self._queue.put_nowait(_GivenUp())
                await asyncio.wait((self._upload,))
                break
            self._queue.get_nowait()
        with contextlib.suppress(DataError, _GivenUp, asyncio.CancelledError):
            self._upload.result()

    def _take(self) -> bytes:
        piece = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return piece

    async def _offer(self, piece: Buffer | None) -> None:
        """Hand over the next piece, or raise what ended the upload."""
        assert self._upload is not None
        putting = asyncio.ensure_future(self._queue.put(piece))
        try:
            await asyncio.wait((putting, self._upload), return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        if self._upload.done():
            self._upload.result()

    async def _put(self) -> None:
        parts = self._lanes.take()
        try:
            await self._bucket.put_stream(
                self._path, self._pieces(), part_bytes=self._part_bytes, parts_at_once=parts
            )
        finally:
            self._lanes.give(parts)
            with contextlib.suppress(asyncio.QueueFull):  # obstore may have left a task that waits
                self._queue.put_nowait(None)

    async def _pieces(self) -> AsyncIterator[Buffer]:
        while (piece := await self._queue.get()) is not None:
            if isinstance(piece, _GivenUp):
                raise piece
            yield piece


class _Files:
    """Files that are written one after another, and removed together when it comes to nothing."""

    def __init__(self, bucket: Bucket, names: FileNames, lanes: Lanes, *, part_bytes: int) -> None:
        self._bucket = bucket
        self._names = names
        self._lanes = lanes
        self._part_bytes = part_bytes
        self._ids: list[bytes] = []
        self._file: FileUpload | None = None  # the one being written; those before are durable
        self._began = time.monotonic()
        self._done = False

    async def _next_file(self) -> bytes:
        await self._complete()
        file_id = self._names.new()
        self._ids.append(file_id)
        self._file = FileUpload(self._bucket, path_of(file_id), self._lanes, self._part_bytes)
        return file_id

    async def _complete(self) -> None:
        if time.monotonic() - self._began > WRITER_SECONDS_MAX:
            raise DataUnavailable("the upload took too long: its first bytes may be swept away")
        if self._file is not None:
            await self._file.finish()
            self._file = None

    async def abort(self) -> None:
        self._done = True
        if self._file is not None:
            await self._file.abort()
            self._file = None
        while self._ids:
            with contextlib.suppress(DataError):  # an unreferenced file is found by the sweep
                await self._bucket.delete(path_of(self._ids.pop()))


class BucketWriter(_Files, Writer):
    """One body: into a pack if it is short, else into as many block files as it needs."""

    def __init__(
        self,
        bucket: Bucket,
        names: FileNames,
        lanes: Lanes,
        batches: BatchUploader,
        *,
        part_bytes: int,
        pack_bytes_max: int,
        chunk_bytes: int,
        file_bytes_max: int,
    ) -> None:
        super().__init__(bucket, names, lanes, part_bytes=part_bytes)
        self._batches = batches
        self._pack_bytes_max = pack_bytes_max
        self._chunk_bytes = chunk_bytes
        self._frames_max = file_bytes_max // chunk_bytes
        self._frames = self._frames_max  # in the current file
        self._at = 0  # its size
        self._held = bytearray()
        self._lengths: list[int] = []  # payload of each file

    async def write(self, chunk: Piece) -> None:
        assert not self._done, "the writer is finished"
        self._held += chunk
        while len(self._held) > self._chunk_bytes:
            with memoryview(self._held) as held:
                payload = bytes(held[: self._chunk_bytes])
            del self._held[: self._chunk_bytes]
            await self._write_frame(payload)

    async def finish(self) -> list[Extent]:
        assert not self._done, "the writer is finished"
        self._done = True
        if not self._held:
            return []
        if not self._ids and len(self._held) <= self._pack_bytes_max:
            return [await self._batches.append(bytes(self._held))]
        await self._write_frame(bytes(self._held))
        await self._complete()
        return [Extent(i, 0, length) for i, length in zip(self._ids, self._lengths, strict=True)]

    async def _write_frame(self, payload: bytes) -> None:
        if self._frames == self._frames_max:
            await self._next_file()
            self._lengths.append(0)
            self._frames = self._at = 0
        assert self._file is not None
        crc = checksum(self._ids[-1], self._at, (payload,))
        self._at += CHECKSUM_BYTES + len(payload)
        self._frames += 1
        self._lengths[-1] += len(payload)
        await self._file.add((crc, payload))


class BucketPackWriter(_Files, PackWriter):
    """Many bodies, in order, into packs of their own."""

    def __init__(
        self,
        bucket: Bucket,
        names: FileNames,
        lanes: Lanes,
        *,
        part_bytes: int,
        chunk_bytes: int,
        file_bytes_max: int,
    ) -> None:
        super().__init__(bucket, names, lanes, part_bytes=part_bytes)
        self._chunk_bytes = chunk_bytes
        self._file_bytes_max = file_bytes_max
        self._at = 0  # size of the current pack
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
        await self._flush()
        self._done = True
        await self._complete()
        return self._extents

    async def _flush(self) -> None:
        bodies, self._bodies, self._held_bytes = self._bodies, [], 0
        begin = 0
        while begin < len(bodies):
            count = fitting(bodies, begin, self._file_bytes_max - self._at)
            if self._file is None or count == 0:
                await self._next_file()
                self._at = 0
                count = max(1, fitting(bodies, begin, self._file_bytes_max))
            assert self._file is not None
            parts, extents = lay(self._ids[-1], self._at, bodies[begin : begin + count])
            self._at += sum(map(len, parts))
            self._extents += extents
            await self._file.add(parts)
            begin += count
