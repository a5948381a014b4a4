"""`amur cluster status`: a table for people, JSON for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from amur.cluster.plan import Places
from amur.cluster.status import ClusterStatus, RegionStatus, gather

_WATCH_SECONDS = 1.0
_TIERS = ("inline", "pack", "block", "cache", "remote")
_UNKNOWN = "-"


def show(places: Places, *, as_json: bool, watch: bool) -> None:
    """Raises Refusal."""
    if as_json:
        while True:
            typer.echo(msgspec.json.encode(gather(places)).decode())
            if not watch:
                return
            time.sleep(_WATCH_SECONDS)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    if not watch:
        console.print(rendered(gather(places)))
        return
    try:
        with Live(rendered(gather(places)), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_SECONDS)
                live.update(rendered(gather(places)), refresh=True)
    except KeyboardInterrupt:
        return


def rendered(status: ClusterStatus) -> RenderableType:
    """A row for each region, then what lies between them."""
    table = Table(title=f"endpoint {status.endpoint}", title_justify="left")
    for name in ("region", "health", "processes", "to peers: lag, behind, round trip",
                 "inline", "durable", "cached", "cache", "read from"):  # fmt: skip
        table.add_column(name, overflow="fold")
    for name, region in status.regions.items():
        here = " <" if name == status.preferred else ""
        sizes = (_member(region.page, "bytes", kind) for kind in ("inline", "durable", "cached"))
        table.add_row(
            f"{name}{here}", _health(region), _processes(region.pids), _peers(region.page),
            *map(_size, sizes), _cache(region.page), _tiers(region.page),
        )  # fmt: skip
    lines: list[RenderableType] = [table]
    if not status.is_running:
        lines.append(Text("it does not run: amur cluster up"))
    if status.preferred:
        lines.append(Text(f"< new connections to the endpoint go to {status.preferred}"))
    lines += [Text(line) for path in status.paths if (line := _path(path))]
    return Group(*lines)


def _health(region: RegionStatus) -> Text:
    color = {"ok": "green", "degraded": "yellow"}.get(region.health, "red")
    return Text(region.health, style=color)


def _processes(pids: Mapping[str, list[int]]) -> str:
    living = [role for role, numbers in pids.items() if numbers and role != "supervisor"]
    return ", ".join(living) or _UNKNOWN


def _peers(page: Mapping[str, Any]) -> str:
    peers = page.get("peers")
    if not isinstance(peers, Mapping) or not peers:
        return _UNKNOWN
    lines = []
    for name, peer in peers.items():
        facts = peer if isinstance(peer, Mapping) else {}
        lag, behind, far = facts.get("lag_seconds"), facts.get("backlog"), facts.get("rtt_ms")
        lines.append(
            f"{name}: {_number(lag, '.3f')} s, {_number(behind, ',.0f')}, {_number(far, '.0f')} ms"
            + ("" if facts.get("reachable", True) else ", not reachable")
        )
    return "\n".join(lines)


def _cache(page: Mapping[str, Any]) -> str:
    used, budget = _member(page, "cache", "used"), _member(page, "cache", "budget")
    if used is None and budget is None:
        return _UNKNOWN
    return f"{_size(used)} of {_size(budget)}"


def _tiers(page: Mapping[str, Any]) -> str:
    counts = {tier: _member(page, "tiers", tier) or 0 for tier in _TIERS}
    total = sum(counts.values())
    if not total:
        return _UNKNOWN
    return ", ".join(f"{tier} {n / total:.0%}" for tier, n in counts.items() if n)


def _path(path: Mapping[str, Any]) -> str:
    """Between two regions; nothing when nothing is special about it."""
    said = [] if path["state"] == "open" else [f"partitioned ({path['state']})"]
    if path["round_trip_ms"]:
        said.append(f"{path['round_trip_ms']:g} ms")
    if path["bytes_per_s"]:
        said.append(f"{decimal(round(path['bytes_per_s']))}/s")
    return f"{path['a']} - {path['b']}: {', '.join(said)}" if said else ""


def _member(page: Mapping[str, Any], group: str, name: str) -> float | None:
    found = page.get(group)
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if isinstance(value, int | float) else None


def _size(count: float | None) -> str:
    return _UNKNOWN if count is None else decimal(int(count))


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, int | float) else _UNKNOWN
