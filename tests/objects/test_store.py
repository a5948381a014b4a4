"""What the random histories do not reach: errors, details, reads of parts, damage, LMDB."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from random import Random

import pytest

import amur
from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.limits import CHUNK_BYTES, KEY_BYTES_MAX
from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.objects import errors
from amur.objects.invariants import violations
from amur.objects.store import ByteRange, CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord, Conditions, ObjectRecord, Reading


async def whole(reading: Reading) -> bytes:
    if reading.body is not None:
        return reading.body
    assert reading.stream is not None
    return b"".join([piece async for piece in reading.stream])


def damage(store: Store) -> None:
    assert isinstance(store.core.data, MemoryDataStore)
    store.core.data.contents.clear()


# --- buckets ---
async def test_bucket_names_are_taken_once(store: Store, bucket: str) -> None:
    with pytest.raises(errors.BucketAlreadyOwnedByYou):
        await store.create_bucket(BucketRecord(name=bucket, owner="me"))
    with pytest.raises(errors.BucketAlreadyExists):
        await store.create_bucket(BucketRecord(name=bucket, owner="you"))
    with pytest.raises(errors.InvalidBucketName):
        await store.create_bucket(BucketRecord(name="No", owner="you"))


@pytest.mark.parametrize("name", ["", "nowhere", "é", "\ud800", "x" * 5000])
async def test_no_such_bucket(store: Store, name: str) -> None:
    for attempt in (
        store.bucket(name), store.get(name, "k"), store.put(name, "k", b""),
        store.delete(name, "k"), store.list_objects(name), store.list_versions(name),
        store.delete_bucket(name), store.delete_bucket(name, force=True),
        store.update_bucket(name, lambda _: None), store.rename(name, "a", "b"),
        store.create_upload(name, "k", Attributes()), store.list_uploads(name),
    ):  # fmt: skip
        with pytest.raises(errors.NoSuchBucket):
            await attempt


async def test_buckets_are_listed_by_name_in_pages(store: Store) -> None:
    names = ["aaa", "abc", "b.b", "b-b", "bbb", "ccc"]
    for name in names:
        await store.create_bucket(BucketRecord(name=name, owner="me"))
    names.sort()
    found, truncated = await store.list_buckets(limit=4)
    assert ([record.name for record in found], truncated) == (names[:4], True)
    found, truncated = await store.list_buckets(start_after=names[3], limit=2)
    assert ([record.name for record in found], truncated) == (names[4:], False)
    found, truncated = await store.list_buckets(prefix="b")
    assert ([record.name for record in found], truncated) == (["b-b", "b.b", "bbb"], False)
    assert await store.list_buckets(limit=0) == ([], False)


async def test_bucket_settings(store: Store, bucket: str) -> None:
    before = await store.bucket(bucket)
    changed = await store.update_bucket(bucket, lambda record: record.tags.update(a="b"))
    assert changed.tags == {"a": "b"}
    assert before.tags == {}, "a record that was handed out never changes"
    assert await store.bucket(bucket) == changed
    assert (changed.id, changed.created) == (before.id, before.created)
    await store.update_bucket(bucket, lambda record: setattr(record, "versioning", "Enabled"))
    with pytest.raises(errors.InvalidBucketState):
        await store.update_bucket(bucket, lambda record: setattr(record, "versioning", ""))


async def test_forced_deletion_of_more_than_a_page(store: Store, versioned: str) -> None:
    for i in range(30):
        await store.put(versioned, f"key{i % 7}", bytes(5000))
        await store.delete(versioned, f"gone{i}")
    upload = await store.create_upload(versioned, "key", Attributes())
    await store.put_part(versioned, "key", upload.id.hex(), 1, bytes(5000))
    with pytest.raises(errors.BucketNotEmpty):
        await store.delete_bucket(versioned)
    await store.delete_bucket(versioned, force=True)
    for table in (b"B", b"O", b"D", b"V", b"U", b"P", b"R"):
        assert await store.core.engine.scan(table, table + b"\xff" * 20, 1) == []


# --- keys and versions ---
async def test_bad_keys(store: Store, bucket: str) -> None:
    await store.put(bucket, "k" * KEY_BYTES_MAX, b"")
    attempt: Awaitable[object]
    for attempt in (store.put(bucket, "k" * 1025, b""), store.get(bucket, "k" * 1025)):
        with pytest.raises(errors.KeyTooLong):
            await attempt
    for attempt in (
        store.put(bucket, "", b""), store.put(bucket, "\ud800", b""),
        store.get(bucket, "\ud800"), store.delete(bucket, "\ud800"),
        store.list_objects(bucket, prefix="\ud800"),
        store.list_versions(bucket, key_marker="\ud800"),
        store.list_objects(bucket, limit=-1),
        store.get(bucket, "k", version_id="x"), store.delete(bucket, "k", version_id="-1"),
        store.list_versions(bucket, key_marker="k", version_marker="x"),
        store.list_versions(bucket, version_marker="1"),
    ):  # fmt: skip
        with pytest.raises(errors.InvalidArgument):
            await attempt


async def test_deleted_and_marker_are_told_apart(store: Store, versioned: str) -> None:
    with pytest.raises(errors.NoSuchKey) as nothing:
        await store.get(versioned, "key")
    assert not isinstance(nothing.value, errors.KeyIsDeleted)
    await store.put(versioned, "key", b"body")
    gone = await store.delete(versioned, "key")
    with pytest.raises(errors.KeyIsDeleted) as deleted:
        await store.head(versioned, "key")
    assert deleted.value.version_id == gone.version_id
    assert deleted.value.modified_s == int(gone.version_id) // 10**9
    with pytest.raises(errors.VersionIsMarker):
        await store.get(versioned, "key", version_id=gone.version_id)
    with pytest.raises(errors.NoSuchVersion):
        await store.get(versioned, "key", version_id="123")
    with pytest.raises(errors.NoSuchVersion):
        await store.get(versioned, "key", version_id="null")


async def test_permit_comes_before_anything_is_told(store: Store, versioned: str) -> None:
    class Denied(errors.StoreError):
        pass

    seen: list[ObjectRecord | None] = []

    def deny(_key: str, record: ObjectRecord | None) -> None:
        seen.append(record)
        raise Denied

    never = Conditions(if_match=["no"])
    await store.put(versioned, "key", b"body")
    gone = await store.delete(versioned, "dead")
    for key, version in (("key", ""), ("none", ""), ("dead", ""), ("dead", gone.version_id)):
        with pytest.raises(Denied):
            await store.get(
                versioned, key, version_id=version, conditions=never, permit=deny,
                byte_range=ByteRange(99, None),
            )  # fmt: skip
        with pytest.raises(Denied):
            await store.head(versioned, key, version_id=version, conditions=never, permit=deny)
        with pytest.raises(Denied):
            await store.copy((versioned, key, version), versioned, "to", None, permit=deny)
    assert [record.etag if record else "" for record in seen[:3]] == [seen[0].etag] * 3  # type: ignore[union-attr]
    assert seen[3:] == [None] * 9


async def test_version_order_survives_a_clock_that_jumps_back(
    store: Store, versioned: str, clock: FakeClock
) -> None:
    first = await store.put(versioned, "key", b"1")
    clock.advance(-3600)
    second = await store.put(versioned, "key", b"2")
    assert second.version > first.version
    assert (await store.get(versioned, "key")).body == b"2"


async def test_update_keeps_version_and_body(
    store: Store, versioned: str, clock: FakeClock
) -> None:
    for size in (10, 5000):
        put = await store.put(versioned, "key", bytes(size))
        clock.advance(60)
        updated = await store.update_object(
            versioned, "key", lambda record: record.tags.update(a="b")
        )
        got = await store.get(versioned, "key")
        assert (got.record.version, got.record.tags) == (put.version, {"a": "b"})
        assert updated == got.record
        assert got.body == bytes(size)
    await store.delete(versioned, "key")
    with pytest.raises(errors.KeyIsDeleted):
        await store.update_object(versioned, "key", lambda record: None)


# --- reading ---
@pytest.mark.parametrize("size", [10, 5000, 3 * CHUNK_BYTES + 9])
async def test_ranges(store: Store, bucket: str, size: int) -> None:
    body = Random(size).randbytes(size)
    await store.put(bucket, "key", body)
    for wanted, start, end in (
        (ByteRange(0, 0), 0, 1),
        (ByteRange(3, 7), 3, 8),
        (ByteRange(3, None), 3, size),
        (ByteRange(3, size * 9), 3, size),
        (ByteRange(None, 4), size - 4, size),
        (ByteRange(None, size * 9), 0, size),
        (ByteRange(size - 1, None), size - 1, size),
    ):
        got = await store.get(bucket, "key", byte_range=wanted)
        assert (got.start, got.end, await whole(got)) == (start, end, body[start:end])
    for bad in (ByteRange(size, None), ByteRange(None, 0), ByteRange(5, 4)):
        with pytest.raises(errors.InvalidRange) as caught:
            await store.get(bucket, "key", byte_range=bad)
        assert caught.value.size == size


async def test_range_of_an_empty_object(store: Store, bucket: str) -> None:
    await store.put(bucket, "key", b"")
    assert (await store.get(bucket, "key")).body == b""
    for bad in (ByteRange(0, None), ByteRange(0, 0), ByteRange(None, 5)):
        with pytest.raises(errors.InvalidRange):
            await store.get(bucket, "key", byte_range=bad)


async def completed(store: Store, bucket: str, key: str, bodies: list[bytes]) -> ObjectRecord:
    upload = await store.create_upload(bucket, key, Attributes())
    parts = []
    for number, body in enumerate(bodies, 1):
        part = await store.put_part(bucket, key, upload.id.hex(), number, body)
        parts.append(CompletedPart(number, part.etag, {}))
    return await store.complete_upload(bucket, key, upload.id.hex(), parts)


@pytest.mark.parametrize("even", [False, True])
async def test_parts_of_an_object(
    store: Store, bucket: str, even: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.limits.PART_BYTES_MIN", 1)
    monkeypatch.setattr("amur.objects.pull.bodies.PARTS_PAGE", 3)
    chance = Random(1)
    bodies = [chance.randbytes(9000 if even else chance.randint(1, 30_000)) for _ in range(11)]
    bodies[4:5] = [chance.randbytes(CHUNK_BYTES + 7)] if not even else bodies[4:5]
    await completed(store, bucket, "key", bodies)
    body = b"".join(bodies)
    assert await whole(await store.get(bucket, "key")) == body
    start = 0
    for number, part in enumerate(bodies, 1):
        got = await store.get(bucket, "key", part_number=number)
        assert (got.start, got.end) == (start, start + len(part))
        assert await whole(got) == part
        start += len(part)
    for number in (12, -1):
        with pytest.raises(errors.InvalidPartNumber):
            await store.get(bucket, "key", part_number=number)
    for _ in range(50):
        first = chance.randrange(len(body))
        last = chance.randrange(first, len(body))
        got = await store.get(bucket, "key", byte_range=ByteRange(first, last))
        assert await whole(got) == body[first : last + 1]


async def test_part_of_a_plain_object(store: Store, bucket: str) -> None:
    await store.put(bucket, "key", b"body")
    assert (await store.get(bucket, "key", part_number=1)).body == b"body"
    with pytest.raises(errors.InvalidPartNumber):
        await store.get(bucket, "key", part_number=2)
    with pytest.raises(errors.InvalidRequest):
        await store.get(bucket, "key", part_number=1, byte_range=ByteRange(0, 1))


async def test_damage_is_told_never_served(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.limits.PART_BYTES_MIN", 1)
    await store.put(bucket, "pack", bytes(5000))
    await store.put(bucket, "block", bytes(3 * CHUNK_BYTES))
    await completed(store, bucket, "parts", [bytes(3 * CHUNK_BYTES), b"end"])
    damage(store)
    for key in ("pack", "block", "parts"):
        with pytest.raises(errors.StorageDamaged):
            await whole(await store.get(bucket, key))
        with pytest.raises(errors.StorageDamaged):
            await whole(await store.get(bucket, key, byte_range=ByteRange(1, 9)))


async def test_missing_part_is_told(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amur.limits.PART_BYTES_MIN", 1)
    record = await completed(store, bucket, "parts", [bytes(9), bytes(8), bytes(7)])
    await store.core.engine.commit(Commit(delete=[keys.manifest_key(record.manifest, 9)]))
    with pytest.raises(errors.StorageDamaged):
        await whole(await store.get(bucket, "parts"))
    with pytest.raises(errors.StorageDamaged):
        await store.get(bucket, "parts", part_number=2)


async def test_damaged_record_is_told(store: Store, bucket: str) -> None:
    at = keys.object_key((await store.bucket(bucket)).id, b"key")
    await store.core.engine.commit(Commit(put=[Put(at, b"\x02garbage")]))
    for attempt in (
        store.get(bucket, "key"), store.head(bucket, "key"), store.put(bucket, "key", b""),
        store.list_objects(bucket), store.list_versions(bucket), store.delete(bucket, "key"),
    ):  # fmt: skip
        with pytest.raises(errors.StorageDamaged):
            await attempt


# --- copies ---
async def test_copy_keeps_or_replaces(store: Store, bucket: str) -> None:
    mine = Attributes(
        content_type="text/a", metadata={"a": "1"}, tags={"t": "1"}, acl="public-read",
        headers={"cache-control": "no-cache"}, storage_class="STANDARD_IA",
    )  # fmt: skip
    await store.put(bucket, "from", bytes(5000), mine)
    kept = await store.copy((bucket, "from", ""), bucket, "kept", None)
    assert (kept.content_type, kept.metadata, kept.tags) == ("text/a", {"a": "1"}, {"t": "1"})
    assert (kept.headers, kept.storage_class) == ({"cache-control": "no-cache"}, "STANDARD_IA")
    assert kept.acl == "", "an ACL is never copied"
    new = Attributes(content_type="text/b", tags={"ignored": "1"})
    changed = await store.copy((bucket, "from", ""), bucket, "changed", new)
    assert (changed.content_type, changed.metadata, changed.tags) == ("text/b", {}, {"t": "1"})
    assert (changed.storage_class, changed.checksums) == ("STANDARD", kept.checksums)
    tagged = await store.copy((bucket, "from", ""), bucket, "tagged", None, tags={"n": "2"})
    assert (tagged.tags, tagged.content_type) == ({"n": "2"}, "text/a")
    assert changed.extents == kept.extents, "bytes are shared"
    await store.delete(bucket, "from")
    assert (await store.get(bucket, "kept")).body == bytes(5000)
    assert await violations(store.core) == []


@pytest.mark.parametrize("size", [0, 10, 5000, 3 * CHUNK_BYTES])
async def test_copy_computes_a_checksum_that_is_missing(
    store: Store, bucket: str, size: int
) -> None:
    body = Random(size).randbytes(size)
    await store.put(bucket, "from", body)
    asked = await store.put(bucket, "asked", body, algorithms=["SHA256"])
    assert asked.checksums == [], "what is stored is the verifier's to say"
    for algorithm in ("SHA256", "CRC32"):
        copied = await store.copy((bucket, "from", ""), bucket, "to", None, algorithm=algorithm)
        assert [checksum.algorithm for checksum in copied.checksums] == [algorithm]
    same = await store.copy((bucket, "from", ""), bucket, "to", None, algorithm="CRC64NVME")
    assert same.checksums == (await store.head(bucket, "from")).checksums


async def test_copies_that_are_refused(
    store: Store, versioned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = versioned
    await store.put(here, "from", b"body")
    gone = await store.delete(here, "dead")
    with pytest.raises(errors.InvalidRequest):
        await store.copy((here, "from", ""), here, "from", None)
    with pytest.raises(errors.InvalidRequest):
        await store.copy((here, "dead", gone.version_id), here, "to", None)
    with pytest.raises(errors.NoSuchKey) as caught:
        await store.copy((here, "dead", ""), here, "to", None)
    assert not isinstance(caught.value, errors.KeyIsDeleted)
    with pytest.raises(errors.PreconditionFailed):
        await store.copy(
            (here, "from", ""), here, "to", None, source_conditions=Conditions(if_none_match=["*"])
        )
    with pytest.raises(errors.NoSuchKey):
        await store.copy(
            (here, "from", ""), here, "to", None, conditions=Conditions(if_match=["*"])
        )
    monkeypatch.setattr("amur.objects.copying.PUT_BYTES_MAX", 3)
    with pytest.raises(errors.InvalidRequest):
        await store.copy((here, "from", ""), here, "to", None)


async def test_copy_onto_itself_restores_an_old_version(store: Store, versioned: str) -> None:
    old = await store.put(versioned, "key", b"old")
    await store.put(versioned, "key", b"new")
    await store.copy((versioned, "key", old.version_id()), versioned, "key", None)
    assert (await store.get(versioned, "key")).body == b"old"
    await store.update_object(versioned, "key", lambda record: None)
    changed = Attributes(metadata={"a": "1"})
    await store.copy((versioned, "key", ""), versioned, "key", changed)
    got = await store.get(versioned, "key")
    assert (got.body, got.record.metadata) == (b"old", {"a": "1"})


async def test_rename_moves_and_keeps_history(store: Store, versioned: str) -> None:
    put = await store.put(versioned, "from", bytes(5000))
    renamed = await store.rename(versioned, "from", "to")
    assert (renamed.etag, renamed.extents) == (put.etag, put.extents)
    with pytest.raises(errors.KeyIsDeleted):
        await store.get(versioned, "from")
    old = await store.get(versioned, "from", version_id=put.version_id())
    assert old.body == (await store.get(versioned, "to")).body == bytes(5000)
    with pytest.raises(errors.KeyAlreadyExists):
        await store.rename(versioned, "to", "to")
    await store.put(versioned, "from", b"again")
    with pytest.raises(errors.KeyAlreadyExists):
        await store.rename(versioned, "from", "to")


# --- listing ---
async def test_a_folded_prefix_costs_a_seek(store: Store, bucket: str) -> None:
    for i in range(200):
        await store.put(bucket, f"dir{i % 2}/{i:05}", b"")
    visited = 0
    walk = store.core.engine.walk

    async def counted(start, end, visit, **more):  # type: ignore[no-untyped-def]
        def counting(key, value, version):  # type: ignore[no-untyped-def]
            nonlocal visited
            visited += 1
            return visit(key, value, version)

        await walk(start, end, counting, **more)

    store.core.engine.walk = counted  # type: ignore[method-assign]
    page = await store.list_objects(bucket, delimiter="/")
    assert [entry.key for entry in page.entries] == ["dir0/", "dir1/"]
    assert visited == 2


async def test_long_markers_and_prefixes(store: Store, bucket: str) -> None:
    longest = "k" * KEY_BYTES_MAX
    await store.put(bucket, longest, b"")
    for marker, expected in ((longest[:-1], 1), (longest, 0), (longest + "k", 0), ("j" * 3000, 1)):
        assert len((await store.list_objects(bucket, start_after=marker)).entries) == expected
        assert len((await store.list_versions(bucket, key_marker=marker)).entries) == expected
    for prefix, expected in ((longest, 1), (longest + "k", 0), ("k" * 5000, 0)):
        assert len((await store.list_objects(bucket, prefix=prefix)).entries) == expected
        assert len((await store.list_versions(bucket, prefix=prefix)).entries) == expected


async def test_page_is_cut_and_may_be_empty(store: Store, bucket: str) -> None:
    for i in range(1002):
        await store.put(bucket, f"{i:04}", b"")
    page = await store.list_objects(bucket, limit=5000)
    assert (len(page.entries), page.truncated, page.next_key) == (1000, True, "0999")
    page = await store.list_versions(bucket, limit=5000)
    assert (len(page.entries), page.truncated, page.next_key) == (1000, True, "0999")
    page = await store.list_objects(bucket, limit=0)
    assert (page.entries, page.truncated) == ([], False)


# --- the real thing ---
async def test_open_keeps_everything(tmp_path: Path) -> None:
    bodies = {f"key{size}": Random(size).randbytes(size) for size in (0, 10, 5000, 2_500_000)}
    async with amur.open(tmp_path / "new" / "store") as store:
        assert (await store.create_bucket("photos")).owner == "root"
        await asyncio.gather(*(store.put("photos", key, body) for key, body in bodies.items()))
    async with amur.open(tmp_path / "new" / "store") as store:
        for key, body in bodies.items():
            assert await whole(await store.get("photos", key)) == body
        assert await violations(store.core) == []
