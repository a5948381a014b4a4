"""What is different in a bucket: whole objects, one request for a batch, outages, owners, age."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from amur.clock import FakeClock, SystemClock
from amur.data import bucket_writing
from amur.data.bucket import FREE_BYTES, MARKER, ORPHAN_SECONDS, BucketDataStore
from amur.data.bucket_service import ObstoreBucket, open_bucket
from amur.data.bucket_writing import PUTS_MAX, WIDE_STREAMS_MAX, WRITER_SECONDS_MAX
from amur.data.file_names import id_of, path_of
from amur.data.framing import CHECKSUM_BYTES, Buffer
from amur.data.read_cache import ReadCache
from amur.data.store import DataDamaged, DataError, DataMissing, DataUnavailable
from amur.extent import Extent
from tests.support.flaky_bucket import FlakyBucket, When

CHUNK = 1024
PART = 1500

Make = Callable[..., BucketDataStore]


@pytest.fixture
def bucket() -> FlakyBucket:
    return FlakyBucket(ObstoreBucket(MemoryStore()))


@pytest.fixture
async def make(bucket: FlakyBucket, sizes: dict[str, int]) -> AsyncIterator[Make]:
    made: list[BucketDataStore] = []

    def maker(**changes: Any) -> BucketDataStore:
        clock = changes.pop("clock", SystemClock())
        made.append(BucketDataStore(bucket, clock, part_bytes=PART, **{**sizes, **changes}))
        return made[-1]

    yield maker
    bucket.is_away = False
    for store in made:
        await store.close()


async def stream(store: BucketDataStore, body: bytes) -> list[Extent]:
    writer = store.writer()
    for at in range(0, len(body), 700):
        await writer.write(body[at : at + 700])
    return await writer.finish()


async def whole(store: BucketDataStore, extents: list[Extent]) -> bytes:
    size = sum(extent.length for extent in extents)
    return b"".join([piece async for piece in store.read(extents, 0, size)])


# --- writing ---
async def test_bodies_that_wait_are_one_request(make: Make, bucket: FlakyBucket) -> None:
    store = make(file_bytes_max=1_000_000)
    extents = await asyncio.gather(*(store.append(b"x" * 100) for _ in range(50)))
    assert bucket.calls["put"] == 1
    assert len({extent.file for extent in extents}) == 1
    assert len({extent.offset for extent in extents}) == 50


async def test_no_more_uploads_at_once_than_said(make: Make, bucket: FlakyBucket) -> None:
    store = make()
    running = most = 0
    put = bucket.put

    async def slow(path: str, body: Buffer) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        await put(path, body)
        running -= 1

    bucket.put = slow  # type: ignore[method-assign]
    await asyncio.gather(*(store.append(bytes(1000)) for _ in range(60)))
    assert most == PUTS_MAX
    assert bucket.calls["put"] == 15  # four in a pack of 4,096


async def test_a_failed_upload_fails_its_own_bodies_only(make: Make, bucket: FlakyBucket) -> None:
    store = make()
    bucket.at = 2
    many = [random.Random(n).randbytes(1000) for n in range(12)]
    answers = await asyncio.gather(*map(store.append, many), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(failed) == 4  # one pack
    assert all(type(error) is DataUnavailable for error in failed)
    for body, answer in zip(many, answers, strict=True):
        if isinstance(answer, Extent):
            assert await store.read_small(answer) == body
    assert store.failure is None
    assert await store.read_small(await store.append(b"after")) == b"after"


async def test_a_caller_that_went_away_does_not_harm_the_others(make: Make) -> None:
    store = make()
    appends = [asyncio.create_task(store.append(bytes([n]) * 50)) for n in range(5)]
    await asyncio.sleep(0)
    appends[2].cancel()
    answers = await asyncio.gather(*appends, return_exceptions=True)
    assert isinstance(answers[2], asyncio.CancelledError)
    for number in (0, 1, 3, 4):
        extent = answers[number]
        assert isinstance(extent, Extent)
        assert await store.read_small(extent) == bytes([number]) * 50


async def test_short_files_take_one_request_long_ones_parts(
    make: Make, bucket: FlakyBucket
) -> None:
    store = make()
    await stream(store, bytes(1100))
    assert (bucket.calls["put"], bucket.calls["put_stream"]) == (1, 0)
    await stream(store, bytes(9000))  # 4,096 + 4,096 + 808
    assert (bucket.calls["put"], bucket.calls["put_stream"]) == (2, 2)


async def test_a_stream_holds_few_parts(make: Make, bucket: FlakyBucket) -> None:
    """While the service takes nothing, the writer is made to wait."""
    store = make(file_bytes_max=1_000_000)
    gate = asyncio.Event()
    inner = bucket.put_stream

    async def stuck(path: str, pieces: AsyncIterator[Buffer], **how: int) -> None:
        await gate.wait()
        await inner(path, pieces, **how)  # type: ignore[arg-type]

    bucket.put_stream = stuck  # type: ignore[method-assign]
    writer = store.writer()
    taken = 0

    async def feed() -> None:
        nonlocal taken
        for _ in range(100):
            await writer.write(bytes(CHUNK))
            taken += CHUNK

    feeding = asyncio.create_task(feed())
    for _ in range(200):
        await asyncio.sleep(0)
    assert taken < 3 * PART + 2 * CHUNK
    gate.set()
    await feeding
    assert sum(extent.length for extent in await writer.finish()) == 100 * CHUNK


async def test_only_some_streams_are_wide(make: Make, bucket: FlakyBucket) -> None:
    store = make()
    widths: list[int] = []
    inner = bucket.put_stream

    async def noted(path: str, pieces: AsyncIterator[Buffer], **how: int) -> None:
        widths.append(how["parts_at_once"])
        await inner(path, pieces, **how)  # type: ignore[arg-type]

    bucket.put_stream = noted  # type: ignore[method-assign]
    for _ in range(2):  # given back each time
        widths.clear()
        await asyncio.gather(*(stream(store, bytes(4000)) for _ in range(10)))
        assert sum(width > 1 for width in widths) == WIDE_STREAMS_MAX
        assert len(widths) == 10


@pytest.mark.parametrize("when", When)
async def test_a_stream_that_fails_anywhere_leaves_nothing(
    make: Make, bucket: FlakyBucket, when: When
) -> None:
    body = random.Random(3).randbytes(9500)
    store = make()
    bucket.when = when
    places = 0
    while True:
        places += 1
        bucket.calls.clear()
        bucket.at, bucket.failed = places, ""
        writer = store.writer()
        try:
            for at in range(0, len(body), 700):
                await writer.write(body[at : at + 700])
            extents = await writer.finish()
        except DataUnavailable:
            bucket.at = 0
            await writer.abort()
            assert list(store.files()) == []
        else:
            assert not bucket.failed
            bucket.at = 0
            break
    assert places > 8
    assert await whole(store, extents) == body


async def test_an_upload_that_fails_leaves_nobody_waiting(
    make: Make, bucket: FlakyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore asks for the next piece in a task of its own, and forgets it when a part fails."""
    asked: list[asyncio.Future[Buffer]] = []

    async def failing(path: str, pieces: AsyncIterator[Buffer], **_: int) -> None:
        await anext(pieces)
        asked.append(asyncio.ensure_future(anext(pieces)))
        await asyncio.sleep(0)
        raise DataUnavailable("a part failed")

    monkeypatch.setattr(bucket, "put_stream", failing)
    writer = make().writer()
    with pytest.raises(DataUnavailable):
        await writer.write(bytes(9 * PART))
    await writer.abort()
    done, _ = await asyncio.wait(asked, timeout=5)
    assert len(done) == 1
    assert isinstance(done.pop().exception(), StopAsyncIteration)


