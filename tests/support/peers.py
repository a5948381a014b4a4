"""A block service on 127.0.0.1 over fakes, and links to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

from amur.blockservice.app import BlockService
from amur.clock import Clock, FakeClock
from amur.httpd.exchange import Exchange
from amur.httpd.server import Server
from amur.httpd.tls import Tls
from amur.regions.credentials import Credentials, Gate, body_digest
from amur.regions.http_link import HttpLink, Timing
from amur.regions.link import BodyMissing
from amur.regions.messages import BodyName, Hello, Reply, Request, Yes
from amur.regions.topology import Region

SECRET = "a secret of the cluster, of some length"
NAME = BodyName(b"bucket", b"key", 7)
HELLO = Hello("sjc", 0, ["ord", "sjc"])
HASTY = Timing(call=5.0, connect=2.0, stall=0.2, probe=0.2, pause=0.01)
App = Callable[[Exchange], Coroutine[None, None, None]]


class FakeRegion:
    """What the block service of `ord` stands on."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.reply: Reply | Exception = Yes()
        self.hello = Hello("ord", 1, ["ord", "sjc"])
        self.bodies: dict[BodyName, bytes] = {NAME: b"0123456789"}
        self.fails_at = -1  # a body's piece that begins here can't be read
        self.piece_bytes = 1 << 20
        self.hold: asyncio.Event | None = None  # waited for before each answer and piece
        self.closed = 0  # bodies, early or not

    async def answer(self, request: Request) -> Reply:
        self.asked.append(request)
        if isinstance(request, Hello):
            return self.hello
        if self.hold is not None:
            await self.hold.wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def open_body(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        body = self.bodies.get(name)
        if body is None or end > len(body):
            raise BodyMissing
        try:
            for at in range(start, end, self.piece_bytes):
                if at == self.fails_at:
                    raise OSError("a bad disk")
                if self.hold is not None:
                    await self.hold.wait()
                yield body[at : min(at + self.piece_bytes, end)]
        finally:
            self.closed += 1


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.002)


def gate(secret: str = SECRET) -> Gate:
    return Gate(secret, "ord", ["sjc", "fra"])


@asynccontextmanager
async def listening(app: App, port: int = 0, tls: Tls | None = None) -> AsyncIterator[int]:
    """The port of a server of ours."""
    server = Server(app)
    await server.listen("127.0.0.1", port, tls)
    assert server._listener is not None
    try:
        yield server._listener.sockets[0].getsockname()[1]
    finally:
        server.stop()
        for connection in list(server._connections):
            connection.abort()
        async with asyncio.timeout(10):
            await server.serve()


@asynccontextmanager
async def linked(
    port: int,
    *,
    me: str = "sjc",
    peer: str = "ord",
    number: int = 1,
    secret: str = SECRET,
    timing: Timing = HASTY,
    clock: Clock | None = None,
) -> AsyncIterator[HttpLink]:
    region = Region(peer, number, "", f"http://127.0.0.1:{port}")
    link = HttpLink(region, Credentials(secret, me), HELLO, timing=timing, clock=clock)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def served(
    region: FakeRegion, clock: Clock | None = None
) -> AsyncIterator[tuple[BlockService, int]]:
    service = BlockService(region.answer, region.open_body, gate(), clock=clock)
    async with listening(service) as port:
        yield service, port


class Knock:
    """Requests as bytes, well signed unless told otherwise."""

    def __init__(self, port: int, clock: FakeClock | None = None) -> None:
        self._port = port
        self._clock = clock or FakeClock()

    def signed(self, path: str, body: bytes, method: str = "POST", receiver: str = "ord") -> str:
        return (
            Credentials(SECRET, "sjc")
            .sign(
                method,
                path,
                receiver,
                body_digest(body),
                now_ns=self._clock.now_ns(),
                nonce=os.urandom(16),
            )
            .header
        )

    async def send(
        self,
        path: str,
        body: bytes = b"",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of the answer, read until the server closes."""
        given = {"host": "x", "connection": "close", "content-length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (given | (headers or {})).items())
        return await self.raw(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)

    async def raw(self, data: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                answer = await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        head, _, rest = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), rest
