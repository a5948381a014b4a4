"""Bundles: versions found once, bodies read in order, ahead within bounds, and let go of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from amur.data.memory import MemoryDataStore
from amur.data.store import DataDamaged
from amur.extent import Extent
from amur.limits import KIB, MIB, PACK_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import EngineDamaged, Entry
from amur.meta.memory import MemoryEngine
from amur.meta.records import encode
from amur.objects import bundling
from amur.objects.bundling import BATCH_BYTES, BATCH_KEYS, Bundle, Member, Refused, Run
from amur.objects.errors import (
    InvalidArgument,
    KeyTooLong,
    NoSuchBucket,
    NoSuchKey,
    StorageDamaged,
)
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, ObjectRecord

SIZES = [0, 1, 4 * KIB, 4 * KIB + 1, 70 * KIB, PACK_BYTES_MAX, PACK_BYTES_MAX + 1, 3 * MIB + 7]


def body(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def put_parts(store: Store, bucket: str, key: str, content: bytes) -> None:
    upload = (await store.create_upload(bucket, key, Attributes())).id.hex()
    part = await store.put_part(bucket, key, upload, 1, content)
    await store.complete_upload(bucket, key, upload, [CompletedPart(1, part.etag, {})])


async def members(store: Store, bucket: str, wanted: Sequence[str]) -> tuple[Bundle, list[Member]]:
    bundle = await store.bundle(bucket, wanted)
    found = [entry for entry in bundle.entries if isinstance(entry, Member)]
    assert len(found) == len(wanted)
    return bundle, found


async def bodies(run: Run) -> AsyncIterator[tuple[str, bytes]]:
    """What a reader of a run gets, with the promises about pieces checked."""
    if run.bodies is not None:
        assert run.pieces is None
        for member, content in zip(run.members, run.bodies, strict=True):
            yield member.key, content
        return
    assert run.pieces is not None
    for member in run.members:
        content = b""
        while len(content) < member.size:
            content += await anext(run.pieces)
        assert len(content) == member.size, "a piece held bytes of two members"
        yield member.key, content
    assert [piece async for piece in run.pieces] == []


async def contents(bundle: Bundle, found: Sequence[Member]) -> list[tuple[str, bytes]]:
    return [each async for run in bundle.runs(found) async for each in bodies(run)]


def nothing_runs() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


class SlowReads:
    """The data store's `read_many`, held back until it is let go; counts what was asked for."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(store.core.data, MemoryDataStore)
        self.go = asyncio.Semaphore(0)
        self.begun = asyncio.Event()
        self.asked: list[int] = []  # bytes
        self.cancelled = 0
        self._read = store.core.data.read_many
        monkeypatch.setattr(store.core.data, "read_many", self.read_many)

    async def read_many(self, extents: Sequence[Extent]) -> list[bytes]:
        self.asked.append(sum(extent.length for extent in extents))
        self.begun.set()
        try:
            await self.go.acquire()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await self._read(extents)


# --- order and kinds ---


@pytest.mark.parametrize("seed", range(6))
async def test_bodies_of_every_kind_come_in_the_order_asked_for(
    store: Store, bucket: str, seed: int
) -> None:
    stored = {}
    for at, size in enumerate(SIZES):
        stored[f"plain/{at}"] = body(at, size)
        await store.put(bucket, f"plain/{at}", stored[f"plain/{at}"])
    for at, size in enumerate((1, 9 * KIB, 2 * MIB)):
        stored[f"parts/{at}"] = body(100 + at, size)
        await put_parts(store, bucket, f"parts/{at}", stored[f"parts/{at}"])
    wanted = random.Random(seed).choices(sorted(stored), k=25)  # some of them again and again
    bundle, found = await members(store, bucket, wanted)
    assert [member.size for member in found] == [len(stored[key]) for key in wanted]
    assert await contents(bundle, found) == [(key, stored[key]) for key in wanted]
    assert nothing_runs()


