"""One request and its answer, as the application sees them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amur.httpd.connection import Connection

HeaderPairs = list[tuple[str, str]]


class BodyBroken(Exception):
    """The request's body ended short or is badly framed: what came must not be kept."""


class ClientGone(Exception):
    """Nobody takes the answer any more."""


class Exchange:
    """Read the body by `read` or `piece`; answer once, by `answer` or by `begin`, `send`, `end`.

    Header names are lower-case, values ISO 8859-1, repeats allowed. `path` is percent-decoded,
    with U+FFFD for what is not UTF-8; `query` is as sent, and so is `target`, path and query
    together. `client` is the peer as host:port.
    """

    __slots__ = (
        "_connection", "_is_chunked", "_pieces", "_waiter", "client", "held", "is_answered",
        "is_bodiless", "is_broken", "is_last", "is_whole", "length", "method", "pairs", "path",
        "query", "received", "scheme", "takes_chunks", "target", "task", "wants_continue",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, method: str, path: str, query: str, pairs: HeaderPairs
    ) -> None:
        self._connection = connection
        self._pieces: deque[bytes | bytearray] = deque()  # of the body, here and not taken
        self._waiter: asyncio.Future[None] | None = None
        self._is_chunked = False  # the answer
        self.task: asyncio.Task[None] | None = None  # the application's; a loop keeps none alive
        self.method = method
        self.path = path
        self.query = query
        self.target = b""  # by the connection
        self.pairs = pairs
        self.client = connection.client
        self.scheme = connection.scheme
        self.length = -1  # Content-Length; -1 of a body in chunks, and of none
        self.received = 0  # bytes of the body
        self.held = 0  # of them, not taken
        self.takes_chunks = True  # HTTP/1.1
        self.wants_continue = False  # waits for our word before it sends the body
        self.is_whole = False  # the body has ended
        self.is_broken = False  # it will never be whole
        self.is_answered = False  # to the last byte
        self.is_last = False  # of its connection
        self.is_bodiless = False  # the answer, by method or status: what is sent is dropped

    # --- the body ---

    async def read(self) -> bytes:
        """All of the body that is left. Raises BodyBroken."""
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def piece(self) -> bytes | bytearray:
        """The next bytes of the body, as they came; empty after the last. Raises BodyBroken."""
        while not self._pieces:
            if self.is_whole:
                return b""
            await self._arrival()
        piece = self._pieces.popleft()
        self.held -= len(piece)
        return piece

    async def _arrival(self) -> None:
        if self.is_broken:
            raise BodyBroken
        self._connection.wants_body(self)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def feed(self, piece: bytes | bytearray) -> None:
        """By the connection."""
        self._pieces.append(piece)
        self.held += len(piece)
        self._wake()

    def taken_back(self) -> bytes:
        """By the connection: what was fed and not taken."""
        begun = b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        return begun

    def feed_end(self, *, is_broken: bool = False) -> None:
        """By the connection: the body has ended, well or not."""
        if is_broken:
            self.is_broken = True
        else:
            self.is_whole = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- the answer ---

    def answer(self, status: int, headers: HeaderPairs, body: bytes = b"") -> None:
        """All of it. Content-Length is added where it is missing and the status allows one."""
        self._connection.write_head(self, status, headers, body)
        self._connection.answered(self)

    def begin(self, status: int, headers: HeaderPairs) -> None:
        """The head of a streamed answer; without a Content-Length it goes out in chunks."""
        self._is_chunked = self._connection.write_head(self, status, headers, None)

    async def send(self, piece: bytes | memoryview) -> None:
        """Not empty. Waits while the client reads no faster. Raises ClientGone."""
        if self.is_bodiless:
            return
        if self._is_chunked:
            self._connection.write(b"%x\r\n" % len(piece))
            self._connection.write(piece)
            self._connection.write(b"\r\n")
        else:
            self._connection.write(piece)
        await self._connection.drained()

    def end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        """After the last piece. `trailers` only where there was no Content-Length."""
        if self._is_chunked:
            lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            if lines.count("\r") != len(trailers) or lines.count("\n") != len(trailers):
                raise ValueError("a trailer holds a line break")
            self._connection.write(b"0\r\n" + lines.encode("latin-1") + b"\r\n")
        self._connection.answered(self)

    def abort(self) -> None:
        """Cut the connection: the client sees that the answer is not whole."""
        self._connection.abort()
