"""What a pushed change costs the sender and the receiver, in process: two regions, no HTTP.

The floor of what `bench/regions.py` sees between processes. CPU is of the whole process: of both
sides' own thread and, for the receiver, of the engine's writer.

Usage: python -m bench.applying [COUNT] [DIRECTORY]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from amur.clock import SystemClock
from amur.data.local import LocalDataStore
from amur.meta.lmdb_engine import LmdbEngine
from amur.objects.replication.batches import take_batch
from amur.objects.replication.items import items_of
from amur.objects.replication.peer_state import vector
from amur.objects.store import Store
from amur.regions.messages import Ack, Batch, decode_request, encode
from amur.regions.topology import Region, Topology
from amur.workers.replicate import BATCH_ENTRIES_MAX, read_log

WRITERS = 256
BODY = bytes(range(256)) * 4


class Pushed(NamedTuple):
    """Microseconds of CPU for each change, and changes a second of the receiver alone."""

    sender_us: float
    receiver_us: float
    rate: float


def measure(work: Path, count: int) -> Pushed:
    return uvloop.run(_measure(work, count))


async def _measure(work: Path, count: int) -> Pushed:
    async with _opened(work, "sjc", 0) as sjc, _opened(work, "fra", 1) as fra:
        await sjc.create_bucket("bench", owner="bench")
        await _fill(sjc, count)
        sender = receiver = taken = 0.0
        cursor = changes = 0
        while True:
            began = time.process_time()
            stretch = await read_log(sjc.core, cursor, BATCH_ENTRIES_MAX)
            items = await items_of(sjc.core, stretch.names, "fra")
            told = await vector(sjc.core)
            message = encode(Batch("sjc", cursor, stretch.end, items, told))
            sender += time.process_time() - began
            began, at = time.process_time(), time.perf_counter()
            batch = decode_request(message)
            assert isinstance(batch, Batch)
            ack = await take_batch(fra.core, batch)
            receiver += time.process_time() - began
            taken += time.perf_counter() - at
            assert isinstance(ack, Ack), ack
            assert ack.is_applied
            cursor, changes = ack.cursor, changes + len(stretch.names)
            if not stretch.is_more:
                break
        assert (await fra.get("bench", f"{count - 1:08d}")).body == BODY
        return Pushed(sender / changes * 1e6, receiver / changes * 1e6, changes / taken)


async def _fill(store: Store, count: int) -> None:
    left = iter(range(count))

    async def write() -> None:
        for number in left:
            await store.put("bench", f"{number:08d}", BODY)

    await asyncio.gather(*(write() for _ in range(WRITERS)))


@asynccontextmanager
async def _opened(work: Path, name: str, number: int) -> AsyncIterator[Store]:
    regions = [Region("sjc", 0), Region("fra", 1)]
    topology = Topology(regions[number], [regions[1 - number]])
    for part in ("meta", "data"):
        (work / name / part).mkdir(parents=True)
    clock = SystemClock()
    engine = LmdbEngine(work / name / "meta", clock, region_number=number)
    data = LocalDataStore(work / name / "data")
    store = Store(engine, data, clock, region=name, topology=topology)
    try:
        yield store
    finally:
        await store.close()
        await data.close()
        await engine.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as directory:
        found = measure(Path(directory), int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    print(f"sender {found.sender_us:.1f} us, receiver {found.receiver_us:.1f} us for each change")
    print(f"{found.rate:,.0f} changes a second by the receiver alone")
