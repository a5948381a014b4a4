"""A request's body: decoded, bounded, proven complete, and not stalled.

What arrived is counted here against Content-Length, whatever the server below promises, and, for
aws-chunked, against the decoded length and the last chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol, TypeVar

from amur.gateway.chunked import ChunkedDecoder
from amur.gateway.errors import S3Error
from amur.gateway.sigv4 import Authentication, PayloadMode
from amur.httpd.exchange import BodyBroken
from amur.limits import BODY_RATE_MIN, BODY_STALL_SECONDS

T = TypeVar("T")

_CHUNKED = frozenset((
    PayloadMode.SIGNED_CHUNKS,
    PayloadMode.SIGNED_CHUNKS_TRAILER,
    PayloadMode.UNSIGNED_CHUNKS_TRAILER,
))  # fmt: skip

STALL_SECONDS: float = BODY_STALL_SECONDS
READ_AT_ONCE_MAX = BODY_RATE_MIN * BODY_STALL_SECONDS
"""A body this small that takes longer than BODY_STALL_SECONDS is slower than BODY_RATE_MIN."""


class Receiver(Protocol):
    """The part of an HTTP exchange that reads. Both raise BodyBroken of a body cut short."""

    received: int  # bytes so far
    is_whole: bool  # all of them are here

    async def read(self) -> bytes:
        """All of the body."""

    async def piece(self) -> bytes | bytearray:
        """The next bytes; empty after the last."""


class Taken:
    """A Receiver of what was read before."""

    is_whole = True

    def __init__(self, data: bytes) -> None:
        self.received = len(data)
        self.data = data

    async def read(self) -> bytes:
        data, self.data = self.data, b""
        return data

    async def piece(self) -> bytes:
        return await self.read()


class RequestBody:
    """Read it once: whole by `read`, or piece by piece by `stream`."""

    __slots__ = ("_authentication", "_headers", "_source", "trailers")

    def __init__(
        self, source: Receiver, headers: Mapping[str, str], authentication: Authentication
    ) -> None:
        """Header names are lower-case, repeated values joined by a comma."""
        self._source = source
        self._headers = headers
        self._authentication = authentication
        self.trailers: dict[str, str] = {}  # after the last byte

    @property
    def expected_sha256(self) -> str:
        """Lower-case hex that a body taken by `stream` must still be held against, or ""."""
        return self._authentication.sha256

    @property
    def length(self) -> int:
        """Bytes of the decoded payload. Raises MissingContentLength."""
        if self._authentication.payload in _CHUNKED:
            wire = self._wire_length()
            length = _number(self._headers, "x-amz-decoded-content-length")
            if wire is None and "transfer-encoding" not in self._headers:
                length = None
        else:
            length = self._wire_length()
        if length is None:
            raise S3Error("MissingContentLength")
        return length

    def _wire_length(self) -> int | None:
        """Content-Length, None without one. Raises InvalidRequest of contradictory framing."""
        length = _number(self._headers, "content-length")
        encoding = self._headers.get("transfer-encoding")
        if encoding is not None and (length is not None or encoding.lower() != "chunked"):
            raise S3Error(
                "InvalidRequest", "Content-Length and Transfer-Encoding contradict each other"
            )
        return length

    async def read(
        self, limit: int, *, too_large: str = "EntityTooLarge", check_sha256: bool = True
    ) -> bytes:
        """The whole payload of at most `limit` bytes, or S3Error(too_large).

        A request that announces no body has an empty one. `check_sha256` is False where the
        caller holds the bytes against `expected_sha256` himself.
        """
        headers = self._headers
        if "content-length" not in headers and "transfer-encoding" not in headers:
            if await self._read_at_once():
                raise S3Error("MissingContentLength")
            data = b""
        else:
            length = self.length
            if length > limit:
                raise S3Error(too_large, MaxSizeAllowed=str(limit))
            if length > READ_AT_ONCE_MAX or self._authentication.payload in _CHUNKED:
                data = b"".join([piece async for piece in self.stream()])
            else:
                data = await self._read_at_once()
                if len(data) != length:
                    raise S3Error("IncompleteBody")
        if check_sha256:
            self._check_sha256(data)
        return data

    def _check_sha256(self, data: bytes) -> None:
        expected = self.expected_sha256
        if expected:
            actual = sha256(data).hexdigest()
            if not compare_digest(actual, expected):
                raise S3Error("XAmzContentSHA256Mismatch")

    async def _read_at_once(self) -> bytes:
        if self._source.is_whole:
            return await self._source.read()
        guard = _StallGuard(self._source)
        try:
            return await guard.wait(self._source.read())
        except BodyBroken:
            raise S3Error("IncompleteBody") from None
        finally:
            guard.stop()

    async def stream(self) -> AsyncIterator[bytes | bytearray]:
        """The payload in pieces as they come, none empty.

        Ends normally only when all of it was there: everything that was done with the pieces
        must be undone when this raises. The SHA-256 of the whole is the caller's to check.
        """
        decoder: ChunkedDecoder | None = None
        length, wire = self.length, self._wire_length()
        mode = self._authentication.payload
        if mode in _CHUNKED:
            announced = self._headers.get("x-amz-trailer", "")
            chain = self._authentication.chain
            decoder = ChunkedDecoder(mode, length, chain=chain, announced=announced)
        guard = _StallGuard(self._source)
        try:
            while piece := await guard.wait(self._source.piece()):
                if decoder is None:
                    yield piece
                else:
                    for payload in decoder.feed(bytes(piece)):
                        yield payload
        except BodyBroken:
            raise S3Error("IncompleteBody") from None
        finally:
            guard.stop()
        if wire is not None and self._source.received != wire:
            raise S3Error("IncompleteBody")
        if decoder is not None:
            decoder.finish()
            self.trailers = decoder.trailers

    @property
    def is_announced(self) -> bool:
        """The request says that it has a body, if only an empty one."""
        return "content-length" in self._headers or "transfer-encoding" in self._headers

    async def wire(self) -> AsyncGenerator[bytes | bytearray]:
        """The body as it comes, still encoded and not verified, for who passes it on.

        Raises IncompleteBody and RequestTimeout as `stream` does.
        """
        guard = _StallGuard(self._source)
        try:
            while piece := await guard.wait(self._source.piece()):
                yield piece
        except BodyBroken:
            raise S3Error("IncompleteBody") from None
        finally:
            guard.stop()


class _Sweeper:
    """Looks after all waiting bodies of a loop, four times in STALL_SECONDS, by one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.guards: set[_StallGuard] = set()
        self._is_armed = False

    def add(self, guard: _StallGuard) -> None:
        self.guards.add(guard)
        if not self._is_armed:
            self._arm()

    def _arm(self) -> None:
        self._is_armed = True
        self.loop.call_later(STALL_SECONDS / 4, self._sweep)

    def _sweep(self) -> None:
        self._is_armed = False
        now = self.loop.time()
        for guard in self.guards:
            guard.look(now)
        if self.guards:
            self._arm()


