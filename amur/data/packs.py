"""Group commit: appends that wait at the same time share one write and one fdatasync."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from amur.data.disk import DiskFile
from amur.data.files import Files
from amur.data.framing import CHECKSUM_BYTES, Buffer, checksum
from amur.data.store import DataError
from amur.extent import Extent

BATCH_BYTES_MAX = 8 << 20
"""Payload of one write, so that a burst does not make the first in it wait for the last."""

_Waiting = tuple[bytes, "asyncio.Future[Extent]"]
_Outcome = tuple["asyncio.Future[Extent]", Extent | DataError]


def lay(file_id: bytes, at: int, bodies: Sequence[Buffer]) -> tuple[list[Buffer], list[Extent]]:
    """What to write for `bodies` from offset `at` on, one frame each, and where each will be."""
    parts: list[Buffer] = []
    extents = []
    for body in bodies:
        parts.append(checksum(file_id, at, (body,)))
        parts.append(body)
        extents.append(Extent(file_id, at, len(body)))
        at += CHECKSUM_BYTES + len(body)
    return parts, extents


def fitting(bodies: Sequence[Buffer], begin: int, room: int) -> int:
    """How many of the bodies from `begin` on go into `room` bytes of a file."""
    for index in range(begin, len(bodies)):
        room -= CHECKSUM_BYTES + len(bodies[index])
        if room < 0:
            return index - begin
    return len(bodies) - begin


class PackAppender:
    """The current pack of a process and the thread that writes it.

    With `threaded=False` the event loop's next turn does the work, for simulations.
    """

    def __init__(self, files: Files, file_bytes_max: int, *, threaded: bool) -> None:
        self._files = files
        self._file_bytes_max = file_bytes_max
        self._id = b""
        self._file: DiskFile | None = None  # the current pack
        self._size = 0
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        self._soon = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def append(self, body: bytes) -> asyncio.Future[Extent]:
        """Resolved once the body is durable."""
        loop = self._loop
        if loop is None:
            loop = self._start()
        future: asyncio.Future[Extent] = loop.create_future()
        self._queue.put((body, future))
        if not self._threaded and not self._soon:
            self._soon = True
            loop.call_soon(self._work_once)
        return future

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.get_running_loop()
        if self._threaded:
            self._thread = threading.Thread(target=self._work, name="amur-packs", daemon=True)
            self._thread.start()
        return self._loop

    async def close(self) -> None:
        """Finish what was accepted, seal the pack."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)
            self._thread = None
        elif self._soon:
            self._work_once()
        self._seal()

    # --- in the writing thread ---
    def _work(self) -> None:
        assert self._loop is not None
        while (first := self._queue.get()) is not None:
            batch, is_last = self._gather(first)
            outcomes = self._commit(batch)
            try:
                self._loop.call_soon_threadsafe(_wake, outcomes)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            if is_last:
                return

    def _work_once(self) -> None:
        self._soon = False
        while not self._queue.empty():
            first = self._queue.get()
            assert first is not None
            _wake(self._commit(self._gather(first)[0]))

    def _gather(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """All that wait now, up to BATCH_BYTES_MAX, and whether the appender is to end."""
        batch = [first]
        size = len(first[0])
        while size < BATCH_BYTES_MAX and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                return batch, True
            batch.append(item)
            size += len(item[0])
        return batch, False

    def _commit(self, batch: list[_Waiting]) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        bodies = [body for body, _ in batch]
        while len(outcomes) < len(batch):
            begin = len(outcomes)
            room = self._file_bytes_max - self._size
            count = fitting(bodies, begin, room)
            if count == 0 and self._size:
                self._seal()
                continue
            end = begin + max(count, 1)
            waiting = [future for _, future in batch[begin:end]]
            try:
                outcomes += zip(waiting, self._append(bodies[begin:end]), strict=True)
            except DataError as error:
                outcomes += [(future, error) for future in waiting]
            except BaseException as error:  # a bug must not leave its callers waiting
                failure = self._files.failure(error)
                outcomes += [(future, failure) for future in waiting]
        return outcomes

    def _append(self, bodies: list[bytes]) -> list[Extent]:
        files = self._files
        if files.failed is not None:
            raise files.failure(files.failed)
        try:
            if self._file is None:
                self._id, self._file = files.create()
            parts, extents = lay(self._id, self._size, bodies)
            self._file.append(parts)
        except OSError as error:
            self._give_up()
            raise files.refusal(error) from error
        try:
            self._file.sync()
            if self._size == 0:
                files.disk.sync_directory(files.directory_of(self._id))
        except OSError as error:
            raise files.failure(error) from error
        self._size += sum(map(len, parts))
        return extents

    def _give_up(self) -> None:
        """Never append behind a torn write; remove the pack if nothing else is in it."""
        if self._file is not None and self._size == 0:
            with contextlib.suppress(OSError):  # an unreferenced file is found by the sweep
                self._files.unlink(self._id)
        self._seal()

    def _seal(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._size = 0


def _wake(outcomes: list[_Outcome]) -> None:
    for future, outcome in outcomes:
        if future.done():
            continue
        if isinstance(outcome, Extent):
            future.set_result(outcome)
        else:
            future.set_exception(type(outcome)(*outcome.args))
