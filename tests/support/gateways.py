"""Several regions in one process: gateways on 127.0.0.1 over memory, metadata pushed by real
senders over links that are calls. And one raw, signing client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.gateway.forward.forwarder import Forwarder
from amur.gateway.observe import Observer
from amur.httpd.exchange import Exchange
from amur.httpd.server import Server
from amur.meta.memory import MemoryEngine
from amur.objects.core import Core
from amur.objects.replication.answering import answer, open_body
from amur.objects.store import Store
from amur.regions.link import Link, PeerUnreachable
from amur.regions.messages import BodyName, Fetch, Reply, Request
from amur.regions.topology import Region, Topology
from amur.workers.replicate import Sender, log_start
from tests.support.http_talk import Handler, address_of, until
from tests.support.iam import iam_of

SECRET = "the secret of a cluster of tests"
ROOT = ("tid_root", "tsec_root_secret")
NAMES = ("sjc", "ord", "fra")
HOST = "s3.test"


class CalledLink(Link):
    """A peer in this process. `replies` are given in place of its own, to requests of a type."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.core: Core | None = None  # None: it does not answer
        self.rtt = math.inf
        self.asked: list[Request] = []
        self.replies: dict[type, Reply | Exception] = {}

    async def call(self, request: Request, *, timeout_s: float = 0) -> Reply:
        self.asked.append(request)
        reply = self.replies.get(type(request))
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            return reply
        if self.core is None:
            raise PeerUnreachable
        return await answer(self.core, request)

    def fetches(self) -> list[Fetch]:
        return [each for each in self.asked if isinstance(each, Fetch)]

    def read(self, name: BodyName, start: int, end: int) -> AsyncGenerator[bytes]:
        if self.core is None:
            raise PeerUnreachable
        return open_body(self.core, name, start, end)

    @property
    def rtt_s(self) -> float:
        return self.rtt

    async def close(self) -> None: ...


class Line(NamedTuple):
    """Of an access log."""

    request_id: str
    client: str
    method: str
    path: str
    status: int


class Log(Observer):
    """Keeps what would be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def done(self, *facts: object) -> None:  # type: ignore[override]
        request_id, client, _, method, path, _, status, *_ = facts
        assert isinstance(status, int)
        self.lines.append(Line(str(request_id), str(client), str(method), str(path), status))


class Running:
    """One region. `peers` are its links."""

    def __init__(self, store: Store, forwarder: Forwarder, log: Log, server: Server) -> None:
        self.store = store
        self.core = store.core
        self.forwarder = forwarder
        self.log = log
        self.server = server
        self.port = address_of(server)[1]
        self.handler: Handler | None = None  # in place of the gateway
        self.targets: list[bytes] = []  # as they arrived
        self.pairs: list[list[tuple[str, str]]] = []

    def link(self, peer: str) -> CalledLink:
        link = self.core.links[peer]
        assert isinstance(link, CalledLink)
        return link


class Cluster:
    """Regions by name."""

    def __init__(self) -> None:
        self.regions: dict[str, Running] = {}

    def __getitem__(self, name: str) -> Running:
        return self.regions[name]

    async def settled(self) -> None:
        """All metadata is everywhere: a bucket made in each region is known in all."""
        for name, region in self.regions.items():
            region.marks = getattr(region, "marks", 0) + 1  # type: ignore[attr-defined]
            bucket = f"mark-{name}-{region.marks}"  # type: ignore[attr-defined]
            await region.store.create_bucket(bucket)
            for other in self.regions.values():
                await until_bucket(other.store, bucket)


async def until_bucket(store: Store, name: str) -> None:
    async with asyncio.timeout(10):
        while name not in [each.name for each in (await store.list_buckets())[0]]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster(names: Sequence[str] = NAMES) -> AsyncIterator[Cluster]:
    """Regions numbered in the order of their names; every gateway is stopped at the end."""
    found = Cluster()
    ports = {name: await _free_port() for name in names}
    regions = [
        Region(name, number, f"http://127.0.0.1:{ports[name]}") for number, name in enumerate(names)
    ]
    tasks: list[asyncio.Task[None]] = []
    for me in regions:
        found.regions[me.name] = await _running(me, [each for each in regions if each != me])
    for region in found.regions.values():
        await log_start(region.core)  # from here on the log is whole
        for peer in region.core.links:
            link = region.link(peer)
            link.core, link.rtt = found[peer].core, 0.01
            tasks.append(asyncio.create_task(Sender(region.core, link).run()))
    try:
        yield found
    finally:
        await _ended(tasks)
        for region in found.regions.values():
            region.forwarder.close()
            region.server.stop()
        for region in found.regions.values():
            async with asyncio.timeout(10):
                await region.server.serve()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes with its result."""
    for task in tasks:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)


