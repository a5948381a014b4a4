"""The whole life of a request: parse, route, authenticate, authorise, handle, answer.

The HTTP server calls `App.__call__` once for each request.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING

from amur import limits
from amur.clock import Clock, SystemClock
from amur.gateway.authorize import authorize
from amur.gateway.body import Receiver, RequestBody, Taken
from amur.gateway.context import Context, Response
from amur.gateway.elsewhere import Elsewhere
from amur.gateway.endpoints import Endpoint, route
from amur.gateway.errors import S3Error, explained
from amur.gateway.forward.forwarder import Forwarder
from amur.gateway.forward.note import HEADER as FORWARDED
from amur.gateway.handlers import cors
from amur.gateway.iam import failures
from amur.gateway.observe import Observer
from amur.gateway.proxies import Proxies
from amur.gateway.request import Request, bucket_of_host, host_name
from amur.gateway.responses import error_document
from amur.gateway.signers import Signers
from amur.gateway.sigv4 import Authentication, PayloadMode
from amur.httpd.exchange import ClientGone
from amur.httpd.exchange import Exchange as HttpExchange
from amur.iam.service import Iam
from amur.objects.errors import StoreError
from amur.objects.replication.joining import check_joined

if TYPE_CHECKING:
    from amur.objects.store import Store

log = logging.getLogger("amur.gateway")

_EXPLAINED = frozenset({"NotImplemented", "SlowDown", "StorageFull", "ServiceUnavailable"})
"""Failures (5xx) of which the client is told the reason, and the log nothing: they are expected."""

_WITH_ATTRIBUTES = frozenset({"PUT", "POST"})
"""Methods whose headers are stored."""

Page = Callable[[], Awaitable[Response]]
"""One of our own pages below `/-/`."""


class _Exchange:
    """A request, and what became of it: for the answer's headers and the access log."""

    __slots__ = ("code", "endpoint", "first", "is_iam", "key_id", "request", "sent", "via")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.endpoint = ""
        self.is_iam = False  # its failures are told as IAM's clients read them
        self.key_id = ""
        self.code = ""
        self.first = b""  # of a streamed response
        self.sent = 0
        self.via: tuple[str, ...] = ()  # regions that have passed it on to us


