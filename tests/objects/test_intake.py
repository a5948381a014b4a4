from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest

from amur.data.memory import MemoryDataStore
from amur.data.store import DataFull
from amur.limits import CHUNK_BYTES, INLINE_BYTES_MAX, PACK_BYTES_MAX
from amur.objects.digests import digests_of
from amur.objects.errors import (
    BadDigest,
    EntityTooLarge,
    IncompleteBody,
    NoSuchBucket,
    NoSuchKey,
    PreconditionFailed,
    StorageFull,
)
from amur.objects.intake import take
from amur.objects.store import Store
from amur.objects.types import Checksum, Conditions, Digests

SIZES = [
    0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 20_000, PACK_BYTES_MAX, PACK_BYTES_MAX + 1,
    3 * CHUNK_BYTES, 3 * CHUNK_BYTES + 5,
]  # fmt: skip


async def streamed(body: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    at = 0
    while at < len(body):
        for size in sizes:
            yield body[at : at + size]
            at += size


def files(store: Store) -> int:
    return len(list(store.core.data.files()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pieces", [[], [65_536], [CHUNK_BYTES], [1, 3_000_000], [700_001, 5]])
async def test_sizes(store: Store, size: int, pieces: list[int]) -> None:
    body = Random(size).randbytes(size)
    algorithms = ["SHA256", "CRC32C"]
    taken = await take(
        store.core, streamed(body, pieces) if pieces else body, algorithms=algorithms
    )
    assert taken.digests == digests_of(body, algorithms)
    assert taken.checksums == []
    if size <= INLINE_BYTES_MAX:
        assert (taken.inline, taken.extents) == (body, [])
    else:
        assert taken.inline is None
        read = store.core.data.read(taken.extents, 0, size)
        assert b"".join([piece async for piece in read]) == body


async def test_default_and_answered_checksums(store: Store) -> None:
    taken = await take(store.core, b"123456789")
    assert taken.checksums == [Checksum("CRC64NVME", "rosUhgp5mIg=")]
    answer = [Checksum("SHA1", "x")]
    taken = await take(store.core, b"body", algorithms=["SHA1"], verify=lambda _: answer)
    assert taken.checksums == answer


@pytest.mark.parametrize("size", [10, 20_000, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("stream", [False, True])
async def test_broken_promise_leaves_nothing(
    store: Store, bucket: str, size: int, stream: bool
) -> None:
    def verify(digests: Digests) -> list[Checksum]:
        assert digests.size == size
        raise BadDigest

    body = bytes(size)
    with pytest.raises(BadDigest):
        await store.put(bucket, "key", streamed(body, [65_536]) if stream else body, verify=verify)
    assert files(store) == 0
    assert (await store.list_objects(bucket)).entries == []


@pytest.mark.parametrize("after", [0, 5, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES + 1])
async def test_broken_stream_leaves_nothing(store: Store, bucket: str, after: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in streamed(bytes(after), [500_000]):
            yield piece
        raise IncompleteBody

    with pytest.raises(IncompleteBody):
        await store.put(bucket, "key", broken())
    assert files(store) == 0
    assert (await store.list_objects(bucket)).entries == []


@pytest.mark.parametrize("after", [0, 3 * CHUNK_BYTES])
async def test_cancelled_upload_leaves_nothing(store: Store, bucket: str, after: int) -> None:
    stalled = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        async for piece in streamed(bytes(after), [500_000]):
            yield piece
        stalled.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(store.put(bucket, "key", stalling()))
    await stalled.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert files(store) == 0


@pytest.mark.parametrize("size", [101, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("stream", [False, True])
async def test_too_large(store: Store, size: int, stream: bool) -> None:
    body = bytes(size)
    with pytest.raises(EntityTooLarge):
        await take(store.core, streamed(body, [65_536]) if stream else body, size_max=size - 1)
    assert files(store) == 0


@pytest.mark.parametrize("size", [20_000, 3 * CHUNK_BYTES])
async def test_full_disk_is_told_and_reads_go_on(store: Store, bucket: str, size: int) -> None:
    await store.put(bucket, "before", bytes(5000))
    assert isinstance(store.core.data, MemoryDataStore)
    store.core.data.capacity = 5000 + size // 2
    with pytest.raises(StorageFull) as caught:
        await store.put(bucket, "key", bytes(size))
    assert isinstance(caught.value.__cause__, DataFull)
    assert (await store.get(bucket, "before")).body == bytes(5000)
    await store.delete(bucket, "before")


async def test_body_that_was_refused_is_released(store: Store, bucket: str) -> None:
    large = bytes(3 * CHUNK_BYTES)
    with pytest.raises(NoSuchKey):
        await store.put(bucket, "key", large, conditions=Conditions(if_match=["*"]))
    assert files(store) == 0

    async def racing() -> AsyncIterator[bytes]:
        yield large
        await store.put(bucket, "key", b"first")

    with pytest.raises(PreconditionFailed):
        await store.put(bucket, "key", racing(), conditions=Conditions(if_none_match=["*"]))
    assert files(store) == 0
    assert (await store.get(bucket, "key")).body == b"first"


async def test_a_stream_that_would_be_refused_is_not_begun(store: Store, bucket: str) -> None:
    async def untouched() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    await store.put(bucket, "key", b"here")
    with pytest.raises(NoSuchBucket):
        await store.put("nowhere", "key", untouched())
    with pytest.raises(PreconditionFailed):
        await store.put(bucket, "key", untouched(), conditions=Conditions(if_none_match=["*"]))