_sweeper: _Sweeper | None = None
"""Of the running loop; a worker has one for its whole life."""


def _sweeper_of(loop: asyncio.AbstractEventLoop) -> _Sweeper:
    global _sweeper  # noqa: PLW0603
    if _sweeper is None or _sweeper.loop is not loop:
        _sweeper = _Sweeper(loop)
    return _sweeper


class _StallGuard:
    """Cancels a wait for a client that sends less than BODY_RATE_MIN over STALL_SECONDS.

    Only time spent waiting for the client counts, so a slow disk is not held against it.
    """

    __slots__ = (
        "_clock", "_mark", "_since", "_source", "_stalled", "_sweeper", "_task", "_waited",
    )  # fmt: skip

    def __init__(self, source: Receiver) -> None:
        self._source = source
        self._mark = 0  # bytes received before the current window
        self._waited = 0.0  # seconds of the current window
        self._since = 0.0  # when the current wait began
        self._task: asyncio.Task[object] | None = None  # waiting now
        self._stalled = False
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._sweeper = _sweeper_of(loop)
        self._sweeper.add(self)

    def stop(self) -> None:
        self._sweeper.guards.discard(self)

    async def wait(self, source: Awaitable[T]) -> T:
        """What the client sends next. Raises RequestTimeout."""
        task = self._task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        self._since = self._clock()
        try:
            return await source
        except asyncio.CancelledError:
            if self._stalled and task.uncancel() <= cancels:
                raise S3Error("RequestTimeout") from None
            raise
        finally:
            self._task = None
            self._waited += self._clock() - self._since

    def look(self, now: float) -> None:
        """Called by the sweeper."""
        waiting = self._task is not None
        waited = self._waited + (now - self._since if waiting else 0.0)
        if waited < STALL_SECONDS or self._stalled:
            return
        if self._task is not None and self._source.received - self._mark < BODY_RATE_MIN * waited:
            self._stalled = True
            self._task.cancel()
            return
        self._mark = self._source.received
        self._waited = 0.0
        self._since = now


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise S3Error("InvalidRequest", f"{name} is not a number")
    return int(text)
