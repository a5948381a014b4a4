"""R2: the store does what the model does, over thousands of random histories.

AMUR_HISTORIES=n runs more of them, AMUR_SEED=n begins elsewhere; a failure prints its seed and
the shortest history that was found to fail too.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from amur.clock import FakeClock
from amur.data.local import LocalDataStore
from amur.data.memory import MemoryDataStore
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.histories import BLOCK_BYTES, FILE_BYTES, History, Step, shrunk, steps_of

HISTORIES = int(os.environ.get("AMUR_HISTORIES", "5000"))
ON_DISK = max(1, HISTORIES // 25)
FIRST_SEED = int(os.environ.get("AMUR_SEED", "1"))
# files in memory where that is possible: what a power loss leaves is tested elsewhere
SHM = "/dev/shm" if os.path.isdir("/dev/shm") else None
SHARDS = 4  # so that a parallel run shares them out

Run = Callable[[list[Step]], Awaitable[None]]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amur.limits.PART_BYTES_MIN", 1)
    for name in ("intake.CHUNK_BYTES", "intake.PACK_BYTES_MAX", "reading.PACK_BYTES_MAX"):
        monkeypatch.setattr(f"amur.objects.{name}", BLOCK_BYTES)


async def run_in_memory(steps: list[Step]) -> None:
    clock = FakeClock()
    data = MemoryDataStore(
        chunk_bytes=BLOCK_BYTES, pack_bytes_max=BLOCK_BYTES, file_bytes_max=FILE_BYTES
    )
    engine = MemoryEngine(clock)

    async def reopen(_: Store) -> Store:
        return Store(engine, data, clock)

    await History(Store(engine, data, clock), clock, reopen).run(steps)


async def run_on_disk(steps: list[Step]) -> None:
    root = Path(tempfile.mkdtemp(prefix="amur-history-", dir=SHM))
    clock = FakeClock()

    def opened() -> Store:
        for name in ("meta", "data"):
            (root / name).mkdir(exist_ok=True)
        data = LocalDataStore(
            root / "data",
            chunk_bytes=BLOCK_BYTES,
            pack_bytes_max=BLOCK_BYTES,
            file_bytes_max=FILE_BYTES,
        )
        return Store(LmdbEngine(root / "meta", clock), data, clock)

    async def reopen(store: Store) -> Store:
        await store.close()
        return opened()

    history = History(opened(), clock, reopen)
    try:
        await history.run(steps)
    finally:
        await history.store.close()
        shutil.rmtree(root)


async def explore(run: Run, seeds: range) -> None:
    async def fails(steps: list[Step]) -> bool:
        try:
            await run(steps)
        except Exception:
            return True
        return False

    for seed in seeds:
        steps = steps_of(seed)
        try:
            await run(steps)
        except Exception as error:
            shortest = await shrunk(steps, fails)
            error.add_note(f"AMUR_SEED={seed}; shortest history: {shortest}")
            await run(shortest)  # its traceback is the one to read
            raise


@pytest.mark.parametrize("shard", range(SHARDS))
async def test_histories_in_memory(shard: int) -> None:
    await explore(run_in_memory, range(FIRST_SEED + shard, FIRST_SEED + HISTORIES, SHARDS))


async def test_histories_on_disk() -> None:
    first = FIRST_SEED + 1_000_000
    await explore(run_on_disk, range(first, first + ON_DISK))