async def test_abort_while_the_service_is_away(make: Make, bucket: FlakyBucket) -> None:
    store = make()
    writer = store.writer()
    await writer.write(bytes(6000))
    bucket.is_away = True
    await writer.abort()
    bucket.is_away = False
    assert all(info.live_writer for info in store.files())  # an orphan, later


async def test_a_writer_may_not_take_too_long(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first file could be swept before its record is there."""
    store = make()
    writer = store.writer()
    await writer.write(bytes(9000))
    later = time.monotonic() + WRITER_SECONDS_MAX + 1
    monkeypatch.setattr(bucket_writing.time, "monotonic", lambda: later)
    with pytest.raises(DataUnavailable, match="too long"):
        await writer.finish()


# --- who lives ---
async def test_young_objects_count_as_being_written(make: Make) -> None:
    clock = FakeClock(time.time_ns())
    store = make(clock=clock)
    extent = await store.append(b"orphan")
    (info,) = store.files()
    assert (info.id, info.live_writer, info.sealed) == (extent.file, True, True)
    clock.advance(ORPHAN_SECONDS - 60)
    assert next(store.files()).live_writer
    clock.advance(120)
    assert not next(store.files()).live_writer
    assert WRITER_SECONDS_MAX < ORPHAN_SECONDS


async def test_what_is_not_ours_is_no_file(make: Make, bucket: FlakyBucket) -> None:
    store = make(store_id="me")
    await store.claim(may_be_new=True)
    extent = await store.append(b"x")
    for path in ("note.txt", "aa/" + "0" * 31, "bb/" + "00" * 16, "00/00/" + "00" * 16):
        await bucket.put(path, b"?")
    assert [info.id for info in store.files()] == [extent.file]
    assert id_of(path_of(extent.file)) == extent.file
    assert store.free_bytes() == FREE_BYTES


# --- reading ---
async def test_damage_outage_and_loss_are_told_apart(make: Make, bucket: FlakyBucket) -> None:
    store = make(store_id="me")
    await store.claim(may_be_new=True)
    (extent,) = await stream(store, random.Random(1).randbytes(3500))
    path = path_of(extent.file)
    content = await bucket.get(path)

    async def all_fail(kind: type[DataError]) -> None:
        for attempt in (store.check(extent), store.read_small(extent), whole(store, [extent])):
            with pytest.raises(DataError) as caught:
                await attempt
            assert type(caught.value) is kind

    bucket.is_away = True
    await all_fail(DataUnavailable)
    bucket.is_away = False
    for size in (0, 5, CHECKSUM_BYTES + CHUNK, len(content) - 1):
        await bucket.put(path, content[:size])
        await all_fail(DataDamaged)
    flipped = bytearray(content)
    flipped[2000] ^= 1
    await bucket.put(path, flipped)
    await all_fail(DataDamaged)
    await bucket.delete(path)
    await all_fail(DataMissing)
    await bucket.delete(MARKER)  # or the whole bucket is another one
    await all_fail(DataUnavailable)
    await bucket.put(MARKER, b'{"id": "other"}')
    await all_fail(DataUnavailable)
    await bucket.put(MARKER, b'{"id": "me"}')
    await bucket.put(path, content)
    await store.check(extent)


async def test_an_object_in_the_place_of_another_is_damage(make: Make, bucket: FlakyBucket) -> None:
    store = make()
    (one,), (two,) = await stream(store, bytes(3000)), await stream(store, bytes(3000))
    await bucket.put(path_of(two.file), await bucket.get(path_of(one.file)))
    with pytest.raises(DataDamaged):
        await store.check(two)


async def test_neighbours_are_read_together(make: Make, bucket: FlakyBucket) -> None:
    store = make(file_bytes_max=1_000_000)
    extents = await asyncio.gather(*(store.append(bytes([n]) * 500) for n in range(200)))
    assert await store.read_many(extents) == [bytes([n]) * 500 for n in range(200)]
    assert bucket.calls["get_range"] == 1


# --- the cache ---
async def test_what_was_read_is_kept(make: Make, bucket: FlakyBucket, tmp_path: Path) -> None:
    cache = ReadCache(tmp_path / "cache", 1_000_000, SystemClock())
    store = make(cache=cache)
    body = random.Random(2).randbytes(9000)
    extents = await stream(store, body)
    small = await store.append(b"small")
    assert await whole(store, extents) == body
    assert await store.read_many([small, small]) == [b"small"] * 2
    await store.close()
    again = make(cache=cache)  # another process, say
    gets = bucket.calls["get_range"]
    bucket.is_away = True
    assert await whole(again, extents) == body
    assert await again.read_many([small]) == [b"small"]
    assert await again.read_small(small) == b"small"
    with pytest.raises(DataUnavailable):
        await again.check(small)  # asks the bucket itself
    assert bucket.calls["get_range"] == gets + 1


async def test_a_damaged_cache_is_read_over(
    make: Make, bucket: FlakyBucket, tmp_path: Path
) -> None:
    store = make(cache=ReadCache(tmp_path / "cache", 1_000_000, SystemClock()))
    body = random.Random(2).randbytes(9000)
    extents = await stream(store, body)
    assert await whole(store, extents) == body
    await asyncio.sleep(0.05)
    kept = [path for path in (tmp_path / "cache").rglob("*-*") if path.is_file()]
    assert len(kept) >= 9
    for number, path in enumerate(kept):
        content = bytearray(path.read_bytes())
        content[number % len(content)] ^= 0x10
        path.write_bytes(content)
    assert await whole(store, extents) == body
    bucket.calls.clear()


# --- whose it is ---
async def test_a_bucket_has_one_owner(make: Make, bucket: FlakyBucket) -> None:
    mine, theirs = make(store_id="mine"), make(store_id="theirs")
    with pytest.raises(DataUnavailable, match="emptied"):
        await mine.claim(may_be_new=False)
    await mine.claim(may_be_new=True)
    for may_be_new in (True, False):
        await mine.claim(may_be_new=may_be_new)
        with pytest.raises(DataUnavailable, match="another data directory"):
            await theirs.claim(may_be_new=may_be_new)
    await bucket.put(MARKER, b"not json")
    with pytest.raises(DataUnavailable, match="another data directory"):
        await mine.claim(may_be_new=True)


async def test_two_that_claim_at_once(make: Make) -> None:
    stores = [make(store_id=str(n)) for n in range(8)]
    answers = await asyncio.gather(
        *(store.claim(may_be_new=True) for store in stores), return_exceptions=True
    )
    assert sum(answer is None for answer in answers) == 1


# --- opening ---
@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket/p", {"access_key_id": "id", "secret_access_key": "hush", "region": "x"}),
        ("gs://bucket/a/b", {}),
        ("az://box", {"account_name": "a", "account_key": "aHVzaA=="}),
    ],
)
def test_every_kind_opens_and_hides_its_secrets(url: str, options: dict[str, str]) -> None:
    opened = open_bucket(url, options)
    said = repr(opened) + repr(vars(opened))
    assert "hush" not in said
    assert "aHVzaA==" not in said


def test_a_wrong_option_is_said_by_name() -> None:
    with pytest.raises(DataError, match="secret_acces_key") as caught:
        open_bucket("s3://bucket", {"secret_acces_key": "hush"})
    assert "hush" not in str(caught.value)
    with pytest.raises(DataError, match="not an s3"):
        open_bucket("ftp://bucket", {})


async def test_nobody_there() -> None:
    options = {"endpoint": "http://127.0.0.1:1", "access_key_id": "id", "region": "x"}
    there = open_bucket("s3://bucket", options | {"secret_access_key": "hush"})
    for attempt in (there.put("a", b"x"), there.get("a"), there.get_range("a", 0, 1)):
        with pytest.raises(DataUnavailable) as caught:
            await attempt
        assert "hush" not in str(caught.value)
    with pytest.raises(DataUnavailable):
        list(there.list())
