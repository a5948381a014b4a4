"""Bitrot (R7): whatever happens to a file, a reader gets the right bytes or an error."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from amur.data.fake_disk import FakeDisk
from amur.data.local import LocalDataStore
from amur.data.store import DataDamaged, DataError, DataMissing
from amur.extent import Extent

Stored = list[tuple[bytes, list[Extent]]]


async def fill(store: LocalDataStore, bodies: list[bytes]) -> Stored:
    stored = []
    for body in bodies:
        writer = store.writer()
        await writer.write(body)
        stored.append((body, await writer.finish()))
    return stored


async def damaged(store: LocalDataStore, stored: Stored) -> int:
    """How many bodies can't be read. Every byte that is served is asserted to be right."""
    bad = 0
    for body, extents in stored:
        got = bytearray()
        try:
            async for piece in store.read(extents, 0, len(body)):
                got += piece
                assert body[: len(got)] == got
            assert got == body
        except (DataDamaged, DataMissing):
            bad += 1
            with pytest.raises((DataDamaged, DataMissing)):
                await check_all(store, extents)
        else:
            await check_all(store, extents)
    return bad


async def check_all(store: LocalDataStore, extents: list[Extent]) -> None:
    for extent in extents:
        await store.check(extent)


@pytest.fixture
async def small(
    fake_store: Callable[..., LocalDataStore], bodies: Callable[..., list[bytes]]
) -> tuple[FakeDisk, LocalDataStore, Stored]:
    disk = FakeDisk(7)
    store = fake_store(disk, chunk_bytes=64, pack_bytes_max=64, file_bytes_max=256)
    return disk, store, await fill(store, bodies(7, 12, chunk=64, limit=700))


async def test_every_single_bit(small: tuple[FakeDisk, LocalDataStore, Stored]) -> None:
    disk, store, stored = small
    rng = random.Random(11)
    paths = [path for path in disk.paths() if "instances" not in path]
    for _ in range(1000):
        content = disk.contents(rng.choice(paths))
        at, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        content[at] ^= bit
        assert await damaged(store, stored) == 1, (at, bit)
        content[at] ^= bit
    assert await damaged(store, stored) == 0


async def test_truncation(small: tuple[FakeDisk, LocalDataStore, Stored]) -> None:
    disk, store, stored = small
    rng = random.Random(12)
    paths = [path for path in disk.paths() if "instances" not in path]
    for _ in range(200):
        content = disk.contents(rng.choice(paths))
        whole = bytes(content)
        cut = rng.choice([0, 1, 7, 8, 71, 72, 73, rng.randrange(len(whole))])
        del content[min(cut, len(whole) - 1) :]
        assert await damaged(store, stored) >= 1
        content[:] = whole


async def test_zeros(small: tuple[FakeDisk, LocalDataStore, Stored]) -> None:
    disk, store, stored = small
    for path in disk.paths():
        if "instances" not in path:
            content = disk.contents(path)
            whole = bytes(content)
            content[:] = bytes(len(whole))
            assert await damaged(store, stored) >= 1
            content[:] = whole


async def test_swapped_files_and_frames(fake_store: Callable[..., LocalDataStore]) -> None:
    disk = FakeDisk(8)
    store = fake_store(disk, chunk_bytes=64, pack_bytes_max=64, file_bytes_max=256)
    rng = random.Random(13)
    # Equal payloads too: only the place tells their frames apart.
    parts = [rng.randbytes(256) if n % 2 else b"same" * 64 for n in range(10)]
    stored = await fill(store, parts)
    paths = [path for path in disk.paths() if "instances" not in path]
    for _ in range(100):
        one, other = (disk.contents(path) for path in rng.sample(paths, 2))
        one[:], other[:] = bytes(other), bytes(one)
        assert await damaged(store, stored) == 2
        one[:], other[:] = bytes(other), bytes(one)
    for _ in range(100):
        one, other = disk.contents(rng.choice(paths)), disk.contents(rng.choice(paths))
        a, b = rng.sample(range(0, 4 * 72, 72), 2)
        frame_a, frame_b = bytes(one[a : a + 72]), bytes(other[b : b + 72])
        one[a : a + 72], other[b : b + 72] = frame_b, frame_a
        assert await damaged(store, stored) == (1 if one is other else 2)
        one[a : a + 72], other[b : b + 72] = frame_a, frame_b
    assert await damaged(store, stored) == 0


async def test_an_unreadable_sector(small: tuple[FakeDisk, LocalDataStore, Stored]) -> None:
    disk, store, stored = small
    body, extents = stored[0]
    for number in range(30):
        disk.faults = {disk.operations + number: 5}
        got = bytearray()
        try:
            async for piece in store.read(extents, 0, len(body)):
                got += piece
        except DataError:
            pass
        else:
            assert got == body
        assert body.startswith(got)
    disk.faults = {}
    assert await damaged(store, stored) == 0


async def test_every_single_bit_of_many_read_at_once(
    fake_store: Callable[..., LocalDataStore],
) -> None:
    """Never a wrong byte, and a damaged neighbour harms only who asks for it."""
    disk = FakeDisk(9)
    store = fake_store(disk)
    bodies = [bytes([at]) * 20 for at in range(6)]
    extents = [await store.append(body) for body in bodies]
    (path,) = [path for path in disk.paths() if path.endswith(extents[0].file.hex())]
    content = disk.contents(path)
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        hurt = bit // 8 // 28
        with pytest.raises(DataDamaged):
            await store.read_many(extents)
        rest = [at for at in range(6) if at != hurt]
        assert await store.read_many([extents[at] for at in rest]) == [bodies[at] for at in rest]
        content[bit // 8] ^= 1 << bit % 8
    assert await store.read_many(extents) == bodies
