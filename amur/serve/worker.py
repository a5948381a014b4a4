"""One gateway worker: opens metadata and data by itself, serves until SIGTERM, closes them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys

import uvloop

from amur.affinity import keep_to
from amur.config import Settings
from amur.gateway.accesslog import AccessLog
from amur.gateway.observe import Observer
from amur.httpd.server import Server
from amur.httpd.tls import Tls
from amur.meta.engine import EngineError
from amur.objects.errors import StoreError
from amur.serve.layout import Layout
from amur.serve.master import Secrets
from amur.serve.peering import open_region
from amur.serve.wiring import Opened, gateway
from amur.workers.accesses import keep_counts

GC_THRESHOLDS = (20_000, 20, 20)
"""A page of a listing is thousands of objects, and a request leaves no cycles: look for them
seldom. Python's own 700 looks nine times for each page, an eighth of its time."""
FIRST_SLOT = "worker-0"
FAILED_CODE = 3  # exit code of a worker whose storage failed
_FAILURE_CHECK_SECONDS = 0.2
_RENEWAL_CHECK_SECONDS = 10.0


def main(
    settings: Settings, layout: Layout, key: Secrets, slot: str, cpu: int | None = None
) -> int:
    """Exit code 0 after a drain. Keeps to `cpu` if one is named."""
    if cpu is not None:
        keep_to(cpu)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, layout, key, slot))
    return 0


async def _serve(settings: Settings, layout: Layout, key: Secrets, slot: str) -> None:
    loop = asyncio.get_running_loop()
    opened = open_region(settings, layout)
    observer = Observer(layout.metrics, slot, _access_log(settings, layout), opened.gauges)
    made = gateway(settings, key, opened, observer, layout)
    servers = [Server(made.app)]
    if made.iam_app is not None:
        servers.append(Server(made.iam_app))

    def stop() -> None:
        for server in servers:
            server.stop()

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, stop)
    observer.start(loop)
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process: never scan it again
    gc.set_threshold(*GC_THRESHOLDS)
    watches = [
        asyncio.create_task(stop_when_failed(opened)),
        asyncio.create_task(made.iam.run()),
    ]
    if slot == FIRST_SLOT:  # once for all workers
        watches.append(asyncio.create_task(made.iam.warn_of_lost_secrets()))
    if opened.core.is_cluster:
        watches.append(asyncio.create_task(keep_counts(opened.core)))
    tls = None
    if settings.tls_cert and settings.tls_key:
        tls = Tls(settings.tls_cert, settings.tls_key)
        watches.append(asyncio.create_task(renew(tls)))
    try:
        await servers[0].listen(settings.host, settings.port, tls)
        if settings.iam_address:
            await servers[1].listen(*settings.iam_address, tls)
        await asyncio.gather(*(server.serve() for server in servers))
    finally:
        for watch in watches:
            watch.cancel()
        with contextlib.suppress(StoreError, EngineError):
            await made.iam.flush()
        await _close(opened, observer)


async def stop_when_failed(opened: Opened) -> None:
    """After a failed fsync nothing in memory can be trusted: the supervisor starts a fresh one."""
    while (failure := opened.failure()) is None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_FAILURE_CHECK_SECONDS)
    sys.stderr.write(f"amur: storage failed, stopping this process: {failure}\n")
    sys.stderr.flush()
    os._exit(FAILED_CODE)


async def renew(tls: Tls) -> None:
    """Take up new certificates, for ever."""
    while True:
        await asyncio.sleep(_RENEWAL_CHECK_SECONDS)
        tls.renew()


async def _close(opened: Opened, observer: Observer) -> None:
    observer.stop()
    await opened.close()


def _access_log(settings: Settings, layout: Layout) -> AccessLog | None:
    if settings.access_log == "off":
        return None
    return AccessLog(layout.access_log if settings.access_log == "file" else None)
