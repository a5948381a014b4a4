"""Bytes read from afar, kept on local disk within a budget, shared by processes.

    path/new/<2 hex>/<32 hex>-<offset>     read once
    path/kept/<2 hex>/<32 hex>-<offset>    read again, some time later

Two queues, so that a scan of everything pushes out only what was read once: `new` goes in the
order of arrival, `kept` in the order of last use. All state is in the directory, so processes need
no word with each other, and any of it may be deleted at any time. Nothing is synced and nothing
here is trusted: the caller verifies what it gets, and drops what is damaged.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from amur.clock import Clock
from amur.limits import DISK_RESERVE_BYTES, DISK_RESERVE_FRACTION

SAME_READ_SECONDS = 60.0
"""Reads of a place within this time are one: a client that reads a file in small ranges."""

NEW_FRACTION = 0.25  # of the budget, for what was read once
TRIM_FRACTION = 1 / 32  # of the budget: added by a process before it looks at the whole again
TRIM_SECONDS_MIN = 10.0  # between two looks because the disk is full

_QUEUES = ("new", "kept")


class _Entry(NamedTuple):
    used_at: float
    size: int
    path: Path


class ReadCache:
    """Methods block, and may be called in threads. Trouble with the disk is a miss, never an error.

    `bytes_max` may be exceeded by TRIM_FRACTION for each process. The disk's reserve is left alone.
    """

    def __init__(self, path: Path, bytes_max: int, clock: Clock) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._clock = clock
        self._names = itertools.count()
        self._lock = threading.Lock()
        self._added = 0  # bytes since the last look
        self._trimmed_at = float("-inf")

    def get(self, file_id: bytes, offset: int, length: int) -> bytes | None:
        """The `length` bytes that stand at `offset` of a file, if they are here."""
        for queue in _QUEUES:
            place = self._place(queue, file_id, offset)
            try:
                with place.open("rb") as file:
                    used_at = os.fstat(file.fileno()).st_mtime
                    content = file.read()
            except OSError:
                continue
            if len(content) != length:
                return None
            self._used(queue, place, used_at)
            return content
        return None

    def put(self, file_id: bytes, offset: int, content: bytes) -> None:
        space = self._space()
        if space <= 0:
            if time.monotonic() - self._trimmed_at > TRIM_SECONDS_MIN:
                self.trim(-space)
            return
        partial = self._path / f"partial-{os.getpid()}-{next(self._names)}"
        place = self._place("new", file_id, offset)
        try:
            partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_bytes(content)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stamp(partial)
            partial.rename(place)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            return
        with self._lock:
            self._added += len(content)
            is_due = self._added >= self._bytes_max * TRIM_FRACTION
            if is_due:
                self._added = 0
        if is_due:
            self.trim()

    def drop(self, file_id: bytes, offset: int) -> None:
        """Forget one place: its bytes are damaged."""
        for queue in _QUEUES:
            with contextlib.suppress(OSError):
                self._place(queue, file_id, offset).unlink()

    def drop_file(self, file_id: bytes) -> None:
        """Forget all of a file."""
        for queue in _QUEUES:
            with contextlib.suppress(OSError):
                for place in self._folder(queue, file_id).glob(f"{file_id.hex()}-*"):
                    place.unlink(missing_ok=True)

    def trim(self, wanted: int = 0) -> None:
        """Get within the budget, and free `wanted` bytes of the disk on top, if they are here."""
        self._trimmed_at = time.monotonic()
        with contextlib.suppress(OSError), self._alone() as mine:
            if mine:
                self._trim(wanted)

    def _trim(self, wanted: int) -> None:
        new, kept = (sorted(self._entries(queue)) for queue in _QUEUES)
        new_bytes = sum(entry.size for entry in new)
        size = new_bytes + sum(entry.size for entry in kept)
        target = min(self._bytes_max, size) - wanted
        new.reverse()
        kept.reverse()
        while size > target and (new or kept):
            if new and (new_bytes > self._bytes_max * NEW_FRACTION or not kept):
                entry = new.pop()
                new_bytes -= entry.size
            else:
                entry = kept.pop()
            size -= entry.size
            entry.path.unlink(missing_ok=True)

    def _entries(self, queue: str) -> Iterator[_Entry]:
        for path in (self._path / queue).glob("*/*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                yield _Entry(facts.st_mtime, facts.st_blocks * 512, path)
        if queue == "new":
            yield from self._left_behind()

    def _left_behind(self) -> Iterator[_Entry]:
        """Files of processes that died while writing them; younger ones may be under way."""
        for path in self._path.glob("partial-*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if self._now() - facts.st_mtime > SAME_READ_SECONDS:
                    yield _Entry(0.0, facts.st_blocks * 512, path)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """One process at a time looks at everything; the others need not."""
        descriptor = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(descriptor)

    def _used(self, queue: str, place: Path, used_at: float) -> None:
        if self._now() - used_at < SAME_READ_SECONDS:
            return
        with contextlib.suppress(OSError):
            self._stamp(place)
            if queue == "new":
                kept = self._path / "kept" / place.parent.name / place.name
                kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                place.rename(kept)

    def _space(self) -> int:
        """Bytes of the disk beyond its reserve; what it lacks when negative."""
        try:
            facts = os.statvfs(self._path.parent)
        except OSError:
            return 0
        total = facts.f_blocks * facts.f_frsize
        reserve = min(DISK_RESERVE_BYTES, int(total * DISK_RESERVE_FRACTION))
        return facts.f_bavail * facts.f_frsize - reserve

    def _stamp(self, path: Path) -> None:
        now = self._clock.now_ns()
        os.utime(path, ns=(now, now))

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9

    def _folder(self, queue: str, file_id: bytes) -> Path:
        return self._path / queue / f"{file_id[15]:02x}"

    def _place(self, queue: str, file_id: bytes, offset: int) -> Path:
        return self._folder(queue, file_id) / f"{file_id.hex()}-{offset}"
