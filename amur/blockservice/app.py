"""The block service: answers peers, and nobody else.

The HTTP server calls `BlockService.__call__` once for each request. Who is no peer hears 403 with
an empty body whatever is wrong, before a byte of the request's body is read; our log tells why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from time import perf_counter

from amur.clock import Clock, SystemClock
from amur.httpd.exchange import BodyBroken, ClientGone, Exchange
from amur.limits import BODY_STALL_SECONDS, MIB
from amur.regions import wire
from amur.regions.credentials import (
    ANSWER_HEADER,
    HEADER,
    Caller,
    Gate,
    NotAllowed,
    Sealing,
    answer_tag,
    body_digest,
    stream_bytes,
)
from amur.regions.link import BodyMissing
from amur.regions.messages import (
    BodyName,
    Hello,
    MessageDamaged,
    Reply,
    Request,
    decode_request,
    encode,
)
from amur.regions.wire import ReadAsk

log = logging.getLogger("amur.blockservice")

CALLS_MAX = 256  # being answered at once; greetings are not counted, they tell who is alive
READS_MAX = 128  # streams at once, each holding up to 2 MiB
BODIES_BYTES_MAX = 256 * MIB  # of requests, held together
REFUSALS_SECONDS = 10.0  # one line in the log for each reason in this time, whoever knocks
_REASONS_MAX = 64  # kept apart within that time
_ROUTES = {wire.CALL_PATH: "PeerCall", wire.READ_PATH: "PeerRead"}

Answer = Callable[[Request], Awaitable[Reply]]
OpenBody = Callable[[BodyName, int, int], AsyncGenerator[bytes]]
Observe = Callable[[str, int, float, int, int], None]
"""Called with (route, status, seconds, bytes received, bytes sent) when a request has ended."""


class _Failed(Exception):
    """The answer is this status alone."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class BlockService:
    """The application over `answer` and `open_body` (see amur/objects/replication/answering.py)."""

    def __init__(
        self,
        answer: Answer,
        open_body: OpenBody,
        gate: Gate,
        *,
        clock: Clock | None = None,
        observe: Observe | None = None,
    ) -> None:
        self.calls = self.reads = 0  # under way
        self._answer = answer
        self._open_body = open_body
        self._gate = gate
        self._clock = clock or SystemClock()
        self._observe = observe
        self._held = 0  # bytes of requests' bodies
        self._refusals: dict[str, float] = {}  # reason: when it was logged

    async def __call__(self, http: Exchange) -> None:
        begun = perf_counter()
        route, status, sent = "PeerRefused", 403, 0
        try:
            if http.path == wire.HEALTH_PATH and http.method in ("GET", "HEAD"):
                route, status, sent = "Health", 200, 2
                http.answer(200, [("content-type", "text/plain")], b"ok")
                return
            try:
                caller = self._admit(http)
            except NotAllowed as error:
                self._note_refusal(http.client, str(error))
                http.answer(403, [])
                return
            route, status, sent = await self._serve(http, caller)
        finally:
            if self._observe is not None:
                self._observe(route, status, perf_counter() - begun, http.received, sent)

    def _admit(self, http: Exchange) -> Caller:
        headers = [value for name, value in http.pairs if name == HEADER]
        if len(headers) > 1:
            raise NotAllowed("two signatures")
        target = f"{http.path}?{http.query}" if http.query else http.path
        header = headers[0] if headers else ""
        return self._gate.admit(http.method, target, header, self._clock.now_ns())

    def _note_refusal(self, client: str, reason: str) -> None:
        now = perf_counter()
        if now - self._refusals.get(reason, -REFUSALS_SECONDS) < REFUSALS_SECONDS:
            return
        if len(self._refusals) >= _REASONS_MAX:
            fresh = {why: at for why, at in self._refusals.items() if now - at < REFUSALS_SECONDS}
            self._refusals = fresh
            if len(fresh) >= _REASONS_MAX:  # somebody makes them up
                return
        self._refusals[reason] = now
        log.warning("refused a request from %s: %s", client, reason)

    async def _serve(self, http: Exchange, caller: Caller) -> tuple[str, int, int]:
        """Route, status and bytes sent. Whatever fails before the first byte becomes a status."""
        route = _ROUTES.get(http.path, "PeerUnknown")
        try:
            if route == "PeerUnknown" or http.method != "POST" or http.query:
                raise _Failed(400, f"a question that we do not know: {http.method} {http.path}")
            self._check_length(http)
            self._held += http.length
            try:
                body = await _body(http, caller)
                if route == "PeerCall":
                    return route, 200, await self._call(http, caller, body)
                return route, 200, await self._read(http, caller, body)
            finally:
                self._held -= http.length
        except BodyMissing:
            status = 404
        except _Failed as error:
            status = error.status
            log.warning("a request of region %s was not answered: %s", caller.sender, error)
        except MessageDamaged as error:
            status = 400
            log.warning("region %s says what we do not know: %s", caller.sender, error)
        except Exception:  # of the store; whether the process can go on is watched elsewhere
            status = 503
            log.exception("a request of region %s failed", caller.sender)
        _answer(http, caller, status, b"")
        return route, status, 0

    def _check_length(self, http: Exchange) -> None:
        if http.length < 0:
            raise _Failed(411, "a body of unknown length")
        if http.length > wire.CALL_BYTES_MAX:
            raise _Failed(413, f"a body of {http.length} bytes, the most is {wire.CALL_BYTES_MAX}")
        if self._held + http.length > BODIES_BYTES_MAX:
            raise _Failed(503, "too many large requests at once")

    async def _call(self, http: Exchange, caller: Caller, body: bytes) -> int:
        request = decode_request(body)
        is_counted = not isinstance(request, Hello)
        if is_counted and self.calls >= CALLS_MAX:
            raise _Failed(503, "too many calls at once")
        self.calls += is_counted
        try:
            reply = encode(await self._answer(request))
        finally:
            self.calls -= is_counted
        _answer(http, caller, 200, reply)
        return len(reply)

    async def _read(self, http: Exchange, caller: Caller, body: bytes) -> int:
        ask = wire.decode_ask(body)
        if self.reads >= READS_MAX:
            raise _Failed(503, "too many reads at once")
        self.reads += 1
        try:
            async with aclosing(self._open_body(ask.name, ask.start, ask.end)) as pieces:
                # the first while a failure can still be told by its status
                first = await anext(pieces, b"")
                if ask.end > ask.start and not first:
                    raise BodyMissing
                return await _stream(http, caller, ask, first, pieces)
        finally:
            self.reads -= 1


