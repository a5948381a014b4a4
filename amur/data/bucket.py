"""The data store over a bucket: packs and block files are objects, with the same frames as on disk.

An object is written once, whole, and is then sealed; what is in it is read in ranges of frames and
verified frame by frame. What was read is kept in a cache on local disk.

**Who lives.** There are no locks in a bucket that tell whether a writer is alive. So an object
counts as having a living writer while it is younger than ORPHAN_SECONDS, and no writer may take
half as long as that from its first byte to its record: what the sweeper takes for an orphan then
is one, even if the service's clock and ours differ by hours. (A lock or a lease would have to be
renewed over a network that may be away for as long; age needs nobody to be alive.)

**Whose it is.** The object `amur-store.json` holds the id of the one data directory whose bytes
these are: two that shared a bucket would sweep each other's files away. When an object is missing
this is looked at, so that a wrong or emptied bucket is told from bytes that are lost.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from amur import limits
from amur.clock import Clock
from amur.data.bucket_service import Bucket
from amur.data.bucket_writing import (
    PART_BYTES,
    WRITER_SECONDS_MAX,
    BatchUploader,
    BucketPackWriter,
    BucketWriter,
    Lanes,
)
from amur.data.file_names import FileNames, id_of, path_of
from amur.data.framing import CHECKSUM_BYTES, Buffer, Frame, frames, frames_of, verify
from amur.data.jobs import Jobs
from amur.data.read_cache import ReadCache
from amur.data.spans import Span, spans
from amur.data.store import (
    DataDamaged,
    DataMissing,
    DataStore,
    DataUnavailable,
    FileInfo,
    PackWriter,
    Writer,
)
from amur.extent import Extent

ORPHAN_SECONDS = 2 * WRITER_SECONDS_MAX
"""Age from which an object that nothing names is an orphan: a day."""

FREE_BYTES = 1 << 60
"""What can still be written: a bucket has no end."""

GETS_MAX = 32
"""Range requests under way in a process, each for up to SPAN_BYTES_MAX."""

READ_AHEAD = 4
"""Frames under way of a stream, for the first streams (see jobs.OVERLAPS_MAX); others have one."""

SPAN_BYTES_MAX = 4 * limits.MIB
GAP_BYTES_MAX = 256 * limits.KIB
"""A request takes as long as these bytes; it is paid for, too."""

SAVING_MAX = 16
"""Frames on their way to the cache; what comes then is not kept."""

MARKER = "amur-store.json"


class BucketDataStore(DataStore):
    """Belongs to the event loop that first uses it. Sizes are arguments for tests only."""

    def __init__(
        self,
        bucket: Bucket,
        clock: Clock,
        *,
        store_id: str = "",
        cache: ReadCache | None = None,
        part_bytes: int = PART_BYTES,
        chunk_bytes: int = limits.CHUNK_BYTES,
        pack_bytes_max: int = limits.PACK_BYTES_MAX,
        file_bytes_max: int = limits.FILE_BYTES_MAX,
        threaded: bool = True,
    ) -> None:
        """`store_id` is whose bucket this must be; "" asks nothing."""
        assert 0 < pack_bytes_max <= chunk_bytes <= file_bytes_max
        self._bucket = bucket
        self._clock = clock
        self._store_id = store_id
        self._cache = cache
        self._part_bytes = part_bytes
        self._chunk_bytes = chunk_bytes
        self._pack_bytes_max = pack_bytes_max
        self._file_bytes_max = file_bytes_max
        self._names = FileNames()
        self._lanes = Lanes()
        self._jobs = Jobs(threaded=threaded)
        self._batches = BatchUploader(bucket, self._names, file_bytes_max)
        self._gets = asyncio.Semaphore(GETS_MAX)
        self._saving: set[asyncio.Future[None]] = set()
        self._closed = False

    # --- whose it is ---
    async def claim(self, *, may_be_new: bool) -> None:
        """Raise DataUnavailable unless the bucket is ours; make it ours if it is nobody's."""
        owner = await self._owner()
        if owner is None and may_be_new:
            content = json.dumps({"id": self._store_id}).encode() + b"\n"
            if not await self._bucket.put_new(MARKER, content):
                owner = await self._owner()
            else:
                owner = self._store_id
        self._check_owner(owner)

    async def _owner(self) -> str | None:
        try:
            facts = json.loads(await self._bucket.get(MARKER))
        except DataMissing:
            return None
        except ValueError:
            return ""
        return str(facts.get("id", "")) if isinstance(facts, dict) else ""

    def _check_owner(self, owner: str | None) -> None:
        if owner is None:
            raise DataUnavailable(
                f"the block store has no {MARKER}: it is not the one that this directory was made "
                "with, or it was emptied; check block_store and its endpoint"
            )
        if owner != self._store_id:
            raise DataUnavailable(
                f"the block store belongs to another data directory (its {MARKER} says so): "
                "give each a prefix of its own"
            )

    # --- writing ---
    def writer(self) -> Writer:
        assert not self._closed
        return BucketWriter(
            self._bucket,
            self._names,
            self._lanes,
            self._batches,
            part_bytes=self._part_bytes,
            pack_bytes_max=self._pack_bytes_max,
            chunk_bytes=self._chunk_bytes,
            file_bytes_max=self._file_bytes_max,
        )

    def pack_writer(self) -> PackWriter:
        assert not self._closed
        return BucketPackWriter(
            self._bucket,
            self._names,
            self._lanes,
            part_bytes=self._part_bytes,
            chunk_bytes=self._chunk_bytes,
            file_bytes_max=self._file_bytes_max,
        )

    async def append(self, body: bytes) -> Extent:
        assert not self._closed
        assert 0 < len(body) <= self._pack_bytes_max
        return await self._batches.append(body)

    # --- reading ---
    async def read(self, extents: Sequence[Extent], start: int, end: int) -> AsyncIterator[bytes]:
        todo = frames_of(extents, start, end, self._chunk_bytes)
        wide = self._jobs.take_overlap()
        reads: deque[asyncio.Task[bytes]] = deque()
        try:
            for item in islice(todo, READ_AHEAD if wide else 1):
                reads.append(asyncio.create_task(self._read_frame(*item)))
            while reads:
                piece = await reads.popleft()
                for item in islice(todo, 1):
                    reads.append(asyncio.create_task(self._read_frame(*item)))
                yield piece
                del piece
        finally:
            if wide:
                self._jobs.give_overlap()
            await _cancelled(reads)

    async def read_small(self, extent: Extent) -> bytes:
        length = extent.length
        if length > self._chunk_bytes:
            return b"".join([piece async for piece in self.read((extent,), 0, length)])
        return await self._read_frame(extent.file, Frame(extent.offset, length, 0, length))

    async def read_many(self, extents: Sequence[Extent]) -> list[bytes]:
        if any(extent.length > self._chunk_bytes for extent in extents):  # of several frames
            return await super().read_many(extents)
        bodies = await asyncio.gather(*map(self._cached_body, extents))
        missing = [index for index, body in enumerate(bodies) if body is None]
        sought = [extents[index] for index in missing]
        plan = spans(sought, span_bytes_max=SPAN_BYTES_MAX, gap_bytes_max=GAP_BYTES_MAX)
        reads = deque(asyncio.create_task(self._read_span(span, sought)) for span in plan)
        try:
            while reads:
                for at, body in await reads.popleft():
                    bodies[missing[at]] = body
        finally:
            await _cancelled(reads)
        return [body for body in bodies if body is not None]

    async def _read_span(self, span: Span, extents: Sequence[Extent]) -> list[tuple[int, bytes]]:
        """(index, body) of a span's members."""
        data = memoryview(await self._get(span.file, span.offset, span.offset + span.length))
        read = []
        for index in span.members:
            extent = extents[index]
            at = extent.offset - span.offset
            framed = data[at : at + CHECKSUM_BYTES + extent.length]
            whole = Frame(extent.offset, extent.length, 0, extent.length)
            read.append((index, self._verified(extent.file, whole, framed)))
            self._keep(extent.file, extent.offset, framed)
        return read

    async def _cached_body(self, extent: Extent) -> bytes | None:
        if not extent.length:
            return b""
        return await self._cached(
            extent.file, Frame(extent.offset, extent.length, 0, extent.length)
        )

    async def _read_frame(self, file_id: bytes, frame: Frame) -> bytes:
        """The wanted bytes of a frame, verified."""
        wanted = await self._cached(file_id, frame)
        if wanted is not None:
            return wanted
        end = frame.offset + CHECKSUM_BYTES + frame.length
        framed = await self._get(file_id, frame.offset, end)
        wanted = self._verified(file_id, frame, framed)
        self._keep(file_id, frame.offset, framed)
        return wanted

    async def _cached(self, file_id: bytes, frame: Frame) -> bytes | None:
        cache = self._cache
        if cache is None:
            return None
        length = CHECKSUM_BYTES + frame.length
        framed = await self._jobs.run(cache.get, file_id, frame.offset, length)
        if framed is None:
            return None
        try:
            return self._verified(file_id, frame, framed)
        except DataDamaged:  # here, not there
            await self._jobs.run(cache.drop, file_id, frame.offset)
            return None

    def _keep(self, file_id: bytes, offset: int, framed: Buffer) -> None:
        if self._cache is None or len(self._saving) >= SAVING_MAX or self._closed:
            return
        saving = self._jobs.run(self._cache.put, file_id, offset, bytes(framed))
        self._saving.add(saving)
        saving.add_done_callback(self._saving.discard)

    def _verified(self, file_id: bytes, frame: Frame, framed: Buffer) -> bytes:
        view = memoryview(framed)
        verify(file_id, frame, view[:CHECKSUM_BYTES], view[CHECKSUM_BYTES:])
        return bytes(view[CHECKSUM_BYTES + frame.start : CHECKSUM_BYTES + frame.end])

    async def _get(self, file_id: bytes, start: int, end: int) -> Buffer:
        try:
            async with self._gets:
                return await self._bucket.get_range(path_of(file_id), start, end)
        except DataMissing:
            if self._store_id:  # are we looking in the right place at all?
                self._check_owner(await self._owner())
            raise

    async def check(self, extent: Extent) -> None:
        for frame in frames(extent, 0, extent.length, self._chunk_bytes):
            end = frame.offset + CHECKSUM_BYTES + frame.length
            self._verified(extent.file, frame, await self._get(extent.file, frame.offset, end))

    # --- files ---
    def files(self) -> Iterator[FileInfo]:
        """Blocks for each page of the list: for background work, not for requests."""
        dead_before = self._clock.now_ns() / 1e9 - ORPHAN_SECONDS
        for listed in self._bucket.list():
            file_id = id_of(listed.path)
            if file_id is not None:
                yield FileInfo(file_id, listed.size, listed.modified_s >= dead_before, True)

    async def sealed(self, file_ids: Collection[bytes]) -> dict[bytes, bool]:
        """All: which are gone is not worth a request each, as `unlink` of those does nothing."""
        return dict.fromkeys(file_ids, True)

    async def unlink(self, file_id: bytes) -> None:
        await self._bucket.delete(path_of(file_id))
        if self._cache is not None:
            await self._jobs.run(self._cache.drop_file, file_id)

    def free_bytes(self) -> int:
        return FREE_BYTES

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._batches.close()
        if self._saving:
            await asyncio.wait(self._saving)
        self._jobs.close()
        await self._bucket.close()


async def _cancelled(reads: Collection[asyncio.Task[Any]]) -> None:
    for read in reads:
        read.cancel()
    if reads:
        await asyncio.wait(reads)
    for read in reads:
        if not read.cancelled():
            read.exception()  # or its going unasked for is reported
