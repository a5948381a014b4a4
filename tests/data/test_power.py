"""Power loss (R5) and failing disks (R6) on the fake disk: no acknowledged byte is ever lost."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable

import pytest

from amur.data.fake_disk import FakeDisk
from amur.data.local import LocalDataStore
from amur.data.store import (
    DataDamaged,
    DataError,
    DataFailed,
    DataFull,
    DataMissing,
)
from amur.extent import Extent

SEEDS = int(os.environ.get("AMUR_POWER_SEEDS", "2000"))

Acknowledged = list[tuple[bytes, list[Extent]]]


async def scenario(store: LocalDataStore, rng: random.Random, acked: Acknowledged) -> None:
    """Every kind of write, one after another and side by side, until something fails."""

    async def append(size: int) -> None:
        body = rng.randbytes(size)
        acked.append((body, [await store.append(body)]))

    async def stream(size: int) -> None:
        body = rng.randbytes(size)
        writer = store.writer()
        try:
            for at in range(0, size, 700):
                await writer.write(body[at : at + 700])
            acked.append((body, await writer.finish()))
        except DataError:
            await writer.abort()
            raise

    async def pack(count: int) -> None:
        parts = [rng.randbytes(rng.randint(1, 900)) for _ in range(count)]
        writer = store.pack_writer()
        try:
            for part in parts:
                await writer.add(part)
            extents = await writer.finish()
        except DataError:
            await writer.abort()
            raise
        acked.extend((part, [extent]) for part, extent in zip(parts, extents, strict=True))

    for _ in range(6):
        kind = rng.randrange(4)
        if kind == 0:
            some = [append(rng.randint(1, 1024)) for _ in range(rng.randint(1, 6))]
            results = await asyncio.gather(*some, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        elif kind == 1:
            await append(rng.choice([1, 503, 504, 505, 1024]))
        elif kind == 2:
            await stream(rng.choice([1024, 1025, 4096, 4097, rng.randint(1, 9000)]))
        else:
            await pack(rng.randint(1, 12))


async def outcome(store: LocalDataStore, body: bytes, extents: list[Extent]) -> str:
    got = bytearray()
    try:
        async for piece in store.read(extents, 0, len(body)):
            got += piece
    except (DataDamaged, DataMissing) as error:
        return type(error).__name__
    assert got == body
    return "whole"


@pytest.fixture
def laid_out(fake_store: Callable[..., LocalDataStore]) -> FakeDisk:
    """A disk with the empty directories of a store; `after_power_loss` makes copies of it."""
    disk = FakeDisk(0)
    fake_store(disk)
    return disk


async def span(
    seed: int, laid_out: FakeDisk, make: Callable[..., LocalDataStore]
) -> tuple[int, int]:
    """Operations of the undisturbed scenario: when the store is ready, and at the end."""
    disk = laid_out.after_power_loss(seed)
    store = make(disk)
    begin = disk.operations
    await scenario(store, random.Random(seed), [])
    return begin, disk.operations


async def test_power_loss_anywhere(
    laid_out: FakeDisk, fake_store: Callable[..., LocalDataStore]
) -> None:
    acknowledged = 0
    spans = [await span(seed, laid_out, fake_store) for seed in range(100)]
    for number in range(SEEDS):
        seed = number % len(spans)
        begin, end = spans[seed]
        disk = laid_out.after_power_loss(seed)
        store = fake_store(disk)
        disk.cut_at = random.Random(number).randint(begin + 1, end)
        acked: Acknowledged = []
        with pytest.raises(DataError):
            await scenario(store, random.Random(seed), acked)
        found = await after_restart(fake_store(disk.after_power_loss(number)), acked)
        assert set(found) <= {"whole"}, f"number {number}, power cut at {disk.cut_at}: {found}"
        acknowledged += len(found)
    assert acknowledged > SEEDS  # the test does see acknowledged writes


async def after_restart(store: LocalDataStore, acked: Acknowledged) -> list[str]:
    found = [await outcome(store, body, extents) for body, extents in acked]
    assert all(info.sealed and not info.live_writer for info in store.files())
    await store.append(b"and on")  # what is left over hinders nobody
    await store.close()
    return found


def test_the_fake_disk_does_lose_what_was_not_synced() -> None:
    """Or the test above would prove nothing."""
    fates = set()
    for seed in range(200):
        disk = FakeDisk(seed)
        disk.make_directory("/d")
        disk.sync_directory("/")
        file = disk.create("/d/f")
        file.append([b"x" * 2000])
        after = disk.after_power_loss(seed)
        content = bytes(after.contents("/d/f")) if after.paths() else None
        fates.add("gone" if content is None else "whole" if content == b"x" * 2000 else "torn")
        file.sync()
        named = disk.after_power_loss(seed)
        assert named.paths() in ([], ["/d/f"])
        if named.paths():
            assert named.contents("/d/f") == b"x" * 2000
        disk.sync_directory("/d")
        assert disk.after_power_loss(seed).contents("/d/f") == b"x" * 2000
    assert fates == {"gone", "torn", "whole"}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
async def test_an_error_at_every_operation(
    laid_out: FakeDisk,
    fake_store: Callable[..., LocalDataStore],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    """Then power loss on top: a sync that failed must not be believed later."""
    monkeypatch.setattr("amur.data.files.SPACE_SECONDS", -1.0)
    for seed in range(6):
        begin, end = await span(seed, laid_out, fake_store)
        for at in range(begin + 1, end + 1):
            disk = laid_out.after_power_loss(seed)
            store = fake_store(disk)
            disk.faults = {at: number}
            acked: Acknowledged = []
            errors = await thrice(store, seed, acked)
            if errors[0] is DataFailed:
                assert errors == [DataFailed] * 3, "a failed store never acknowledges again"
            else:
                assert errors in ([DataFull], [DataError])
            assert {await outcome(store, *item) for item in acked} <= {"whole"}, (seed, at)
            after = fake_store(disk.after_power_loss(at))
            assert {await outcome(after, *item) for item in acked} <= {"whole"}, (seed, at)


async def thrice(store: LocalDataStore, seed: int, acked: Acknowledged) -> list[type[DataError]]:
    errors = []
    for again in range(3):
        try:
            await scenario(store, random.Random(seed + again), acked)
        except DataError as error:
            errors.append(type(error))
    assert errors, "the fault was not met"
    return errors


async def test_a_full_disk_recovers(
    fake_store: Callable[..., LocalDataStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.data.files.SPACE_SECONDS", -1.0)
    disk = FakeDisk(1, capacity=100_000)
    store = fake_store(disk)
    kept: list[Extent] = []

    async def fill() -> None:
        while True:
            kept.append(await store.append(b"z" * 1000))

    async def stream() -> None:
        writer = store.writer()
        try:
            for _ in range(100):
                await writer.write(bytes(1000))
        finally:
            await writer.abort()

    with pytest.raises(DataFull):
        await fill()
    assert store.free_bytes() < 1000
    assert disk.space("/").free >= 5000 - 1008  # the reserve
    before = disk.paths()
    for _ in range(1000):
        with pytest.raises(DataFull):
            await store.append(b"z" * 1024)
        with pytest.raises(DataFull):
            await stream()
    assert disk.paths() == before
    assert [await store.read_small(extent) for extent in kept] == [b"z" * 1000] * len(kept)
    await store.unlink(kept[0].file)
    assert await store.read_small(await store.append(b"z" * 1000)) == b"z" * 1000
    await store.close()
    assert disk.open_files == 0


async def test_a_torn_append_is_never_written_behind(
    fake_store: Callable[..., LocalDataStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.data.files.SPACE_SECONDS", -1.0)
    disk = FakeDisk(2)
    store = fake_store(disk)
    first = await store.append(b"first" * 20)
    disk.faults = {disk.operations + 1: errno.ENOSPC}
    with pytest.raises(DataFull):
        await store.append(b"second" * 20)
    third = await store.append(b"third" * 20)
    assert third.file != first.file
    assert await store.read_small(first) == b"first" * 20
    assert await store.read_small(third) == b"third" * 20
