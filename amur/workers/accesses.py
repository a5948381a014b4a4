"""Writes down, now and then, what a process counted of reads (amur/objects/pull/accesses.py)."""

from __future__ import annotations

import asyncio

import structlog

from amur.meta.engine import EngineError, EngineFailed
from amur.objects.core import Core
from amur.objects.pull.accesses import flush

FLUSH_SECONDS = 5.0

log = structlog.get_logger("amur.workers")


async def keep_counts(core: Core, seconds: float = FLUSH_SECONDS) -> None:
    """For ever, in each process that serves reads. Raises EngineFailed."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await flush(core)
        except EngineFailed:
            raise
        except EngineError as error:  # they are only counts
            log.warning("reads could not be counted", error=repr(error))
