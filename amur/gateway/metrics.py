"""Counters of many worker processes, summed when somebody asks.

Each process keeps plain numbers and writes them to `run/metrics/<slot>.json` once a second; any
worker answers `/-/metrics` from all those files. (prometheus-client's own multiprocess mode takes
a lock and writes a mapped file for each sample: 10 us and more for each request.) A worker that
is started in the place of a dead one goes on from its numbers, so that counters never fall.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
"""Upper ends of the latency histogram's buckets, in seconds."""

COUNT, SECONDS, RECEIVED, SENT, FIRST_BUCKET = 0, 1, 2, 3, 4
_EMPTY = [0, 0.0, 0, 0, *[0] * (len(BOUNDS) + 1)]
FRESH_SECONDS = 5.0  # gauges of a process that wrote nothing for longer are left out


_HELP = {
    "requests_in_flight": "Requests being served.",
    "resident_bytes": "Resident memory of the process.",
    "data_free_bytes": "Free for writing before the reserve is met.",
    "engine_entries": "Entries of the metadata.",
    "engine_used_bytes": "Size of the metadata on disk.",
    "engine_readers": "Read transactions open, of all processes.",
    "engine_queued_commits": "Commits that wait for the writer.",
    "engine_batches": "Commits that were synced together, since the process started.",
    "engine_commits": "Commits since the process started.",
    "engine_conflicts": "Commits tried again because another was faster.",
}


_HELP_PEERS = {
    "lag_seconds": "Age of the oldest change that the peer has not got.",
    "backlog": "Log entries that the peer has not got.",
    "reachable": "Whether the peer takes our changes.",
    "rtt_ms": "Smoothed round trip to the peer, milliseconds.",
}


def _help(name: str) -> str:
    return _HELP.get(name, f"{name.replace('_', ' ').capitalize()} of the process.")


class Snapshot(msgspec.Struct):
    """What one process has counted. Rows are [endpoint, status class, numbers]."""

    at: float
    pid: int
    rows: list[tuple[str, int, list[float]]] = []
    gauges: dict[str, float] = {}
    jobs: dict[str, dict[str, str | float]] = {}
    peers: dict[str, dict[str, float]] = {}  # by name; see region_page.py. Finite numbers only


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Snapshot).decode


class Counters:
    """Requests of one process by endpoint and status class."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], list[float]] = {}

    def add(self, endpoint: str, status: int, seconds: float, received: int, sent: int) -> None:
        row = self.rows.get((endpoint, status // 100))
        if row is None:
            row = self.rows[(endpoint, status // 100)] = _EMPTY.copy()
        row[0] += 1
        row[1] += seconds
        row[2] += received
        row[3] += sent
        row[4 + bisect_left(BOUNDS, seconds)] += 1

    def merge(self, snapshot: Snapshot) -> None:
        for endpoint, kind, numbers in snapshot.rows:
            row = self.rows.setdefault((endpoint, kind), _EMPTY.copy())
            if len(numbers) == len(row):
                self.rows[(endpoint, kind)] = [a + b for a, b in zip(row, numbers, strict=True)]

    def snapshot(self, gauges: Mapping[str, float]) -> Snapshot:
        rows = [(endpoint, kind, row) for (endpoint, kind), row in self.rows.items()]
        return Snapshot(time.time(), os.getpid(), rows, dict(gauges))


def save(directory: Path, slot: str, snapshot: Snapshot) -> None:
    """Replace the slot's file. Not synced: after a crash it may be old or gone."""
    partial = directory / f"{slot}.tmp"
    partial.write_bytes(_encode(snapshot))
    partial.replace(directory / f"{slot}.json")


