"""The block service of a region: opens metadata and data by itself, and lives when the gateway
does not."""

from __future__ import annotations

import asyncio
import gc
import signal
from functools import partial

import uvloop

from amur.blockservice.app import BlockService
from amur.config import Settings
from amur.gateway.observe import Observer
from amur.httpd.server import Server
from amur.httpd.tls import Tls
from amur.objects.replication.answering import answer, open_body
from amur.serve.layout import Layout
from amur.serve.peering import gate_of, open_region
from amur.serve.wiring import Opened
from amur.serve.worker import GC_THRESHOLDS, renew, stop_when_failed

SLOT = "blocks"


def main(settings: Settings, layout: Layout) -> int:
    """Exit code 0 after a drain."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, layout))
    return 0


async def _serve(settings: Settings, layout: Layout) -> None:
    opened = open_region(settings, layout)
    observer = Observer(layout.metrics, SLOT, gauges=opened.gauges)

    def observe(route: str, status: int, seconds: float, received: int, sent: int) -> None:
        observer.done("", "", "", "", "", route, status, "", seconds, received, sent, "")

    service = BlockService(
        partial(answer, opened.core),
        partial(open_body, opened.core),
        gate_of(settings, opened.core.topology),
        observe=observe,
    )
    await _listen(settings, Server(service), opened, observer)


async def _listen(settings: Settings, server: Server, opened: Opened, observer: Observer) -> None:
    """Until SIGTERM."""
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, server.stop)
    observer.start(loop)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    watches = [asyncio.create_task(stop_when_failed(opened))]
    tls = None
    if settings.blocks_tls_cert and settings.blocks_tls_key:
        tls = Tls(settings.blocks_tls_cert, settings.blocks_tls_key, settings.peers_ca)
        watches.append(asyncio.create_task(renew(tls)))
    address = settings.blocks_address
    assert address is not None, "a region with peers has a block service"
    try:
        await server.listen(*address, tls)
        await server.serve()
    finally:
        for watch in watches:
            watch.cancel()
        observer.stop()
        await opened.close()
