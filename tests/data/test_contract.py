"""What every data store does, whatever it stands on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from amur.data.bucket import BucketDataStore
from amur.data.store import DataMissing, DataStore
from amur.extent import Extent

CHUNK = 1024
FILE = 4096
EDGES = sorted({n * CHUNK + d for n in (0, 1, 2, 4, 8) for d in (-1, 0, 1) if n * CHUNK + d >= 0})


async def stream(store: DataStore, body: bytes, step: int) -> list[Extent]:
    writer = store.writer()
    for at in range(0, len(body), step):
        await writer.write(body[at : at + step])
    return await writer.finish()


async def read(store: DataStore, extents: list[Extent], start: int, end: int) -> bytes:
    pieces = [piece async for piece in store.read(extents, start, end)]
    assert all(0 < len(piece) <= CHUNK for piece in pieces)
    assert all(isinstance(piece, bytes) for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("size", EDGES)
async def test_streamed_sizes_around_the_edges(store: DataStore, size: int) -> None:
    body = random.Random(size).randbytes(size)
    for step in (1 + size // 1000, 700, 1024, 100_000):
        extents = await stream(store, body, step)
        assert sum(extent.length for extent in extents) == size
        assert all(0 < extent.length <= FILE for extent in extents)
        assert await read(store, extents, 0, size) == body
        for extent in extents:
            await store.check(extent)


@pytest.mark.parametrize("seed", range(5))
async def test_any_range_of_many_extents(
    store: DataStore, bodies: Callable[..., list[bytes]], seed: int
) -> None:
    rng = random.Random(seed)
    parts = bodies(seed, 6)
    extents = [e for part in parts for e in await stream(store, part, rng.randint(1, 3000))]
    whole = b"".join(parts)
    for _ in range(60):
        start = rng.choice([rng.randint(0, len(whole)), rng.choice(EDGES) % len(whole)])
        end = min(len(whole), start + rng.choice([0, 1, CHUNK, rng.randint(0, len(whole))]))
        assert await read(store, extents, start, end) == whole[start:end], (start, end)


async def test_appends_of_many_callers(
    store: DataStore, bodies: Callable[..., list[bytes]]
) -> None:
    many = bodies(3, 200, limit=CHUNK)
    extents = await asyncio.gather(*map(store.append, many))
    assert len({(e.file, e.offset) for e in extents}) == len(many)
    assert len({e.file for e in extents}) > 1  # packs are sealed at their size
    for body, extent in zip(many, extents, strict=True):
        assert extent.length == len(body)
        assert await store.read_small(extent) == body
        assert await read(store, [extent], 0, len(body)) == body
        await store.check(extent)


async def test_a_short_stream_goes_into_a_pack(store: DataStore) -> None:
    extents = await asyncio.gather(*(stream(store, b"x" * 300, 100) for _ in range(3)))
    assert len({extent.file for (extent,) in extents}) == 1


async def test_read_small_of_several_frames(store: DataStore) -> None:
    body = random.Random(1).randbytes(3 * CHUNK + 5)
    (extent,) = await stream(store, body, 500)
    assert await store.read_small(extent) == body


async def test_pack_writer_keeps_order(
    store: DataStore, bodies: Callable[..., list[bytes]]
) -> None:
    many = bodies(4, 50, limit=CHUNK)
    writer = store.pack_writer()
    for body in many:
        await writer.add(body)
    extents = await writer.finish()
    assert [await store.read_small(extent) for extent in extents] == many
    places: dict[bytes, list[int]] = {}
    for extent in extents:
        places.setdefault(extent.file, []).append(extent.offset)
    assert all(offsets == sorted(offsets) for offsets in places.values())
    assert {f.id for f in store.files() if f.sealed} >= set(places)


async def test_an_empty_pack_writer(store: DataStore) -> None:
    assert await store.pack_writer().finish() == []


async def test_abort_leaves_nothing(store: DataStore) -> None:
    for size in (0, 10, 3000, 20_000):
        writer = store.writer()
        await writer.write(bytes(size))
        await writer.abort()
        await writer.abort()
    packs = store.pack_writer()
    for _ in range(20):
        await packs.add(b"y" * 500)
    await packs.abort()
    assert list(store.files()) == []


async def test_abort_after_finish(store: DataStore) -> None:
    writer = store.writer()
    await writer.write(bytes(9000))
    extents = await writer.finish()
    await writer.abort()
    with pytest.raises(DataMissing):
        await store.check(extents[0])


async def test_files_and_unlink(store: DataStore) -> None:
    block = await stream(store, bytes(5000), 5000)
    small = await store.append(b"small")
    infos = {info.id: info for info in store.files()}
    assert set(infos) == {small.file, *(extent.file for extent in block)}
    assert all(info.live_writer for info in infos.values())
    is_appended_to = not isinstance(store, BucketDataStore)  # objects never change
    assert infos[small.file].sealed is not is_appended_to
    asked = await store.sealed({small.file, block[0].file})
    assert asked == {small.file: not is_appended_to, block[0].file: True}
    assert all(infos[extent.file].sealed for extent in block)
    assert all(infos[extent.file].size >= extent.length for extent in block)
    await store.unlink(small.file)
    await store.unlink(small.file)
    for lost in (store.read_small(small), store.check(small), read(store, [small], 0, 5)):
        with pytest.raises(DataMissing):
            await lost
    assert await read(store, block, 0, 5000) == bytes(5000)


async def test_a_file_being_written_is_not_sealed(store: DataStore) -> None:
    writer = store.writer()
    await writer.write(bytes(2500))
    await asyncio.sleep(0.01)
    assert not any(info.sealed for info in store.files())
    await writer.finish()


async def test_a_reader_may_stop_early(store: DataStore) -> None:
    extents = await stream(store, bytes(9000), 9000)
    for _ in range(40):
        reading = store.read(extents, 0, 9000)
        async for _piece in reading:
            break
        await reading.aclose()  # type: ignore[attr-defined]
    assert await read(store, extents, 0, 9000) == bytes(9000)


async def test_close_twice(store: DataStore) -> None:
    await store.append(b"last")
    await store.close()
    await store.close()


@pytest.mark.parametrize("seed", range(4))
async def test_many_at_once_come_in_the_order_asked_for(
    store: DataStore, bodies: Callable[..., list[bytes]], seed: int
) -> None:
    many = bodies(seed, 120, limit=CHUNK)
    extents = await asyncio.gather(*map(store.append, many))
    rng = random.Random(seed)
    for count in (0, 1, 2, 50, 400):
        wanted = [rng.randrange(len(many)) for _ in range(count)]  # some of them twice
        read_back = await store.read_many([extents[at] for at in wanted])
        assert read_back == [many[at] for at in wanted]
        assert all(type(body) is bytes for body in read_back)


async def test_many_at_once_of_several_frames(store: DataStore) -> None:
    body = random.Random(2).randbytes(3 * CHUNK + 5)
    (large,) = await stream(store, body, 500)
    small = await store.append(b"small")
    assert await store.read_many([small, large, small]) == [b"small", body, b"small"]


async def test_many_at_once_with_one_missing(store: DataStore) -> None:
    extents = await asyncio.gather(*(store.append(b"x" * 900) for _ in range(20)))
    await store.unlink(extents[7].file)
    with pytest.raises(DataMissing):
        await store.read_many(extents)
