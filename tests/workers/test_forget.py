"""Events go when they are old, and nothing else does."""

from __future__ import annotations

from typing import Any

from amur.meta import keys
from amur.objects.registry import EVENT_SECONDS, EVENTS, Registry, Transaction
from amur.workers.forget import Forgetter
from amur.workers.runner import run_until_idle


async def test_old_events_go(world: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("amur.workers.forget.EVENTS_MAX", 3)
    registry = Registry(world.core)

    async def add(transaction: Transaction) -> None:
        now = world.clock.now_ns()
        for number in range(7):
            path = EVENTS + (now + number).to_bytes(8, "big") + b"rand"
            await transaction.create(path, {"n": number})
        if not await transaction.exists(b"k"):
            await transaction.create(b"k", {"n": 1})
        if not await transaction.exists(b"a"):
            await transaction.create(b"a", {"n": 1})

    await registry.transact(add)
    await run_until_idle([Forgetter(world.core)])
    assert len(await world.table(keys.ENTRIES)) == 9
    world.clock.advance(EVENT_SECONDS + 1)
    await registry.transact(add)
    await run_until_idle([Forgetter(world.core)])
    left = [path for path, _ in await registry.scan(b"", b"\xff", 100)]
    assert len(left) == 9
    assert {b"k", b"a"} < set(left)
    assert all(path[:1] != EVENTS or path > EVENTS + bytes(8) for path in left)
