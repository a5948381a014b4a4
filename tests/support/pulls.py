"""Regions in one process with links that can be told to fail: for tests of pulling.

Sizes are so small that all matters: see `small_sizes`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from math import inf
from random import Random

import pytest

from amur import limits
from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.data.store import DataDamaged
from amur.extent import Extent
from amur.meta import keys
from amur.meta.engine import prefix_end
from amur.meta.log import parse
from amur.meta.memory import MemoryEngine
from amur.meta.records import ObjectRecord
from amur.objects.invariants import violations
from amur.objects.pull.bodies import find_body
from amur.objects.replication.answering import answer, open_body
from amur.objects.replication.batches import apply_items
from amur.objects.replication.items import items_of
from amur.objects.store import CompletedPart, Store
from amur.objects.types import Attributes, ByteRange, Reading
from amur.regions.link import Link, PeerUnreachable
from amur.regions.messages import BodyName, Reply, Request
from amur.regions.topology import Region, Topology
from amur.workers.collect import Collector
from amur.workers.runner import run_until_idle

PIECE = 4 * 1024
PACK = 16 * 1024
CHUNK = 64 * 1024
FILE = 256 * 1024
BUCKET = "photos"


def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PACK_BYTES_MAX", PACK)
    monkeypatch.setattr(limits, "PULL_CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(limits, "PART_BYTES_MIN", 1)
    for module in ("intake", "reading"):
        monkeypatch.setattr(f"amur.objects.{module}.PACK_BYTES_MAX", PACK)
    monkeypatch.setattr("amur.workers.collect.PACK_BYTES_MAX", PACK)
    monkeypatch.setattr("amur.objects.intake.CHUNK_BYTES", PACK)


class RottenData(MemoryDataStore):
    """Extents in `rotten` fail their checksum."""

    def __init__(self) -> None:
        super().__init__(chunk_bytes=PIECE, pack_bytes_max=PACK, file_bytes_max=FILE)
        self.rotten: set[tuple[bytes, int]] = set()

    def _content(self, extent: Extent) -> bytearray:
        if (extent.file, extent.offset) in self.rotten:
            raise DataDamaged("a flipped bit")
        return super()._content(extent)


class FakeLink(Link):
    """To another region in this process."""

    def __init__(self, there: FakeRegion, rtt_s: float) -> None:
        self.region = there.store.core.topology.me
        self._there = there
        self._rtt_s = rtt_s
        self.is_down = False
        self.is_stalled = False  # what is asked for never comes
        self.fails_after: int | None = None  # bytes of a read
        self.hold: asyncio.Event | None = None  # waited for before each piece
        self.reads: list[tuple[int, int]] = []
        self.sent = 0

    async def call(self, request: Request, *, timeout_s: float = 0) -> Reply:
        if self.is_down:
            raise PeerUnreachable("down")
        return await answer(self._there.core, request)

    async def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        self.reads.append((start, end))
        if self.is_down:
            raise PeerUnreachable("down")
        if self.is_stalled:
            await asyncio.sleep(3600)
        sent = 0
        async for piece in open_body(self._there.core, name, start, end):
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
            if self.is_down or (self.fails_after is not None and sent >= self.fails_after):
                raise PeerUnreachable("cut off")
            sent += len(piece)
            self.sent += len(piece)
            yield piece

    @property
    def rtt_s(self) -> float:
        return inf if self.is_down else self._rtt_s

    async def close(self) -> None:
        """Nothing to release."""


class FakeRegion:
    def __init__(self, name: str, names: Sequence[str], clock: FakeClock) -> None:
        regions = [Region(each, number) for number, each in enumerate(names)]
        mine = names.index(name)
        topology = Topology(regions[mine], [each for each in regions if each.name != name])
        self.name = name
        self.clock = clock
        self.engine = MemoryEngine(clock, region_number=mine)
        self.data = RottenData()
        self.store = Store(self.engine, self.data, clock, region=name, topology=topology)
        self.core = self.store.core
        self.links: dict[str, FakeLink] = {}

    async def put(self, key: str, body: bytes) -> ObjectRecord:
        return await self.store.put(BUCKET, key, body)

    async def multipart(self, key: str, bodies: Iterable[bytes]) -> bytes:
        upload = await self.store.create_upload(BUCKET, key, Attributes())
        parts = []
        for number, body in enumerate(bodies, 1):
            part = await self.store.put_part(BUCKET, key, upload.id.hex(), number, body)
            parts.append(CompletedPart(number, part.etag, {}))
        await self.store.complete_upload(BUCKET, key, upload.id.hex(), parts)
        return b"".join(bodies)

    async def get(self, key: str, first: int | None = None, last: int | None = None) -> bytes:
        wanted = None if first is None and last is None else ByteRange(first, last)
        return await body_of(await self.store.get(BUCKET, key, byte_range=wanted))

    async def version(self, key: str) -> tuple[bytes, bytes, int]:
        record = await self.store.head(BUCKET, key)
        return (await self.store.bucket(BUCKET)).id, key.encode(), record.version

    async def record(self, key: str) -> ObjectRecord:
        found = await find_body(self.core, *await self.version(key))
        assert found is not None
        return found.record

    async def table(self, table: bytes) -> list[bytes]:
        return [e.key for e in await self.engine.scan(table, prefix_end(table), 1_000_000)]

    async def quiet(self) -> None:
        """Wait for what goes on behind the backs of clients."""
        await self.core.flights.quiet()

    async def files_in_use(self) -> set[bytes]:
        named = {keys.split_reference(key)[0] for key in await self.table(keys.REFERENCES)}
        return named - {key[1:17] for key in await self.table(keys.MANIFESTS)}

    async def assert_sound(self) -> None:
        """All invariants hold, and every reference is to a file that is there."""
        assert await violations(self.core) == []
        assert await self.files_in_use() <= self.data.contents.keys()

    async def collect(self) -> None:
        """Free all that nothing refers to."""
        for _ in range(4):
            await run_until_idle([Collector(self.core, grace_seconds=1.0)])
            self.clock.advance(2.0)


class FakeCluster:
    """Of regions that hear of each other's changes when `push` is called."""

    def __init__(self, names: Sequence[str] = ("sjc", "ord", "fra")) -> None:
        self.rng = Random(7)
        self.clock = FakeClock()
        self.regions = {name: FakeRegion(name, names, self.clock) for name in names}
        for here in self.regions.values():
            others = [each for each in self.regions.values() if each is not here]
            for number, there in enumerate(others, 1):
                here.links[there.name] = FakeLink(there, 0.01 * number)
            here.core.links.update(here.links)

    def __getitem__(self, name: str) -> FakeRegion:
        return self.regions[name]

    def body(self, size: int) -> bytes:
        return self.rng.randbytes(size)

    async def push(self) -> None:
        """Everybody hears of all that anybody has changed."""
        for here in self.regions.values():
            entries = await here.engine.scan(keys.LOG, prefix_end(keys.LOG), 1_000_000)
            names = list(dict.fromkeys(parse(entry.value, entry.version) for entry in entries))
            for there in self.regions.values():
                if there is not here:
                    items = await items_of(here.core, names, there.name)
                    await apply_items(there.core, items)

    async def quiet(self) -> None:
        for region in self.regions.values():
            await region.quiet()


async def body_of(reading: Reading) -> bytes:
    if reading.body is not None:
        return reading.body
    assert reading.stream is not None
    return b"".join([piece async for piece in reading.stream])


async def joined(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])