async def _running(me: Region, peers: Sequence[Region]) -> Running:
    topology, clock, log = Topology(me, peers), SystemClock(), Log()
    engine = MemoryEngine(clock, region_number=me.number)
    store = Store(engine, MemoryDataStore(), clock, region=me.name, topology=topology)
    store.core.links.update({peer.name: CalledLink(peer) for peer in peers})
    store.core.has_joined = True
    forwarder = Forwarder(topology, SECRET)
    app = App(store, iam_of(store, ROOT), observer=log, domains=("s3.test",), forwarder=forwarder)

    async def noting(exchange: Exchange) -> None:
        running.targets.append(exchange.target)
        running.pairs.append(list(exchange.pairs))
        await (running.handler or app)(exchange)

    server = Server(noting)
    await server.listen("127.0.0.1", int(me.gateway.rpartition(":")[2]))
    running = Running(store, forwarder, log, server)
    return running


async def _free_port() -> int:
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    trailers: dict[str, str]


class Caller:
    """One connection, requests signed by botocore and sent byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        key: tuple[str, str] | None = ROOT,
        host: str = HOST,
    ) -> Answer:
        sent = {"host": host, "content-length": str(len(body))} | (headers or {})
        self.writer.write(head_of(method, target, signed(method, target, sent, body, key)) + body)
        return await self.answer(method)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(20):
            first, *lines = (
                (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            )
        pairs = [line.split(": ", 1) for line in lines if line]
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names), "a header comes twice"
        return int(first.split()[1]), dict(pairs)  # type: ignore[arg-type]

    async def answer(self, method: str) -> Answer:
        status, headers = await self.head()
        body, trailers = b"", {}
        if method == "HEAD" or status in (204, 304):
            pass
        elif "content-length" in headers:
            async with asyncio.timeout(60):
                body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body, trailers = await self._chunks()
        return Answer(status, headers, body, trailers)

    async def _chunks(self) -> tuple[bytes, dict[str, str]]:
        found = []
        while size := int((await self.reader.readline()).strip(), 16):
            found.append(await self.reader.readexactly(size))
            assert await self.reader.readline() == b"\r\n"
        trailers = {}
        while line := (await self.reader.readline()).strip():
            name, _, value = line.decode().partition(": ")
            trailers[name] = value
        return b"".join(found), trailers


@asynccontextmanager
async def calling(region: Running) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", region.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


def signed(
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    key: tuple[str, str] | None,
) -> list[tuple[str, str]]:
    if key is None:
        return list(headers.items())
    path, mark, query = target.partition("?")
    # botocore signs a path as S3 does: encoded once, whatever came
    url = f"http://{headers['host']}{path}{mark}{query}"
    request = AWSRequest(method, url, headers=headers, data=body)
    payload = headers.get("x-amz-content-sha256", "")
    _Signer(Credentials(*key), "s3", "auto", unquote(path), payload).add_auth(request)
    return [(name, str(value)) for name, value in request.headers.items()]


class _Signer(S3SigV4Auth):
    """Signs the path that the server will see, however it is written in the request line."""

    def __init__(
        self, credentials: Credentials, service: str, region: str, path: str, payload: str
    ) -> None:
        super().__init__(credentials, service, region)
        self._path = path
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        return self._payload or str(super().payload(request))

    def _normalize_url_path(self, path: str) -> str:
        from urllib.parse import quote

        return quote(self._path, safe="/~")


def head_of(method: str, target: str, pairs: list[tuple[str, str]]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


__all__ = ["Answer", "Caller", "Cluster", "calling", "cluster", "head_of", "signed", "until"]
