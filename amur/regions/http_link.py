"""The link to a peer's block service: HTTP by aiohttp's client, every answer verified."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import BytesIO
from math import inf
from time import perf_counter
from typing import NamedTuple

import aiohttp

from amur.clock import Clock, SystemClock
from amur.limits import KIB
from amur.regions import wire
from amur.regions.credentials import (
    ANSWER_HEADER,
    HEADER,
    NONCE_BYTES,
    Credentials,
    Opening,
    TamperedWith,
    body_digest,
    check_answer,
    fastest_mac,
    stream_bytes,
)
from amur.regions.link import BodyMissing, Link, LinkError, PeerRefused, PeerUnreachable
from amur.regions.messages import (
    BodyName,
    Hello,
    MessageDamaged,
    Reply,
    Request,
    decode_reply,
    encode,
)
from amur.regions.topology import Region

log = logging.getLogger("amur.regions")

CALLS_MAX = 32  # under way on one link; others wait. Greetings are not counted
READS_MAX = 64  # transfers under way on one link, each holding up to 1 MiB
IDLE_SECONDS = 30.0  # an unused connection is kept; less than the server's 60, so that ours ends it
_READ_BUFFER_BYTES = 512 * KIB  # of one transfer, received and not taken: then the peer waits
_SMOOTHING = 1 / 8  # weight of a new round-trip time, as TCP has it (RFC 6298)


class Timing(NamedTuple):
    """Seconds."""

    call: float = 5.0  # for a whole call, when the caller names nothing else
    connect: float = 2.0  # TCP and TLS: three round trips of 0.3 s with one lost packet
    stall: float = 5.0  # without a byte of an answer
    probe: float = 1.2  # for an answer to a greeting ...
    pause: float = 0.7  # ... and until the next: who is gone is noticed within 2 s, and who is back


class _Busy(PeerUnreachable):
    """Too much at once, here or there: nothing follows for whether the peer is reachable."""


class _NotUnderstood(PeerRefused):
    """The peer says so of one question: it may well answer others."""


class HttpLink(Link):
    """To the block service of `region`, signed by `credentials`; `hello` is what we say of us.

    Made on the loop that uses it. `start` begins to probe; without it the link works, but only
    calls and reads tell whether the peer is there.
    """

    def __init__(
        self,
        region: Region,
        credentials: Credentials,
        hello: Hello,
        *,
        timing: Timing | None = None,
        tls: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.region = region
        self._credentials = credentials
        self._hello = hello
        self._timing = timing or Timing()
        self._tls = tls
        self._clock = clock or SystemClock()
        self._base = region.block_service.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._calls = asyncio.Semaphore(CALLS_MAX)
        self._reads = asyncio.Semaphore(READS_MAX)
        self._probing: asyncio.Task[None] | None = None
        self._smoothed = 0.0  # seconds; 0 before the first measurement
        self._stranger = ""  # what it is, when it is not the region that we mean
        self._trouble: str | None = ""  # why it is not reachable; "" before it was asked

    def start(self) -> None:
        self._probing = self._probing or asyncio.create_task(self._probe())

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing
            self._probing = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def rtt_s(self) -> float:
        return inf if self._trouble is not None or not self._smoothed else self._smoothed

    # --- a question and its answer ---

    async def call(self, request: Request, *, timeout_s: float = 0) -> Reply:
        if isinstance(request, Hello):
            return await self._greet(request, timeout_s or self._timing.call)
        is_sent = False
        try:
            async with asyncio.timeout(timeout_s or self._timing.call), self._calls:
                is_sent = True
                self._check_identity()
                async with self._watched():
                    return await self._ask(encode(request))
        except TimeoutError:
            if is_sent:
                raise self._failed("it does not answer in time") from None
            raise _Busy(f"too many calls to {self.region.name} at once") from None

    async def _greet(self, hello: Hello, timeout_s: float) -> Hello:
        """Hello, timed: others wait for disks, so only this tells how far the peer is."""
        try:
            async with asyncio.timeout(timeout_s), self._watched():
                begun = perf_counter()
                reply = await self._ask(encode(hello))
                took = perf_counter() - begun
                if not isinstance(reply, Hello):
                    raise PeerRefused("it does not greet")
                self._stranger = ""
                if (reply.region, reply.number) != (self.region.name, self.region.number):
                    self._stranger = (
                        f"it is region {reply.region} number {reply.number}, configured as "
                        f"{self.region.name} {self.region.number}"
                    )
                    self._check_identity()
        except TimeoutError:
            raise self._failed("it does not answer in time") from None
        self._measured(took)
        return reply

    def _check_identity(self) -> None:
        if self._stranger:
            raise PeerRefused(self._stranger)

    async def _ask(self, body: bytes) -> Reply:
        # how long it may take is the caller's to say
        async with self._post(wire.CALL_PATH, body, stall_s=None) as (response, key):
            answer = await _whole(response)
            _check(response, key, answer)
            try:
                return decode_reply(answer)
            except MessageDamaged as error:
                raise _NotUnderstood(f"its answer is no message that we know: {error}") from error

    # --- bytes ---

    async def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        self._check_identity()
        mac = fastest_mac()
        body = wire.encode_ask(wire.ReadAsk(name, start, end, mac))
        try:
            async with asyncio.timeout(self._timing.stall):
                await self._reads.acquire()
        except TimeoutError:
            raise _Busy(f"too many transfers from {self.region.name} at once") from None
        try:
            async with (
                self._watched(),
                self._post(wire.READ_PATH, body, stall_s=self._timing.stall) as (response, key),
            ):
                if response.status != 200:
                    async with asyncio.timeout(self._timing.stall):
                        _check(response, key, await _whole(response))
                if response.content_length != stream_bytes(end - start):
                    raise PeerUnreachable("it sends another number of bytes than was asked for")
                opening = Opening(key, end - start, mac)
                while data := await self._received(response):
                    for piece in opening.open(data):
                        yield piece
                if not opening.is_whole:
                    raise PeerUnreachable("a transfer ended early")
        finally:
            self._reads.release()

    async def _received(self, response: aiohttp.ClientResponse) -> bytes:
        """What came, b"" at the end.

        The time is ours to watch: aiohttp's own timeout for reading runs on behind an answer that
        was taken slowly, and breaks the next use of the connection.
        """
        try:
            async with asyncio.timeout(self._timing.stall):
                return await response.content.readany()
        except TimeoutError:
            raise PeerUnreachable("it stopped in the middle of a transfer") from None

    # --- HTTP ---

    @asynccontextmanager
    async def _post(
        self, path: str, body: bytes, *, stall_s: float | None
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, bytes]]:
        """The answer's head, and its key. Cuts the connection when the answer is not read."""
        signed = self._credentials.sign(
            "POST",
            path,
            self.region.name,
            body_digest(body),
            now_ns=self._clock.now_ns(),
            nonce=os.urandom(NONCE_BYTES),
        )
        session = self._session or self._open()
        try:
            async with asyncio.timeout(stall_s):
                response = await session.post(
                    self._base + path,
                    data=BytesIO(body),  # in pieces, so that a large one does not hold up the loop
                    headers={HEADER: signed.header},
                    allow_redirects=False,
                )
        except TimeoutError as error:
            raise PeerUnreachable(str(error) or "it does not answer in time") from error
        async with response:
            if response.status == 403:
                raise PeerRefused(
                    "it refuses our signature: another cluster secret, a clock more than 15 "
                    f"minutes off, not region {self.region.name}, or it does not have us for a peer"
                )
            yield response, signed.answer_key

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # ours are above: a greeting never waits for a transfer
                keepalive_timeout=IDLE_SECONDS,
                ssl=self._tls or True,
            ),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timing.connect),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
            read_bufsize=_READ_BUFFER_BYTES // 2,  # aiohttp holds twice as much
        )
        return self._session

    # --- is it there? ---

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """What fails within becomes a LinkError, and tells whether the peer is reachable."""
        try:
            yield
        except BodyMissing:
            self._reached()
            raise
        except (_Busy, _NotUnderstood):
            raise
        except PeerRefused as error:
            self._note(f"can't be used: {error}")
            raise PeerRefused(f"{self.region.name}: {error}") from error
        except TamperedWith as error:
            raise self._failed(f"not from it, or damaged on the way: {error}") from error
        except (PeerUnreachable, aiohttp.ClientError, OSError) as error:
            raise self._failed(_said(error)) from error
        self._reached()

    def _failed(self, why: str) -> PeerUnreachable:
        self._note(f"unreachable: {why}")
        return PeerUnreachable(f"{self.region.name}: {why}")

    def _note(self, trouble: str) -> None:
        if self._trouble is None or self._trouble.partition(":")[0] != trouble.partition(":")[0]:
            log.warning(
                "the block service of region %s at %s %s", self.region.name, self._base, trouble
            )
        self._trouble = trouble

    def _reached(self) -> None:
        if self._trouble:
            log.warning("the block service of region %s answers again", self.region.name)
        self._trouble = None

    def _measured(self, seconds: float) -> None:
        smoothed = self._smoothed
        self._smoothed = smoothed + (seconds - smoothed) * _SMOOTHING if smoothed else seconds

    async def _probe(self) -> None:
        while True:
            was_gone = self.rtt_s == inf
            try:
                await self._greet(self._hello, self._timing.probe)
                if was_gone:  # this time told how long a connection takes: ask once more
                    self._smoothed = 0.0
                    await self._greet(self._hello, self._timing.probe)
            except LinkError:
                pass  # noted
            except Exception:
                log.exception("the probe of region %s failed", self.region.name)
            await asyncio.sleep(self._timing.pause)


def _said(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):  # its own words repeat the address
        error = error.os_error
    reason = error.strerror if isinstance(error, OSError) else ""
    return reason or str(error) or type(error).__name__


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > wire.REPLY_BYTES_MAX or response.content_length is None:
        raise PeerRefused("its answer is too long")
    return await response.read()


def _check(response: aiohttp.ClientResponse, key: bytes, answer: bytes) -> None:
    """Raises what the status of a verified answer means; 200 is well."""
    status = response.status
    check_answer(key, status, answer, response.headers.get(ANSWER_HEADER, ""))
    if status == 200:
        return
    if status == 404:
        raise BodyMissing
    if status in (408, 503):
        raise _Busy(f"it has too much to do, or its storage fails (status {status})")
    raise _NotUnderstood(f"it does not know what we mean (status {status}): is it older?")
