"""A client that calls the app in process, over memory, with requests signed by botocore."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote, unquote_to_bytes
from xml.etree import ElementTree

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from amur.clock import SystemClock
from amur.data.memory import MemoryDataStore
from amur.gateway.app import App
from amur.iam.service import Iam
from amur.meta.memory import MemoryEngine
from amur.objects.store import Store
from tests.support.iam import iam_of

HOST = "s3.test"
KEYS = {
    "root": ("tid_root", "tsec_root_secret"),
    "alice": ("tid_alice", "tsec_alice_secret"),
    "bob": ("tid_bob", "tsec_bob_secret"),
}


class FakeExchange:
    """As the HTTP server's: gives the body in two pieces, records the answer."""

    def __init__(
        self, method: str, target: str, pairs: list[tuple[str, str]], request_body: bytes
    ) -> None:
        self.target = target.encode()
        path, _, self.query = target.partition("?")
        self.method = method
        self.path = unquote_to_bytes(path).decode("utf-8", "replace")
        self.pairs = [(name.lower(), value) for name, value in pairs]
        self.scheme = "http"
        self.client = "192.0.2.7:4711"
        half = len(request_body) // 2
        self._left = [piece for piece in (request_body[:half], request_body[half:]) if piece]
        self.received = 0
        self.is_whole = False
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.trailers: list[tuple[str, str]] = []
        self.body = b""
        self.is_answered = self.is_aborted = False

    async def read(self) -> bytes:
        whole = b"".join(self._left)
        self._left = []
        self.received += len(whole)
        self.is_whole = True
        return whole

    async def piece(self) -> bytes:
        if not self._left:
            self.is_whole = True
            return b""
        piece = self._left.pop(0)
        self.received += len(piece)
        return piece

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes = b"") -> None:
        assert not self.status, "answered twice"
        self.status, self.headers, self.body = status, headers, body
        self.is_answered = True

    def begin(self, status: int, headers: list[tuple[str, str]]) -> None:
        assert not self.status, "answered twice"
        self.status, self.headers = status, headers

    async def send(self, piece: bytes) -> None:
        assert piece
        self.body += piece

    def end(self, trailers: Sequence[tuple[str, str]] = ()) -> None:
        self.trailers = list(trailers)
        self.is_answered = True

    def abort(self) -> None:
        self.is_aborted = True


class Answer:
    """`xml` is the parsed document, names without namespace."""

    def __init__(self, exchange: FakeExchange) -> None:
        self.status = exchange.status
        self.pairs = exchange.headers
        self.headers = dict(exchange.headers)
        self.trailers = dict(exchange.trailers)
        self.body = exchange.body
        self.is_whole = exchange.is_answered and not exchange.is_aborted

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
        sent = pairs if pairs is not None else self._headers(method, target, body, headers, host)
        exchange = FakeExchange(method, target, sent, body)
        await self.app(exchange)  # type: ignore[arg-type]
        return Answer(exchange)

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
def store() -> Store:
    clock = SystemClock()
    return Store(MemoryEngine(clock), MemoryDataStore(), clock)


@pytest.fixture
def iam(store: Store) -> Iam:
    return iam_of(store, KEYS["root"], [(*KEYS[name], name) for name in ("alice", "bob")])


@pytest.fixture
def app(store: Store, iam: Iam) -> App:
    return App(store, iam, domains=("s3.test",), auth_failures_per_second=1_000_000)


@pytest.fixture
def client(app: App) -> Client:
    """Root's; others by `as_`."""
    return Client(app)
