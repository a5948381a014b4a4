"""What is particular to the LMDB engine: processes, files, room, failures, backups."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from pathlib import Path
from typing import Any

import lmdb
import pytest

from amur.clock import FakeClock
from amur.meta import lmdb_files
from amur.meta.engine import (
    ABSENT,
    Commit,
    Conflict,
    EngineDamaged,
    EngineError,
    EngineFailed,
    EngineFull,
    EngineRefused,
    Put,
)
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.sealing import RESIDUE, check, sealed, unsealed

LONG = b"L" * 1200


# --- several processes ---


def _increment(path: str, name: str, times: int) -> None:
    async def run() -> None:
        engine = LmdbEngine(path)
        for n in range(times):
            while True:
                entry = await engine.get(LONG)
                value, version = (int(entry.value), entry.version) if entry else (0, ABSENT)
                puts = [Put(LONG, b"%d" % (value + 1)), Put(f"{name}{n:03}".encode(), b"")]
                try:
                    await engine.commit(Commit(expect=[(LONG, version)], put=puts, log=[b"x"]))
                except Conflict:
                    continue
                break
        await engine.close()

    asyncio.run(run())


async def test_two_processes_share_one_store(tmp_path: Path) -> None:
    path, context = str(tmp_path / "meta"), multiprocessing.get_context("spawn")
    engine = LmdbEngine(path)
    processes = [context.Process(target=_increment, args=(path, name, 40)) for name in ("p", "q")]
    for process in processes:
        process.start()
    watch = engine.watch(b"p")
    assert await watch.wait(30), "another process' commit wakes"
    watch.close()
    while any(process.is_alive() for process in processes):
        await engine.commit(Commit(log=[b"y"]))
        await asyncio.sleep(0.01)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    entry = await engine.get(LONG)
    assert entry is not None
    assert entry.value == b"80"
    log = await engine.scan(b"L\x00", b"M", 10_000)
    versions = [int.from_bytes(e.key[1:9], "big") for e in log if len(e.key) == 11]
    assert versions == sorted(set(versions)), "version order is commit order across processes"
    assert len(await engine.scan(b"p", b"r", 100)) == 80
    await engine.close()


async def test_an_engine_opened_before_a_fork_fails_loudly(lmdb_engine: LmdbEngine) -> None:
    await lmdb_engine.commit(Commit(put=[Put(b"a", b"1")]))
    answer, child_answer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            lmdb_engine.get_now(b"a")
        except EngineFailed as error:
            os.write(child_answer, str(error).encode())
        finally:
            os._exit(0)
    os.close(child_answer)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    assert b"fork" in os.read(answer, 1000)
    os.close(answer)
    assert await lmdb_engine.get(b"a"), "the parent goes on"


# --- opening ---


async def test_reopening_finds_everything_and_goes_on_with_versions(tmp_path: Path) -> None:
    clock = FakeClock()
    engine = LmdbEngine(tmp_path, clock)
    last = await engine.commit(Commit(put=[Put(b"a", b"1"), Put(LONG, b"2")]))
    await engine.close()
    clock.advance(-3600)
    engine = LmdbEngine(tmp_path, clock)
    assert [e.key for e in await engine.scan(b"A", b"z", 9)] == [LONG, b"a"]
    assert await engine.commit(Commit()) == last + 1
    await engine.close()


def test_opening_makes_the_names_durable_that_a_killed_creator_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a commit to a file whose name a power cut takes away would be acknowledged."""
    asyncio.run(LmdbEngine(tmp_path / "meta").close())
    synced, fsync = set(), os.fsync

    def watched(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    asyncio.run(LmdbEngine(tmp_path / "meta").close())
    assert synced >= {tmp_path.stat().st_ino, (tmp_path / "meta").stat().st_ino}


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(lmdb_files, "FORMAT", lmdb_files.FORMAT + 1)
        asyncio.run(LmdbEngine(tmp_path).close())
    with pytest.raises(EngineRefused, match="newer Amur"):
        LmdbEngine(tmp_path)


def test_another_programs_lmdb_is_refused_and_left_alone(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"theirs", b"1")
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(EngineRefused, match="another program"):
        LmdbEngine(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_a_file_that_is_not_lmdb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(os.urandom(8192))
    with pytest.raises(EngineRefused):
        LmdbEngine(tmp_path)


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineRefused, match="not a directory"):
        LmdbEngine(tmp_path / "file")
    with pytest.raises(EngineRefused, match="not a directory"):
        LmdbEngine(tmp_path / "file" / "under")
    with pytest.raises(EngineRefused):
        LmdbEngine("/proc/amur")


def test_files_are_private(tmp_path: Path) -> None:
    asyncio.run(LmdbEngine(tmp_path / "meta").close())
    assert (tmp_path / "meta").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "meta" / "data.mdb").stat().st_mode & 0o777 == 0o600


