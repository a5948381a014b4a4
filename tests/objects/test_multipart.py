"""Uploads until they are complete: parts put, replaced, copied, listed; uploads aborted."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from amur import limits
from amur.data.memory import MemoryDataStore
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.records import Checksum
from amur.objects.digests import base64_text, digest_of
from amur.objects.errors import (
    BadDigest,
    EntityTooLarge,
    InvalidArgument,
    InvalidRange,
    InvalidRequest,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
)
from amur.objects.invariants import violations
from amur.objects.store import ByteRange, Store
from amur.objects.types import Attributes, Conditions, Digests

BAD_IDS = ["", "0", "x" * 32, "0" * 31, "0" * 33, "0" * 32, "A" * 32, "../../etc/passwd", "é" * 32,
           " " + "0" * 31, "00 " * 10 + "00", "0" * 64, "\x00" * 32]  # fmt: skip


@pytest.fixture
async def upload_id(store: Store, bucket: str) -> str:
    return (await store.create_upload(bucket, "k", Attributes())).id.hex()


async def table(store: Store, which: bytes) -> list[bytes]:
    found = await store.core.engine.scan(which, prefix_end(which), 100_000)
    return [entry.key for entry in found]


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("bad", BAD_IDS)
async def test_no_other_text_is_an_upload(store: Store, bucket: str, bad: str) -> None:
    await store.create_upload(bucket, "k", Attributes())
    with pytest.raises(NoSuchUpload):
        await store.upload(bucket, "k", bad)
    with pytest.raises(NoSuchUpload):
        await store.put_part(bucket, "k", bad, 1, b"x")
    with pytest.raises(NoSuchUpload):
        await store.abort_upload(bucket, "k", bad)
    with pytest.raises(NoSuchUpload):
        await store.list_parts(bucket, "k", bad)


async def test_an_upload_is_of_its_key_and_bucket_only(
    store: Store, bucket: str, upload_id: str
) -> None:
    with pytest.raises(NoSuchUpload):
        await store.put_part(bucket, "other", upload_id, 1, b"x")
    with pytest.raises(NoSuchBucket):
        await store.put_part("nowhere", "k", upload_id, 1, b"x")
    assert (await store.upload(bucket, "k", upload_id)).id.hex() == upload_id


async def test_attributes_wait_in_the_upload(store: Store, bucket: str) -> None:
    attributes = Attributes(
        content_type="text/x", metadata={"a": "b"}, tags={"t": "1"}, acl="private"
    )
    upload = await store.create_upload(bucket, "k", attributes)
    waiting = (await store.upload(bucket, "k", upload.id.hex())).object
    assert (waiting.content_type, waiting.metadata, waiting.tags) == (
        "text/x",
        {"a": "b"},
        {"t": "1"},
    )
    assert (waiting.acl, waiting.storage_class) == ("private", "STANDARD")


async def test_parts_come_in_any_order_and_are_listed_in_theirs(
    store: Store, bucket: str, upload_id: str
) -> None:
    for number in (7, 10_000, 1, 300):
        part = await store.put_part(bucket, "k", upload_id, number, b"%d" % number)
        assert part.etag == hashlib.md5(b"%d" % number).hexdigest()
        assert part.version > 0
    _, parts, more = await store.list_parts(bucket, "k", upload_id)
    assert ([part.number for part in parts], more) == ([1, 7, 300, 10_000], False)
    _, parts, more = await store.list_parts(bucket, "k", upload_id, limit=2)
    assert ([part.number for part in parts], more) == ([1, 7], True)
    _, parts, more = await store.list_parts(bucket, "k", upload_id, after=7, limit=2)
    assert ([part.number for part in parts], more) == ([300, 10_000], False)
    for after in (10_000, 70_000, 2**80):
        _, parts, more = await store.list_parts(bucket, "k", upload_id, after=after)
        assert (parts, more) == ([], False)


@pytest.mark.parametrize("number", [0, -1, 10_001, 2**40])
async def test_part_numbers_have_a_domain(
    store: Store, bucket: str, upload_id: str, number: int
) -> None:
    with pytest.raises(InvalidArgument):
        await store.put_part(bucket, "k", upload_id, number, b"x")


async def test_a_replaced_part_gives_its_bytes_up(
    store: Store, bucket: str, upload_id: str
) -> None:
    first = await store.put_part(bucket, "k", upload_id, 1, b"first")
    second = await store.put_part(bucket, "k", upload_id, 1, b"second")
    _, parts, _ = await store.list_parts(bucket, "k", upload_id)
    assert parts == [second]
    references = await table(store, keys.REFERENCES)
    assert len(references) == 1
    assert keys.split_reference(references[0])[:2] == (
        second.extents[0].file,
        second.extents[0].offset,
    )
    assert len(await table(store, keys.GARBAGE)) == 1
    assert first.extents != second.extents
    assert await violations(store.core) == []


async def test_an_empty_part_has_no_bytes(store: Store, bucket: str, upload_id: str) -> None:
    part = await store.put_part(bucket, "k", upload_id, 1, b"")
    assert (part.size, part.extents) == (0, [])
    part = await store.put_part(bucket, "k", upload_id, 1, pieces())
    assert (part.size, part.extents) == (0, [])


async def test_a_small_part_is_never_inline(store: Store, bucket: str, upload_id: str) -> None:
    part = await store.put_part(bucket, "k", upload_id, 1, b"x")
    assert sum(extent.length for extent in part.extents) == 1


async def test_a_streamed_part(store: Store, bucket: str, upload_id: str) -> None:
    body = bytes(range(256)) * 16_384  # 4 MiB
    part = await store.put_part(
        bucket, "k", upload_id, 1, pieces(body[:100], body[100:3_000_000], body[3_000_000:])
    )
    assert (part.size, part.etag) == (len(body), hashlib.md5(body).hexdigest())


async def test_a_broken_promise_leaves_nothing(store: Store, bucket: str, upload_id: str) -> None:
    def verify(digests: Digests) -> list[Checksum]:
        raise BadDigest

    for body in (b"small", pieces(b"x" * 3_000_000)):
        with pytest.raises(BadDigest):
            await store.put_part(bucket, "k", upload_id, 1, body, verify=verify)
    assert await table(store, keys.PARTS) == []
    assert await table(store, keys.REFERENCES) == []


async def test_parts_have_the_checksum_of_the_upload(store: Store, bucket: str) -> None:
    upload = await store.create_upload(bucket, "k", Attributes(), checksum_algorithm="SHA256")
    assert upload.checksum_kind == "COMPOSITE"
    expected = Checksum("SHA256", base64_text(digest_of("SHA256", b"abc")))
    part = await store.put_part(bucket, "k", upload.id.hex(), 1, b"abc")
    assert expected in part.checksums
    part = await store.put_part(bucket, "k", upload.id.hex(), 1, b"abc", algorithms=["SHA256"])
    assert expected in part.checksums
    with pytest.raises(InvalidRequest):
        await store.put_part(bucket, "k", upload.id.hex(), 1, b"abc", algorithms=["CRC32"])


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [("SHA256", "FULL_OBJECT"), ("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"),
     ("MD5", ""), ("CRC32", "NONE"), ("", "COMPOSITE")],
)  # fmt: skip
async def test_checksums_that_can_not_be(
    store: Store, bucket: str, algorithm: str, kind: str
) -> None:
    with pytest.raises(InvalidRequest):
        await store.create_upload(
            bucket, "k", Attributes(), checksum_algorithm=algorithm, checksum_kind=kind
        )


async def test_abort_releases_all_and_ends(store: Store, bucket: str, upload_id: str) -> None:
    for number in (1, 2, 9):
        await store.put_part(bucket, "k", upload_id, number, b"body")
    await store.abort_upload(bucket, "k", upload_id)
    for which in (keys.UPLOADS, keys.PARTS, keys.REFERENCES):
        assert await table(store, which) == []
    assert len(await table(store, keys.GARBAGE)) == 1
    with pytest.raises(NoSuchUpload):
        await store.abort_upload(bucket, "k", upload_id)
    with pytest.raises(NoSuchUpload):
        await store.put_part(bucket, "k", upload_id, 1, b"late")


async def test_bytes_of_a_part_that_came_too_late_are_removed(
    store: Store, bucket: str, upload_id: str
) -> None:
    data = store.core.data
    assert isinstance(data, MemoryDataStore)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await store.abort_upload(bucket, "k", upload_id)
        yield b"y" * 2_000_000

    with pytest.raises(NoSuchUpload):
        await store.put_part(bucket, "k", upload_id, 1, slow())
    assert data.contents == {}
    assert await table(store, keys.PARTS) == []


# --- copies ---
@pytest.mark.parametrize("size", [0, 10, 50_000, 3_000_000])
async def test_a_part_from_an_object(store: Store, bucket: str, upload_id: str, size: int) -> None:
    body = hashlib.shake_128(b"seed").digest(size)
    await store.put(bucket, "source", body)
    part = await store.copy_part((bucket, "source", ""), None, bucket, "k", upload_id, 1)
    assert (part.size, part.etag) == (size, hashlib.md5(body).hexdigest())
    if size > 5:
        part = await store.copy_part(
            (bucket, "source", ""), ByteRange(2, size - 3), bucket, "k", upload_id, 2
        )
        assert part.etag == hashlib.md5(body[2 : size - 2]).hexdigest()
        with pytest.raises(InvalidRange):
            await store.copy_part(
                (bucket, "source", ""), ByteRange(0, size), bucket, "k", upload_id, 3
            )


async def test_a_part_from_an_old_version(store: Store, versioned: str, upload_id: str) -> None:
    old = await store.put(versioned, "source", b"old")
    await store.put(versioned, "source", b"newer")
    source = (versioned, "source", old.version_id())
    part = await store.copy_part(source, None, versioned, "k", upload_id, 1)
    assert part.size == 3


async def test_a_part_from_a_source_that_is_not_as_wished(
    store: Store, bucket: str, upload_id: str
) -> None:
    with pytest.raises(NoSuchKey):
        await store.copy_part((bucket, "gone", ""), None, bucket, "k", upload_id, 1)
    await store.put(bucket, "source", b"body")
    with pytest.raises(PreconditionFailed):
        await store.copy_part(
            (bucket, "source", ""), None, bucket, "k", upload_id, 1,
            source_conditions=Conditions(if_match=["0" * 32]),
        )  # fmt: skip
    with pytest.raises(NoSuchUpload):
        await store.copy_part((bucket, "source", ""), None, bucket, "k", "0" * 32, 1)


async def test_a_part_has_a_greatest_size(
    store: Store, bucket: str, upload_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PUT_BYTES_MAX", 100)
    await store.put(bucket, "source", b"x" * 101)
    with pytest.raises(InvalidRequest):
        await store.copy_part((bucket, "source", ""), None, bucket, "k", upload_id, 1)
    with pytest.raises(EntityTooLarge):
        await store.put_part(bucket, "k", upload_id, 1, b"x" * 101)
