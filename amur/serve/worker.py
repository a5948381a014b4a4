"""One gateway worker: opens metadata and data by itself, serves until SIGTERM, closes them."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

import uvloop
from granian.constants import HTTPModes, Interfaces, SSLProtocols, TaskImpl
from granian.http import HTTP1Settings
from granian.server.embed import Server

from amur.affinity import keep_to
from amur.config import Settings
from amur.gateway.accesslog import AccessLog
from amur.gateway.observe import Observer
from amur.serve.layout import Layout, RootKey
from amur.serve.wiring import Opened, gateway, open_store

HEADER_READ_MS = 10_000  # a slow header, and an idle kept-alive connection, end after this
READ_BUFFER_BYTES = 128 * 1024
"""Of one connection, headers included (granian's default is 408 KiB). It bounds the pieces that a
body arrives in: uploads cost 2.1 s of CPU for each GiB with 16 KiB, 1.0 with 32, 0.7 with 64, 0.6
with 128, 0.5 with 408."""
GC_THRESHOLDS = (20_000, 20, 20)
"""A page of a listing is thousands of objects, and a request leaves no cycles: look for them
seldom. Python's own 700 looks nine times for each page, an eighth of its time."""
BACKLOG = 1024  # connections that wait to be accepted
FAILED_CODE = 3  # exit code of a worker whose storage failed
_FAILURE_CHECK_SECONDS = 0.2
BACKPRESSURE = 4096  # connections of one worker being served; the rest wait in the backlog


def main(
    settings: Settings, layout: Layout, key: RootKey, slot: str, cpu: int | None = None
) -> int:
    """Exit code 0 after a drain. Keeps to `cpu` if one is named."""
    if cpu is not None:
        keep_to(cpu)
    logging.getLogger("_granian").disabled = True
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, layout, key, slot))
    return 0


async def _serve(settings: Settings, layout: Layout, key: RootKey, slot: str) -> None:
    loop = asyncio.get_running_loop()
    opened = open_store(layout, settings.region)
    observer = Observer(layout.metrics, slot, _access_log(settings, layout), opened.gauges)
    app = gateway(settings, key, opened, observer, layout)
    server = server_of(app, settings)
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, server.stop)
    observer.start(loop)
    gc.collect()
    gc.freeze()  # what exists now lives as long as the process: never scan it again
    gc.set_threshold(*GC_THRESHOLDS)
    watch = asyncio.create_task(_stop_when_failed(opened))
    try:
        await server.serve()
    finally:
        watch.cancel()
        await _close(opened, observer)


async def _stop_when_failed(opened: Opened) -> None:
    """After a failed fsync nothing in memory can be trusted: the supervisor starts a fresh one."""
    while (failure := opened.failure()) is None:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(_FAILURE_CHECK_SECONDS)
    sys.stderr.write(f"amur: storage failed, stopping this worker: {failure}\n")
    sys.stderr.flush()
    os._exit(FAILED_CODE)


async def _close(opened: Opened, observer: Observer) -> None:
    observer.stop()
    await opened.close()


def _access_log(settings: Settings, layout: Layout) -> AccessLog | None:
    if settings.access_log == "off":
        return None
    return AccessLog(layout.access_log if settings.access_log == "file" else None)


def server_of(app: object, settings: Settings) -> Server:
    """HTTP/1.1 only: no S3 client speaks HTTP/2. One runtime thread: two were not faster.

    asyncio's own tasks: granian's are 10 to 25 % cheaper for an empty app, but can't be cancelled,
    which timeouts need.
    """
    return Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_READ_MS, max_buffer_size=READ_BUFFER_BYTES
        ),
        task_impl=TaskImpl.asyncio,
        runtime_threads=1,
        websockets=False,
        backlog=BACKLOG,
        backpressure=BACKPRESSURE,
        log_enabled=False,
        ssl_cert=_path(settings.tls_cert),
        ssl_key=_path(settings.tls_key),
        ssl_protocol_min=SSLProtocols.tls12,
    )


def _path(path: Path | None) -> Path | None:
    return path.resolve() if path else None
