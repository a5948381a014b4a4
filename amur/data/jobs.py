"""Where blocking work is done: in a few threads, or at once for simulations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from amur.affinity import roam

THREADS = 4
"""Reads and writes at once; more threads than cores because some wait for the device."""

OVERLAPS_MAX = 16
"""Streams that may hold a second chunk, to work while the first is under way. Beyond that each
holds one, and reads take turns: 64 streams need about 80 MiB."""

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Jobs:
    """Runs blocking functions for an event loop."""

    def __init__(self, *, threaded: bool) -> None:
        self.overlaps = OVERLAPS_MAX
        self.turns = asyncio.Semaphore(THREADS)  # for reads of streams without overlap
        self._pool = ThreadPoolExecutor(THREADS, "amur-data", roam) if threaded else None

    def run(self, job: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        if self._pool is not None:
            return loop.run_in_executor(self._pool, job, *args)
        future: asyncio.Future[T] = loop.create_future()
        try:
            future.set_result(job(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def take_overlap(self) -> bool:
        """Whether a stream may have a second chunk; it gives it back with `give_overlap`."""
        if self.overlaps <= 0:
            return False
        self.overlaps -= 1
        return True

    def give_overlap(self) -> None:
        self.overlaps += 1
        assert self.overlaps <= OVERLAPS_MAX

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)


async def settled(future: asyncio.Future[T]) -> T:
    """The future's result; a cancelled caller leaves the work itself alone."""
    if not future.done():
        await asyncio.wait((future,))
    return future.result()
