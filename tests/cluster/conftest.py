"""A path with a server behind it that a test looks into; and small HTTP servers in the place of
gateways."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from amur.cluster.pipe import End, Path, lead_on
from amur.serve.testing import free_port

PROGRAM = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(sys.argv[2])))
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("listening", flush=True)
server.serve_forever()
"""


class Gateways:
    """Small HTTP servers that answer their name, each a process of its own."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}

    def start(self, name: str) -> None:
        port = self.ports.setdefault(name, free_port())
        self._running[name] = process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port), name], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stdout.readline() == "listening\n"

    def signal(self, name: str, which: signal.Signals) -> None:
        os.kill(self._running[name].pid, which)

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.communicate()

    def close(self) -> None:
        for name in tuple(self._running):
            self.kill(name)


@pytest.fixture
def gateways() -> Iterator[Gateways]:
    made = Gateways()
    for name in ("near", "far"):
        made.start(name)
    yield made
    made.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HOST = "127.0.0.1"


class Piped:
    """A proxy over `path` to a server with `handler`."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self.arrived = 0  # connections at the server
        self.nears: list[End] = []
        self._handler = handler
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[bool]] = set()

    async def __aenter__(self) -> Piped:
        self._target = await asyncio.start_server(self._handle, HOST, 0)
        self.target_port = self._target.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._proxy = await loop.create_server(self._near, HOST, 0)
        self.port = self._proxy.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._target.close()
        self._proxy.close()
        for writer in self._writers:
            writer.close()
        self.path.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.sleep(0.01)

    def stop_target(self) -> None:
        self._target.close()

    async def connect(self) -> Streams:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        self._writers.append(writer)
        return reader, writer

    def _near(self) -> End:
        piped = self

        class Near(End):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                task = asyncio.create_task(lead_on(self, HOST, piped.target_port))
                piped._tasks.add(task)
                task.add_done_callback(piped._tasks.discard)

        self.nears.append(Near(self.path, forth=True, is_near=True))
        return self.nears[-1]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived += 1
        self._writers.append(writer)
        try:
            await self._handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def piped() -> AsyncIterator[Callable[..., Awaitable[Piped]]]:
    async with AsyncExitStack() as stack:

        async def make(handler: Handler, round_trip_s: float = 0.0) -> Piped:
            return await stack.enter_async_context(Piped(Path(round_trip_s), handler))

        yield make


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until it is so."""

    async def wait(check: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not check():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)

    return wait


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[int]:
    """The port of a server."""
    server = await asyncio.start_server(handler, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
