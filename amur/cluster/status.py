"""How a cluster is, asked of its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import msgspec

from amur.cluster import control
from amur.cluster.plan import Places
from amur.serve.layout import Refusal

_SECONDS = 2.0  # for a region to answer
_PAGE_BYTES_MAX = 4 << 20
_open = build_opener(ProxyHandler({})).open  # a proxy of the environment is not for this machine


class RegionStatus(msgspec.Struct):
    """`health` is what the gateway says of itself, or down; `page` its `/-/region`, or empty."""

    health: str
    endpoint: str
    block_service: str
    pids: dict[str, list[int]]
    page: dict[str, Any]


class ClusterStatus(msgspec.Struct):
    endpoint: str
    regions: dict[str, RegionStatus]
    paths: list[dict[str, Any]]  # between regions; see links.py
    preferred: str  # the region that the endpoint sends new connections to; "" when none is well
    is_running: bool = True  # whether somebody keeps it; else nothing is known of its processes


def gather(places: Places) -> ClusterStatus:
    """Raises Refusal when there is no cluster."""
    facts = written(places)
    with ThreadPoolExecutor(max(1, len(facts["regions"]))) as threads:
        regions = dict(
            zip(facts["regions"], threads.map(_region, facts["regions"].values()), strict=True)
        )
    front = _asked(places, "front").get("regions", ())
    is_running = bool(_asked(places, "keeper", "status"))
    if not is_running:  # killed: what it wrote last is not true any more
        for region in regions.values():
            region.pids = {}
    preferred = next((each["name"] for each in front if each["is_well"]), "")
    paths = _asked(places, "links").get("paths", [])
    return ClusterStatus(facts["endpoint"], regions, paths, preferred, is_running)


def written(places: Places) -> dict[str, Any]:
    """What cluster.json says. Raises Refusal."""
    try:
        facts = json.loads(places.cluster.read_bytes())
    except OSError:
        raise Refusal(
            f"{places.root} is no cluster (it has no cluster.json): amur cluster up"
        ) from None
    except ValueError:
        raise Refusal(f"{places.cluster} is damaged; amur cluster up makes it again") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("regions"), dict):
        raise Refusal(f"{places.cluster} is damaged; amur cluster up makes it again")
    return facts


def _asked(places: Places, name: str, what: str = "show") -> control.Message:
    try:
        return control.ask(places.run / f"{name}.sock", {"do": what}, _SECONDS)
    except Refusal:
        return {}


def _region(facts: Mapping[str, Any]) -> RegionStatus:
    health = _page(f"{facts['endpoint']}/-/health")
    return RegionStatus(
        health=str(health.get("status", "unwell")) if health is not None else "down",
        endpoint=facts["endpoint"],
        block_service=facts["block_service"],
        pids=facts["pids"],
        page=(_page(f"{facts['endpoint']}/-/region") or {}) if health is not None else {},
    )


def _page(url: str) -> dict[str, Any] | None:
    """A page of JSON; {} for one that is something else, None when nobody answers."""
    try:
        with _open(url, timeout=_SECONDS) as answer:
            found = json.loads(answer.read(_PAGE_BYTES_MAX))
    except HTTPError as error:
        with error:
            return _object(error.read(_PAGE_BYTES_MAX)) if error.code == 503 else {}
    except OSError:
        return None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
