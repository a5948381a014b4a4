"""What a worker tells of itself: access log, metrics, health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from amur.data.store import DataStore
from amur.gateway import metrics
from amur.gateway.accesslog import AccessLog
from amur.meta.engine import Engine, EngineDamaged, EngineError

DUMP_SECONDS = 1.0
_HEALTH_KEY = b"\x00health"  # below every key of the layout; need not exist

Gauges = Callable[[], dict[str, float]]


class Observer:
    """Counts and logs requests; answers `/-/metrics` and `/-/health`.

    The app adds to `in_flight` when a request begins and calls `done` when it ends.
    Without a directory it counts in memory only (tests, embedding).
    """

    def __init__(
        self,
        directory: Path | None = None,
        slot: str = "worker-0",
        log: AccessLog | None = None,
        gauges: Gauges = dict,
    ) -> None:
        """`directory` is the run directory's `metrics`; `slot` names this process in it."""
        self.in_flight = 0
        self._directory = directory
        self._slot = slot
        self._log = log
        self._gauges = gauges
        self._counters = metrics.Counters()
        self._began = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        if directory is not None and (before := metrics.load(directory, slot)) is not None:
            self._counters.merge(before)

    def done(
        self,
        request_id: str,
        client: str,
        principal: str,
        method: str,
        path: str,
        endpoint: str,
        status: int,
        code: str,
        seconds: float,
        received: int,
        sent: int,
        agent: str,
    ) -> None:
        """A request has ended. `path` is decoded and without query; see accesslog.Line."""
        self._counters.add(endpoint, status, seconds, received, sent)
        if self._log is not None:
            self._log.append(
                (time.time(), request_id, client, principal, method, path, endpoint, status, code,
                 seconds, received, sent, agent)
            )  # fmt: skip

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._log is not None:
            self._log.start(loop)
        if self._directory is not None:
            self._tick(loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._log is not None:
            self._log.stop()
        self._dump()

    def exposition(self) -> bytes:
        """The Prometheus text of all processes. Takes milliseconds: call it in a thread."""
        return metrics.exposition(self._all(), time.monotonic() - self._began)

    def living(self) -> list[metrics.Snapshot]:
        """What the living processes tell. Reads files: call it in a thread."""
        return metrics.fresh(self._all())

    def _all(self) -> list[metrics.Snapshot]:
        snapshots = metrics.load_all(self._directory) if self._directory is not None else {}
        snapshots[self._slot] = self._snapshot()
        return list(snapshots.values())

    async def health(self, engine: Engine, data: DataStore) -> tuple[int, bytes]:
        """HTTP status and JSON. 503 only when nothing can be served: with a full disk, stopped
        jobs or a damaged entry other reads go on, and a load balancer must not take them away."""
        readable = whole = True
        try:
            await engine.get(_HEALTH_KEY)
        except EngineDamaged:
            whole = False
        except EngineError:
            readable = whole = False
        room = data.free_bytes() > 0
        jobs = self._jobs_alive()
        word = "ok" if whole and room and jobs else "degraded" if readable else "failed"
        facts = {"status": word, "engine_readable": readable, "disk_has_room": room}
        return (200 if readable else 503), msgspec.json.encode(facts | {"jobs_alive": jobs})

    def _jobs_alive(self) -> bool:
        if self._directory is None:
            return True
        jobs = metrics.load(self._directory, "jobs")
        return jobs is not None and time.time() - jobs.at < metrics.FRESH_SECONDS

    def _snapshot(self) -> metrics.Snapshot:
        return self._counters.snapshot({"requests_in_flight": self.in_flight, **self._gauges()})

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._dump()
        self._timer = loop.call_later(DUMP_SECONDS, self._tick, loop)

    def _dump(self) -> None:
        if self._directory is None:
            return
        try:
            metrics.save(self._directory, self._slot, self._snapshot())
        except OSError:  # a full disk must not stop the serving; the next tick tries again
            return
