"""The jobs process: background work over the same metadata and data as the gateway workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import structlog
import uvloop

from amur.config import Settings
from amur.gateway.metrics import Snapshot, save
from amur.serve.layout import Layout
from amur.serve.peering import open_region
from amur.serve.wiring import Opened, job_workers
from amur.workers.runner import Runner

SLOT = "jobs"
_BEAT_SECONDS = 1.0


def main(settings: Settings, layout: Layout) -> int:
    """Exit code 0 when told to stop."""
    configure_log()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, layout))
    return 0


def configure_log() -> None:
    """One JSON line on stderr for each event."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(open(2, "w", closefd=False)),  # noqa: SIM115
    )


async def _work(settings: Settings, layout: Layout) -> None:
    opened = open_region(settings, layout)
    runner = Runner(job_workers(opened), layout.run / "jobs.lock")
    loop = asyncio.get_running_loop()
    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, runner.stop)
    beat = asyncio.create_task(_beat(runner, opened, layout))
    try:
        await runner.run()
    finally:
        beat.cancel()
        await opened.close()


async def _beat(runner: Runner, opened: Opened, layout: Layout) -> None:
    """Tell the gateway workers once a second that the jobs live, and how they are."""
    while True:
        gauges = opened.gauges() | runner.gauges()
        snapshot = Snapshot(time.time(), os.getpid(), gauges=gauges, jobs=job_facts(runner))
        with contextlib.suppress(OSError):  # a full disk; the next beat tries again
            save(layout.metrics, SLOT, snapshot)
        await asyncio.sleep(_BEAT_SECONDS)


def job_facts(runner: Runner) -> dict[str, dict[str, str | float]]:
    """The state and the counts of each worker, for a snapshot."""
    jobs: dict[str, dict[str, str | float]] = {}
    for status in runner.status.values():
        facts: dict[str, str | float] = {
            "state": status.state,
            "steps": status.steps,
            "seconds": status.seconds,
            "failures": status.failures,
        }
        jobs[status.name] = facts | {name: float(n) for name, n in status.counts.items()}
    return jobs
