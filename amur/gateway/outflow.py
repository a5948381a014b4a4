"""Streaming a response no faster than its client reads.

granian's `send_bytes` never waits: it queues without bound, so that one slow reader of a 5 GiB
object would hold 5 GiB of memory. Its `response_file` does wait for the client, so a stream goes
through a FIFO: we write pieces into one end, granian sends the other as a file. A FIFO that ends
short of the Content-Length breaks the connection, and one that nobody reads any more tells that
the client has gone. Its random name is used once: who comes too late finds nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import sys
import tempfile
import termios
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Protocol

from amur.limits import MIB

PIPE_BYTES = 1 * MIB  # what the kernel holds of one response; /proc/sys/fs/pipe-max-size
STALL_SECONDS = 60.0  # a client that takes nothing for this long has gone
OPEN_SECONDS = 5.0
"""The server opens the FIFO within milliseconds, unless the client has gone before: 300 requests
that were broken off at once would otherwise hold 600 MiB for a minute."""
_POLL_SECONDS = 0.001  # how often to look whether the reader of a short response has come


class ClientGone(Exception):
    """Nobody reads the response any more."""


class Sender(Protocol):
    """The part of granian's RSGIHTTPProtocol that sends files."""

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None: ...


class Outflow:
    """One streamed response, its FIFO in `directory`. `sent` counts bytes, after a failure too."""

    __slots__ = ("_fd", "_guard", "_path", "sent")

    def __init__(self, directory: str = "") -> None:
        self.sent = 0
        self._path = f"{directory or tempfile.gettempdir()}/amur-{secrets.token_hex(16)}"
        os.mkfifo(self._path, 0o600)
        # the guard keeps the FIFO open until granian has opened it; nothing is read from it
        self._guard = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        # an unprivileged user may hold 64 MiB in pipes, more of them stay small
        with suppress(PermissionError):
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    async def send(
        self,
        proto: Sender,
        status: int,
        headers: list[tuple[str, str]],
        first: list[bytes],
        rest: AsyncIterator[bytes],
    ) -> None:
        """Raises ClientGone, or what `rest` raises: less was sent then than announced.

        `first` is one piece, not empty, in a list that is emptied: a slow client would make whoever
        kept the piece keep a megabyte.
        """
        assert first[0], "the reader is noticed by what it has read"
        try:
            proto.response_file(status, headers, self._path)
            await self._write(first.pop())
            try:
                async for piece in rest:
                    await self._write(piece)
            finally:
                # after a failure too: granian would answer 404 for a FIFO that is gone
                await self._wait_for_reader()
        finally:
            self._close()

    async def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            try:
                count = os.write(self._fd, view)
            except BlockingIOError:
                if not self._has_reader():
                    await self._writable(OPEN_SECONDS)
                self._drop_guard()  # from now on a reader that goes is noticed
                await self._writable(STALL_SECONDS)
            except BrokenPipeError:
                raise ClientGone from None
            else:
                self.sent += count
                view = view[count:]

    async def _writable(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._fd, _settle, ready)
        try:
            async with asyncio.timeout(patience):
                await ready
        except TimeoutError:
            self._drop_guard()
            raise ClientGone from None
        finally:
            loop.remove_writer(self._fd)

    async def _wait_for_reader(self) -> None:
        """A short response fits into the pipe whole: it must not close before it was opened."""
        patience = OPEN_SECONDS
        while self._guard >= 0 and not self._has_reader():
            if patience <= 0:
                raise ClientGone
            patience -= _POLL_SECONDS
            await asyncio.sleep(_POLL_SECONDS)

    def _has_reader(self) -> bool:
        """Granian's end is open: something has been read."""
        waiting = fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) < self.sent

    def _drop_guard(self) -> None:
        if self._guard >= 0:
            os.close(self._guard)
            self._guard = -1
            os.unlink(self._path)

    def _close(self) -> None:
        os.close(self._fd)
        self._drop_guard()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
