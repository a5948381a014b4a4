from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from amur.objects.types import BucketRecord

pytest.register_assert_rewrite("tests.support.histories")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(clock: FakeClock) -> AsyncIterator[Store]:
    async with Store(MemoryEngine(clock), MemoryDataStore(), clock) as store:
        yield store


@pytest.fixture
async def bucket(store: Store) -> str:
    await store.create_bucket(BucketRecord(name="photos", owner="me"))
    return "photos"


@pytest.fixture
async def versioned(store: Store, bucket: str) -> str:
    await store.update_bucket(bucket, lambda record: setattr(record, "versioning", "Enabled"))
    return bucket
