"""Completing uploads: what is refused, in which order, and what becomes of the parts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from typing import Any

import pytest

from amur import limits
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.objects.digests import base64_text, digest_of
from amur.objects.errors import (
    BadDigest,
    EntityTooLarge,
    EntityTooSmall,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    NoSuchKey,
    NoSuchUpload,
    PreconditionFailed,
    StoreError,
)
from amur.objects.invariants import violations
from amur.objects.store import ByteRange, CompletedPart, Store
from amur.objects.types import Attributes, Conditions, ObjectRecord

SEED = int(os.environ.get("AMUR_SEED", "0"))


@pytest.fixture(autouse=True)
def tiny_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 5)


async def begin(store: Store, bucket: str, key: str = "k", **checksum: str) -> str:
    return (await store.create_upload(bucket, key, Attributes(), **checksum)).id.hex()


async def send(
    store: Store, bucket: str, upload_id: str, bodies: dict[int, bytes], key: str = "k"
) -> list[CompletedPart]:
    parts = []
    for number, body in bodies.items():
        part = await store.put_part(bucket, key, upload_id, number, body)
        parts.append(CompletedPart(number, part.etag, {}))
    return sorted(parts)


async def read(store: Store, bucket: str, key: str = "k", **how: Any) -> bytes:
    reading = await store.get(bucket, key, **how)
    if reading.body is not None:
        return reading.body
    assert reading.stream is not None
    return b"".join([piece async for piece in reading.stream])


async def tables(store: Store) -> str:
    """One letter for each entry, without buckets."""
    found = await store.core.engine.scan(b"C", b"\xff", 100_000)
    return "".join(sorted(chr(entry.key[0]) for entry in found))


def etag_of(*bodies: bytes) -> str:
    joined = b"".join(hashlib.md5(body).digest() for body in bodies)
    return f"{hashlib.md5(joined).hexdigest()}-{len(bodies)}"


async def test_parts_become_the_object(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    bodies = {9: b"ninth", 2: b"second", 5: b"fifth part"}
    parts = await send(store, bucket, upload_id, bodies)
    record = await store.complete_upload(bucket, "k", upload_id, parts)
    whole = b"second" + b"fifth part" + b"ninth"
    assert await read(store, bucket) == whole
    assert record.etag == etag_of(b"second", b"fifth part", b"ninth")
    assert (record.size, record.part_count) == (len(whole), 3)
    assert record == await store.head(bucket, "k")
    assert await tables(store) == "MMMORRRR"
    assert [p.number async for p in store.object_parts(record)] == [1, 2, 3]
    assert [p.size async for p in store.object_parts(record, after=1)] == [10, 5]
    assert [p.size async for p in store.object_parts(record, limit=2)] == [6, 10]
    assert await read(store, bucket, part_number=2) == b"fifth part"
    for start in range(len(whole)):
        got = await read(store, bucket, byte_range=ByteRange(start, start + 7))
        assert got == whole[start : start + 8]
    assert await violations(store.core) == []


async def test_parts_not_named_are_garbage(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b"11111", 2: b"22222", 3: b"33333"})
    await store.complete_upload(bucket, "k", upload_id, [parts[0], parts[2]])
    assert await read(store, bucket) == b"1111133333"
    assert await tables(store) == "GMMORRR"
    assert await violations(store.core) == []


async def test_the_replaced_part_counts(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    old = await send(store, bucket, upload_id, {1: b"older", 2: b"22222"})
    new = await send(store, bucket, upload_id, {1: b"newer!"})
    with pytest.raises(InvalidPart):
        await store.complete_upload(bucket, "k", upload_id, old)
    await store.complete_upload(bucket, "k", upload_id, [new[0], old[1]])
    assert await read(store, bucket) == b"newer!22222"


async def test_what_is_refused_leaves_the_upload_as_it_was(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = await begin(store, bucket)
    one, two, three = await send(store, bucket, upload_id, {1: b"11111", 2: b"22", 3: b"33333"})
    crc = base64_text(digest_of("CRC64NVME", b"1111133333"))
    refused: list[tuple[type[StoreError], list[CompletedPart], dict[str, Any]]] = [
        (InvalidRequest, [], {}),
        (InvalidPartOrder, [three, one], {}),
        (InvalidPartOrder, [one, one], {}),
        (InvalidPart, [one, CompletedPart(4, one.etag, {})], {}),
        (InvalidPart, [one._replace(etag=three.etag)], {}),
        (InvalidPart, [one._replace(etag="")], {}),
        (InvalidPart, [one._replace(checksums={"CRC64NVME": "AAAAAAAAAAA="})], {}),
        (InvalidPart, [one._replace(checksums={"SHA256": "A"})], {}),
        (EntityTooSmall, [one, two, three], {}),
        (InvalidRequest, [one, three], {"object_size": 11}),
        (BadDigest, [one, three], {"checksum": "AAAAAAAAAAA="}),
        (InvalidRequest, [one, three], {"checksum": crc, "checksum_kind": "COMPOSITE"}),
        (NoSuchKey, [one, three], {"conditions": Conditions(if_match=["0" * 32])}),
    ]
    before = await tables(store)
    for error, parts, how in refused:
        with pytest.raises(error):
            await store.complete_upload(bucket, "k", upload_id, parts, **how)
        assert await tables(store) == before
    monkeypatch.setattr(limits, "OBJECT_BYTES_MAX", 9)
    with pytest.raises(EntityTooLarge):
        await store.complete_upload(bucket, "k", upload_id, [one, three])
    monkeypatch.undo()
    limits.PART_BYTES_MIN, before_min = 5, limits.PART_BYTES_MIN
    try:
        await store.complete_upload(
            bucket, "k", upload_id,
            [one._replace(etag=f'"{one.etag}"', checksums={}), three],
            object_size=10, checksum=crc, checksum_kind="FULL_OBJECT",
            conditions=Conditions(if_none_match=["*"]),
        )  # fmt: skip
    finally:
        limits.PART_BYTES_MIN = before_min


async def test_create_only_if_absent(store: Store, bucket: str) -> None:
    await store.put(bucket, "k", b"here")
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b"x"})
    with pytest.raises(PreconditionFailed):
        await store.complete_upload(
            bucket, "k", upload_id, parts, conditions=Conditions(if_none_match=["*"])
        )
    here = await store.head(bucket, "k")
    await store.complete_upload(
        bucket, "k", upload_id, parts, conditions=Conditions(if_match=[here.etag])
    )
    assert await read(store, bucket) == b"x"


async def test_an_empty_object(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b""})
    record = await store.complete_upload(bucket, "k", upload_id, parts)
    assert (record.size, record.etag) == (0, etag_of(b""))
    assert await read(store, bucket) == b""
    assert await violations(store.core) == []


async def test_an_empty_part_is_only_ever_the_last(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 0)
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b"a", 2: b"", 3: b"c", 4: b""})
    with pytest.raises(EntityTooSmall):
        await store.complete_upload(bucket, "k", upload_id, parts)
    await store.complete_upload(bucket, "k", upload_id, [parts[0], *parts[2:]])
    assert await read(store, bucket) == b"ac"


# --- checksums ---
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
async def test_a_checksum_of_checksums(store: Store, bucket: str, algorithm: str) -> None:
    bodies = [b"first part", b"second part", b"3"]
    upload_id = await begin(store, bucket, checksum_algorithm=algorithm)
    parts = await send(store, bucket, upload_id, dict(enumerate(bodies, 1)))
    raw = b"".join(digest_of(algorithm, body) for body in bodies)
    expected = f"{base64_text(digest_of(algorithm, raw))}-3"
    named = [
        part._replace(checksums={algorithm: base64_text(digest_of(algorithm, body))})
        for part, body in zip(parts, bodies, strict=True)
    ]
    record = await store.complete_upload(
        bucket, "k", upload_id, named, checksum=expected, checksum_kind="COMPOSITE"
    )
    (stored,) = record.checksums
    assert (stored.algorithm, stored.value, stored.kind) == (algorithm, expected, "COMPOSITE")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", ""])
async def test_the_checksum_of_the_whole(store: Store, bucket: str, algorithm: str) -> None:
    bodies = [b"first part", b"second part", b"3"]
    how = {"checksum_algorithm": algorithm, "checksum_kind": "FULL_OBJECT"} if algorithm else {}
    upload_id = await begin(store, bucket, **how)
    parts = await send(store, bucket, upload_id, dict(enumerate(bodies, 1)))
    record = await store.complete_upload(bucket, "k", upload_id, parts)
    (stored,) = record.checksums
    expected = base64_text(digest_of(algorithm or "CRC64NVME", b"".join(bodies)))
    assert (stored.value, stored.kind) == (expected, "FULL_OBJECT")


# --- again ---
async def test_completing_again_answers_the_same(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b"11111", 2: b"22222"})
    first = await store.complete_upload(bucket, "k", upload_id, parts)
    assert await store.complete_upload(bucket, "k", upload_id, parts) == first
    for others in (parts[:1], [parts[0], parts[1]._replace(etag=parts[0].etag)],
                   [parts[0]._replace(etag="no hex")]):  # fmt: skip
        with pytest.raises(NoSuchUpload):
            await store.complete_upload(bucket, "k", upload_id, others)
    with pytest.raises(NoSuchUpload):
        await store.complete_upload(bucket, "other", upload_id, parts)
    await store.put(bucket, "k", b"newer")
    with pytest.raises(NoSuchUpload):
        await store.complete_upload(bucket, "k", upload_id, parts)


async def test_completing_again_what_is_an_older_version_now(store: Store, versioned: str) -> None:
    upload_id = await begin(store, versioned)
    parts = await send(store, versioned, upload_id, {1: b"11111", 2: b"22222"})
    first = await store.complete_upload(versioned, "k", upload_id, parts)
    await store.put(versioned, "k", b"newer")
    assert await store.complete_upload(versioned, "k", upload_id, parts) == first
    assert await read(store, versioned) == b"newer"
    await store.delete(versioned, "k", version_id=first.version_id())
    with pytest.raises(NoSuchUpload):
        await store.complete_upload(versioned, "k", upload_id, parts)


async def test_the_older_object_is_garbage_or_history(store: Store, bucket: str) -> None:
    for body in (b"11111", b"22222"):
        upload_id = await begin(store, bucket)
        parts = await send(store, bucket, upload_id, {1: body, 2: b"x"})
        await store.complete_upload(bucket, "k", upload_id, parts)
    assert await read(store, bucket) == b"22222x"
    assert (await tables(store)).count("G") == 1
    assert await violations(store.core) == []


async def test_ten_thousand_parts(store: Store, bucket: str) -> None:
    upload_id = await begin(store, bucket)
    bodies = {number: b"%05d" % number for number in range(1, 10_001)}
    bodies[10_000] = b"!"
    parts = await send(store, bucket, upload_id, bodies)
    record = await store.complete_upload(bucket, "k", upload_id, parts)
    assert (record.part_count, record.size) == (10_000, 49_996)
    assert record.etag == etag_of(*bodies.values())
    assert await read(store, bucket) == b"".join(bodies.values())
    assert await read(store, bucket, part_number=10_000) == b"!"
    assert await store.core.engine.scan(keys.PARTS, prefix_end(keys.PARTS), 1) == []


# --- many at once ---
@pytest.mark.parametrize("seed", range(SEED, SEED + 60))
async def test_writers_enders_and_readers_at_once(store: Store, bucket: str, seed: int) -> None:
    """Whatever the order, one of complete and abort wins, and no part slips in afterwards."""
    rng = random.Random(seed)
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {1: b"11111", 2: b"22222"})
    engine = store.core.engine
    commit = engine.commit

    async def dawdling(change: Any) -> int:
        for _ in range(rng.randint(0, 6)):
            await asyncio.sleep(0)
        return await commit(change)

    engine.commit = dawdling  # type: ignore[method-assign]

    async def put(number: int, body: bytes) -> object:
        for _ in range(rng.randint(0, 20)):
            await asyncio.sleep(0)
        try:
            return await store.put_part(bucket, "k", upload_id, number, body)
        except NoSuchUpload:
            return None

    async def end(how: str) -> object:
        for _ in range(rng.randint(0, 20)):
            await asyncio.sleep(0)
        try:
            if how == "abort":
                await store.abort_upload(bucket, "k", upload_id)
                return "aborted"
            return await store.complete_upload(bucket, "k", upload_id, parts)
        except (NoSuchUpload, InvalidPart) as error:
            return error

    enders = [rng.choice(["abort", "complete", "complete"]) for _ in range(3)]
    tasks = [put(rng.choice([1, 2, 3]), rng.choice([b"11111", b"fresh"])) for _ in range(5)]
    ended = await asyncio.gather(*(end(how) for how in enders), *tasks)
    outcomes = ended[:3]
    completed = [outcome for outcome in outcomes if isinstance(outcome, ObjectRecord)]
    assert not (completed and "aborted" in outcomes)
    assert all(record == completed[0] for record in completed)
    if completed:
        assert await read(store, bucket) == b"1111122222"
    if completed or "aborted" in outcomes:
        found = await tables(store)
        assert "P" not in found
        assert "U" not in found
    assert await violations(store.core) == []


@pytest.mark.parametrize("number", [2, 3, 7, 9999])
@pytest.mark.parametrize("how", ["abort", "complete"])
async def test_a_part_that_comes_at_the_last_moment(
    store: Store, bucket: str, how: str, number: int
) -> None:
    """It is committed between the reading and the commit of the one who ends the upload."""
    upload_id = await begin(store, bucket)
    parts = await send(store, bucket, upload_id, {2: b"11111", 3: b"22222", 5: b"33333"})
    engine = store.core.engine
    commit = engine.commit

    async def late(change: Any) -> int:
        engine.commit = commit  # type: ignore[method-assign]
        await store.put_part(bucket, "k", upload_id, number, b"late!")
        return await commit(change)

    engine.commit = late  # type: ignore[method-assign]
    if how == "abort":
        await store.abort_upload(bucket, "k", upload_id)
    elif number in (2, 3):
        with pytest.raises(InvalidPart):
            await store.complete_upload(bucket, "k", upload_id, parts)
        await store.abort_upload(bucket, "k", upload_id)
    else:
        await store.complete_upload(bucket, "k", upload_id, parts)
    found = await tables(store)
    assert "P" not in found
    assert "U" not in found
    assert await violations(store.core) == []