def load(directory: Path, slot: str) -> Snapshot | None:
    try:
        return _decode((directory / f"{slot}.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def load_all(directory: Path) -> dict[str, Snapshot]:
    found = {path.stem: load(directory, path.stem) for path in sorted(directory.glob("*.json"))}
    return {slot: snapshot for slot, snapshot in found.items() if snapshot is not None}


def fresh(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Those of processes that live."""
    oldest = time.time() - FRESH_SECONDS
    return [snapshot for snapshot in snapshots if snapshot.at >= oldest]


def exposition(snapshots: Iterable[Snapshot], uptime_seconds: float) -> bytes:
    """The Prometheus text format of all snapshots together."""
    from prometheus_client.core import CollectorRegistry
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry()
    registry.register(_Families(list(snapshots), uptime_seconds))  # type: ignore[arg-type]
    return generate_latest(registry)


class _Families:
    """A prometheus-client collector over snapshots."""

    def __init__(self, snapshots: list[Snapshot], uptime_seconds: float) -> None:
        self._snapshots = snapshots
        self._uptime = uptime_seconds

    def collect(self) -> Iterable[object]:
        from prometheus_client import core

        total = Counters()
        for snapshot in self._snapshots:
            total.merge(snapshot)
        latency = core.HistogramMetricFamily(
            "amur_request_duration_seconds", "Latency of requests.", labels=["operation", "status"]
        )
        received = core.CounterMetricFamily(
            "amur_request_body_bytes", "Body bytes received.", labels=["operation"]
        )
        sent = core.CounterMetricFamily(
            "amur_response_body_bytes", "Body bytes sent.", labels=["operation"]
        )
        flows: dict[str, list[float]] = {}
        for (endpoint, kind), row in sorted(total.rows.items()):
            latency.add_metric([endpoint, f"{kind}xx"], _cumulative(row), row[SECONDS])
            flow = flows.setdefault(endpoint, [0, 0])
            flow[0] += row[RECEIVED]
            flow[1] += row[SENT]
        for endpoint, (taken, given) in flows.items():
            received.add_metric([endpoint], taken)
            sent.add_metric([endpoint], given)
        yield from (latency, received, sent)
        yield core.GaugeMetricFamily(
            "amur_uptime_seconds", "Since the worker that answers started.", self._uptime
        )
        yield from self._gauges()
        yield from self._peers()
        yield from self._jobs()

    def _gauges(self) -> Iterable[object]:
        from prometheus_client import core

        families: dict[str, core.GaugeMetricFamily] = {}
        for snapshot in fresh(self._snapshots):
            for name, value in snapshot.gauges.items():
                family = families.get(name)
                if family is None:
                    family = core.GaugeMetricFamily(f"amur_{name}", _help(name), labels=["pid"])
                    families[name] = family
                family.add_metric([str(snapshot.pid)], value)
        return families.values()

    def _peers(self) -> Iterable[object]:
        from prometheus_client import core

        families: dict[str, core.GaugeMetricFamily] = {}
        for snapshot in fresh(self._snapshots):
            for peer, numbers in snapshot.peers.items():
                for name, value in numbers.items():
                    family = families.get(name)
                    if family is None:
                        family = core.GaugeMetricFamily(
                            f"amur_peer_{name}", _HELP_PEERS.get(name, name), labels=["peer"]
                        )
                        families[name] = family
                    family.add_metric([peer], value)
        return families.values()

    def _jobs(self) -> Iterable[object]:
        from prometheus_client import core

        state = core.GaugeMetricFamily(
            "amur_job_state", "1 for the state that the job is in.", labels=["job", "state"]
        )
        numbers = core.GaugeMetricFamily("amur_job", "What the job did.", labels=["job", "number"])
        for snapshot in fresh(self._snapshots):
            for job, facts in snapshot.jobs.items():
                for name, value in facts.items():
                    if name == "state":
                        state.add_metric([job, str(value)], 1)
                    elif isinstance(value, int | float):
                        numbers.add_metric([job, name], value)
        return (state, numbers)


def _cumulative(row: list[float]) -> list[tuple[str, float]]:
    sums, running = [], 0.0
    for bound, count in zip((*BOUNDS, "+Inf"), row[FIRST_BUCKET:], strict=True):
        running += count
        sums.append((str(bound), running))
    return sums
