"""The replicate process of a region: tells the peers what changed here, compares with them, and
moves homes. The peers' changes come in by the block service."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import signal
import time

import uvloop

from amur.config import Settings
from amur.gateway.metrics import Snapshot, save
from amur.objects.core import Core
from amur.serve.jobs import configure_log, job_facts
from amur.serve.layout import Layout
from amur.serve.peering import open_region
from amur.serve.wiring import Opened
from amur.serve.worker import GC_THRESHOLDS
from amur.workers.bury import Burier
from amur.workers.move import Mover
from amur.workers.reconcile import Reconciler
from amur.workers.replicate import Sender
from amur.workers.runner import Runner
from amur.workers.trim import Trimmer
from amur.workers.worker import Worker

SLOT = "replicate"
POLL_SECONDS = 0.005  # how late a sender notices a commit of a gateway worker, at most
_BEAT_SECONDS = 1.0


def main(settings: Settings, layout: Layout) -> int:
    """Exit code 0 when told to stop."""
    configure_log()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, layout))
    return 0


def region_workers(core: Core) -> list[Worker]:
    """What a region among others does besides sending, in one process: they share a fence."""
    fence = asyncio.Lock()
    return [
        Reconciler(core, fence),
        Burier(core, fence),
        Trimmer(core),
        Mover(core),
    ]


async def _work(settings: Settings, layout: Layout) -> None:
    opened = open_region(settings, layout, poll_seconds=POLL_SECONDS)
    core = opened.core
    senders = [Sender(core, link) for link in core.links.values()]
    runner = Runner(region_workers(core), layout.run / "replicate.lock")
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, runner.stop)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)  # batches of thousands of records would be scanned often
    beat = asyncio.create_task(_beat(runner, senders, opened, layout))
    sending = asyncio.gather(*(sender.run() for sender in senders))
    working = asyncio.create_task(runner.run())
    try:
        await asyncio.wait((sending, working), return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()  # a sender only ends by what must end the process
        await working
    finally:
        beat.cancel()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        await opened.close()


async def _beat(runner: Runner, senders: list[Sender], opened: Opened, layout: Layout) -> None:
    """Publish once a second how far each peer is."""
    while True:
        peers = {sender.name: await _facts(sender, opened.core) for sender in senders}
        snapshot = Snapshot(
            time.time(), os.getpid(), gauges=opened.gauges(), jobs=job_facts(runner), peers=peers
        )
        with contextlib.suppress(OSError):  # a full disk; the next beat tries again
            save(layout.metrics, SLOT, snapshot)
        await asyncio.sleep(_BEAT_SECONDS)


async def _facts(sender: Sender, core: Core) -> dict[str, float]:
    facts = {
        "lag_seconds": await sender.measure(),
        "backlog": float(await sender.backlog()),
        "reachable": float(sender.is_reachable),
    }
    rtt_s = core.links[sender.name].rtt_s
    return facts | ({"rtt_ms": rtt_s * 1000} if math.isfinite(rtt_s) else {})
