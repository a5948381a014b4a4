"""What a process of the server opens for itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from amur import limits
from amur.clock import SystemClock
from amur.config import Settings
from amur.data.store import DataStore
from amur.gateway.app import App
from amur.gateway.context import Response
from amur.gateway.forward.forwarder import Forwarder
from amur.gateway.iam.rest import iam_route
from amur.gateway.observe import Observer
from amur.gateway.proxies import Proxies
from amur.gateway.region_page import region_page
from amur.iam.access import Access
from amur.iam.keys import StaticKey, static_keys
from amur.iam.service import Iam
from amur.meta import keys
from amur.meta.engine import Engine, EngineDamaged, EngineError, EngineFailed, prefix_end
from amur.meta.lmdb_engine import LmdbEngine
from amur.meta.lmdb_watch import POLL_SECONDS
from amur.meta.records import FORMAT as RECORD_FORMAT
from amur.objects.core import Core
from amur.objects.replication.joining import has_joined
from amur.objects.store import Store
from amur.regions.link import Link
from amur.regions.topology import Topology
from amur.serve.blockstore import claim_data, open_data
from amur.serve.layout import Layout, Refusal, RootKey
from amur.serve.master import Secrets
from amur.workers.standard import standard_workers
from amur.workers.worker import Worker

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RECORDS_TRIED = 100


class Opened(NamedTuple):
    """Metadata, data and the store over them, of one process."""

    engine: LmdbEngine
    data: DataStore
    store: Store
    core: Core

    def gauges(self) -> dict[str, float]:
        """For the metrics of this process, by name without `amur_`."""
        with open("/proc/self/statm", "rb") as statm:
            resident = int(statm.read().split()[1]) * _PAGE_BYTES
        try:
            engine = self.engine.stats()
        except EngineError:
            engine = {}
        numbers: dict[str, float] = {f"engine_{name}": n for name, n in engine.items()}
        numbers["data_free_bytes"] = self.data.free_bytes()
        numbers["resident_bytes"] = resident
        if self.core.is_cluster:
            numbers |= {f"tier_{name}": count for name, count in self.core.tiers.items()}
        return numbers

    def failure(self) -> Exception | None:
        """Why this process can't go on: what it holds in memory may differ from the disk."""
        try:
            self.engine.stats()
        except EngineFailed as error:
            return error
        except EngineError:
            pass
        return self.data.failure

    async def close(self) -> None:
        for link in self.core.links.values():
            await link.close()
        await self.store.close()
        await self.data.close()
        await self.engine.close()


def open_store(
    layout: Layout,
    region: str,
    topology: Topology | None = None,
    links: Mapping[str, Link] | None = None,
    *,
    poll_seconds: float = POLL_SECONDS,
) -> Opened:
    """In the process that uses it, never before a fork. `links` are closed with it.

    `poll_seconds` is how late a watch notices what another process committed.
    """
    clock = SystemClock()
    data = open_data(layout, clock)
    engine = LmdbEngine(
        layout.meta,
        clock,
        region_number=topology.me.number if topology and topology.is_cluster else None,
        poll_seconds=poll_seconds,
    )
    store = Store(engine, data, clock, region=region, topology=topology)
    store.core.links.update(links or {})
    return Opened(engine, data, store, store.core)


def try_store(layout: Layout, region: str) -> None:
    """Open, create what is new, close. Raises what a person should be told."""

    async def attempt() -> None:
        opened = open_store(layout, region)
        try:
            await _refuse_newer_records(opened.engine, layout)
            await claim_data(opened.data, opened.engine, layout)
        finally:
            await opened.close()

    asyncio.run(attempt())


async def _refuse_newer_records(engine: Engine, layout: Layout) -> None:
    """A look at the first buckets and objects: a newer Amur wrote here if one says so."""
    for prefix in (keys.BUCKETS, keys.OBJECTS):
        try:
            page = await engine.scan(prefix, prefix_end(prefix), _RECORDS_TRIED)
        except EngineDamaged:  # one bad entry must not keep the others from being served
            continue
        for entry in page:
            if entry.value[0] > RECORD_FORMAT:
                raise Refusal(
                    f"{layout.root} was written by a newer amur (record format {entry.value[0]}, "
                    f"this one reads up to {RECORD_FORMAT}); install the newer version"
                )


def job_workers(opened: Opened) -> list[Worker]:
    return standard_workers(opened.core)


class Gateway(NamedTuple):
    """The applications of one worker."""

    app: App
    iam_app: App | None  # on a port of its own
    iam: Iam


def gateway(
    settings: Settings, key: Secrets, opened: Opened, observer: Observer, layout: Layout
) -> Gateway:
    """Over one store."""

    async def health() -> Response:
        status, body = await observer.health(opened.engine, opened.data)
        if status == 200 and not await has_joined(opened.core):
            status, body = 503, b'{"status":"joining"}'
        return Response(status, [("content-type", "application/json")], body)

    async def metrics() -> Response:
        text = await asyncio.to_thread(observer.exposition)
        return Response(200, [("content-type", "text/plain; version=0.0.4; charset=utf-8")], text)

    async def region() -> Response:
        snapshots = await asyncio.to_thread(observer.living)
        body = region_page(opened.core, snapshots)
        return Response(200, [("content-type", "application/json")], body)

    topology = opened.core.topology
    iam = Iam(opened.core, key.master, settings_keys(settings, key.root))
    common: dict[str, Any] = {
        "observer": observer,
        "presign_seconds_max": settings.presign_seconds_max,
        "proxies": Proxies(settings.trusted_proxies) if settings.trusted_proxies else None,
        "auth_failures_per_second": max(1, limits.AUTH_FAILURES_PER_SECOND // settings.workers),
    }
    app = App(
        opened.store,
        iam,
        domains=settings.domains,
        pages={"/-/health": health, "/-/metrics": metrics, "/-/region": region},
        forwarder=(Forwarder(topology, settings.cluster_secret) if topology.is_cluster else None),
        **common,
    )
    iam_app = App(opened.store, iam, route=iam_route, **common) if settings.iam_listen else None
    return Gateway(app, iam_app, iam)


def settings_keys(settings: Settings, root: RootKey) -> Mapping[str, Access]:
    """Raises ValueError for what can't be a key."""
    extra = (StaticKey(key.id, key.secret, key.owner or key.id) for key in settings.access_keys)
    return static_keys((root.id, root.secret), extra)