async def _body(http: Exchange, caller: Caller) -> bytes:
    """All of it, as it was signed."""
    pieces = []
    try:
        while True:
            async with asyncio.timeout(BODY_STALL_SECONDS):
                piece = await http.piece()
            if not piece:
                break
            pieces.append(piece)
    except TimeoutError:
        raise _Failed(408, "its body does not come") from None
    except BodyBroken:
        raise _Failed(400, "its body ended early") from None
    body = b"".join(pieces)
    if body_digest(body) != caller.body_sha256:
        raise _Failed(400, "the body is not the one that was signed")
    return body


async def _stream(
    http: Exchange, caller: Caller, ask: ReadAsk, piece: bytes, pieces: AsyncGenerator[bytes]
) -> int:
    """Breaks the connection on any failure: the peer sees that it is not whole."""
    size = ask.end - ask.start
    sealing = Sealing(caller.answer_key, size, ask.mac)
    sent = 0
    try:
        http.begin(200, [("content-length", str(stream_bytes(size)))])
        if sealing.lead:
            await http.send(sealing.lead)
        while piece:
            for part in sealing.seal(piece):
                await http.send(part)
            sent += len(piece)
            piece = await anext(pieces, b"")
        if not sealing.is_whole:
            raise BodyMissing("it ended before the end that was asked for")
        http.end()
    except ClientGone:
        pass
    except Exception:
        log.exception("a body for region %s broke off", caller.sender)
        http.abort()
    return sent


def _answer(http: Exchange, caller: Caller, status: int, body: bytes) -> None:
    tag = answer_tag(caller.answer_key, status, body)
    http.answer(status, [(ANSWER_HEADER, tag)], body)
