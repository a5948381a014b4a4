"""A request's body over RSGI: decoded, bounded, proven complete, and not stalled.

granian's iterator ends without an error when an upload is cut short, so what arrived is counted
here against Content-Length and, for aws-chunked, against the decoded length and the last chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Protocol

from granian._granian import RSGIProtocolClosed

from amur.gateway.chunked import ChunkedDecoder
from amur.gateway.errors import S3Error
from amur.gateway.sigv4 import Authentication, PayloadMode
from amur.limits import BODY_RATE_MIN, BODY_STALL_SECONDS

_CHUNKED = frozenset((
    PayloadMode.SIGNED_CHUNKS,
    PayloadMode.SIGNED_CHUNKS_TRAILER,
    PayloadMode.UNSIGNED_CHUNKS_TRAILER,
))  # fmt: skip

STALL_SECONDS: float = BODY_STALL_SECONDS
READ_AT_ONCE_MAX = BODY_RATE_MIN * BODY_STALL_SECONDS
"""A body this small that takes longer than BODY_STALL_SECONDS is slower than BODY_RATE_MIN."""


class Receiver(Protocol):
    """The part of granian's RSGIHTTPProtocol that reads."""

    async def __call__(self) -> bytes:
        """All of the body; raises RSGIProtocolClosed when it is cut short."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body in pieces; ends silently when it is cut short."""


class RequestBody:
    """Read it once: whole by `read`, or piece by piece by `stream`."""

    __slots__ = ("_authentication", "_headers", "_proto", "trailers")

    def __init__(
        self, proto: Receiver, headers: Mapping[str, str], authentication: Authentication
    ) -> None:
        """Header names are lower-case, repeated values joined by a comma."""
        self._proto = proto
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
        try:
            async with asyncio.timeout(STALL_SECONDS):
                return await self._proto()
        except TimeoutError:
            raise S3Error("RequestTimeout") from None
        except RSGIProtocolClosed:
            raise S3Error("IncompleteBody") from None

    async def stream(self) -> AsyncIterator[bytes]:
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
        guard = _StallGuard()
        source = self._proto.__aiter__()
        try:
            while (piece := await guard.next(source)) is not None:
                if decoder is None:
                    if piece:
                        yield piece
                else:
                    for payload in decoder.feed(piece):
                        yield payload
        finally:
            guard.stop()
        if wire is not None and guard.received != wire:
            raise S3Error("IncompleteBody")
        if decoder is not None:
            decoder.finish()
            self.trailers = decoder.trailers


class _StallGuard:
    """Cancels a wait for the client when it sends less than BODY_RATE_MIN.

    One timer for the whole body looks four times in BODY_STALL_SECONDS. Only time spent waiting
    for the client counts, so a slow disk is not held against it.
    """

    __slots__ = (
        "_loop", "_mark", "_since", "_stalled", "_task", "_timer", "_waited", "received",
    )  # fmt: skip

    def __init__(self) -> None:
        self.received = 0  # bytes on the wire
        self._mark = 0  # of them, before the current window
        self._waited = 0.0  # seconds of the current window
        self._since = 0.0  # when the current wait began
        self._task: asyncio.Task[object] | None = None  # waiting now
        self._stalled = False
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(STALL_SECONDS / 4, self._look)

    async def next(self, source: AsyncIterator[bytes]) -> bytes | None:
        """The next piece, None at the end. Raises RequestTimeout."""
        now = self._loop.time
        task = self._task = asyncio.current_task()
        assert task is not None
        cancels = task.cancelling()
        self._since = now()
        try:
            # not anext() with a default: CPython 3.11's crashes on an awaitable written in Rust
            piece: bytes | None = await source.__anext__()
        except StopAsyncIteration:
            piece = None
        except asyncio.CancelledError:
            if self._stalled and task.uncancel() <= cancels:
                raise S3Error("RequestTimeout") from None
            raise
        finally:
            self._task = None
        self._waited += now() - self._since
        if piece is not None:
            self.received += len(piece)
        return piece

    def _look(self) -> None:
        now = self._loop.time()
        waited = self._waited + (now - self._since if self._task is not None else 0.0)
        if waited >= STALL_SECONDS:
            if self._task is not None and self.received - self._mark < BODY_RATE_MIN * waited:
                self._stalled = True
                self._task.cancel()
                return
            self._mark = self.received
            self._waited = 0.0
            self._since = now
        self._timer = self._loop.call_later(STALL_SECONDS / 4, self._look)

    def stop(self) -> None:
        self._timer.cancel()


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise S3Error("InvalidRequest", f"{name} is not a number")
    return int(text)
