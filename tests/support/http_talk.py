"""One raw connection to an HTTP server of ours, and small applications behind it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from amur.httpd.exchange import Exchange
from amur.httpd.server import Server
from amur.httpd.tls import Tls

Handler = Callable[[Exchange], Awaitable[None]]
HEAD = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
RESET = struct.pack("ii", 1, 0)


class Client:
    """One connection, and the server that it is to."""

    def __init__(
        self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if line)
            length = 0 if bodiless else int(headers.get("content-length", "0"))
            return int(first.split()[1]), headers, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All until the server closes."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    def pause(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


@asynccontextmanager
async def talking(
    handler: Handler,
    *,
    receive_buffer: int = 0,
    tls: Tls | None = None,
    trusting: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """The server is stopped at the end and must drain."""

    async def app(exchange: Exchange) -> None:
        await handler(exchange)

    server = Server(app)
    await server.listen("127.0.0.1", 0, tls)
    writer: asyncio.StreamWriter | None = None
    try:
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address_of(server))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=trusting, server_hostname="localhost" if trusting else None
        )
        yield Client(server, reader, writer)
    finally:
        if writer is not None:
            writer.close()
        server.stop()
        async with asyncio.timeout(10):
            await server.serve()


def address_of(server: Server) -> tuple[str, int]:
    assert server._listener is not None
    address: tuple[str, int] = server._listener.sockets[0].getsockname()
    return address


async def echo(exchange: Exchange) -> None:
    """The path and the body."""
    exchange.answer(200, [("x-path", exchange.path)], await exchange.read())


async def refuse(exchange: Exchange) -> None:
    exchange.answer(403, [], b"no")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)
