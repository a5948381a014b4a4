"""What is imagined answers what would happen, also for keys that can't be used."""

from __future__ import annotations

import pytest

from amur.clock import FakeClock
from amur.data.memory import MemoryDataStore
from amur.iam.deciding import BucketFacts
from amur.iam.model import Status
from amur.iam.policy import values
from amur.iam.service import Iam
from amur.iam.simulating import Simulator
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.iam import iam_of
from tests.support.managed import ACME, Key, made

BUCKET = BucketFacts("data", "acme")
NOW_S = 1_790_000_000


@pytest.fixture
def iam() -> Iam:
    clock = FakeClock(NOW_S * 10**9)
    store = Store(MemoryEngine(clock), MemoryDataStore(), clock)
    return iam_of(store, ("tid_root", "tsec_root_secret"))


async def told(iam: Iam, key: Key, at_s: int = NOW_S) -> tuple[bool, str]:
    context = {"aws:CurrentTime": [values.iso(at_s * 10**9)]}
    simulator = await Simulator.of_key(iam, "acme", key.id, (), context, NOW_S)
    found = simulator.ask("s3:GetObject", "arn:aws:s3:::data/k", BUCKET)
    return found.verdict.is_allowed, "\n".join(found.lines)


async def test_a_key_that_is_disabled(iam: Iam) -> None:
    key = await made(iam, roles=[("data", "ReadOnly")])
    assert (await told(iam, key))[0]
    await iam.directory.keys.update(ACME, key.id, status=Status.INACTIVE)
    allowed, lines = await told(iam, key)
    assert not allowed
    assert "inactive" in lines


async def test_a_key_after_its_end(iam: Iam) -> None:
    key = await made(iam, roles=[("data", "ReadOnly")], expires_ns=(NOW_S + 100) * 10**9)
    assert (await told(iam, key, NOW_S + 99))[0]
    allowed, lines = await told(iam, key, NOW_S + 100)
    assert not allowed
    assert "expires at" in lines
