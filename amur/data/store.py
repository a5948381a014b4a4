"""Where bytes live: the contract of a data store.

Payload is kept in files named by 16-byte ids. In every file it stands in frames:

    crc64nvme (8 bytes, big-endian) | payload (CHUNK_BYTES, the last frame of an extent shorter)

The checksum is seeded with the file's id and the frame's offset, so that a block that was written
or read at the wrong place fails as a flipped bit does. A **pack** is a file that many small
extents are appended to, one fsync for a batch; a **block** file holds one extent of at most
FILE_BYTES_MAX payload. Both have the same format: only who appends differs.

The data store knows nothing of objects: what is still referenced is the metadata's to say.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import NamedTuple

from amur.extent import Extent

Piece = bytes | bytearray  # of a body on its way; whoever has it owns it


class DataError(Exception):
    """Base of what a data store raises."""


class DataDamaged(DataError):
    """A frame failed its checksum or is cut short: never served."""


class DataMissing(DataError):
    """The file is not there (any more)."""


class DataFull(DataError):
    """The disk has less free than the reserve; reads and deletes go on."""


class DataFailed(DataError):
    """An fsync or write failed: what was not acknowledged is lost, the process must stop."""


class DataUnavailable(DataError):
    """The service that keeps the bytes does not answer: nothing is known to be lost; try again."""


class FileInfo(NamedTuple):
    """What is on the disk, whether or not anything references it."""

    id: bytes
    size: int  # bytes on disk, frames included
    live_writer: bool  # its writing process is alive: not to be swept as an orphan
    sealed: bool  # nobody will append any more


class Writer(ABC):
    """Streams one body into as many block files as it needs. Not shared between tasks."""

    @abstractmethod
    async def write(self, chunk: Piece) -> None:
        """Take a piece of any size. Holds at most a few CHUNK_BYTES in memory."""

    @abstractmethod
    async def finish(self) -> list[Extent]:
        """Durable on return: bytes, sizes and directory entries are on stable storage."""

    @abstractmethod
    async def abort(self) -> None:
        """Remove what was written. Idempotent; harmless after `finish` only if never referenced."""


class PackWriter(ABC):
    """Writes many small bodies side by side, in order, into new packs. For the compactor."""

    @abstractmethod
    async def add(self, body: bytes) -> None:
        """Take a body of 1 to PACK_BYTES_MAX bytes; a few CHUNK_BYTES are held in memory."""

    @abstractmethod
    async def finish(self) -> list[Extent]:
        """One extent for each body, in order; durable on return."""

    @abstractmethod
    async def abort(self) -> None:
        """As `Writer.abort`."""


class DataStore(ABC):
    """Bytes under extents. All methods raise DataError kinds only."""

    @property
    def failure(self) -> DataFailed | None:
        """Set once the process must stop, and recover by its restart."""
        return None

    @abstractmethod
    def writer(self) -> Writer: ...

    @abstractmethod
    def pack_writer(self) -> PackWriter: ...

    @abstractmethod
    async def append(self, body: bytes) -> Extent:
        """Put a body of 1 to PACK_BYTES_MAX bytes into the current pack; durable on return.

        Appends of concurrent callers share one fsync (group commit).
        """

    @abstractmethod
    def read(self, extents: Sequence[Extent], start: int, end: int) -> AsyncIterator[bytes]:
        """Payload bytes [start, end) of the extents laid end to end, verified, in pieces.

        A piece is at most CHUNK_BYTES. Files are opened when their turn comes.
        """

    @abstractmethod
    async def read_small(self, extent: Extent) -> bytes:
        """A whole extent of at most PACK_BYTES_MAX, verified, in one call."""

    async def read_many(self, extents: Sequence[Extent]) -> list[bytes]:
        """What `read_small` gives of each, in this order. Neighbours may be read together."""
        return [await self.read_small(extent) for extent in extents]

    @abstractmethod
    async def check(self, extent: Extent) -> None:
        """Verify every frame of an extent, or raise DataDamaged or DataMissing."""

    @abstractmethod
    def files(self) -> Iterator[FileInfo]:
        """Every file there is."""

    async def sealed(self, file_ids: Collection[bytes]) -> dict[bytes, bool]:
        """Of those files that are there: whether nobody will append any more."""
        return {info.id: info.sealed for info in self.files() if info.id in file_ids}

    @abstractmethod
    async def unlink(self, file_id: bytes) -> None:
        """Remove a file. Missing is fine; readers that have it open read on."""

    @abstractmethod
    def free_bytes(self) -> int:
        """What can still be written before the reserve is touched; 0 when nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Finish accepted appends, seal, release. Idempotent."""
