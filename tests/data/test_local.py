"""What only the store over real files does: processes, descriptors, memory, threads."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from amur.data import files as files_module
from amur.data.disk import RealFile
from amur.data.fake_disk import FakeDisk
from amur.data.local import LocalDataStore
from amur.data.store import DataError, DataFailed
from amur.extent import Extent
from amur.limits import MIB

OTHER_PROCESS = """
import asyncio, sys
from amur.data.local import LocalDataStore

async def main():
    store = LocalDataStore(sys.argv[1], chunk_bytes=1024, pack_bytes_max=1024, file_bytes_max=4096)
    for _ in range(20):
        extent = await store.append(b"other" * 100)
    writer = store.writer()
    await writer.write(bytes(3000))
    await asyncio.sleep(0.05)
    print(extent.file.hex(), extent.offset, flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "close":
        await writer.abort()
        await store.close()

asyncio.run(main())
"""


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def start_other(path: Path, how: str) -> tuple[subprocess.Popen[str], Extent]:
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    file_id, offset = process.stdout.readline().split()
    return process, Extent(bytes.fromhex(file_id), int(offset), 500)


@pytest.mark.parametrize("how", ["close", "kill"])
async def test_two_processes_in_one_directory(
    tmp_path: Path, sizes: dict[str, int], how: str
) -> None:
    store = LocalDataStore(tmp_path, **sizes)
    mine = [await store.append(b"mine" * 100) for _ in range(20)]
    process, theirs = start_other(tmp_path, how)
    try:
        assert await store.read_small(theirs) == b"other" * 100
        infos = {info.id: info for info in store.files()}
        others = [info for info in infos.values() if info.id[:8] == theirs.file[:8]]
        assert all(info.live_writer for info in infos.values())
        # The other's current pack and its unfinished block file, and nothing else of it.
        assert sum(not info.sealed for info in others) == 2
        assert not infos[theirs.file].sealed
        assert not infos[mine[-1].file].sealed
        assert infos[mine[0].file].sealed
        if how == "kill":
            process.kill()
    finally:
        process.communicate("\n", timeout=10)
    infos = {info.id: info for info in store.files()}
    for info in infos.values():
        live = info.id[:8] == mine[0].file[:8]
        assert info.live_writer is live
        assert info.sealed is (info.id != mine[-1].file)
    assert await store.read_small(theirs) == b"other" * 100
    await store.unlink(theirs.file)
    assert theirs.file not in {info.id for info in store.files()}
    await store.close()
    again = LocalDataStore(tmp_path, **sizes)
    assert [await again.read_small(extent) for extent in mine] == [b"mine" * 100] * 20
    assert len(os.listdir(tmp_path / "instances")) == 1, "locks of the dead are cleared away"
    await again.close()


async def test_strangers_in_the_directory_are_left_alone(
    tmp_path: Path, sizes: dict[str, int]
) -> None:
    store = LocalDataStore(tmp_path, **sizes)
    for name in ("note.txt", "0" * 31, "A" * 32, "lost+found"):
        (tmp_path / "00" / name).write_bytes(b"?")
    assert list(store.files()) == []
    await store.close()


async def test_descriptors_return(
    tmp_path: Path, sizes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "OPEN_FILES_MAX", 8)
    store = LocalDataStore(tmp_path, **sizes)
    await store.append(b"begin")
    baseline = open_descriptors()
    extents = []
    for _ in range(10):
        writer = store.writer()
        await writer.write(bytes(20_000))
        extents += await writer.finish()
        writer = store.writer()
        await writer.write(bytes(20_000))
        await writer.abort()
    assert open_descriptors() <= baseline
    for extent in extents:
        await store.check(extent)
    reader = store.read(extents, 0, 200_000)
    async for _piece in reader:
        break
    del reader
    assert open_descriptors() <= baseline + 8 + 2
    for extent in extents:
        await store.unlink(extent.file)
    assert open_descriptors() <= baseline + 2
    await store.close()
    assert open_descriptors() < baseline


async def test_files_removed_by_others_are_let_go(tmp_path: Path, sizes: dict[str, int]) -> None:
    store = LocalDataStore(tmp_path, **sizes)
    other = LocalDataStore(tmp_path, **sizes)
    extent = await other.append(b"x" * 100)
    await other.close()
    await store.read_small(extent)
    before = open_descriptors()
    os.unlink(tmp_path / f"{extent.file[15]:02x}" / extent.file.hex())
    assert await store.read_small(extent) == b"x" * 100  # a reader that has it reads on
    store._files._space_at = float("-inf")
    store.free_bytes()
    assert open_descriptors() == before - 1
    await store.close()


async def test_a_reader_finishes_on_an_unlinked_file(tmp_path: Path, sizes: dict[str, int]) -> None:
    store = LocalDataStore(tmp_path, **sizes)
    writer = store.writer()
    body = os.urandom(4096)
    await writer.write(body)
    (extent,) = await writer.finish()
    got = b""
    async for piece in store.read([extent], 0, 4096):
        if not got:
            os.unlink(tmp_path / f"{extent.file[15]:02x}" / extent.file.hex())
        got += piece
    assert got == body
    await store.close()


async def test_appends_share_syncs(sizes: dict[str, int]) -> None:
    disk = FakeDisk(1)
    store = LocalDataStore("/s", disk=disk, threaded=False, **{**sizes, "file_bytes_max": 1 << 30})
    await store.append(b"first")
    before = disk.operations
    await asyncio.gather(*(store.append(b"x" * 100) for _ in range(500)))
    assert disk.operations - before == 2  # one write, one sync
    await store.close()


async def test_cancelled_appends_and_writers_harm_nobody(tmp_path: Path) -> None:
    store = LocalDataStore(tmp_path)
    tasks = [asyncio.create_task(store.append(bytes([n]) * 1000)) for n in range(40)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    kept = await asyncio.gather(*tasks[1::2])
    for n, extent in zip(range(1, 40, 2), kept, strict=True):
        assert await store.read_small(extent) == bytes([n]) * 1000

    async def stream() -> None:
        writer = store.writer()
        try:
            for _ in range(50):
                await writer.write(bytes(MIB))
        finally:
            await writer.abort()

    for turns in range(8):
        task = asyncio.create_task(stream())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert {info.id for info in store.files()} == {extent.file for extent in kept}
    assert store._jobs.overlaps == 16
    await store.close()


async def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    store = LocalDataStore(tmp_path)
    tasks = [asyncio.create_task(store.append(b"y" * 100)) for _ in range(50)]
    await asyncio.sleep(0)
    await store.close()
    extents = await asyncio.gather(*tasks)
    again = LocalDataStore(tmp_path)
    assert {await again.read_small(extent) for extent in extents} == {b"y" * 100}
    await again.close()


async def test_a_bug_in_the_writing_thread_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RealFile, parts: object) -> None:
        raise ValueError("a bug")

    store = LocalDataStore(tmp_path)
    monkeypatch.setattr(RealFile, "append", broken)
    for _ in range(2):
        with pytest.raises(DataFailed, match="a bug"):
            await store.append(b"x")
    monkeypatch.undo()
    with pytest.raises(DataFailed):
        await store.append(b"x")
    await store.close()


async def test_memory_is_bounded(tmp_path: Path) -> None:
    """64 streams of 12 MiB at once, written in tiny and large pieces, and read back."""
    store = LocalDataStore(tmp_path)
    piece = 96 * 1024

    async def write(number: int) -> list[Extent]:
        writer = store.writer()
        size = 0
        while size < 12 * MIB:
            for _ in range(50 if number % 8 == 0 and size < MIB // 2 else 0):
                await writer.write(b"tiny"[: 1 + number % 3])
            await writer.write(bytes(piece))
            size += piece
        return await writer.finish()

    async def read(extents: list[Extent]) -> None:
        total = sum(extent.length for extent in extents)
        got = 0
        async for part in store.read(extents, 0, total):
            got += len(part)
            await asyncio.sleep(0)
        assert got == total

    tracemalloc.start()
    try:
        many = await asyncio.gather(*map(write, range(64)))
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 100 * MIB, peak
        tracemalloc.reset_peak()
        await asyncio.gather(*map(read, many))
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 110 * MIB, peak
    finally:
        tracemalloc.stop()
        await store.close()


async def test_short_writes_are_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bodies: Callable[..., list[bytes]]
) -> None:
    real_writev, real_write = os.writev, os.write

    def short_writev(fd: int, buffers: list[bytes]) -> int:
        joined = b"".join(buffers)
        return real_write(fd, joined[: max(1, len(joined) // 3)])

    def short_write(fd: int, data: bytes) -> int:
        return real_writev(fd, [data[:100]])

    store = LocalDataStore(tmp_path)
    monkeypatch.setattr(os, "writev", short_writev)
    monkeypatch.setattr(os, "write", short_write)
    many = bodies(1, 30)
    extents = await asyncio.gather(*map(store.append, many))
    monkeypatch.undo()
    assert [await store.read_small(extent) for extent in extents] == many
    await store.close()


async def test_reads_without_nowait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On file systems that do not know RWF_NOWAIT, small reads simply wait."""

    def refused(*_: object) -> int:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(RealFile, "_can_peek", True)
    monkeypatch.setattr(os, "preadv", refused)
    store = LocalDataStore(tmp_path)
    extent = await store.append(b"small" * 100)
    for _ in range(2):
        assert await store.read_small(extent) == b"small" * 100
    assert not RealFile._can_peek
    await store.close()


async def test_too_many_open_files_is_passed_on(sizes: dict[str, int]) -> None:
    disk = FakeDisk(3)
    store = LocalDataStore("/s", disk=disk, threaded=False, **sizes)
    extent = await store.append(b"x" * 100)
    disk.faults = {disk.operations + 1: 24}
    assert await store.read_small(extent) == b"x" * 100  # closes others and tries again
    store._files._open.clear()
    disk.faults = {disk.operations + 1: 24, disk.operations + 2: 24}
    with pytest.raises(DataError):
        await store.read_small(extent)
    assert await store.read_small(extent) == b"x" * 100
    await store.close()


async def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataFailed):
        LocalDataStore(tmp_path / "file" / "store")


async def test_closing_leaves_no_locks(tmp_path: Path) -> None:
    for _ in range(5):
        store = LocalDataStore(tmp_path)
        await store.append(b"x")
        await store.close()
    assert os.listdir(tmp_path / "instances") == []
    assert oct((tmp_path / "instances").stat().st_mode & 0o777) == "0o700"


async def test_an_empty_file_of_a_living_writer_is_not_sealed(sizes: dict[str, int]) -> None:
    """Between its creation and its lock a file looks as one that was let go."""
    disk = FakeDisk(4)
    store = LocalDataStore("/s", disk=disk, threaded=False, **sizes)
    other = LocalDataStore("/s", disk=disk, threaded=False, **sizes)
    _, file = other._files.create()
    file.close()
    assert [info.sealed for info in store.files()] == [False]
    await other.close()
    assert [info.sealed for info in store.files()] == [True]
    await store.close()
