"""A store over a fake disk that can be killed at any call, with sizes so small that all matters."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest

import amur.objects.intake
import amur.workers.collect
import amur.workers.compact
import amur.workers.survey
from amur import limits
from amur.clock import FakeClock
from amur.data.fake_disk import FakeDisk
from amur.data.local import LocalDataStore
from amur.meta import keys
from amur.meta.engine import Commit, prefix_end
from amur.meta.memory import MemoryEngine
from amur.objects.invariants import violations
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, BucketRecord
from amur.workers.collect import Collector
from amur.workers.compact import Compactor
from amur.workers.expire import Expirer
from amur.workers.runner import run_until_idle
from amur.workers.sweep import Sweeper
from amur.workers.worker import Worker

PACK = 16 * 1024
FILE = 128 * 1024
GRACE = 100.0


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Counts calls, and kills at the one that is told, before or after it is carried out."""

    def __init__(self) -> None:
        self.calls = 0
        self.at: int | None = None
        self.after = False

    async def call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        kill = self.calls == self.at
        if kill and not self.after:
            raise Killed
        answer = await method(*args, **kwargs)
        if kill:
            raise Killed
        return answer


class FusedEngine(MemoryEngine):
    fuse = Fuse()

    async def commit(self, commit: Commit) -> int:
        return await self.fuse.call(super().commit, commit)

    async def get_many(self, wanted: Sequence[bytes]) -> Any:
        return await self.fuse.call(super().get_many, wanted)

    async def walk(self, start: bytes, end: bytes, visit: Any, *, reverse: bool = False) -> None:
        await self.fuse.call(super().walk, start, end, visit, reverse=reverse)


class FusedData(LocalDataStore):
    fuse = Fuse()

    async def append(self, body: bytes) -> Any:
        return await self.fuse.call(super().append, body)

    async def read_small(self, extent: Any) -> bytes:
        return await self.fuse.call(super().read_small, extent)

    async def unlink(self, file_id: bytes) -> None:
        await self.fuse.call(super().unlink, file_id)


class World:
    """One region: its engine outlives every death, its disk keeps what was synced."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.engine = FusedEngine(self.clock)
        self.engine.fuse = Fuse()
        self.disk = FakeDisk(seed)
        self.deaths = 0
        self.open()

    def open(self) -> None:
        self.data = FusedData(
            "/data",
            disk=self.disk,
            chunk_bytes=PACK,
            pack_bytes_max=PACK,
            file_bytes_max=FILE,
            threaded=False,
        )
        self.data.fuse = self.engine.fuse
        self.store = Store(self.engine, self.data, self.clock)
        self.core = self.store.core
        self.engine.fuse.at = None
        self.workers: list[Worker] = [
            Collector(self.core, grace_seconds=GRACE),
            Sweeper(self.core),
            Expirer(self.core),
            Compactor(self.core, file_bytes_max=FILE),
        ]

    def die(self) -> None:
        """Power loss, and a new process."""
        self.deaths += 1
        self.disk = self.disk.after_power_loss(self.deaths)
        self.open()

    async def bucket(self, name: str = "bucket", versioning: str = "") -> BucketRecord:
        return await self.store.create_bucket(
            BucketRecord(name=name, owner="me", versioning=versioning)
        )

    def body(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    async def put(self, key: str, size: int, bucket: str = "bucket") -> bytes:
        body = self.body(size)
        await self.store.put(bucket, key, body)
        return body

    async def multipart(self, key: str, bodies: Iterable[bytes], bucket: str = "bucket") -> bytes:
        upload = await self.store.create_upload(bucket, key, Attributes())
        parts = []
        for number, body in enumerate(bodies, 1):
            part = await self.store.put_part(bucket, key, upload.id.hex(), number, body)
            parts.append(CompletedPart(number, part.etag, {}))
        await self.store.complete_upload(bucket, key, upload.id.hex(), parts)
        return b"".join(bodies)

    async def get(self, key: str, bucket: str = "bucket", version_id: str = "") -> bytes:
        reading = await self.store.get(bucket, key, version_id=version_id)
        if reading.body is not None:
            return reading.body
        assert reading.stream is not None
        return b"".join([piece async for piece in reading.stream])

    async def rest(self, rounds: int = 4) -> None:
        """Let the workers do all there is to do, and all graces pass."""
        for _ in range(rounds):
            await run_until_idle(self.workers)
            self.clock.advance(GRACE + 1)
        await run_until_idle(self.workers)

    async def table(self, table: bytes) -> list[bytes]:
        return [e.key for e in await self.engine.scan(table, prefix_end(table), 1_000_000)]

    async def used_files(self) -> set[bytes]:
        """Data files that some reference names (manifests left aside)."""
        named = {keys.split_reference(key)[0] for key in await self.table(keys.REFERENCES)}
        return named - {key[1:17] for key in await self.table(keys.MANIFESTS)}

    def files(self) -> set[bytes]:
        return {info.id for info in self.data.files()}

    async def assert_sound(self) -> None:
        assert await violations(self.core) == []

    async def assert_nothing_left(self) -> None:
        """After a death and a rest, exactly the bytes in use are there."""
        await self.assert_sound()
        assert await self.table(keys.GARBAGE) == []
        assert await self.table(keys.DOOMED) == []
        assert self.files() == await self.used_files()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (amur.objects.intake, amur.workers.collect, amur.workers.compact):
        monkeypatch.setattr(module, "PACK_BYTES_MAX", PACK)
    monkeypatch.setattr(amur.workers.survey, "PACK_BYTES_MAX", PACK)
    monkeypatch.setattr(amur.objects.intake, "CHUNK_BYTES", PACK)
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 1)


@pytest.fixture
def new_world() -> Callable[[int], World]:
    return World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.bucket()
    yield world
    await world.data.close()


@pytest.fixture
def killed() -> type[Killed]:
    return Killed