class App:
    """S3 over one store. `pages` are answered by path, to anybody who asks."""

    def __init__(
        self,
        store: Store,
        iam: Iam,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        domains: Sequence[str] = (),
        presign_seconds_max: int = limits.PRESIGN_SECONDS_DEFAULT,
        pages: Mapping[str, Page] | None = None,
        host_id: str = "amur",
        forwarder: Forwarder | None = None,
        route: Callable[[Request], Endpoint] = route,
        proxies: Proxies | None = None,
        auth_failures_per_second: int = limits.AUTH_FAILURES_PER_SECOND,
    ) -> None:
        """`forwarder` leads to the other regions; without one everything is answered here.
        `proxies` are believed when they say who the client is."""
        self._store = store
        self._elsewhere = Elsewhere(store, forwarder) if forwarder is not None else None
        self._signers = Signers(iam, presign_seconds_max, auth_failures_per_second)
        self._route = route
        self._proxies = proxies
        self._clock = clock or SystemClock()
        self._observer = observer or Observer()
        self._domains = tuple(domains)
        self._pages = dict(pages or {})
        self._host_id = host_id
        self._last_id = 0
        self._documents = 0  # being read before their signature can be verified
        self._streams = 0  # large responses under way

    async def __call__(self, http: HttpExchange) -> None:
        begun = perf_counter()
        now_ns = self._clock.now_ns()
        self._last_id = now_ns if now_ns > self._last_id else self._last_id + 1
        request = Request(
            http.method,
            http.path,
            http.query,
            http.pairs,
            scheme=http.scheme,
            client=http.client,
            request_id=str(self._last_id),
        )
        exchange = _Exchange(request)
        observer = self._observer
        observer.in_flight += 1
        status = 499  # the client went away
        try:
            try:
                if request.method in _WITH_ATTRIBUTES:
                    _check_readable(request)
                response = await self._answer(exchange, http, now_ns // 1_000_000_000)
            except Exception as error:
                response = self._failure(exchange, error)
            if (
                "origin" in request.headers
                and request.method != "OPTIONS"
                and not response.is_forwarded
            ):
                response.headers += await self._cors_headers(request)
            status = response.status
            await self._send(exchange, response, http)
        finally:
            observer.in_flight -= 1
            observer.done(
                request.id,
                request.client,
                exchange.key_id,
                request.method,
                request.path,
                exchange.endpoint,
                status,
                exchange.code,
                perf_counter() - begun,
                http.received,
                exchange.sent,
                request.headers.get("user-agent", ""),
            )

    async def _answer(self, exchange: _Exchange, http: HttpExchange, now_s: int) -> Response:
        request = exchange.request
        if self._proxies is not None:
            self._proxies.apply(request)
        if FORWARDED in request.headers and self._elsewhere is not None:
            exchange.via = self._elsewhere.accept(request, http.target, now_s)
        if request.path in self._pages and not self._is_bucket_host(request):
            return await self._page(exchange)
        request.parse(self._domains)
        if request.method == "OPTIONS":
            return await self._preflight(exchange)
        endpoint = self._route(request)
        exchange.endpoint, exchange.is_iam = endpoint.name, endpoint.is_iam
        source: Receiver = http
        body_sha256 = ""
        if "authorization" in request.headers and "x-amz-content-sha256" not in request.headers:
            source = document = await self._take_document(request, endpoint, http)
            body_sha256 = sha256(document.data).hexdigest()
        authentication, access = await self._signers.verify(
            request, endpoint.services, body_sha256, now_s
        )
        _check_mode(endpoint, authentication, request)
        exchange.key_id = authentication.key_id
        body = RequestBody(source, request.headers, authentication)
        context = Context(
            request, endpoint, access, self._store, body, self._signers, now_s,
            authentication.signed_s,
        )  # fmt: skip
        response = None
        if self._elsewhere is not None:
            await check_joined(self._store.core)
            response = await self._elsewhere.answer(context, http.target, exchange.via)
        if response is None:
            if "form" not in endpoint.modes:
                await authorize(context)
            response = await endpoint.handler(context)
            if exchange.via and self._elsewhere is not None:
                await self._elsewhere.mark(context, response)
        if response.stream is not None:
            if self._streams >= limits.STREAMS_MAX:
                await _close(response)
                raise S3Error("SlowDown", "Too many large downloads at once.")
            # while a failure can still be told by its status
            exchange.first = await anext(response.stream, b"")
        return response

    async def _take_document(
        self, request: Request, endpoint: Endpoint, http: HttpExchange
    ) -> Taken:
        """The body of a client that doesn't say its SHA-256 (curl before 8): it must be here before
        the signature can be verified, so it is a document, not an upload, and few come at once."""
        if "chunked" in endpoint.modes or "form" in endpoint.modes:
            raise S3Error("InvalidRequest", "Missing required header: x-amz-content-sha256")
        if self._documents >= limits.UNVERIFIED_DOCUMENTS_MAX:
            raise S3Error("SlowDown", "Too many requests without x-amz-content-sha256 at once.")
        self._documents += 1
        try:
            body = RequestBody(http, request.headers, Authentication("anonymous"))
            return Taken(await body.read(limits.BUNDLE_REQUEST_BYTES_MAX))
        finally:
            self._documents -= 1

    def _is_bucket_host(self, request: Request) -> bool:
        host = host_name(request.headers.get("host", ""))
        return bool(bucket_of_host(host, self._domains))

    async def _page(self, exchange: _Exchange) -> Response:
        exchange.endpoint = "Page"
        if exchange.request.method not in ("GET", "HEAD"):
            raise S3Error("MethodNotAllowed")
        return await self._pages[exchange.request.path]()

    async def _preflight(self, exchange: _Exchange) -> Response:
        """A browser asks without credentials, of buckets and objects that need not be public."""
        request = exchange.request
        exchange.endpoint = "Preflight"
        if not request.bucket:
            raise S3Error("MethodNotAllowed", Method="OPTIONS", ResourceType="SERVICE")
        bucket = await self._store.bucket(request.bucket)
        return cors.preflight(bucket.cors, request.headers)

    async def _cors_headers(self, request: Request) -> list[tuple[str, str]]:
        """What the bucket's rules let a browser know; nothing when there is no such bucket."""
        if not request.bucket:
            return []
        try:
            rules = (await self._store.bucket(request.bucket)).cors
        except StoreError:
            return []
        origin = request.headers["origin"]
        method = request.headers.get("access-control-request-method", request.method)
        rule = cors.matching_rule(rules, origin, method)
        return cors.response_headers(rule, origin) if rule else []

    def _failure(self, exchange: _Exchange, error: Exception) -> Response:
        """The error document; what is in no table is logged with its traceback."""
        request = exchange.request
        if exchange.is_iam:
            return self._iam_failure(exchange, error)
        if isinstance(error, StoreError):
            told = explained(error)
        elif isinstance(error, S3Error):
            told = error
        else:
            told = S3Error("InternalError")
        if told.status >= 500 and told.code not in _EXPLAINED:
            log.error("request %s %s failed", request.id, exchange.endpoint, exc_info=error)
            told.message, told.detail = "We encountered an internal error. Please try again.", {}
        exchange.code = told.code
        if told.status == 304:
            return Response(304, told.headers)
        kind, document = error_document(
            told, request.path, request.id, self._host_id, as_json=request.wants_json
        )
        return Response(told.status, [("content-type", kind), *told.headers], document)

    def _iam_failure(self, exchange: _Exchange, error: Exception) -> Response:
        status, exchange.code, _ = failures.told(error)
        if status == 500:
            name = exchange.endpoint
            log.error("request %s %s failed", exchange.request.id, name, exc_info=error)
        return failures.failure(exchange.request, error)

    async def _send(self, exchange: _Exchange, response: Response, http: HttpExchange) -> None:
        request = exchange.request
        headers = response.headers
        if not response.is_forwarded:
            headers.append(("x-amz-request-id", request.id))
            headers.append(("x-amz-id-2", self._host_id))
            headers.append(("server", "Amur"))
        if response.stream is not None and exchange.first:
            await self._stream(exchange, response, http)
        elif request.method == "HEAD":
            http.answer(response.status, headers)
        else:
            exchange.sent = len(response.body)
            http.answer(response.status, headers, response.body)

    async def _stream(self, exchange: _Exchange, response: Response, http: HttpExchange) -> None:
        """Breaks the connection on any failure: the client must see that it is not whole."""
        stream = response.stream
        assert stream is not None
        self._streams += 1
        try:
            http.begin(response.status, response.headers)
            piece, exchange.first = exchange.first, b""
            while piece:
                await http.send(piece)
                exchange.sent += len(piece)
                piece = await anext(stream, b"")
            http.end(response.trailers() if response.trailers else ())
        except ClientGone:
            exchange.code = "ClientGone"
        except Exception as error:
            exchange.code = "Broken"
            log.error("request %s broke off", exchange.request.id, exc_info=error)
            http.abort()
        finally:
            self._streams -= 1
            await _close(response)


def _check_readable(request: Request) -> None:
    """What a header's other bytes mean is anybody's guess: refused, never stored as a guess."""
    for name, value in request.pairs:
        if not value.isascii():
            raise S3Error("InvalidArgument", f"Header values must be ASCII: {name}")


async def _close(response: Response) -> None:
    close = getattr(response.stream, "aclose", None)
    if close is not None:
        await close()


def _check_mode(endpoint: Endpoint, authentication: Authentication, request: Request) -> None:
    if authentication.kind not in endpoint.modes:
        raise S3Error("InvalidRequest", f"{endpoint.name} can't be authorised in this way.")
    payload = authentication.payload
    if endpoint.is_iam and authentication.key_id and payload is not PayloadMode.SHA256:
        raise S3Error("InvalidRequest", "The body must be signed: x-amz-content-sha256.")
    if (
        payload is not PayloadMode.SHA256
        and payload is not PayloadMode.UNSIGNED
        and "chunked" not in endpoint.modes
    ):
        raise S3Error("NotImplemented", f"{endpoint.name} takes no aws-chunked body.")
    # the server's mark for what is not UTF-8; a signature tells whether it was meant
    if authentication.kind == "anonymous" and "\ufffd" in request.path:
        raise S3Error("InvalidURI")
