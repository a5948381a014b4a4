"""Passing a request on to another region's gateway, and its answer back.

The request goes out as it came: method, target, headers and body byte for byte, so that the
client's signature is verified where the request is answered. One header is added (note.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

from amur.gateway.context import Response
from amur.gateway.errors import S3Error
from amur.gateway.forward.connection import (
    ConnectionBroken,
    ConnectionStalled,
    GatewayConnection,
)
from amur.gateway.forward.note import HEADER, Notary, Note
from amur.gateway.forward.pool import Pool
from amur.limits import MIB
from amur.objects.errors import RegionUnreachable
from amur.regions.topology import Region, Topology

Piece = bytes | bytearray
Body = AsyncIterator[Piece]

ANSWER_SECONDS = 300.0
"""From the last byte of a request to the head of its answer: a copy of 5 GiB that hashes, a bucket
that is emptied. Clients give up sooner, by themselves."""
UNASKED_BYTES_MAX = 1 * MIB
"""A body up to this long is sent along, though its client expects to be asked for it: that spares
a round trip between the regions, in which more could be sent (boto3 expects it for every PUT)."""
FORWARDS_MAX = 512  # requests passed on at once by one process, each holding up to 3 MiB
HOPS_MAX = 3  # regions that may pass a request on; two happen when a home has just moved

_OWN = frozenset({"connection", "date", "keep-alive", "transfer-encoding"})
"""Headers of an answer that are between two servers: ours says its own."""


class Outgoing(NamedTuple):
    """A request to pass on. `target` and `pairs` are as they came, `body` None without one."""

    method: str
    target: bytes
    pairs: Sequence[tuple[str, str]]
    body: Body | None
    note: Note  # with this region in it

    @property
    def is_chunked(self) -> bool:
        return any(name == "transfer-encoding" for name, _ in self.pairs)

    @property
    def waits(self) -> bool:
        """The client wants to be asked for the body, and it is one that is worth asking for."""
        headers = dict(self.pairs)
        size = headers.get("content-length", "")
        if size.isdigit() and int(size) <= UNASKED_BYTES_MAX:
            return False
        return headers.get("expect", "").lower() == "100-continue"


class Forwarder:
    """Of one process; `trust` verifies the peers' certificates, by default the system's."""

    def __init__(
        self, topology: Topology, secret: str, *, trust: ssl.SSLContext | None = None
    ) -> None:
        self.notary = Notary(secret, topology.me.name)
        self.active = 0
        self._topology = topology
        self._pool = Pool(trust)

    async def forward(self, regions: Sequence[str], request: Outgoing, now_s: int) -> Response:
        """The answer of the first of `regions` that can be reached, as it comes.

        Raises RegionUnreachable, S3Error SlowDown, and what the body raises.
        """
        if self.active >= FORWARDS_MAX:
            raise S3Error("SlowDown", "Too many requests for other regions at once.")
        self.active += 1
        try:
            return await self._first(regions, request, now_s)
        except BaseException:
            self.active -= 1
            raise

    async def _first(self, regions: Sequence[str], request: Outgoing, now_s: int) -> Response:
        for name in regions:
            region = self._topology.regions[name]
            kept = self._pool.idle(name)
            head = self._head(request, name, now_s)
            counted = _Counted(request.body)
            if kept is not None:
                try:
                    return await self._exchange(kept, region, request, head, counted)
                except ConnectionStalled:
                    break
                except ConnectionBroken:  # the peer may have closed it as we began
                    if counted.is_spent:
                        break
            try:
                connection = await self._pool.fresh(region)
            except (OSError, TimeoutError):
                continue
            try:
                return await self._exchange(connection, region, request, head, counted)
            except ConnectionBroken:
                break  # who knows what became of it there
        raise RegionUnreachable(f"Region {', '.join(regions)} does not answer. Try again.")

    def _head(self, request: Outgoing, receiver: str, now_s: int) -> bytes:
        note = self.notary.write(request.note, receiver, request.method, request.target, now_s)
        lines = "".join([f"{name}: {value}\r\n" for name, value in request.pairs])
        tail = f"{lines}{HEADER}: {note}\r\n\r\n".encode("latin-1")
        return request.method.encode() + b" " + request.target + b" HTTP/1.1\r\n" + tail

    async def _exchange(
        self,
        connection: GatewayConnection,
        region: Region,
        request: Outgoing,
        head: bytes,
        body: _Counted,
    ) -> Response:
        try:
            await _ask(connection, request, head, body)
        except BaseException:
            connection.abort()
            raise
        return self._response(connection, region)

    def _response(self, connection: GatewayConnection, region: Region) -> Response:
        headers = [pair for pair in connection.headers if pair[0] not in _OWN]
        response = Response(connection.status, headers, is_forwarded=True)
        if connection.is_whole and not connection.held:
            self._done(connection, region)
        else:
            response.stream = _Answer(self, connection, region)
            response.trailers = lambda: connection.trailers
        return response

    def _done(self, connection: GatewayConnection, region: Region) -> None:
        self.active -= 1
        self._pool.give_back(region.name, connection)

    def close(self) -> None:
        """Of the connections that nobody uses."""
        self._pool.close()


class _Counted:
    """A body, and whether it can't be sent again: something of it was taken, or waited for."""

    def __init__(self, body: Body | None) -> None:
        self.body = body
        self.is_spent = False

    async def pieces(self) -> AsyncIterator[Piece]:
        assert self.body is not None
        self.is_spent = True
        is_empty = True
        async for piece in self.body:
            is_empty = False
            yield piece
        self.is_spent = not is_empty