async def test_no_keys_no_runs(store: Store, bucket: str) -> None:
    bundle = await store.bundle(bucket, [])
    assert bundle.entries == []
    assert [run async for run in bundle.runs([])] == []


async def test_the_bucket_must_be_there(store: Store) -> None:
    with pytest.raises(NoSuchBucket):
        await store.bundle("nowhere", ["k"])


async def test_modified_is_the_objects(store: Store, bucket: str) -> None:
    record = await store.put(bucket, "k", b"x")
    _, (found,) = await members(store, bucket, ["k"])
    assert found.modified_s == record.modified_s()


# --- what is not there ---


async def test_keys_without_a_member_say_why(store: Store, versioned: str) -> None:
    await store.put(versioned, "here", b"x")
    await store.put(versioned, "gone", b"x")
    await store.delete(versioned, "gone")
    wanted = ["missing", "here", "gone", "", "x" * 1025, "missing"]
    entries = (await store.bundle(versioned, wanted)).entries
    assert [entry.key for entry in entries] == wanted
    errors = [type(entry.error) if isinstance(entry, Refused) else None for entry in entries]
    assert errors == [NoSuchKey, None, NoSuchKey, InvalidArgument, KeyTooLong, NoSuchKey]


async def test_the_permit_is_asked_for_every_key(store: Store, bucket: str) -> None:
    class Forbidden(Exception):
        pass

    asked: list[tuple[str, str | None]] = []

    def permit(key: str, record: ObjectRecord | None) -> None:
        asked.append((key, record.owner if record is not None else None))
        if record is None or record.owner != "bob":
            raise Forbidden

    for key, owner in (("a", "alice"), ("b", "bob")):
        await store.put(bucket, key, b"x", Attributes(owner=owner))
    entries = (await store.bundle(bucket, ["a", "b", "c"], permit=permit)).entries
    assert asked == [("a", "alice"), ("b", "bob"), ("c", None)]
    assert [isinstance(entry, Member) for entry in entries] == [False, True, False]
    for entry in (entries[0], entries[2]):
        assert isinstance(entry, Refused)
        assert isinstance(entry.error, Forbidden)