async def test_a_closed_engine_refuses_everything(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path)
    await engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        await engine.get(b"a")
    with pytest.raises(EngineFailed, match="closed"):
        await engine.scan(b"a", b"b", 1)
    with pytest.raises(EngineFailed, match="closed"):
        await engine.commit(Commit())


# --- room ---


async def test_a_full_map_refuses_puts_whole_and_serves_reads_and_deletes(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, map_bytes=1 << 20)
    stored = 0

    async def fill() -> None:
        nonlocal stored
        while True:
            await engine.commit(Commit(put=[Put(b"k%06d" % stored, bytes(20_000))]))
            stored += 1

    with pytest.raises(EngineFull):
        await fill()
    for n in range(3):  # alone and in one batch with a small one that fits
        outcomes = await asyncio.gather(
            engine.commit(Commit(put=[Put(b"big", bytes(100_000))])),
            engine.commit(Commit(put=[Put(b"small%d" % n, b"")])),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [EngineFull, int]
    assert await engine.get(b"big") is None
    assert len(await engine.scan(b"k", b"l", 10_000)) == stored
    for n in range(stored):
        await engine.commit(Commit(delete=[b"k%06d" % n]))
    assert await engine.scan(b"k", b"l", 10) == []
    await engine.commit(Commit(put=[Put(b"k", bytes(20_000))]))
    await engine.close()


async def test_the_last_room_on_the_disk_is_left_to_deletes(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, reserve_bytes=1 << 62)
    await engine.commit(Commit(put=[Put(b"a", b"")]))  # the first look at the disk is behind it
    with pytest.raises(EngineFull):
        await engine.commit(Commit(put=[Put(b"b", b"")]))
    assert await engine.get(b"a")
    await engine.commit(Commit(delete=[b"a"], put=[Put(b"garbage", b"")]))
    assert await engine.get(b"b") is None
    await engine.close()


# --- failures and damage ---


class _BrokenEnv:
    """An environment whose write transactions fail as they do after a failed fsync."""

    def begin(self, *_: Any, **__: Any) -> Any:
        raise lmdb.PanicError("mdb_txn_begin", -30795)


async def test_after_a_panic_every_call_fails(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path)
    await engine.commit(Commit(put=[Put(b"a", b"1")]))
    engine._writer._env = _BrokenEnv()
    outcomes = await asyncio.gather(
        *(engine.commit(Commit(put=[Put(b"b", b"")])) for _ in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [EngineFailed] * 3
    with pytest.raises(EngineFailed):
        await engine.get(b"a")
    with pytest.raises(EngineFailed):
        await engine.commit(Commit())
    await engine.close()


async def test_a_commit_that_cannot_be_carried_out_fails_alone(lmdb_engine: LmdbEngine) -> None:
    bad = Commit(put=[Put(b"bad", b"short", stamp=0), Put(b"", b"")])
    with pytest.raises(AssertionError):
        await lmdb_engine.commit(bad)
    unwritable: Any = Commit(put=[Put(b"half", b""), Put(b"x", b"")], log=[None])  # type: ignore[list-item]
    outcomes = await asyncio.gather(
        lmdb_engine.commit(Commit(put=[Put(b"a", b"")])),
        lmdb_engine.commit(unwritable),
        lmdb_engine.commit(Commit(put=[Put(b"b", b"")])),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [int, EngineError, int]
    assert [e.key for e in await lmdb_engine.scan(b"A", b"z", 9)] == [b"a", b"b"]


async def test_a_cancelled_commit_harms_nobody(lmdb_engine: LmdbEngine) -> None:
    task = asyncio.create_task(lmdb_engine.commit(Commit(put=[Put(b"a", b"")])))
    await asyncio.sleep(0)
    task.cancel()
    assert await lmdb_engine.commit(Commit(put=[Put(b"b", b"")]))
    assert await lmdb_engine.get(b"a"), "accepted, so carried out"


def tamper(engine: LmdbEngine, key: bytes, value: bytes | None, table: str = "keys") -> None:
    """Change what stands under a key behind the engine's back."""
    with engine._env.begin(write=True) as txn:
        db = getattr(engine._space, table)
        txn.put(key, value, db=db) if value is not None else txn.delete(key, db=db)
        lmdb_files.write_state(txn, engine._files.main, 1, 100)


async def test_a_value_under_another_key_is_damage(lmdb_engine: LmdbEngine) -> None:
    await lmdb_engine.commit(Commit(put=[Put(b"b", b"1"), Put(b"d", b"2")]))
    with lmdb_engine._env.begin() as txn:
        stored = txn.get(b"d", db=lmdb_engine._keys)
    tamper(lmdb_engine, b"b", stored)
    with pytest.raises(EngineDamaged):
        await lmdb_engine.get(b"b")
    with pytest.raises(EngineDamaged):
        await lmdb_engine.scan(b"a", b"z", 9)
    with pytest.raises(EngineDamaged):
        await lmdb_engine.commit(Commit(expect=[(b"b", 1)]))
    assert await lmdb_engine.get(b"d")


async def test_a_key_next_to_a_damaged_one_is_not_called_absent(lmdb_engine: LmdbEngine) -> None:
    """A flipped bit in the key "b" made it "c": then neither is proven absent or present."""
    await lmdb_engine.commit(Commit(put=[Put(b"a", b"1"), Put(b"b", b"2"), Put(b"e", b"3")]))
    with lmdb_engine._env.begin() as txn:
        stored = txn.get(b"b", db=lmdb_engine._keys)
    tamper(lmdb_engine, b"b", None)
    tamper(lmdb_engine, b"c", stored)
    for key in (b"b", b"c", b"d"):
        with pytest.raises(EngineDamaged):
            await lmdb_engine.get(key)
    for start, end in ((b"a", b"c"), (b"d", b"e"), (b"b", b"b\x00")):
        for reverse in (False, True):
            with pytest.raises(EngineDamaged):
                await lmdb_engine.scan(start, end, 9, reverse=reverse)
    assert await lmdb_engine.get(b"f") is None


async def test_a_damaged_pointer_fails_only_what_needs_it(lmdb_engine: LmdbEngine) -> None:
    await lmdb_engine.commit(Commit(put=[Put(LONG, b"1")]))
    tamper(lmdb_engine, LONG[:500] + b"\x01", b"no pointer" * 3)
    outcomes = await asyncio.gather(
        lmdb_engine.commit(Commit(put=[Put(b"a", b"")])),
        lmdb_engine.commit(Commit(put=[Put(b"b", b""), Put(LONG, b"2")])),
        lmdb_engine.commit(Commit(put=[Put(b"c", b"")], delete=[LONG])),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [int, EngineDamaged, EngineDamaged]
    with pytest.raises(EngineDamaged):
        await lmdb_engine.get(LONG)
    # What stands right behind damage can't be listed from, but it can be read.
    assert await lmdb_engine.get_many([b"a", b"b", b"c"]) == [
        await lmdb_engine.get(b"a"),
        None,
        None,
    ]


@pytest.mark.parametrize("key", [b"b", LONG])
async def test_a_damaged_entry_is_named_and_can_be_deleted(
    lmdb_engine: LmdbEngine, key: bytes
) -> None:
    puts = [Put(b"a", b"1"), Put(b"b", b"2"), Put(b"c", b"3"), Put(LONG, b"4")]
    await lmdb_engine.commit(Commit(put=puts))
    if key == b"b":
        tamper(lmdb_engine, key, b"x" * 30)
    else:  # the second of the two nodes that LONG needs holds its end
        tamper(lmdb_engine, (2).to_bytes(8, "big") + LONG[1000:], b"x" * 30, "tails")
    for reverse in (False, True):
        with pytest.raises(EngineDamaged) as caught:
            await lmdb_engine.scan(b"A", b"z", 9, reverse=reverse)
        # Backwards a node is entered from the next one, whose keys aren't known there.
        assert caught.value.key == key or (reverse and key == LONG)
    with pytest.raises(EngineDamaged) as caught:
        await lmdb_engine.get(key)
    assert caught.value.key == key
    await lmdb_engine.commit(Commit(delete=[key]))
    left = [e.key for e in await lmdb_engine.scan(b"A", b"z", 9)]
    assert left == sorted({LONG, b"a", b"b", b"c"} - {key})


async def test_an_older_root_does_not_pass(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path)
    for _ in range(4):
        await engine.commit(Commit())
    with engine._env.begin(write=True) as txn:  # a transaction that left no state of its own
        txn.put(b"x", b"", db=engine._keys)
    with engine._env.begin(write=True) as txn:
        txn.put(b"y", b"", db=engine._keys)
    with pytest.raises(EngineFailed, match="root"):
        await engine.commit(Commit())
    await engine.close()
    with pytest.raises(EngineFailed, match="root"):
        LmdbEngine(tmp_path)


@pytest.mark.parametrize("flipped", range(0, 200, 7))
def test_a_sealed_value_with_a_flipped_bit_is_damage(flipped: int) -> None:
    stored = bytearray(sealed(b"key", 7, b"payload!!"))
    assert unsealed(b"key", stored) == b"payload!!"
    stored[flipped // 8] ^= 1 << flipped % 8
    with pytest.raises(EngineDamaged):
        check(b"key", bytes(stored))
    assert RESIDUE


# --- operating ---


async def test_a_backup_while_serving_is_a_commit_boundary(
    lmdb_engine: LmdbEngine, tmp_path: Path, clock: FakeClock
) -> None:
    target = tmp_path / "copies" / "one"
    done = False

    async def write() -> None:
        for n in range(1, 200):
            puts = [Put(b"a%05d" % n, bytes(500)), Put(LONG + b"%05d" % n, b"")]
            await lmdb_engine.commit(Commit(put=[*puts, Put(b"n", b"%d" % n)]))
            if done and n > 50:
                return

    writing = asyncio.create_task(write())
    await lmdb_engine.commit(Commit())
    await lmdb_engine.backup(target)
    done = True
    await writing
    with pytest.raises(FileExistsError):
        await lmdb_engine.backup(target)
    assert [path.name for path in target.parent.iterdir()] == ["one"]
    copy = LmdbEngine(target, clock)
    entry = await copy.get(b"n")
    count = int(entry.value) if entry else 0
    assert len(await copy.scan(b"a", b"b", 1000)) == count
    assert len(await copy.scan(b"L", b"M", 1000)) == count
    for _ in range(3):  # a copy can be gone on with
        await copy.commit(Commit(put=[Put(b"n", b"0")]))
    await copy.close()
    copy = LmdbEngine(target, clock)
    assert (await copy.get(b"n") or [0, 0])[1] == b"0"
    await copy.close()


async def test_stats_count(lmdb_engine: LmdbEngine) -> None:
    await asyncio.gather(
        *(lmdb_engine.commit(Commit(put=[Put(b"%d" % n, b"")])) for n in range(30))
    )
    with pytest.raises(Conflict):
        await lmdb_engine.commit(Commit(expect=[(b"1", ABSENT)]))
    stats = lmdb_engine.stats()
    assert stats["entries"] == stats["commits"] == 30
    assert stats["conflicts"] == 1
    assert stats["queued_commits"] == 0
    assert stats["batches"] < 30
    assert 1 < stats["batch_largest"] <= 30
    assert 0 < stats["used_bytes"] <= stats["map_bytes"]


async def test_no_snapshot_stays_open(lmdb_engine: LmdbEngine) -> None:
    """Overwriting for long must not grow the file: readers release their snapshots."""
    for n in range(300):
        await lmdb_engine.commit(Commit(put=[Put(b"k%d" % (n % 5), bytes(3000))]))
        await lmdb_engine.get(b"k1")
        await lmdb_engine.scan(b"a", b"z", 3)
    assert lmdb_engine.stats()["used_bytes"] < 60 * 4096
