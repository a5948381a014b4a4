"""A data store in memory, for tests and examples: the contract and nothing else."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence

from amur import limits
from amur.data.store import (
    DataFull,
    DataMissing,
    DataStore,
    FileInfo,
    PackWriter,
    Piece,
    Writer,
)
from amur.extent import Extent


class MemoryDataStore(DataStore):
    """Every body is a file of its own (short ones share one, as in a pack), without frames."""

    def __init__(
        self,
        *,
        capacity: int = limits.TIB,
        chunk_bytes: int = limits.CHUNK_BYTES,
        pack_bytes_max: int = limits.PACK_BYTES_MAX,
        file_bytes_max: int = limits.FILE_BYTES_MAX,
    ) -> None:
        self.capacity = capacity
        self.chunk_bytes = chunk_bytes
        self.pack_bytes_max = pack_bytes_max
        self.file_bytes_max = file_bytes_max
        self.contents: dict[bytes, bytearray] = {}
        self._unsealed: set[bytes] = set()
        self._pack = b""
        self._used = 0

    def writer(self) -> Writer:
        return _MemoryWriter(self)

    def pack_writer(self) -> PackWriter:
        return _MemoryPackWriter(self)

    def create(self) -> bytes:
        """The id of a new, unsealed file."""
        file_id = os.urandom(16)
        self.contents[file_id] = bytearray()
        self._unsealed.add(file_id)
        return file_id

    def put(self, file_id: bytes, body: bytes) -> Extent:
        if len(body) > self.free_bytes():
            raise DataFull("the memory given to the store is used up")
        content = self.contents[file_id]
        offset = len(content)
        content += body
        self._used += len(body)
        return Extent(file_id, offset, len(body))

    def seal(self, file_id: bytes) -> None:
        self._unsealed.discard(file_id)

    async def append(self, body: bytes) -> Extent:
        assert 0 < len(body) <= self.pack_bytes_max
        size = len(self.contents.get(self._pack, b""))
        if self._pack not in self.contents or size + len(body) > self.file_bytes_max:
            self.seal(self._pack)
            self._pack = self.create()
        return self.put(self._pack, body)

    async def read(self, extents: Sequence[Extent], start: int, end: int) -> AsyncIterator[bytes]:
        begin = 0
        for extent in extents:
            low, high = max(start - begin, 0), min(end - begin, extent.length)
            for at in range(low, high, self.chunk_bytes):
                content = self._content(extent)
                stop = min(at + self.chunk_bytes, high)
                yield bytes(content[extent.offset + at : extent.offset + stop])
            begin += extent.length

    async def read_small(self, extent: Extent) -> bytes:
        return bytes(self._content(extent)[extent.offset : extent.offset + extent.length])

    async def check(self, extent: Extent) -> None:
        self._content(extent)

    def _content(self, extent: Extent) -> bytearray:
        content = self.contents.get(extent.file)
        if content is None:
            raise DataMissing(f"file {extent.file.hex()} is not there")
        return content

    def files(self) -> Iterator[FileInfo]:
        for file_id, content in list(self.contents.items()):
            yield FileInfo(file_id, len(content), True, file_id not in self._unsealed)

    async def unlink(self, file_id: bytes) -> None:
        self._used -= len(self.contents.pop(file_id, b""))
        self._unsealed.discard(file_id)

    def free_bytes(self) -> int:
        return max(0, self.capacity - self._used)

    async def close(self) -> None:
        self._unsealed.clear()


class _MemoryWriter(Writer):
    def __init__(self, store: MemoryDataStore) -> None:
        self._store = store
        self._body = bytearray()
        self._ids: list[bytes] = []

    async def write(self, chunk: Piece) -> None:
        if len(chunk) > self._store.free_bytes():
            raise DataFull("the memory given to the store is used up")
        self._body += chunk

    async def finish(self) -> list[Extent]:
        store, body = self._store, bytes(self._body)
        if 0 < len(body) <= store.pack_bytes_max:
            return [await store.append(body)]
        extents = []
        step = store.file_bytes_max // store.chunk_bytes * store.chunk_bytes
        for at in range(0, len(body), step):
            file_id = store.create()
            self._ids.append(file_id)
            extents.append(store.put(file_id, body[at : at + step]))
            store.seal(file_id)
        return extents

    async def abort(self) -> None:
        for file_id in self._ids:
            await self._store.unlink(file_id)


class _MemoryPackWriter(PackWriter):
    def __init__(self, store: MemoryDataStore) -> None:
        self._store = store
        self._id = store.create()
        self._extents: list[Extent] = []

    async def add(self, body: bytes) -> None:
        assert 0 < len(body) <= self._store.pack_bytes_max
        self._extents.append(self._store.put(self._id, body))

    async def finish(self) -> list[Extent]:
        self._store.seal(self._id)
        return self._extents

    async def abort(self) -> None:
        await self._store.unlink(self._id)