async def test_a_damaged_record_is_missing_alone(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b", "c", "d"):
        await store.put(bucket, key, b"x")
    engine = store.core.engine
    assert isinstance(engine, MemoryEngine)
    bucket_id = (await store.bucket(bucket)).id
    bad, garbled, wrong = (keys.object_key(bucket_id, key) for key in (b"b", b"c", b"d"))
    read = engine._get

    def damaged(key: bytes) -> Entry | None:
        if key == bad:
            raise EngineDamaged("rot")
        if key == garbled:
            return Entry(key, b"\x01garbled", 1)
        if key == wrong:
            return Entry(key, encode(ObjectRecord(version=1, size=9, is_inline=True), b"x"), 1)
        return read(key)

    monkeypatch.setattr(engine, "_get", damaged)
    entries = (await store.bundle(bucket, ["a", "b", "c", "d"])).entries
    assert isinstance(entries[0], Member)
    for entry in entries[1:]:
        assert isinstance(entry, Refused)
        assert isinstance(entry.error, StorageDamaged)


async def test_damaged_bytes_end_the_reading(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rot(_extents: Sequence[Extent]) -> list[bytes]:
        raise DataDamaged("rot")

    await store.put(bucket, "inline", b"x")
    await store.put(bucket, "large", bytes(2 * MIB))
    await store.put(bucket, "packed", bytes(9000))
    bundle, found = await members(store, bucket, ["inline", "large", "packed"])
    monkeypatch.setattr(store.core.data, "read_many", rot)
    runs = bundle.runs(found)
    assert (await anext(runs)).bodies == [b"x"]
    assert (await anext(runs)).pieces is not None
    with pytest.raises(StorageDamaged):
        await anext(runs)
    assert nothing_runs()


# --- versions stay as they were found ---


@pytest.mark.parametrize("versioning", ["", "Enabled", "Suspended"])
async def test_what_changes_meanwhile_comes_out_as_it_was(
    store: Store, bucket: str, versioning: str
) -> None:
    await store.update_bucket(bucket, lambda record: setattr(record, "versioning", versioning))
    stored = {f"k{at}": body(at, size) for at, size in enumerate(SIZES * 2)}
    for key, content in stored.items():
        await store.put(bucket, key, content)
    await put_parts(store, bucket, "parts", content := body(99, 2 * MIB))
    stored["parts"] = content
    bundle, found = await members(store, bucket, list(stored))
    runs = bundle.runs(found)
    got = [each async for each in bodies(await anext(runs))]
    for at, key in enumerate(stored):
        if at % 2:
            await store.put(bucket, key, body(1000 + at, len(stored[key]) + 3))
        else:
            await store.delete(bucket, key)
    got += [each async for run in runs async for each in bodies(run)]
    assert got == list(stored.items())


# --- reading ahead ---


async def packed(store: Store, bucket: str, count: int, size: int) -> list[str]:
    names = [f"{at:05}" for at in range(count)]
    for name in names:
        await store.put(bucket, name, bytes(size))
    return names


async def test_one_batch_is_read_ahead_and_no_more(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await packed(store, bucket, 40, 300 * KIB)
    bundle, found = await members(store, bucket, names)
    slow = SlowReads(store, monkeypatch)
    for _ in names:
        slow.go.release()
    runs = bundle.runs(found)
    async for run in runs:
        taken = sum(slow.asked)
        for _ in range(5):
            await asyncio.sleep(0)
        ahead = sum(slow.asked) - taken
        assert ahead <= BATCH_BYTES
        assert run.bodies is not None
        assert sum(map(len, run.bodies)) <= BATCH_BYTES
    assert slow.asked[0] <= bundling.FIRST_BYTES
    assert len(slow.asked) > 3
    assert sum(slow.asked) == 40 * 300 * KIB


async def test_tiny_bodies_are_bounded_by_number(store: Store, bucket: str) -> None:
    await store.put(bucket, "k", b"")
    bundle, found = await members(store, bucket, ["k"] * (2 * BATCH_KEYS + 1))
    assert [len(run.members) async for run in bundle.runs(found)] == [BATCH_KEYS, BATCH_KEYS, 1]


async def test_the_first_bodies_come_before_the_last_are_read(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await packed(store, bucket, 30, 300 * KIB)
    bundle, found = await members(store, bucket, names)
    slow = SlowReads(store, monkeypatch)
    runs = bundle.runs(found)
    slow.go.release()
    first = await anext(runs)
    assert first.members[0].key == names[0]
    await asyncio.sleep(0)
    assert sum(slow.asked) < 30 * 300 * KIB
    await runs.aclose()


async def test_closing_stops_what_is_under_way(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await packed(store, bucket, 30, 300 * KIB)
    bundle, found = await members(store, bucket, names)
    slow = SlowReads(store, monkeypatch)
    slow.go.release()
    runs = bundle.runs(found)
    await anext(runs)
    await asyncio.sleep(0)
    assert len(slow.asked) == 2
    assert not nothing_runs()
    await runs.aclose()
    assert slow.cancelled == 1
    assert nothing_runs()


async def test_a_cancelled_reader_leaves_nothing(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await packed(store, bucket, 3, 300 * KIB)
    bundle, found = await members(store, bucket, names)
    slow = SlowReads(store, monkeypatch)
    reader = asyncio.create_task(contents(bundle, found))
    await slow.begun.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert slow.cancelled == 1
    assert nothing_runs()


@pytest.mark.parametrize("key", ["large", "parts"])
async def test_closing_closes_a_stream(store: Store, bucket: str, key: str) -> None:
    await store.put(bucket, "large", bytes(5 * MIB))
    await put_parts(store, bucket, "parts", bytes(5 * MIB))
    bundle, found = await members(store, bucket, [key])
    runs = bundle.runs(found)
    run = await anext(runs)
    assert run.pieces is not None
    await anext(run.pieces)
    await runs.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(run.pieces)
