"""Copying many objects at once: jobs in, a count of what was done out.

Up to `parallel` jobs run at a time, and the parts of large ones share as many connections again.
A job that fails is told and the others go on, unless it says that none can succeed (no such
bucket, wrong key, no server).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeVar

from amur.cli.output import Bar, Output
from amur.cli.remote import Remote, code_of, explained

T = TypeVar("T")

_FATAL = frozenset(
    {"NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}
)

_FAILURES_SHOWN = 50


class Stopped(BaseException):
    """The user, or a failure that ends all: leaves threads in the middle of their work.

    No Exception, which botocore would catch and try again.
    """


@dataclass(frozen=True, slots=True)
class Job:
    """One copy. `run` returns False when there was nothing to do."""

    name: str
    size: int
    run: Callable[[Workers], bool]


@dataclass(slots=True)
class Tally:
    done: int = 0
    skipped: int = 0
    failed: int = 0
    bytes: int = 0


class Workers:
    """Threads for parts, the progress bar, and the word to stop. Used by every job at once."""

    def __init__(self, parallel: int, bar: Bar) -> None:
        self.parallel = parallel
        self._bar = bar
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._parts = ThreadPoolExecutor(parallel, thread_name_prefix="part")

    def advance(self, count: int) -> None:
        """Bytes that went over; where a thread leaves its work once it is to stop."""
        if self._stop.is_set():
            raise Stopped
        with self._lock:
            self._bar.advance(count)

    def each(self, work: Callable[[T], None], parts: Iterable[T]) -> None:
        """Run them side by side. Raises what the first failing one raised, when all are over."""
        futures: set[Future[None]] = set()
        failure: BaseException | None = None
        for part in parts:
            if len(futures) >= self.parallel:
                finished, futures = wait(futures, return_when=FIRST_COMPLETED)
                failure = failure or _failure(finished)
            if failure or self._stop.is_set():
                break
            futures.add(self._parts.submit(work, part))
        finished, _ = wait(futures)
        failure = failure or _failure(finished)
        if failure:
            raise failure
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._parts.shutdown(cancel_futures=self._stop.is_set())


def _failure(futures: Iterable[Future[None]]) -> BaseException | None:
    return next((error for each in futures if (error := each.exception())), None)


def run(remote: Remote, jobs: Callable[[], Iterator[Job]], what: str, parallel: int) -> Tally:
    """All jobs; failures are told on stderr as they come. `jobs()` begins anew at each call."""
    tally = Tally()
    with remote.out.progress(what, None) as bar:
        counter = _Counter(jobs, bar) if remote.out.is_watched() else None
        workers = Workers(parallel, bar)
        files = ThreadPoolExecutor(parallel, thread_name_prefix="file")
        try:
            _run(files, workers, jobs(), remote.out, tally)
        except BaseException:
            workers.stop()
            raise
        finally:
            if counter:
                counter.stop()
            files.shutdown(cancel_futures=True)
            workers.close()
    return tally


def _run(
    files: ThreadPoolExecutor, workers: Workers, jobs: Iterator[Job], out: Output, tally: Tally
) -> None:
    running: dict[Future[bool], Job] = {}
    for job in jobs:
        while len(running) >= 2 * workers.parallel:
            _settle(wait(running, return_when=FIRST_COMPLETED).done, running, out, tally)
        running[files.submit(job.run, workers)] = job
    while running:
        _settle(wait(running, return_when=FIRST_COMPLETED).done, running, out, tally)


def _settle(
    finished: set[Future[bool]], running: dict[Future[bool], Job], out: Output, tally: Tally
) -> None:
    for future in finished:
        job = running.pop(future)
        error = future.exception()
        if error is None and future.result():
            tally.done += 1
            tally.bytes += job.size
        elif error is None:
            tally.skipped += 1
        elif ends_all(error) or not (said := explained(error)):
            raise error
        else:
            tally.failed += 1
            if tally.failed <= _FAILURES_SHOWN:
                out.remark(f"{job.name}: {said}")
            elif tally.failed == _FAILURES_SHOWN + 1:
                out.remark("... and more")


def ends_all(error: BaseException) -> bool:
    """Whether no other job could succeed either."""
    return (
        not isinstance(error, Exception)
        or code_of(error) in _FATAL
        or type(error).__name__ in ("EndpointConnectionError", "ConnectTimeoutError")
    )


class _Counter:
    """Finds out beside the work how much it will be, for the time left."""

    def __init__(self, jobs: Callable[[], Iterator[Job]], bar: Bar) -> None:
        self._jobs, self._bar = jobs, bar
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        total = 0
        try:
            for job in self._jobs():
                if self._stop.is_set():
                    return
                total += job.size
        except Exception:
            return  # the work itself tells of it
        self._bar.total(total)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def batches(rows: Iterable[T], count: int) -> Iterator[Sequence[T]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch
