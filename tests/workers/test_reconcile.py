"""Anti-entropy of one region with its peers."""

from __future__ import annotations

import asyncio

from amur.meta.engine import Commit
from amur.objects.errors import StoreError
from amur.objects.replication.peer_state import PeerState, peer_state
from amur.workers.reconcile import BEHIND_SECONDS, WAIT_SECONDS, Reconciler
from amur.workers.runner import run_until_idle
from tests.support.pulls import BUCKET, FakeCluster, FakeRegion


async def gap(region: FakeRegion, peer: str) -> None:
    await region.engine.commit(Commit(put=[PeerState(has_gap=True).put(peer)]))


async def knows(region: FakeRegion, key: str) -> bool:
    try:
        await region.store.head(BUCKET, key)
    except StoreError:
        return False
    return True


async def test_a_peer_that_is_away_does_not_hold_up_the_others() -> None:
    cluster = FakeCluster()
    sjc = cluster["sjc"]
    await cluster["fra"].store.create_bucket(BUCKET)
    await cluster["fra"].put("key", b"x")
    await gap(sjc, "ord")
    await gap(sjc, "fra")
    sjc.links["ord"].is_down = True
    worker = Reconciler(sjc.core, asyncio.Lock())
    await run_until_idle([worker])
    await run_until_idle([worker])
    assert await knows(sjc, "key")
    await cluster["fra"].put("later", b"x")
    for _ in range(4):
        await run_until_idle([worker])
    assert await knows(sjc, "later"), "though only ord has a gap now"
    assert not (await peer_state(sjc.core, "fra"))[0].has_gap
    assert (await peer_state(sjc.core, "ord"))[0].has_gap


async def test_a_region_that_is_behind_does_not_wait() -> None:
    cluster = FakeCluster(("sjc", "fra"))
    fra = cluster["fra"]
    worker = Reconciler(fra.core, asyncio.Lock())
    fra.links["sjc"].is_down = True
    await run_until_idle([worker])
    assert worker.wait_seconds == BEHIND_SECONDS, "it begins while sjc does"
    fra.links["sjc"].is_down = False
    await run_until_idle([worker])
    assert worker.wait_seconds == BEHIND_SECONDS, "sjc has told nothing yet"
    await fra.engine.commit(Commit(put=[PeerState(cursor=7, has_gap=True).put("sjc")]))
    await run_until_idle([worker])
    assert worker.wait_seconds == WAIT_SECONDS, "the gap was closed"
    await gap(fra, "sjc")
    fra.links["sjc"].is_down = True
    await run_until_idle([worker])
    assert worker.wait_seconds == WAIT_SECONDS, "nobody answers"
