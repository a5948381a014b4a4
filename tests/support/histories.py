"""Random histories of a store, checked step by step against the model, and shrunk on failure.

A step is (operation, seed): it makes its choices from its own seed and the model as it then is, so
any subsequence of a history is a history.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from amur.clock import FakeClock
from amur.objects.errors import StoreError
from amur.objects.invariants import violations
from amur.objects.store import CompletedPart, Store
from amur.objects.types import (
    Attributes,
    BucketRecord,
    ByteRange,
    Conditions,
    ListPage,
    ObjectHead,
    ObjectRecord,
    Reading,
)
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.runner import run_until_idle
from tests.support.store_model import Model, ModelVersion

Step = tuple[str, int]
Reopen = Callable[[Store], Awaitable[Store]]
T = TypeVar("T")

BLOCK_BYTES = 8192
"""The limits of packs and pieces in these histories, so that blocks are met with small bodies."""
FILE_BYTES = 20_000

_BUCKETS = ("one", "two", "three")
_LONG = "l" * 600
_KEYS = (
    "a", "a/", "a/b", "a/b/c", "a/b/d", "a//", "a//b", "a\x00", "a\x00/b", "ab", "b", "b/é/x",
    "é", "é/é", "\U0001f600", "\uffff", "\x00", "/", "//", _LONG, _LONG + "1", _LONG + "/1",
    _LONG + "/2", "\x00" * 600, "é" * 512,
)  # fmt: skip
_PREFIXES = ("", "", "", "a", "a/", "a/b", "a\x00", "b/", "é", _LONG, _LONG[:512], "zz", "\x00")
_DELIMITERS = ("", "", "/", "/", "b", "//", "/b", "é", "\x00", "l")
_SIZES = (0, 1, 20, 20, 20, 4096, 4097, 6000, BLOCK_BYTES, BLOCK_BYTES + 1, 5 * BLOCK_BYTES + 7)
_WEIGHTS = {
    "put": 22, "read": 12, "delete": 8, "delete_version": 8, "copy": 8, "rename": 5,
    "listing": 8, "version_listing": 8, "tag": 4, "versioning": 4, "create_bucket": 3,
    "delete_bucket": 1, "multipart": 3, "begin_upload": 1, "abort_upload": 1, "time": 2,
    "collect": 1, "compact": 1, "restart": 1,
}  # fmt: skip


def steps_of(seed: int) -> list[Step]:
    """A history of 20 to 60 steps; it begins with a bucket, so that few are wasted."""
    chance = Random(seed)
    names = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=chance.randint(20, 60))
    return [("create_bucket", seed), *((name, chance.getrandbits(40)) for name in names)]


class History:
    """One run of a history against a store."""

    def __init__(self, store: Store, clock: FakeClock, reopen: Reopen) -> None:
        self.store = store
        self._clock = clock
        self._reopen = reopen
        self._model = Model()

    async def run(self, steps: list[Step]) -> None:
        for name, seed in steps:
            step: Callable[[Random], Coroutine[Any, Any, None]] = getattr(self, f"_{name}")
            await step(Random(seed))
        await self._check_all()

    async def _both(
        self, real: Awaitable[T], model: Callable[[T | None], Any]
    ) -> tuple[T, Any] | None:
        """The results of store and model, None when both raised the same error."""
        told: T | None = None
        raised: StoreError | None = None
        try:
            told = await real
        except StoreError as error:
            raised = error
        try:
            expected = model(told)
        except StoreError as error:
            if type(raised) is not type(error):
                raise AssertionError(f"{raised!r}, the model says {error!r}") from raised
            return None
        if raised is not None:
            raise AssertionError(f"{raised!r}, the model says {expected!r}") from raised
        assert told is not None or expected is None
        return told, expected  # type: ignore[return-value]

    # --- choices ---
    def _bucket(self, chance: Random) -> str:
        if self._model.buckets and chance.random() < 0.97:
            return chance.choice(sorted(self._model.buckets))
        return chance.choice(_BUCKETS)

    def _key(self, chance: Random, bucket: str) -> str:
        here = self._model.buckets.get(bucket)
        if here is not None and here.keys and chance.random() < 0.7:
            return chance.choice(sorted(here.keys))
        return chance.choice(_KEYS[: chance.choice((3, 12, len(_KEYS)))])

    def _version_id(self, chance: Random, bucket: str, key: str) -> str:
        here = self._model.buckets.get(bucket)
        ids = [version.id() for version in here.keys.get(key, [])] if here is not None else []
        return chance.choice([*ids, *ids, *ids, "null", "1700000000000000000"])

    def _conditions(self, chance: Random, bucket: str, key: str) -> Conditions | None:
        if chance.random() < 0.6:
            return None
        here = self._model.buckets.get(bucket)
        versions = here.keys.get(key, []) if here is not None else []
        etags = [chance.choice([v.etag for v in versions] + ["*", "0" * 32])]
        match chance.randrange(5):
            case 0 if chance.random() < 0.3:
                return Conditions(if_match=[""])
            case 0:
                return Conditions(if_match=etags)
            case 1:
                return Conditions(if_none_match=etags)
            case 2 if versions and not versions[0].is_marker:
                seconds = versions[0].number // 10**9 + chance.randint(-1, 1)
                return Conditions(if_unmodified_since=seconds)
            case 3:
                return Conditions(if_match=etags, if_none_match=["0" * 32])
            case _:
                return Conditions(if_none_match=["*"])

    def _body(self, chance: Random) -> bytes:
        return chance.randbytes(chance.choice(_SIZES))

    def _attributes(self, chance: Random) -> Attributes:
        return Attributes(
            metadata={"m": str(chance.randrange(9))},
            tags={"t": str(chance.randrange(9))} if chance.random() < 0.5 else {},
            acl=chance.choice(("", "", "public-read")),
        )

    # --- buckets ---
    async def _create_bucket(self, chance: Random) -> None:
        name = chance.choice(_BUCKETS)
        await self._both(
            self.store.create_bucket(BucketRecord(name=name, owner="me")),
            lambda _: self._model.create_bucket(name),
        )

    async def _delete_bucket(self, chance: Random) -> None:
        name, force = self._bucket(chance), chance.random() < 0.3
        await self._both(
            self.store.delete_bucket(name, force=force),
            lambda _: self._model.delete_bucket(name, force),
        )

    async def _versioning(self, chance: Random) -> None:
        name, state = self._bucket(chance), chance.choice(("Enabled", "Enabled", "Suspended"))
        await self._both(
            self.store.update_bucket(name, lambda record: setattr(record, "versioning", state)),
            lambda _: self._model.set_versioning(name, state),
        )

    # --- objects ---
    async def _put(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key, body = self._key(chance, bucket), self._body(chance)
        attributes = self._attributes(chance)
        conditions = self._conditions(chance, bucket, key)
        sent = body if chance.random() < 0.8 else _streamed(body)
        new = ModelVersion(
            body, hashlib.md5(body).hexdigest(), attributes.tags, attributes.metadata,
            attributes.acl,
        )  # fmt: skip
        done = await self._both(
            self.store.put(bucket, key, sent, attributes, conditions=conditions),
            lambda told: self._model.put(bucket, key, _numbered(new, told), conditions),
        )
        if done is not None:
            _same(done[0], done[1])

    async def _read(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key = self._key(chance, bucket)
        version_id = self._version_id(chance, bucket, key) if chance.random() < 0.5 else ""
        conditions = self._conditions(chance, bucket, key)
        if chance.random() < 0.4:
            head = await self._both(
                self.store.head(bucket, key, version_id=version_id, conditions=conditions),
                lambda _: self._model.read(bucket, key, version_id, conditions),
            )
            if head is not None:
                _same(head[0], head[1])
            return
        got = await self._both(
            self.store.get(bucket, key, version_id=version_id, conditions=conditions),
            lambda _: self._model.read(bucket, key, version_id, conditions),
        )
        if got is None:
            return
        _same(got[0].record, got[1])
        body = got[1].body
        assert await _whole(got[0]) == body
        if body:
            first = chance.randrange(len(body))
            last = chance.randrange(first, len(body) + 10)
            part = await self.store.get(
                bucket, key, version_id=version_id, byte_range=ByteRange(first, last)
            )
            assert await _whole(part) == body[first : last + 1]

    async def _delete(self, chance: Random) -> None:
        await self._any_delete(chance, False)

    async def _delete_version(self, chance: Random) -> None:
        await self._any_delete(chance, True)

    async def _any_delete(self, chance: Random, by_version: bool) -> None:
        bucket = self._bucket(chance)
        key = self._key(chance, bucket)
        version_id = self._version_id(chance, bucket, key) if by_version else ""
        conditions = None
        if chance.random() < 0.2:
            etag = chance.choice(("*", "0" * 32))
            conditions = Conditions(if_match=[etag], if_match_size=chance.choice((None, 20)))

        done = await self._both(
            self.store.delete(bucket, key, version_id=version_id, conditions=conditions),
            lambda told: self._model.delete(
                bucket, key, version_id, conditions, _number(told.version_id) if told else 0
            ),
        )
        if done is not None:
            assert tuple(done[0]) == done[1]

    async def _copy(self, chance: Random) -> None:
        bucket, target = self._bucket(chance), self._bucket(chance)
        key = self._key(chance, bucket)
        new_key = self._key(chance, target)
        version_id = self._version_id(chance, bucket, key) if chance.random() < 0.4 else ""
        attributes = self._attributes(chance) if chance.random() < 0.5 else None
        tags = {"new": "tags"} if chance.random() < 0.5 else None
        conditions = self._conditions(chance, target, new_key)
        if (bucket, key) == (target, new_key) and attributes is None and tags is None:
            return
        algorithm = chance.choice(("", "", "", "SHA256"))
        try:
            source = self._model.find(bucket, key, version_id)
        except StoreError:
            return  # told apart by the tests of copying
        new = ModelVersion(
            source.body, source.etag,
            tags if tags is not None else source.tags,
            attributes.metadata if attributes is not None else source.metadata,
            attributes.acl if attributes is not None else "",
        )  # fmt: skip
        done = await self._both(
            self.store.copy(
                (bucket, key, version_id),
                target,
                new_key,
                attributes,
                tags=tags,
                conditions=conditions,
                algorithm=algorithm,
            ),
            lambda told: self._model.put(target, new_key, _numbered(new, told), conditions),
        )
        if done is not None:
            _same(done[0], done[1])

    async def _rename(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key, new_key = self._key(chance, bucket), chance.choice(_KEYS)
        new = ModelVersion()
        await self._both(
            self.store.rename(bucket, key, new_key),
            lambda told: self._model.rename(bucket, key, new_key, _numbered(new, told)),
        )

    async def _tag(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key = self._key(chance, bucket)
        version_id = self._version_id(chance, bucket, key) if chance.random() < 0.4 else ""
        tags = {"tag": str(chance.randrange(99))}
        done = await self._both(
            self.store.update_object(
                bucket, key, lambda record: setattr(record, "tags", tags), version_id=version_id
            ),
            lambda _: self._model.find(bucket, key, version_id),
        )
        if done is not None:
            done[1].tags = tags
            _same(done[0], done[1])

    # --- multipart ---
    async def _multipart(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key, attributes = self._key(chance, bucket), self._attributes(chance)
        if bucket not in self._model.buckets:
            return
        upload = await self.store.create_upload(bucket, key, attributes)
        bodies = [chance.randbytes(chance.randint(1, 9000)) for _ in range(chance.randint(1, 4))]
        parts = []
        for number, body in enumerate(bodies, 1):
            part = await self.store.put_part(bucket, key, upload.id.hex(), number, body)
            parts.append(CompletedPart(number, part.etag, {}))
        record = await self.store.complete_upload(bucket, key, upload.id.hex(), parts)
        new = ModelVersion(
            b"".join(bodies), record.etag, attributes.tags, attributes.metadata, attributes.acl
        )
        self._model.put(bucket, key, _numbered(new, record), None)
        _same(record, new)

    async def _begin_upload(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        key = self._key(chance, bucket)
        if bucket in self._model.buckets:
            upload = await self.store.create_upload(bucket, key, Attributes())
            self._model.buckets[bucket].uploads[upload.id.hex()] = key
            await self.store.put_part(bucket, key, upload.id.hex(), 1, self._body(chance))

    async def _abort_upload(self, chance: Random) -> None:
        for bucket, here in self._model.buckets.items():
            if here.uploads:
                upload_id, key = here.uploads.popitem()
                await self.store.abort_upload(bucket, key, upload_id)
                return

    # --- time and what happens in it ---
    async def _time(self, chance: Random) -> None:
        self._clock.advance(chance.choice((0.5, 1, 60, -30)))

    async def _collect(self, chance: Random) -> None:
        collector = Collector(self.store.core, grace_seconds=10)
        await run_until_idle([collector])
        self._clock.advance(11)
        await run_until_idle([collector])

    async def _compact(self, chance: Random) -> None:
        await run_until_idle([Compactor(self.store.core, file_bytes_max=FILE_BYTES)])

    async def _restart(self, chance: Random) -> None:
        self.store = await self._reopen(self.store)

    # --- listing ---
    async def _listing(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        prefix, delimiter = chance.choice(_PREFIXES), chance.choice(_DELIMITERS)
        start = chance.choice(("", "", chance.choice(_KEYS), "a/", "a/b/zz"))
        limit = chance.choice((1, 2, 3, 7, 1000))

        def page(after: str, _version: str) -> Awaitable[ListPage]:
            return self.store.list_objects(
                bucket, prefix=prefix, delimiter=delimiter, start_after=after, limit=limit
            )

        done = await self._both(
            _all_pages(page, limit, start, ""),
            lambda _: self._model.list_objects(bucket, prefix, delimiter, start),
        )
        if done is not None:
            self._same_lines(done[0], [(key, found, True) for key, found in done[1]])

    async def _version_listing(self, chance: Random) -> None:
        bucket = self._bucket(chance)
        prefix, delimiter = chance.choice(_PREFIXES), chance.choice(_DELIMITERS)
        limit = chance.choice((1, 2, 3, 7, 1000))
        key = chance.choice(("", "", "a/", self._key(chance, bucket)))
        here = self._model.buckets.get(bucket)
        versions = here.keys.get(key, []) if here is not None else []
        version = chance.choice(versions).id() if versions and chance.random() < 0.7 else ""

        def page(after: str, version_after: str) -> Awaitable[ListPage]:
            return self.store.list_versions(
                bucket, prefix=prefix, delimiter=delimiter,
                key_marker=after, version_marker=version_after, limit=limit,
            )  # fmt: skip

        done = await self._both(
            _all_pages(page, limit, key, version),
            lambda _: self._model.list_versions(bucket, prefix, delimiter, key, version),
        )
        if done is not None:
            self._same_lines(done[0], done[1])

    def _same_lines(
        self, pages: list[ListPage], expected: list[tuple[str, ModelVersion | None, bool]]
    ) -> None:
        lines = [entry for page in pages for entry in page.entries]
        assert [(line.key, line.is_latest) for line in lines] == [
            (key, is_latest) for key, _, is_latest in expected
        ]
        for line, (_, version, _) in zip(lines, expected, strict=True):
            assert (line.record is None) == (version is None)
            if line.record is not None and version is not None:
                _same(line.record, version)

    # --- at the end ---
    async def _check_all(self) -> None:
        store, model = self.store, self._model
        buckets, _ = await store.list_buckets()
        assert [bucket.name for bucket in buckets] == sorted(model.buckets)
        for name, here in model.buckets.items():
            listed = await store.list_versions(name)
            self._same_lines([listed], model.list_versions(name, "", "", "", ""))
            for key, versions in here.keys.items():
                for version in versions:
                    if not version.is_marker:
                        reading = await store.get(name, key, version_id=version.id())
                        assert await _whole(reading) == version.body
        assert await violations(store.core) == []


def _numbered(new: ModelVersion, told: ObjectRecord | None) -> ModelVersion:
    new.number = told.version if told is not None else 0
    return new


def _number(version_id: str) -> int:
    return int(version_id) if version_id.isdigit() else 0


def _same(record: ObjectHead, version: ModelVersion) -> None:
    if isinstance(record, ObjectRecord):
        assert (record.version_id(), record.is_marker) == (version.id(), version.is_marker)
    else:
        assert not version.is_marker
    if not version.is_marker:
        assert record.version == version.number
        assert (record.size, record.etag) == (len(version.body), version.etag)
        assert (record.tags, record.metadata) == (version.tags, version.metadata)
        assert record.acl == version.acl


async def _whole(reading: Reading) -> bytes:
    assert (reading.body is None) != (reading.stream is None)
    if reading.body is not None:
        return reading.body
    assert reading.stream is not None
    return b"".join([piece async for piece in reading.stream])


async def _streamed(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 3000):
        yield body[at : at + 3000]


async def _all_pages(
    page: Callable[[str, str], Awaitable[ListPage]], limit: int, key: str, version: str
) -> list[ListPage]:
    pages = []
    while True:
        found = await page(key, version)
        assert len(found.entries) <= limit
        assert len(found.entries) == limit or not found.truncated
        pages.append(found)
        if not found.truncated:
            return pages
        key, version = found.next_key, found.next_version


async def shrunk(steps: list[Step], fails: Callable[[list[Step]], Awaitable[bool]]) -> list[Step]:
    """A shorter history that still fails: steps are left away, ever smaller runs of them."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if await fails(shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    return steps
