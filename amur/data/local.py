"""The data store over local files: packs with group commit, block files, verified reads.

Bytes are read straight into the object that is handed out: the checksum by a read of its own, the
payload by another, so that nothing is copied. Small reads that the page cache can answer are done
in the event loop, all others in a thread, with one chunk of read-ahead while the caller sends.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence

from amur import limits
from amur.data.blocks import BlockWriter, FilePackWriter
from amur.data.disk import Disk, RealDisk
from amur.data.files import Files
from amur.data.framing import CHECKSUM_BYTES, Buffer, Frame, frames, frames_of, position, verify
from amur.data.jobs import THREADS, Jobs
from amur.data.packs import PackAppender
from amur.data.spans import SPAN_BYTES_MAX, Span, spans
from amur.data.store import (
    DataDamaged,
    DataError,
    DataFailed,
    DataStore,
    FileInfo,
    PackWriter,
    Writer,
)
from amur.extent import Extent

INLINE_READ_BYTES = 64 * limits.KIB
"""Frames up to this size are read in the event loop if the page cache has them: about 7 us."""

_AT_A_STRETCH_BYTES = 1 * limits.MIB
"""Read in the event loop before others get their turn."""


class LocalDataStore(DataStore):
    """A directory of packs and block files, which several processes may use at once.

    A store belongs to the event loop that first uses it. Sizes are arguments for tests only: what
    was written with one `chunk_bytes` is read with the same. With `threaded=False` all work is
    done in the event loop, for simulations.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        disk: Disk | None = None,
        chunk_bytes: int = limits.CHUNK_BYTES,
        pack_bytes_max: int = limits.PACK_BYTES_MAX,
        file_bytes_max: int = limits.FILE_BYTES_MAX,
        threaded: bool = True,
    ) -> None:
        assert 0 < pack_bytes_max <= chunk_bytes <= file_bytes_max
        try:
            self._files = Files(disk or RealDisk(), os.path.abspath(path))
        except OSError as error:
            raise DataFailed(str(error)) from error
        self._chunk_bytes = chunk_bytes
        self._pack_bytes_max = pack_bytes_max
        self._file_bytes_max = file_bytes_max
        self._jobs = Jobs(threaded=threaded)
        self._packs = PackAppender(self._files, file_bytes_max, threaded=threaded)
        self._closed = False

    @property
    def failure(self) -> DataFailed | None:
        """Set once a write or fsync failed: the process must stop, and recover by its restart."""
        return self._files.failed

    # --- writing ---
    def writer(self) -> Writer:
        assert not self._closed
        return BlockWriter(
            self._files,
            self._jobs,
            self._packs,
            pack_bytes_max=self._pack_bytes_max,
            chunk_bytes=self._chunk_bytes,
            file_bytes_max=self._file_bytes_max,
        )

    def pack_writer(self) -> PackWriter:
        assert not self._closed
        return FilePackWriter(
            self._files,
            self._jobs,
            chunk_bytes=self._chunk_bytes,
            file_bytes_max=self._file_bytes_max,
        )

    async def append(self, body: bytes) -> Extent:
        assert not self._closed
        assert 0 < len(body) <= self._pack_bytes_max
        self._files.admit(len(body))
        return await self._packs.append(body)

    # --- reading ---
    async def read(self, extents: Sequence[Extent], start: int, end: int) -> AsyncIterator[bytes]:
        todo = frames_of(extents, start, end, self._chunk_bytes)
        if not self._jobs.take_overlap():
            for item in todo:
                async with self._jobs.turns:
                    reading = self._start(*item)
                    piece = reading if isinstance(reading, bytes) else await reading
                yield piece
                del piece
            return
        current = coming = None
        try:
            current = self._start_next(todo)
            while current is not None:
                coming = self._start_next(todo)
                piece = current if isinstance(current, bytes) else await current
                yield piece
                del piece
                current = coming
        finally:
            self._jobs.give_overlap()
            for left in (current, coming):
                if isinstance(left, asyncio.Future) and not left.cancel() and not left.cancelled():
                    left.exception()  # or its going unasked for is reported

    def _start_next(
        self, todo: Iterator[tuple[bytes, Frame]]
    ) -> bytes | asyncio.Future[bytes] | None:
        item = next(todo, None)
        return None if item is None else self._start(*item)

    def _start(self, file_id: bytes, frame: Frame) -> bytes | asyncio.Future[bytes]:
        """Read the frame if that is quick, else begin to."""
        if frame.length <= INLINE_READ_BYTES:
            piece = self._read_cached(file_id, frame)
            if piece is not None:
                return piece
        return self._jobs.run(self._read_frame, file_id, frame)

    async def read_small(self, extent: Extent) -> bytes:
        length = extent.length
        if length > self._chunk_bytes:
            return b"".join([piece async for piece in self.read((extent,), 0, length)])
        frame = Frame(extent.offset, length, 0, length)
        if length <= INLINE_READ_BYTES:
            data = self._read_cached(extent.file, frame)
            if data is not None:
                return data
        return await self._jobs.run(self._read_frame, extent.file, frame)

    async def read_many(self, extents: Sequence[Extent]) -> list[bytes]:
        if any(extent.length > self._chunk_bytes for extent in extents):  # of several frames
            return await super().read_many(extents)
        bodies: list[bytes] = [b""] * len(extents)
        reads: deque[asyncio.Future[None]] = deque()
        quick = 0  # bytes, since others had their turn
        try:
            for span in spans(extents):
                if span.length <= SPAN_BYTES_MAX and self._take_cached(span, extents, bodies):
                    quick += span.length
                    if quick >= _AT_A_STRETCH_BYTES:
                        await asyncio.sleep(0)
                        quick = 0
                    continue
                if len(reads) >= THREADS:
                    await reads.popleft()
                reads.append(self._jobs.run(self._take, span, extents, bodies))
            while reads:
                await reads.popleft()
        finally:
            for left in reads:
                if not left.cancel() and not left.cancelled():
                    left.exception()  # or its going unasked for is reported
        return bodies

    def _take_cached(self, span: Span, extents: Sequence[Extent], bodies: list[bytes]) -> bool:
        """Put the bodies of a span to their places, if that needs no waiting for the device."""
        file = self._files.open(span.file)
        try:
            data = file.pread_cached(span.length, span.offset)
        except OSError as error:
            raise _unreadable(span.file, error) from error
        if data is None:
            return False
        self._put(span, data, extents, bodies)
        return True

    def _take(self, span: Span, extents: Sequence[Extent], bodies: list[bytes]) -> None:
        if len(span.members) == 1:
            (index,) = span.members
            length = extents[index].length
            frame = Frame(span.offset, length, 0, length)
            bodies[index] = self._read_frame(span.file, frame)
            return
        file = self._files.open(span.file)
        try:
            data = file.pread(span.length, span.offset)
        except OSError as error:
            raise _unreadable(span.file, error) from error
        self._put(span, data, extents, bodies)

    def _put(
        self, span: Span, data: Buffer, extents: Sequence[Extent], bodies: list[bytes]
    ) -> None:
        view = memoryview(data)
        for index in span.members:
            extent = extents[index]
            length, at = extent.length, extent.offset - span.offset
            start = at + CHECKSUM_BYTES
            payload = view[start : start + length]
            verify(span.file, Frame(extent.offset, length, 0, length), view[at:start], payload)
            bodies[index] = bytes(payload)

    def _read_cached(self, file_id: bytes, frame: Frame) -> bytes | None:
        """The wanted bytes of a frame if that needs no waiting for the device."""
        file = self._files.open(file_id)
        try:
            data = file.pread_cached(CHECKSUM_BYTES + frame.length, frame.offset)
        except OSError as error:
            raise _unreadable(file_id, error) from error
        if data is None:
            return None
        view = memoryview(data)
        verify(file_id, frame, view[:CHECKSUM_BYTES], view[CHECKSUM_BYTES:])
        return bytes(view[CHECKSUM_BYTES + frame.start : CHECKSUM_BYTES + frame.end])

    def _read_frame(self, file_id: bytes, frame: Frame) -> bytes:
        file = self._files.open(file_id)
        try:
            stored = file.pread(CHECKSUM_BYTES, frame.offset)
            payload = file.pread(frame.length, frame.offset + CHECKSUM_BYTES)
        except OSError as error:
            raise _unreadable(file_id, error) from error
        verify(file_id, frame, stored, payload)
        return payload[frame.start : frame.end]

    async def check(self, extent: Extent) -> None:
        await self._jobs.run(self._forget, extent)
        for frame in frames(extent, 0, extent.length, self._chunk_bytes):
            await self._jobs.run(self._read_frame, extent.file, frame)

    def _forget(self, extent: Extent) -> None:
        """Make the next read see the device: a page read before it rotted says nothing."""
        length = position(extent, extent.length, self._chunk_bytes) - extent.offset
        try:
            self._files.open(extent.file).forget(length, extent.offset)
        except OSError as error:
            raise _unreadable(extent.file, error) from error

    # --- files ---
    def files(self) -> Iterator[FileInfo]:
        try:
            yield from self._files.infos()
        except OSError as error:
            raise DataError(str(error)) from error

    async def unlink(self, file_id: bytes) -> None:
        await self._jobs.run(self._unlink, file_id)

    def _unlink(self, file_id: bytes) -> None:
        try:
            self._files.unlink(file_id)
        except OSError as error:
            raise DataError(str(error)) from error

    def free_bytes(self) -> int:
        return self._files.free_bytes()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._packs.close()
        self._jobs.close()
        try:
            self._files.close()
        except OSError as error:
            raise DataError(str(error)) from error


def _unreadable(file_id: bytes, error: OSError) -> DataError:
    if error.errno == errno.ENOMEM:
        return DataError(str(error))
    return DataDamaged(f"file {file_id.hex()}: {error}")
