"""`/-/region`: how this region stands to its peers, and what it holds; JSON, for anybody.

It is made of what the processes publish in their snapshots (metrics.py):

- `Snapshot.peers`, of the replicate process: peer's name to numbers `lag_seconds`, `backlog`,
  `reachable` (0 or 1), `rtt_ms` (left out while it is unknown: JSON has no infinity);
- gauges `bytes_*`, `cache_*` (of one process each) and `tier_*` (added up over all processes).

Names, numbers and addresses of nobody: nothing in it is secret.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from amur.gateway.metrics import Snapshot
from amur.objects.core import Core

Number = float | int | bool | None
_GROUPS = {"bytes": "bytes_", "cache": "cache_", "tiers": "tier_"}
"""Members of the page, and how the names of their gauges begin."""


def region_page(core: Core, snapshots: Iterable[Snapshot]) -> bytes:
    """The document, of fresh snapshots. What nobody publishes is null or missing."""
    published = list(snapshots)
    page: dict[str, object] = {
        "region": core.region,
        "number": core.topology.me.number,
        "peers": {name: _peer(core, published, name) for name in sorted(core.topology.peers)},
    }
    for member, prefix in _GROUPS.items():
        page[member] = _group(published, prefix)
    return msgspec.json.encode(page)


def _peer(core: Core, snapshots: Iterable[Snapshot], name: str) -> dict[str, Number]:
    told: dict[str, float] = {}
    for snapshot in snapshots:
        told |= snapshot.peers.get(name, {})
    link = core.links.get(name)
    rtt_ms = told.get("rtt_ms", link.rtt_s * 1000 if link is not None else None)
    reachable = told.get("reachable")
    return {
        "lag_seconds": told.get("lag_seconds"),
        "backlog": told.get("backlog"),
        "reachable": None if reachable is None else bool(reachable),
        "rtt_ms": None if rtt_ms in (None, float("inf")) else rtt_ms,
    }


def _group(snapshots: Iterable[Snapshot], prefix: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for snapshot in snapshots:
        for name, value in snapshot.gauges.items():
            if name.startswith(prefix):
                short = name.removeprefix(prefix)
                found[short] = found.get(short, 0) + value
    return found
