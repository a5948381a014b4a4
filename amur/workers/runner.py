"""Runs the workers of a region: in one process only, paced by what their work costs."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from amur.data.store import DataFailed
from amur.meta.engine import EngineFailed
from amur.workers.worker import State, Worker

PACE = 4.0
"""Rest for each second of work: the workers together take at most a fifth of one core."""

BACKOFF_MIN_S = 1.0
BACKOFF_MAX_S = 300.0
STOP_SECONDS = 0.7  # a unit of work may finish for this long after `stop`, then it is cut off
LOCK_RETRY_S = 1.0

FATAL = (EngineFailed, DataFailed, AssertionError)
"""After these the process must stop and recover: trying again would trust what can't be."""

log: Any = structlog.get_logger("amur.workers")


@dataclass(slots=True)
class Status:
    """A worker as seen from outside, for metrics and the console."""

    name: str
    state: str = "idle"  # busy, idle, done, failing
    steps: int = 0
    seconds: float = 0.0  # spent working
    failures: int = 0
    error: str = ""  # the last failure, "" once a unit of work succeeded
    counts: Counter[str] = field(default_factory=Counter)
    report: dict[str, object] = field(default_factory=dict)


class Runner:
    """`run` until `stop`. Who holds the lock file works; the others wait to take over."""

    def __init__(
        self,
        workers: Sequence[Worker],
        lock: Path | None = None,
        *,
        pace: float = PACE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        assert len({worker.name for worker in workers}) == len(workers), "names tell them apart"
        self.status = {worker.name: Status(worker.name) for worker in workers}
        self._workers = workers
        self._lock = lock
        self._pace = pace
        self._now = now
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    def gauges(self) -> dict[str, float]:
        """What the workers have to show beside their status."""
        return {name: n for worker in self._workers for name, n in worker.gauges().items()}

    async def run(self) -> None:
        """Returns within a second of `stop`; raises what is FATAL."""
        with contextlib.ExitStack() as held:
            if self._lock is not None and not await self._acquire(self._lock, held):
                return
            tasks = [asyncio.create_task(self._drive(worker)) for worker in self._workers]
            try:
                await self._watch(tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, tasks: list[asyncio.Task[None]]) -> None:
        ended = asyncio.create_task(self._stopping.wait())
        working = asyncio.gather(*tasks)
        try:
            await asyncio.wait((ended, working), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait((working,), timeout=STOP_SECONDS)
            if working.done():
                working.result()
            else:
                working.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await working
        finally:
            ended.cancel()

    async def _acquire(self, path: Path, held: contextlib.ExitStack) -> bool:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        held.callback(os.close, descriptor)
        while not self._stopping.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await self._rest(LOCK_RETRY_S)
            else:
                return True
        return False

    async def _drive(self, worker: Worker) -> None:
        status = self.status[worker.name]
        backoff = BACKOFF_MIN_S
        while not self._stopping.is_set():
            began = self._now()
            try:
                state, counts = await worker.work()
            except FATAL:
                status.state = "failing"
                raise
            except Exception as error:
                status.state, status.error = "failing", repr(error)
                status.failures += 1
                log.exception("worker failed", worker=worker.name, retry_seconds=backoff)
                await self._rest(backoff)
                backoff = min(BACKOFF_MAX_S, backoff * 2)
                continue
            spent = self._now() - began
            backoff = BACKOFF_MIN_S
            status.state, status.error, status.report = state.value, "", worker.report()
            status.steps += 1
            status.seconds += spent
            status.counts.update(counts)
            if state is State.DONE:
                return
            await self._rest(spent * self._pace if state is State.BUSY else worker.wait_seconds)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()


async def run_until_idle(workers: Sequence[Worker], *, steps_max: int = 100_000) -> None:
    """Let the workers take turns until none of them finds anything to do (commands, tests)."""
    for _ in range(steps_max):
        worked = [await worker.work() for worker in workers]
        if not any(state is State.BUSY or counts for state, counts in worked):
            return
    raise AssertionError("the workers do not come to rest")
