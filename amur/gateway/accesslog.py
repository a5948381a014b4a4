"""The access log: one JSON object on a line for each request.

Lines are kept in memory and written together every FLUSH_SECONDS, so that a request pays for one
list append. What a kill takes with it is at most that much log, never data.
Query strings are not logged: they carry signatures of presigned links.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path

import msgspec

FLUSH_SECONDS = 0.1
ROTATE_BYTES = 256 * 1024 * 1024  # then access.log becomes access.log.1; about a million lines


Line = tuple[float, str, str, str, str, str, str, int, str, float, int, int, str]
"""When it ended (epoch seconds), then the fields of `_Entry`."""


class _Entry(msgspec.Struct, gc=False):
    """A line as it is written. (A struct encodes twice as fast as a dict.)"""

    time: str
    request_id: str
    client: str
    access_key_id: str  # "" for anonymous
    method: str
    path: str  # decoded
    operation: str
    status: int
    code: str  # S3 error code, "" for none
    seconds: float
    bytes_in: int
    bytes_out: int
    agent: str


class AccessLog:
    """Writes lines to a file (reopened when something rotates it), or to stdout."""

    def __init__(self, path: Path | None) -> None:
        """`path` None means stdout."""
        self._path = path
        self._fd = -1
        self._lines: list[Line] = []
        self._second = -1
        self._prefix = ""
        self._encoder = msgspec.json.Encoder()
        self._timer: asyncio.TimerHandle | None = None
        self.append = self._lines.append

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.flush()
        self._timer = loop.call_later(FLUSH_SECONDS, self.start, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.flush()
        if self._fd > 1:
            os.close(self._fd)
        self._fd = -1

    def flush(self) -> None:
        if not self._lines:
            return
        text = b"".join([self._encode(line) for line in self._lines])
        self._lines.clear()
        try:
            self._open()
            os.write(self._fd, text)
        except OSError:  # a full disk must not stop the serving; what is lost is log
            return

    def _encode(self, line: Line) -> bytes:
        return self._encoder.encode(_Entry(self._stamp(line[0]), *line[1:])) + b"\n"

    def _stamp(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._prefix}.{int((at - second) * 1e6):06d}Z"

    def _open(self) -> None:
        if self._path is None:
            self._fd = 1
            return
        if self._fd >= 0:
            have = os.fstat(self._fd)
            if have.st_size >= ROTATE_BYTES:
                self._rotate(have.st_ino)
            if have.st_nlink and _inode(self._path) == have.st_ino:
                return
            os.close(self._fd)
            self._fd = -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)

    def _rotate(self, inode: int) -> None:
        """Several workers see a full file at once: the lock and the inode let one of them act."""
        assert self._path is not None
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        if _inode(self._path) == inode:
            self._path.rename(self._path.with_name(self._path.name + ".1"))
        fcntl.flock(self._fd, fcntl.LOCK_UN)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1
