"""fsck: each kind of damage is done on purpose, found, repaired, and gone in the second run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.meta import keys
from amur.meta.engine import Commit, Put
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.records import (
    BucketRecord,
    Extent,
    ObjectRecord,
    PartRecord,
    decode,
    encode,
    inline_body,
)
from amur.objects.invariants import violations
from amur.objects.references import reference_puts
from amur.objects.registry import Registry, Transaction
from amur.objects.store import Store
from amur.objects.types import Attributes
from amur.workers.findings import KINDS, Severity
from amur.workers.fsck import fsck
from amur.workers.usage import doomed_put, file_note

Damage = Callable[[Any], Awaitable[object]]
DAMAGES: dict[str, Damage] = {}


def damage(kind: str) -> Callable[[Damage], Damage]:
    def register(function: Damage) -> Damage:
        DAMAGES[kind] = function
        return function

    return register


@pytest.fixture
async def town(world: Any) -> Any:
    """A store with something of everything; `bodies` is what must survive."""
    world.bodies = {"small": await world.put("small", 100), "pack": await world.put("pack", 6_000)}
    world.bodies["block"] = await world.put("block", 200_000)
    world.bodies["multi"] = await world.multipart("multi", [world.body(20_000) for _ in range(3)])
    world.versioned = await world.bucket("versions", "Enabled")
    for body in (b"one", b"two", b"three"):
        await world.store.put("versions", "v", body * 3000)
    await world.store.put("versions", "deleted", b"x")
    await world.store.delete("versions", "deleted")
    world.upload = await world.store.create_upload("bucket", "upload", Attributes())
    await world.store.put_part("bucket", "upload", world.upload.id.hex(), 1, world.body(20_000))
    await Registry(world.core).transact(_two_entries)
    world.die()
    assert (await fsck(world.core)).is_clean()
    return world


async def _two_entries(transaction: Transaction) -> None:
    await transaction.create(b"k1", {"name": "one"}, [b"all", b"of 1"])
    await transaction.create(b"k2", {"name": "two"}, [b"all"])


async def test_entries_are_counted_once(world: Any) -> None:
    """... though several checks go over the objects."""
    for number in range(3):
        await world.put(f"k{number}", 10)
    page = await world.core.engine.scan(keys.OBJECTS, keys.OBJECTS + b"\xff", 100)
    assert (await fsck(world.core)).checked["O"] == len(page) >= 3


async def bucket_id(world: Any, name: str = "bucket") -> bytes:
    return bytes((await world.store.bucket(name)).id)


async def at(world: Any, key: str, bucket: str = "bucket") -> bytes:
    return keys.object_key(await bucket_id(world, bucket), key.encode())


async def value(world: Any, key: bytes) -> bytes:
    return bytes((await world.engine.get(key)).value)


async def put(world: Any, key: bytes, new: bytes = b"") -> None:
    await world.engine.commit(Commit(put=[Put(key, new)]))


async def remove(world: Any, *gone: bytes) -> None:
    await world.engine.commit(Commit(delete=gone))


async def change(world: Any, key: bytes, kind: Any, **fields: object) -> None:
    """Write a record anew with other fields."""
    old = await value(world, key)
    record = decode(old, kind)
    for name, new in fields.items():
        setattr(record, name, new)
    await put(world, key, encode(record, inline_body(old)))


async def move(world: Any, old: bytes, new: bytes) -> None:
    """As a bug would: with its references."""
    record = decode(await value(world, old), ObjectRecord)
    puts = [Put(new, await value(world, old))]
    deletes = [old]
    for extent in record.extents:
        deletes.append(keys.reference_key(extent.file, extent.offset, old))
        puts.append(Put(keys.reference_key(extent.file, extent.offset, new), b""))
    await world.engine.commit(Commit(put=puts, delete=deletes))


def path(file_id: bytes) -> str:
    return f"/data/{file_id[15]:02x}/{file_id.hex()}"


async def first_extent(world: Any, key: str) -> Extent:
    return decode(await value(world, await at(world, key)), ObjectRecord).extents[0]


# --- buckets ---
@damage("bucket-undecodable")
async def _(world: Any) -> None:
    await world.bucket("third")
    await put(world, keys.bucket_key("third"), b"\x01" + b"\xff" * 30)


@damage("bucket-misnamed")
async def _(world: Any) -> None:
    await change(world, keys.bucket_key("bucket"), BucketRecord, name="somethingelse")


@damage("object-without-bucket")
async def _(world: Any) -> None:
    await remove(world, keys.bucket_key("versions"))


@damage("upload-without-bucket")
async def _(world: Any) -> None:
    await world.bucket("third")
    await world.store.create_upload("third", "u", Attributes())
    await remove(world, keys.bucket_key("third"))


# --- records ---
@damage("record-undecodable")
async def _(world: Any) -> None:
    await put(world, await at(world, "v", "versions"), b"\x01" + bytes(12))


@damage("object-is-marker")
async def _(world: Any) -> None:
    marker = keys.marker_key(await bucket_id(world, "versions"), b"deleted")
    await move(world, marker, await at(world, "deleted", "versions"))


@damage("marker-is-object")
async def _(world: Any) -> None:
    new = keys.marker_key(await bucket_id(world, "versions"), b"v")
    await move(world, await at(world, "v", "versions"), new)


@damage("version-misplaced")
async def _(world: Any) -> None:
    prefix = keys.versions_prefix(await bucket_id(world, "versions"), b"v")
    old = next(key for key in await world.table(keys.VERSIONS) if key.startswith(prefix))
    await move(world, old, old[:-1] + bytes([old[-1] ^ 1]))


@damage("size-wrong")
async def _(world: Any) -> None:
    await change(world, await at(world, "pack"), ObjectRecord, size=17)
    await change(world, await at(world, "small"), ObjectRecord, size=17)


@damage("size-mismatch")
async def _(world: Any) -> None:
    record_key = await at(world, "multi")
    manifest = decode(await value(world, record_key), ObjectRecord).manifest
    part = keys.manifest_key(manifest, 40_000)
    await change(world, part, PartRecord, size=20_001)
    await change(world, record_key, ObjectRecord, size=60_001)


@damage("part-count-wrong")
async def _(world: Any) -> None:
    await change(world, await at(world, "multi"), ObjectRecord, part_count=7)


# --- histories ---
@damage("object-and-marker")
async def _(world: Any) -> None:
    marker = ObjectRecord(version=5, is_marker=True, is_null=False)
    at_key = keys.marker_key(await bucket_id(world, "versions"), b"v")
    await put(world, at_key, encode(marker))


@damage("history-without-newest")
async def _(world: Any) -> None:
    await remove(world, keys.marker_key(await bucket_id(world, "versions"), b"deleted"))


@damage("newest-is-older")
async def _(world: Any) -> None:
    key = await at(world, "v", "versions")
    history = keys.versions_prefix(await bucket_id(world, "versions"), b"v")
    older = [at for at in await world.table(keys.VERSIONS) if at.startswith(history)][-1]
    newest_value, older_value = await value(world, key), await value(world, older)
    newest = decode(newest_value, ObjectRecord)
    place = keys.version_key(await bucket_id(world, "versions"), b"v", newest.version)
    await move(world, key, place)
    await move(world, older, key)
    assert newest_value != older_value


@damage("null-twice")
async def _(world: Any) -> None:
    history = keys.versions_prefix(await bucket_id(world, "versions"), b"v")
    for key in [at for at in await world.table(keys.VERSIONS) if at.startswith(history)]:
        await change(world, key, ObjectRecord, is_null=True)


@damage("marker-without-versioning")
async def _(world: Any) -> None:
    marker = ObjectRecord(version=5, is_marker=True)
    await put(world, keys.marker_key(await bucket_id(world), b"nothing"), encode(marker))


# --- multipart ---
@damage("manifest-missing")
async def _(world: Any) -> None:
    parts = await world.table(keys.MANIFESTS)
    named = [key for key in await world.table(keys.REFERENCES) if key[25:] in parts]
    await remove(world, *parts, *named)


@damage("manifest-broken")
async def _(world: Any) -> None:
    middle = (await world.table(keys.MANIFESTS))[1]
    named = [key for key in await world.table(keys.REFERENCES) if key[25:] == middle]
    await remove(world, middle, *named)


@damage("manifest-without-object")
async def _(world: Any) -> None:
    key = await at(world, "multi")
    named = [at for at in await world.table(keys.REFERENCES) if at[25:] == key]
    await remove(world, key, *named)
    del world.bodies["multi"]


@damage("part-without-upload")
async def _(world: Any) -> None:
    await remove(world, *await world.table(keys.UPLOADS))


@damage("part-misnumbered")
async def _(world: Any) -> None:
    await change(world, keys.part_key(world.upload.id, 1), PartRecord, number=9)


# --- references ---
@damage("record-without-reference")
async def _(world: Any) -> None:
    await remove(world, *await world.table(keys.REFERENCES))


@damage("reference-without-record")
async def _(world: Any) -> None:
    key = await at(world, "block")
    await remove(world, key)
    del world.bodies["block"]


@damage("reference-to-stranger")
async def _(world: Any) -> None:
    extent = await first_extent(world, "block")
    await put(world, keys.reference_key(extent.file, extent.offset, await at(world, "pack")))


# --- bytes ---
@damage("file-missing")
async def _(world: Any) -> None:
    await world.data.unlink((await first_extent(world, "block")).file)


@damage("file-truncated")
async def _(world: Any) -> None:
    del world.disk.contents(path((await first_extent(world, "block")).file))[1000:]


@damage("bytes-damaged")
async def _(world: Any) -> None:
    extent = await first_extent(world, "pack")
    world.disk.contents(path(extent.file))[extent.offset + 200] ^= 4


@damage("file-orphaned")
async def _(world: Any) -> None:
    writer = world.data.writer()
    await writer.write(world.body(50_000))
    await writer.finish()
    world.die()


# --- notes ---
@damage("note-undecodable")
async def _(world: Any) -> None:
    await put(world, keys.GARBAGE + bytes(10), b"\x01rubbish")


@damage("doomed-but-used")
async def _(world: Any) -> None:
    extent = await first_extent(world, "block")
    await world.engine.commit(Commit(put=[doomed_put(0, file_ids=[extent.file])]))


@damage("garbage-gone")
async def _(world: Any) -> None:
    await world.engine.commit(Commit(put=[file_note([b"x" * 16])]))


@damage("clock-behind")
async def _(world: Any) -> None:
    world.clock.ns -= 10**15
    world.engine._last_version -= 10**15


# --- bytes of other regions ---
async def chunk(world: Any, version: int) -> Extent:
    """A chunk of "block" such as a pull makes; where it lies."""
    body = world.body(20_000)
    writer = world.data.writer()
    await writer.write(body)
    part = PartRecord(size=len(body), extents=await writer.finish())
    owner = keys.chunk_key(await bucket_id(world), b"block", version, 0)
    puts = [Put(owner, encode(part)), *reference_puts(part, owner)]
    await world.engine.commit(Commit(put=puts))
    return part.extents[0]


@damage("copy-without-version")
async def _(world: Any) -> None:
    await chunk(world, 4711)


@damage("copy-damaged")
async def _(world: Any) -> None:
    extent = await chunk(world, (await world.store.head("bucket", "block")).version)
    world.disk.contents(path(extent.file))[extent.offset + 100] ^= 1


@damage("directory-undecodable")
async def _(town: Any) -> None:
    await town.engine.commit(Commit(put=[Put(keys.entry_key(b"k1"), b"\x01rubbish")]))


@damage("directory-unindexed")
async def _(town: Any) -> None:
    await town.engine.commit(Commit(delete=[keys.entry_index_key(b"of 1", b"k1")]))


@damage("directory-index-stray")
async def _(town: Any) -> None:
    rows = [(b"all", b"k3"), (b"of 1", b"k2")]
    puts = [Put(keys.entry_index_key(index, path), b"\x00") for index, path in rows]
    await town.engine.commit(Commit(put=puts))


FOUND_ON_LMDB = {"entry-damaged", "reference-damaged"}
FOUND_IN_CLUSTERS = {"holding-wrong"}  # see test_fsck_regions.py


def test_every_kind_is_seeded() -> None:
    assert DAMAGES.keys() | FOUND_ON_LMDB | FOUND_IN_CLUSTERS == KINDS.keys()
    assert len(KINDS) > 30


@pytest.mark.parametrize("kind", DAMAGES)
async def test_damage_is_found_repaired_and_gone(town: Any, kind: str) -> None:
    await DAMAGES[kind](town)
    seen = await fsck(town.core)
    assert kind in seen.counts, "found"
    assert not any(finding.is_repaired for finding in seen.findings)
    before = dict(town.engine._values)
    again = await fsck(town.core)
    assert again.counts == seen.counts, "looking changes nothing"
    assert before.keys() == town.engine._values.keys()
    is_loss = KINDS[kind][0] is Severity.LOSS
    if is_loss:
        kept = await fsck(town.core, repair=True)
        assert kind in kept.counts
        assert not kept.is_healthy(), "what is lost stays lost until that is accepted"
    repaired = await fsck(town.core, repair=True, accept_loss=is_loss)
    assert repaired.is_healthy(), [finding.text() for finding in repaired.findings]
    second = await fsck(town.core)
    assert second.is_clean(), [finding.text() for finding in second.findings]
    assert await violations(town.core) == []
    lost = {finding.key for finding in repaired.findings if finding.severity() is Severity.LOSS}
    if not lost:
        for key, body in town.bodies.items():
            assert await town.get(key) == body
    town.clock.advance(2e6)  # past what "clock-behind" took
    await town.rest(6)
    town.die()
    await town.rest(6)
    assert (await fsck(town.core)).is_clean()
    await town.assert_nothing_left()


async def test_an_older_version_takes_the_place_of_a_lost_one(town: Any) -> None:
    await DAMAGES["record-undecodable"](town)
    await fsck(town.core, repair=True, accept_loss=True)
    assert await town.get("v", "versions") == b"two" * 3000
    assert len(await town.table(keys.QUARANTINE)) == 1


async def test_a_rescued_bucket_holds_all_its_versions(town: Any) -> None:
    await DAMAGES["object-without-bucket"](town)
    await fsck(town.core, repair=True)
    name = f"lost-and-found-{town.versioned.id.hex()}"
    assert await town.get("v", name) == b"three" * 3000
    page = await town.store.list_versions(name)
    assert len(page.entries) == 5


async def test_lost_parts_are_told_by_their_object(town: Any) -> None:
    manifest = decode(await value(town, await at(town, "multi")), ObjectRecord).manifest
    part = decode(await value(town, keys.manifest_key(manifest, 20_000)), PartRecord)
    town.disk.contents(path(part.extents[0].file))[500] ^= 1
    report = await fsck(town.core, repair=True, accept_loss=True)
    assert report.counts["bytes-damaged"] == 1
    assert (await fsck(town.core)).is_clean()
    assert await town.engine.get(await at(town, "multi")) is None


async def test_many_kinds_at_once(town: Any) -> None:
    for kind in (
        "bucket-misnamed",
        "size-wrong",
        "part-count-wrong",
        "record-without-reference",
        "reference-to-stranger",
        "null-twice",
        "object-and-marker",
        "part-misnumbered",
        "garbage-gone",
    ):
        await DAMAGES[kind](town)
    report = await fsck(town.core, repair=True)
    assert report.is_healthy(), [finding.text() for finding in report.findings]
    second = await fsck(town.core)
    assert second.is_clean(), [finding.text() for finding in second.findings]
    for key, body in town.bodies.items():
        assert await town.get(key) == body


async def test_a_store_in_use_is_clean(town: Any) -> None:
    """Garbage under way, doomed files and an upload are no damage."""
    await town.store.delete("bucket", "block")
    await town.store.delete("bucket", "multi")
    assert (await fsck(town.core)).is_clean()
    await town.workers[0].work()
    assert (await fsck(town.core)).is_clean()


# --- what only an engine with checksums can find ---
@pytest.fixture
async def on_lmdb(tmp_path: Path) -> Any:
    """Make a store there, damage the bytes of one entry, open it again."""
    data = MemoryDataStore()
    clock = FakeClock()

    async def build(which: Callable[[bytes, bytes], bytes]) -> Store:
        engine = LmdbEngine(tmp_path, clock)
        store = Store(engine, data, clock)
        await store.create_bucket(BucketRecord(name="bucket", owner="me"))
        for number in range(20):
            await store.put("bucket", f"k{number:02}", b"%d" % number * 5000)
        bucket = (await store.bucket("bucket")).id
        extent = (await store.head("bucket", "k05")).extents[0]
        needle = which(bucket, keys.reference_prefix(extent.file, extent.offset))
        await engine.close()
        file = tmp_path / "data.mdb"
        content = bytearray(file.read_bytes())
        start = 0
        while (found := content.find(needle, start)) >= 0:
            content[found + len(needle) + 3] ^= 1
            start = found + 1
        file.write_bytes(content)
        return Store(LmdbEngine(tmp_path, clock), data, clock)

    return build


async def test_a_damaged_reference_is_written_again(on_lmdb: Any) -> None:
    store = await on_lmdb(lambda bucket, prefix: prefix + keys.object_key(bucket, b"k05"))
    seen = await fsck(store.core)
    assert "reference-damaged" in seen.counts
    assert (await fsck(store.core, repair=True)).is_healthy()
    assert (await fsck(store.core)).is_clean()
    for number in range(20):
        assert (await store.get("bucket", f"k{number:02}")).body == b"%d" % number * 5000
    await store.core.engine.close()


async def test_a_damaged_record_is_given_up_when_told(on_lmdb: Any) -> None:
    store = await on_lmdb(lambda bucket, _: keys.object_key(bucket, b"k05"))
    assert not (await fsck(store.core, repair=True)).is_healthy()
    assert (await fsck(store.core, repair=True, accept_loss=True)).is_healthy()
    assert (await fsck(store.core)).is_clean()
    for number in set(range(20)) - {5}:
        assert (await store.get("bucket", f"k{number:02}")).body == b"%d" % number * 5000
    await store.core.engine.close()
