"""A connection to another region's gateway: HTTP/1.1 of the client's side, one exchange at a time.

A client library of our own because a request must arrive as it was signed: targets and headers byte
for byte, bodies in both directions no faster than they are taken, `Expect` left to the target,
trailers kept (of aiohttp and httpx neither tells trailers). llhttp parses, as for the server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from amur.limits import KIB, MIB

HEAD_BYTES_MAX = 64 * KIB  # of an answer's headers and trailers
BODY_HELD_MAX = 1 * MIB  # of an answer, not yet taken: no more is read then
WRITE_HELD_MAX = 256 * KIB  # of a request, not yet taken by the kernel: the sender waits then
STALL_SECONDS = 30.0
"""A transfer of which no byte moves for this long is cut. Longer than the target's own waits for
its disks and for its client (BODY_STALL_SECONDS)."""

_BODILESS = frozenset((204, 304))


class ConnectionBroken(Exception):
    """The peer is gone, or sends what is no HTTP."""


class ConnectionStalled(ConnectionBroken):
    """It took too long; what was asked may be under way still."""


class GatewayConnection(asyncio.Protocol):
    """`begin`, `write` the request, wait for `answer`, then `piece` until it is empty."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._pieces: deque[bytes] = deque()
        self.held = 0
        self._is_paused = False
        self._drain: asyncio.Future[None] | None = None  # a sender waits
        self._arrival: asyncio.Future[None] | None = None  # a reader waits
        self._head_bytes = 0
        self._pairs: list[tuple[str, str]] = []
        self._method = ""
        self.answer: asyncio.Future[None]  # done when the head is here, or never will be
        self.invited: asyncio.Future[None]  # done when the peer asks for the body, or won't
        self.status = 0  # of the answer, once its head is here
        self.headers: list[tuple[str, str]] = []  # names in lower case
        self.trailers: list[tuple[str, str]] = []
        self.is_whole = False  # the answer has ended
        self.is_lost = False
        self.is_spent = False  # the request was not sent to its end: not to be used again
        self.idle_since = 0.0

    # --- by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(WRITE_HELD_MAX)

    def data_received(self, data: bytes) -> None:
        if self.is_whole or not self._method:
            self.abort()  # nobody has asked
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()
            return
        if self._head_bytes > HEAD_BYTES_MAX:
            self.abort()
        elif self.held >= BODY_HELD_MAX and not self._is_paused and not self.is_lost:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._method:
            self._settle(self.invited)
            self._settle(self.answer)
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        if self._drain is None:
            self._drain = self._loop.create_future()

    def resume_writing(self) -> None:
        drain, self._drain = self._drain, None
        self._settle(drain)

    @staticmethod
    def _settle(future: asyncio.Future[None] | None) -> None:
        if future is not None and not future.done():
            future.set_result(None)

    def _wake(self) -> None:
        arrival, self._arrival = self._arrival, None
        self._settle(arrival)

    # --- by the parser ---

    def on_header(self, name: bytes, value: bytes) -> None:
        pair = (name.decode("latin-1").lower(), value.decode("latin-1"))
        (self.trailers if self.status else self._pairs).append(pair)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        pairs, self._pairs = self._pairs, []
        if status < 200:
            if status == 100:
                self._settle(self.invited)
            return
        names = {name for name, _ in pairs}
        is_bodiless = self._method == "HEAD" or status in _BODILESS
        if not is_bodiless and names.isdisjoint(("content-length", "transfer-encoding")):
            raise ConnectionBroken  # nothing would tell that it was cut short
        self.status, self.headers = status, pairs
        self._head_bytes = 0
        if is_bodiless:
            self._end()
        self._settle(self.invited)
        self._settle(self.answer)

    def on_body(self, piece: bytes) -> None:
        self._head_bytes = 0
        if self.is_whole:
            raise ConnectionBroken  # of HEAD
        self._pieces.append(piece)
        self.held += len(piece)
        self._wake()

    def on_message_complete(self) -> None:
        if self.status and not self.is_whole:
            self._end()

    def _end(self) -> None:
        self.is_whole = True
        self._wake()

    @property
    def is_reusable(self) -> bool:
        """All was said and taken on both sides."""
        if not self.is_whole or self.is_lost or self.is_spent or self._pieces:
            return False
        return ("connection", "close") not in self.headers

    # --- by who asks ---

    def begin(self, method: str) -> None:
        """A new exchange."""
        self._method = method
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self.answer = self._loop.create_future()
        self.invited = self._loop.create_future()
        self.status, self.headers, self.trailers = 0, [], []
        self.is_whole = False

    async def write(self, data: bytes | bytearray) -> None:
        """Waits while the peer takes no more. Raises ConnectionBroken."""
        if self.is_lost or self._transport.is_closing():
            raise ConnectionBroken
        self._transport.write(data)
        if self._drain is not None:
            await self._wait(self._drain)
            if self.is_lost:
                raise ConnectionBroken

    async def piece(self) -> bytes:
        """The next bytes of the answer's body; empty after the last. Raises ConnectionBroken."""
        while not self._pieces:
            if self.is_whole:
                return b""
            if self.is_lost:
                raise ConnectionBroken
            self._arrival = self._loop.create_future()
            await self._wait(self._arrival)
        piece = self._pieces.popleft()
        self.held -= len(piece)
        if self._is_paused and self.held < BODY_HELD_MAX // 2:
            self._is_paused = False
            if not self.is_lost:
                self._transport.resume_reading()
        return piece

    async def _wait(self, future: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await future
        except TimeoutError:
            self.abort()
            raise ConnectionStalled from None

    def abort(self) -> None:
        """Whatever is under way, the peer sees it cut short."""
        self.is_spent = True
        self._transport.abort()
