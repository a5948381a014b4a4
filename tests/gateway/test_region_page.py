"""`/-/region`, and what it is made of."""

from __future__ import annotations

import json
import time
from pathlib import Path

from amur.gateway import metrics
from amur.gateway.metrics import Snapshot
from amur.gateway.observe import Observer
from amur.gateway.region_page import region_page
from tests.support.gateways import cluster


async def test_what_the_processes_publish() -> None:
    now = time.time()
    snapshots = [
        Snapshot(now, 1, gauges={"tier_pack_hits": 3, "requests_in_flight": 1}),
        Snapshot(now, 2, gauges={"tier_pack_hits": 4, "cache_bytes": 5, "bytes_stored": 6}),
        Snapshot(
            now, 3,
            peers={"ord": {"lag_seconds": 0.25, "backlog": 3, "reachable": 1, "rtt_ms": 80.5},
                   "fra": {"backlog": 9, "reachable": 0}},
        ),
    ]  # fmt: skip
    async with cluster() as three:
        three["sjc"].link("fra").rtt = float("inf")
        page = json.loads(region_page(three["sjc"].core, snapshots))
    assert page == {
        "region": "sjc",
        "number": 0,
        "peers": {
            "ord": {"lag_seconds": 0.25, "backlog": 3, "reachable": True, "rtt_ms": 80.5},
            "fra": {"lag_seconds": None, "backlog": 9, "reachable": False, "rtt_ms": None},
        },
        "bytes": {"stored": 6},
        "cache": {"bytes": 5},
        "tiers": {"pack_hits": 7},
    }


async def test_before_anybody_publishes() -> None:
    async with cluster() as three:
        page = json.loads(region_page(three["ord"].core, []))
    nothing = {"lag_seconds": None, "backlog": None, "reachable": None, "rtt_ms": 10.0}
    assert page["peers"] == {"fra": nothing, "sjc": nothing}
    assert (page["bytes"], page["cache"], page["tiers"]) == ({}, {}, {})


def test_snapshots_of_the_living_only(tmp_path: Path) -> None:
    observer = Observer(tmp_path, "worker-0")
    peers = {"ord": {"lag_seconds": 1.5}}
    metrics.save(tmp_path, "replicate", Snapshot(time.time(), 2, peers=peers))
    metrics.save(tmp_path, "jobs", Snapshot(time.time() - 60, 3, gauges={"cache_bytes": 1}))
    assert [each.peers for each in observer.living() if each.peers] == [peers]
    assert not [each for each in observer.living() if each.gauges.get("cache_bytes")]
    text = observer.exposition().decode()
    assert 'amur_peer_lag_seconds{peer="ord"} 1.5' in text