class _Answer:
    """The body of an answer. Whoever has it must read it to the end, or close it."""

    def __init__(self, forwarder: Forwarder, connection: GatewayConnection, region: Region) -> None:
        self._forwarder = forwarder
        self._connection = connection
        self._region = region
        self._is_open = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._connection.piece()
        except ConnectionBroken:
            await self.aclose()
            raise RegionUnreachable(f"Region {self._region.name} broke off.") from None
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            self._forwarder._done(self._connection, self._region)


async def _ask(
    connection: GatewayConnection, request: Outgoing, head: bytes, body: _Counted
) -> None:
    """Send a request; the head of the answer is here on return. Raises ConnectionBroken, and what
    the body raises."""
    connection.begin(request.method)
    await connection.write(head)
    if request.body is not None:
        if request.waits:
            await _until(connection.invited)
        if not connection.status:
            await _send(connection, body, is_chunked=request.is_chunked)
        else:
            connection.is_spent = True
    await _until(connection.answer)
    if not connection.status:
        raise ConnectionBroken


async def _until(future: asyncio.Future[None]) -> None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.shield(future)
    except TimeoutError:
        raise ConnectionStalled from None


async def _send(connection: GatewayConnection, body: _Counted, *, is_chunked: bool) -> None:
    """The body, until all of it is sent or the peer answers without waiting for the rest: then
    it has refused it, as no request of S3 is answered while it is read."""
    sender = asyncio.ensure_future(_write_body(connection, body, is_chunked=is_chunked))
    try:
        await asyncio.wait({sender, connection.answer}, return_when=asyncio.FIRST_COMPLETED)
        if sender.done():
            with suppress(ConnectionBroken):  # it may have answered before
                sender.result()
            return
        connection.is_spent = True
    finally:
        if not sender.done():
            sender.cancel()
            await asyncio.wait({sender})


async def _write_body(connection: GatewayConnection, body: _Counted, *, is_chunked: bool) -> None:
    async for piece in body.pieces():
        if is_chunked:
            await connection.write(b"%x\r\n" % len(piece))
        await connection.write(piece)
        if is_chunked:
            await connection.write(b"\r\n")
    if is_chunked:
        await connection.write(b"0\r\n\r\n")
