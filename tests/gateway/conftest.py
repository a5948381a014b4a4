"""A client that calls the app in process, over memory, with requests signed by botocore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote, unquote_to_bytes
from xml.etree import ElementTree

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.iam.keys import KeyRing
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store

HOST = "s3.test"
KEYS = {
    "root": ("tid_root", "tsec_root_secret"),
    "alice": ("tid_alice", "tsec_alice_secret"),
    "bob": ("tid_bob", "tsec_bob_secret"),
}


class Headers:
    """As granian's: lower-case pairs, repeats allowed, values that are not ASCII left out."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = [(name.lower(), value) for name, value in pairs]

    def keys(self) -> list[str]:
        return list(dict(self.pairs))

    def items(self) -> list[tuple[str, str]]:
        return [pair for pair in self.pairs if pair[1].isascii()]


class Proto:
    """Records the answer; gives the body in two pieces."""

    def __init__(self, body: bytes) -> None:
        self.request_body = body
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.reading: asyncio.Task[bytes] | None = None

    async def __call__(self) -> bytes:
        return self.request_body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self.request_body) // 2
        for piece in (self.request_body[:half], self.request_body[half:]):
            if piece:
                yield piece

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None:
        self.status, self.headers = status, headers

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def response_file(self, status: int, headers: list[tuple[str, str]], file: str) -> None:
        self.status, self.headers = status, headers
        self.reading = asyncio.create_task(asyncio.to_thread(Path(file).read_bytes))


class Answer:
    """`xml` is the parsed document, names without namespace."""

    def __init__(self, proto: Proto) -> None:
        self.status = proto.status
        self.pairs = proto.headers
        self.headers = dict(proto.headers)
        self.body = proto.body

    @property
    def xml(self) -> ElementTree.Element:
        root = ElementTree.fromstring(self.body)
        for node in root.iter():
            node.tag = node.tag.rpartition("}")[2]
        return root

    @property
    def code(self) -> str:
        return self.xml.findtext("Code") or ""

    def texts(self, path: str) -> list[str]:
        return [node.text or "" for node in self.xml.findall(path)]


class Client:
    """`await client("GET", "/bucket?acl")`: path and query as they go over the wire."""

    def __init__(self, app: App, who: str = "root") -> None:
        self.app = app
        self.who = who

    def as_(self, who: str) -> Client:
        """The same server for root, alice, bob or nobody."""
        return Client(self.app, who)

    async def __call__(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        host: str = HOST,
        pairs: list[tuple[str, str]] | None = None,
    ) -> Answer:
        path, _, query = target.partition("?")
        sent = pairs if pairs is not None else self._headers(method, target, body, headers, host)
        proto = Proto(body)
        scope = SimpleNamespace(
            proto="http",
            method=method,
            path=unquote_to_bytes(path).decode("utf-8", "replace"),
            query_string=query,
            headers=Headers(sent),
            scheme="http",
            client="192.0.2.7:4711",
        )
        await self.app.__rsgi__(scope, proto)
        if proto.reading is not None:
            proto.body = await proto.reading
        return Answer(proto)

    def _headers(
        self, method: str, target: str, body: bytes, extra: dict[str, str] | None, host: str
    ) -> list[tuple[str, str]]:
        headers = {"host": host} | (extra or {})
        if body or method in ("PUT", "POST"):
            headers["content-length"] = str(len(body))
        if self.who == "nobody":
            return list(headers.items())
        # botocore signs a query as it stands: write it as clients do
        path, mark, query = target.partition("?")
        pieces = [[quote(unquote(part), safe="~") for part in piece.split("=", 1)]
                  for piece in query.split("&") if piece]  # fmt: skip
        url = f"http://{host}{path}{mark}" + "&".join(map("=".join, pieces))
        request = AWSRequest(method, url, headers=headers, data=body)
        S3SigV4Auth(Credentials(*KEYS[self.who]), "s3", "auto").add_auth(request)
        return [(name, str(value)) for name, value in request.headers.items()]


@pytest.fixture
def keys() -> KeyRing:
    extra = [(*KEYS[name], name) for name in ("alice", "bob")]
    return KeyRing(*KEYS["root"], extra)


@pytest.fixture
def store() -> Store:
    clock = SystemClock()
    return Store(MemoryEngine(clock), MemoryDataStore(), clock)


@pytest.fixture
def app(store: Store, keys: KeyRing) -> App:
    return App(store, keys, domains=("s3.test",))


@pytest.fixture
def client(app: App) -> Client:
    """Root's; others by `as_`."""
    return Client(app)
